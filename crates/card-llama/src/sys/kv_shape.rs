//! How much memory the KV cache of a model takes, by what its file says.

use std::ffi::CString;
use std::path::Path;

use super::cache_type::CacheTypes;
use super::gguf::Gguf;
use crate::error::LlamaError;

/// Layers, heads or numbers of a head that a model has at most. More is a damaged file.
const MOST: u64 = 1 << 20;

/// What a model keeps of a token, by its file. It is an estimate from above: of layers that look
/// back a short way only, or that keep a state in place of keys, more is counted than is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Numbers of the keys of one token, of all layers.
    pub keys: u64,
    /// Numbers of the values of one token, of all layers.
    pub values: u64,
    /// Layers.
    pub layers: u32,
    /// Bytes of the file.
    pub bytes: u64,
}

impl KvShape {
    /// What a file says.
    ///
    /// # Errors
    /// If the file is missing, no GGUF, or damaged.
    pub fn of_file(path: &Path) -> Result<Self, LlamaError> {
        let file = Gguf::open(path, false)?;
        let bytes = std::fs::metadata(path).map_err(|source| LlamaError::Open {
            path: path.display().to_string(),
            source,
        })?;
        let of = Keys::of(&file);
        Ok(KvShape {
            bytes: bytes.len(),
            ..of.shape()
        })
    }

    /// Bytes of so many cells with these types.
    pub fn cache_bytes(&self, cells: u64, types: CacheTypes) -> u64 {
        let token = types.k.bytes(self.keys) + types.v.bytes(self.values);
        token.saturating_mul(cells)
    }
}

/// The metadata of one architecture.
struct Keys<'a> {
    file: &'a Gguf,
    architecture: String,
}

impl<'a> Keys<'a> {
    fn of(file: &'a Gguf) -> Self {
        Keys {
            file,
            architecture: file.text(c"general.architecture").unwrap_or_default(),
        }
    }

    fn key(&self, name: &str) -> Option<CString> {
        CString::new(format!("{}.{name}", self.architecture)).ok()
    }

    fn number(&self, name: &str) -> Option<u64> {
        let number = self.file.number(&self.key(name)?)?;
        (number <= MOST).then_some(number)
    }

    /// A number for each layer.
    fn by_layer(&self, name: &str) -> Option<Vec<u64>> {
        let numbers = self.file.counts(&self.key(name)?)?;
        numbers.iter().all(|n| *n <= MOST).then_some(numbers)
    }

    fn shape(&self) -> KvShape {
        let layers = self.number("block_count").unwrap_or(0);
        let heads = match self.by_layer("attention.head_count") {
            Some(by_layer) => by_layer.into_iter().max().unwrap_or(1),
            None => self.number("attention.head_count").unwrap_or(1),
        };
        let shared = self.number("attention.shared_kv_layers").unwrap_or(0);
        // Every so many layers, one looks back; the others keep a state.
        let interval = self.number("full_attention_interval").unwrap_or(1).max(1);
        let kept = layers.saturating_sub(shared);
        let kv_heads = match self.by_layer("attention.head_count_kv") {
            Some(by_layer) => by_layer.iter().take(kept as usize).sum(),
            None => {
                let each = self.number("attention.head_count_kv").unwrap_or(heads);
                each * kept.div_ceil(interval)
            }
        };
        let width = self.number("embedding_length").unwrap_or(0) / heads.max(1);
        let key = self.number("attention.key_length").unwrap_or(width);
        let value = self.number("attention.value_length").unwrap_or(width);
        // Multi-head latent attention keeps one row for both, under the name of the keys.
        let latent = self.number("attention.key_length_mla").is_some();
        KvShape {
            keys: kv_heads * key,
            values: if latent { 0 } else { kv_heads * value },
            layers: layers as u32,
            bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::cache_type::CacheType;
    use crate::tiny::Tiny;

    fn shape(tiny: Tiny) -> KvShape {
        let file = tiny.write();
        let shape = KvShape::of_file(&file).unwrap();
        let _ = std::fs::remove_file(file);
        shape
    }

    fn hybrid(name: &str) -> Tiny {
        Tiny::new(name)
            .text("general.architecture", "some")
            .number("some.block_count", 8)
            .number("some.embedding_length", 64)
            .number("some.attention.head_count", 4)
    }

    #[test]
    fn a_token_has_keys_and_values_in_each_layer_that_looks_back() {
        let found = shape(Tiny::deep("kv-shape", 0));
        assert_eq!(
            (found.layers, found.keys, found.values),
            (3, 3 * 2 * 64, 3 * 2 * 64)
        );
        let half = CacheTypes::default();
        assert_eq!(found.cache_bytes(10, half), 10 * 2 * 2 * 384);
        let small = CacheTypes {
            k: CacheType::Q8_0,
            v: CacheType::Q4_0,
        };
        assert_eq!(found.cache_bytes(1, small), 12 * 34 + 12 * 18);
        assert_eq!(found.cache_bytes(u64::MAX, half), u64::MAX);

        let every_fourth = hybrid("kv-interval")
            .number("some.attention.head_count_kv", 2)
            .number("some.full_attention_interval", 4);
        assert_eq!(shape(every_fourth).keys, 2 * 2 * 16);
        let by_layer = hybrid("kv-by-layer")
            .numbers("some.attention.head_count_kv", &[0, 0, 2, 0, 0, 2, 0, 0])
            .number("some.attention.key_length", 32)
            .number("some.attention.value_length", 8);
        let found = shape(by_layer);
        assert_eq!((found.keys, found.values), (4 * 32, 4 * 8));
        let latent = hybrid("kv-latent")
            .number("some.attention.head_count_kv", 1)
            .number("some.attention.key_length", 576)
            .number("some.attention.key_length_mla", 192);
        assert_eq!(shape(latent).values, 0);
    }

    #[test]
    fn a_damaged_file_is_counted_as_far_as_it_makes_sense() {
        let nothing = shape(Tiny::new("kv-nothing").text("general.architecture", "some"));
        assert_eq!((nothing.keys, nothing.values), (0, 0));
        let huge = hybrid("kv-huge").number("some.attention.head_count_kv", u32::MAX);
        // Too many heads: as many as the attention has.
        assert_eq!(shape(huge).keys, 8 * 64);
    }
}
