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
            Isa::Avx512 => 16,
            _ => 8,
        }
    }

    /// Most columns (rows of the batch) that one pass over the weights serves.
    pub fn columns(self) -> usize {
        match self {
            Isa::Avx512 => 8,
            _ => 4,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Portable => "plain Rust",
            Isa::Avx2 => "AVX2",
            Isa::AvxVnni => "AVX-VNNI",
            Isa::Avx512 => "AVX-512 VNNI",
            Isa::Neon => "NEON dot product",
            Isa::NeonI8mm => "NEON i8mm",
        })
    }
}
