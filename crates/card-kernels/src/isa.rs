//! Instruction sets, found when the program runs.

use std::fmt;

/// A set of instructions that the kernels are written for.
///
/// Results are the same bits on each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust: slow, for tests.
    Portable,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// [`Isa::Avx2`] and AVX-VNNI: products of bytes in one instruction.
    AvxVnni,
    /// AVX-512 F, BW, DQ, VL and VNNI.
    Avx512,
    /// [`Isa::Avx512`], AVX-512 VBMI, and AMX with products of bytes, which is for 16 columns and
    /// more. Linux only.
    Amx,
    /// ARMv8.2 with the dot product.
    Neon,
    /// [`Isa::Neon`] and the int8 matrix extension (products of signed and unsigned bytes).
    NeonI8mm,
}

impl Isa {
    /// All that this processor runs, [`Isa::Portable`] first, the best last.
    pub fn available() -> Vec<Isa> {
        let mut all = vec![Isa::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx2") && has!("fma") && has!("f16c") {
                all.push(Isa::Avx2);
                if has!("avxvnni") {
                    all.push(Isa::AvxVnni);
                }
                let avx512 = has!("avx512f") && has!("avx512bw") && has!("avx512dq");
                if avx512 && has!("avx512vl") && has!("avx512vnni") {
                    all.push(Isa::Avx512);
                    #[cfg(target_os = "linux")]
                    if has!("avx512vbmi") && amx() {
                        all.push(Isa::Amx);
                    }
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            use std::arch::is_aarch64_feature_detected as has;
            if has!("neon") && has!("dotprod") {
                all.push(Isa::Neon);
                if has!("i8mm") {
                    all.push(Isa::NeonI8mm);
                }
            }
        }
        all
    }

    /// The best one here. [`Isa::Portable`] means that there is none to be fast with.
    pub fn best() -> Isa {
        Isa::available().pop().unwrap_or(Isa::Portable)
    }

    /// Rows of weights that are laid out side by side for it.
    pub fn rows(self) -> usize {
        match self {
            Isa::Avx512 | Isa::Amx => 16,
            _ => 8,
        }
    }

    /// Most columns (rows of the batch) that one pass over the weights serves. [`Isa::Amx`] takes
    /// them by 16 first, and the rest like this.
    pub fn columns(self) -> usize {
        match self {
            Isa::Avx512 | Isa::Amx => 10,
            _ => 4,
        }
    }
}

/// Whether the processor has AMX for bytes, and Linux lets this process use it. Linux wants to be
/// asked, since a thread that uses tiles has 8 KiB more to be saved; it is asked once.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn amx() -> bool {
    use std::arch::{asm, x86_64};
    use std::sync::OnceLock;

    static FOUND: OnceLock<bool> = OnceLock::new();
    const TILE: u32 = 1 << 24;
    const INT8: u32 = 1 << 25;
    const OSXSAVE: u32 = 1 << 27;
    /// What the system saves: the tiles' configuration and the tiles.
    const SAVED: u64 = 1 << 17 | 1 << 18;
    const ARCH_PRCTL: u64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const TILES: u64 = 18;

    #[target_feature(enable = "xsave")]
    fn saved() -> u64 {
        // SAFETY: register 0 is always there.
        unsafe { x86_64::_xgetbv(0) }
    }
    *FOUND.get_or_init(|| {
        if x86_64::__cpuid_count(7, 0).edx & (TILE | INT8) != TILE | INT8
            || x86_64::__cpuid(1).ecx & OSXSAVE == 0
        {
            return false;
        }
        // SAFETY: the system has turned XSAVE on.
        if unsafe { saved() } & SAVED != SAVED {
            return false;
        }
        let result: i64;
        // SAFETY: a system call that gives this process a permission or an error. It changes
        // rcx and r11.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL => result,
                in("rdi") ARCH_REQ_XCOMP_PERM,
                in("rsi") TILES,
                out("rcx") _,
                out("r11") _,
                options(nostack),
            );
        }
        result == 0
    })
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Portable => "plain Rust",
            Isa::Avx2 => "AVX2",
            Isa::AvxVnni => "AVX-VNNI",
            Isa::Avx512 => "AVX-512 VNNI",
            Isa::Amx => "AMX",
            Isa::Neon => "NEON dot product",
            Isa::NeonI8mm => "NEON i8mm",
        })
    }
}
