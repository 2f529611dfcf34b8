//! `card devices`: the devices that models can run on.

use std::process::ExitCode;

use anyhow::Result;
use card_llama::Device;
use indicatif::HumanBytes;

/// `card devices`.
pub fn run() -> Result<ExitCode> {
    let here = card_setup::free_here();
    for device in card_llama::devices() {
        println!(
            "{:10} {}  ({} free of {})",
            device.name,
            device.description,
            HumanBytes(free(&device, here)),
            HumanBytes(device.memory.1 as u64)
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Bytes that are free on a device. Of a processor ggml says that all of its memory is; the system
/// knows what is `here`, within the bounds of a container.
fn free(device: &Device, here: Option<u64>) -> u64 {
    let said = device.memory.0 as u64;
    match here {
        Some(here) if !device.is_gpu => here.min(said),
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_processor_the_system_knows_what_is_free() {
        let device = |is_gpu: bool| Device {
            name: "a".into(),
            description: "a device".into(),
            is_gpu,
            memory: (100, 100),
        };
        assert_eq!(free(&device(false), Some(40)), 40);
        assert_eq!(free(&device(false), None), 100);
        assert_eq!(free(&device(true), Some(40)), 100);
    }
}
