//! `card devices`: the devices that models can run on.

use std::process::ExitCode;

use anyhow::Result;
use indicatif::HumanBytes;

/// `card devices`.
pub fn run() -> Result<ExitCode> {
    for device in card_llama::devices() {
        let (free, all) = device.memory;
        println!(
            "{:10} {}  ({} free of {})",
            device.name,
            device.description,
            HumanBytes(free as u64),
            HumanBytes(all as u64)
        );
    }
    Ok(ExitCode::SUCCESS)
}
