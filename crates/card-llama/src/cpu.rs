//! Whether this processor has the instructions that the program was compiled with.
//!
//! A build with `target-cpu=native` that is carried to another machine ends with an illegal
//! instruction wherever the first one is met, without a word. `is_x86_feature_detected!` is of
//! no use here: it says yes to what was compiled in. So the processor itself is asked.

/// Asks the processor. Call it first thing in `main`: what runs before may have used those
/// instructions already.
///
/// # Errors
/// Says which instructions are missing, and how to build for other machines.
#[inline(never)]
pub fn check_cpu() -> Result<(), String> {
    // A few comparisons of whole numbers, so that nothing here is made into the very
    // instructions that may be missing. The words below come only if it is too late anyway.
    let mut missing = 0;
    for (_, compiled, there) in features() {
        missing += usize::from(compiled && !there);
    }
    match missing {
        0 => Ok(()),
        _ => Err(explain(&features())),
    }
}

/// A name, whether it was compiled in, and whether the processor (and the system) has it.
type Feature = (&'static str, bool, bool);

#[cold]
#[inline(never)]
fn explain(features: &[Feature]) -> String {
    let missing = features.iter().filter(|f| f.1 && !f.2).map(|f| f.0);
    let missing = missing.collect::<Vec<_>>().join(", ");
    format!(
        "this program was built for another processor: it uses {missing}, which this one has not. \
         Build it on this machine, or build one for all machines with `--features portable` and \
         RUSTFLAGS=\"-C target-cpu=x86-64-v2\" (docs/build.md)"
    )
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> [Feature; 0] {
    []
}

#[cfg(target_arch = "x86_64")]
#[inline(never)]
// The instruction became a safe function in later versions of Rust.
#[allow(unused_unsafe)]
fn features() -> [Feature; 22] {
    use std::arch::x86_64::CpuidResult;

    // SAFETY: every x86-64 processor has the instruction.
    let ask = |leaf: u32, part: u32| unsafe { std::arch::x86_64::__cpuid_count(leaf, part) };
    let none = CpuidResult {
        eax: 0,
        ebx: 0,
        ecx: 0,
        edx: 0,
    };
    let most = ask(0, 0).eax;
    let one = ask(1, 0);
    let seven = if most >= 7 { ask(7, 0) } else { none };
    let seven_one = if seven.eax >= 1 { ask(7, 1) } else { none };
    let extended = if ask(0x8000_0000, 0).eax >= 0x8000_0001 {
        ask(0x8000_0001, 0)
    } else {
        none
    };
    let bit = |register: u32, n: u32| (register >> n) & 1 == 1;
    // Which registers the system saves: 6 is those of AVX, 0xe6 those of AVX-512 too.
    let saved = if bit(one.ecx, 27) {
        saved_registers()
    } else {
        0
    };
    let (avx, avx512) = (saved & 6 == 6, saved & 0xe6 == 0xe6);
    macro_rules! feature {
        ($name:tt, $there:expr) => {
            ($name, cfg!(target_feature = $name), $there)
        };
    }
    [
        feature!("sse3", bit(one.ecx, 0)),
        feature!("ssse3", bit(one.ecx, 9)),
        feature!("sse4.1", bit(one.ecx, 19)),
        feature!("sse4.2", bit(one.ecx, 20)),
        feature!("popcnt", bit(one.ecx, 23)),
        feature!("lzcnt", bit(extended.ecx, 5)),
        feature!("bmi1", bit(seven.ebx, 3)),
        feature!("bmi2", bit(seven.ebx, 8)),
        feature!("avx", avx && bit(one.ecx, 28)),
        feature!("fma", avx && bit(one.ecx, 12)),
        feature!("f16c", avx && bit(one.ecx, 29)),
        feature!("avx2", avx && bit(seven.ebx, 5)),
        feature!("avxvnni", avx && bit(seven_one.eax, 4)),
        feature!("avx512f", avx512 && bit(seven.ebx, 16)),
        feature!("avx512dq", avx512 && bit(seven.ebx, 17)),
        feature!("avx512cd", avx512 && bit(seven.ebx, 28)),
        feature!("avx512bw", avx512 && bit(seven.ebx, 30)),
        feature!("avx512vl", avx512 && bit(seven.ebx, 31)),
        feature!("avx512vbmi", avx512 && bit(seven.ecx, 1)),
        feature!("avx512vnni", avx512 && bit(seven.ecx, 11)),
        feature!("avx512bf16", avx512 && bit(seven_one.eax, 5)),
        feature!("avx512fp16", avx512 && bit(seven.edx, 23)),
    ]
}

/// What the system keeps when it changes threads. The processor must have said that it can be
/// asked (OSXSAVE).
#[cfg(target_arch = "x86_64")]
#[inline(never)]
fn saved_registers() -> u32 {
    let low: u32;
    // SAFETY: reads a register that every program may read, and changes nothing but its two
    // outputs; the caller has seen OSXSAVE.
    unsafe {
        std::arch::asm!(
            "xgetbv",
            in("ecx") 0,
            out("eax") low,
            out("edx") _,
            options(nomem, nostack, preserves_flags),
        );
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_that_runs_this_has_what_was_compiled_in() {
        assert_eq!(check_cpu(), Ok(()));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_processor_is_read_as_the_standard_library_reads_it() {
        // Those were not compiled in by everybody, so the library really looks.
        let known = [
            ("sse4.2", std::arch::is_x86_feature_detected!("sse4.2")),
            ("avx", std::arch::is_x86_feature_detected!("avx")),
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
            ("fma", std::arch::is_x86_feature_detected!("fma")),
            ("f16c", std::arch::is_x86_feature_detected!("f16c")),
            ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
            ("avx512bw", std::arch::is_x86_feature_detected!("avx512bw")),
            ("avx512vl", std::arch::is_x86_feature_detected!("avx512vl")),
            (
                "avx512vnni",
                std::arch::is_x86_feature_detected!("avx512vnni"),
            ),
            ("bmi2", std::arch::is_x86_feature_detected!("bmi2")),
            ("popcnt", std::arch::is_x86_feature_detected!("popcnt")),
            ("lzcnt", std::arch::is_x86_feature_detected!("lzcnt")),
        ];
        for (name, there) in known {
            let ours = features().into_iter().find(|f| f.0 == name);
            assert_eq!(ours.map(|f| f.2), Some(there), "{name}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let features = [
            ("avx2", true, true),
            ("avx512f", true, false),
            ("avx512bw", false, false),
        ];
        let said = explain(&features);
        assert!(said.contains("it uses avx512f, which"), "{said}");
        assert!(said.contains("--features portable"), "{said}");
    }
}
