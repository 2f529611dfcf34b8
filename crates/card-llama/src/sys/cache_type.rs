//! Types of the numbers that a KV cache keeps.

use std::fmt;
use std::str::FromStr;

use llama_cpp_sys_2 as cpp;
use serde::{Deserialize, Serialize};

/// The type of the keys or of the values in a KV cache, by llama.cpp's name. Few bits take little
/// memory, and change what the model computes: its text is another, which all modes then write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CacheType {
    /// 32 bits a number.
    #[serde(rename = "f32")]
    F32,
    /// 16 bits a number, which is what llama.cpp takes.
    #[default]
    #[serde(rename = "f16")]
    F16,
    /// 16 bits a number, of which more for the exponent.
    #[serde(rename = "bf16")]
    Bf16,
    /// 8.5 bits a number.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// 4.5 bits a number.
    #[serde(rename = "q4_0")]
    Q4_0,
    /// 5 bits a number.
    #[serde(rename = "q4_1")]
    Q4_1,
    /// 4.5 bits a number, unevenly spaced.
    #[serde(rename = "iq4_nl")]
    Iq4Nl,
    /// 5.5 bits a number.
    #[serde(rename = "q5_0")]
    Q5_0,
    /// 6 bits a number.
    #[serde(rename = "q5_1")]
    Q5_1,
}

impl CacheType {
    /// All types that a KV cache can have.
    pub const ALL: [CacheType; 9] = [
        CacheType::F32,
        CacheType::F16,
        CacheType::Bf16,
        CacheType::Q8_0,
        CacheType::Q4_0,
        CacheType::Q4_1,
        CacheType::Iq4Nl,
        CacheType::Q5_0,
        CacheType::Q5_1,
    ];

    /// llama.cpp's name.
    pub fn name(self) -> &'static str {
        match self {
            CacheType::F32 => "f32",
            CacheType::F16 => "f16",
            CacheType::Bf16 => "bf16",
            CacheType::Q8_0 => "q8_0",
            CacheType::Q4_0 => "q4_0",
            CacheType::Q4_1 => "q4_1",
            CacheType::Iq4Nl => "iq4_nl",
            CacheType::Q5_0 => "q5_0",
            CacheType::Q5_1 => "q5_1",
        }
    }

    /// ggml's number of the type.
    pub(crate) fn ggml(self) -> cpp::ggml_type {
        match self {
            CacheType::F32 => cpp::GGML_TYPE_F32,
            CacheType::F16 => cpp::GGML_TYPE_F16,
            CacheType::Bf16 => cpp::GGML_TYPE_BF16,
            CacheType::Q8_0 => cpp::GGML_TYPE_Q8_0,
            CacheType::Q4_0 => cpp::GGML_TYPE_Q4_0,
            CacheType::Q4_1 => cpp::GGML_TYPE_Q4_1,
            CacheType::Iq4Nl => cpp::GGML_TYPE_IQ4_NL,
            CacheType::Q5_0 => cpp::GGML_TYPE_Q5_0,
            CacheType::Q5_1 => cpp::GGML_TYPE_Q5_1,
        }
    }

    /// Numbers that are kept together, and the bytes they take.
    fn block(self) -> (u64, u64) {
        match self {
            CacheType::F32 => (1, 4),
            CacheType::F16 | CacheType::Bf16 => (1, 2),
            CacheType::Q8_0 => (32, 34),
            CacheType::Q4_0 | CacheType::Iq4Nl => (32, 18),
            CacheType::Q4_1 => (32, 20),
            CacheType::Q5_0 => (32, 22),
            CacheType::Q5_1 => (32, 24),
        }
    }

    /// Bytes of so many numbers.
    pub fn bytes(self, numbers: u64) -> u64 {
        let (together, bytes) = self.block();
        numbers.div_ceil(together).saturating_mul(bytes)
    }
}

impl fmt::Display for CacheType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for CacheType {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = CacheType::ALL.into_iter().find(|t| t.name() == name);
        found.ok_or_else(|| {
            let names = CacheType::ALL.map(CacheType::name).join(", ");
            format!("a KV cache has no type {name:?}; there are {names}")
        })
    }
}

/// The types of a KV cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CacheTypes {
    /// Of the keys.
    pub k: CacheType,
    /// Of the values.
    pub v: CacheType,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_are_ggmls_and_take_the_bytes_it_says() {
        for kind in CacheType::ALL {
            assert_eq!(kind.name().parse::<CacheType>(), Ok(kind));
            for numbers in [32, 64, 4096] {
                // SAFETY: the type is one of ggml's, and the row a whole number of its blocks.
                let row = unsafe { cpp::ggml_row_size(kind.ggml(), numbers) };
                assert_eq!(kind.bytes(numbers as u64), row as u64, "{kind} {numbers}");
            }
        }
        let why = "q9_9".parse::<CacheType>().unwrap_err();
        assert!(why.contains("q8_0"), "{why}");
        assert_eq!(CacheType::F16.bytes(u64::MAX), u64::MAX);
    }
}
