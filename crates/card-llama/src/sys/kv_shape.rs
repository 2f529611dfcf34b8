//! How much memory the KV cache and the recurrent states of a model take, by what its file says.

use std::path::Path;

use super::arch_keys::ArchKeys;
use super::cache_type::CacheTypes;
use super::gguf::Gguf;
use super::state_shape::{has_snapshots, state_bytes};
use crate::error::LlamaError;

/// What a model keeps of a token and of a sequence, by its file. Both are estimates from above: of
/// layers that look back a short way only, keys and values of all tokens are counted; and of
/// layers that keep a state in place of keys, the keys too where the file does not tell them
/// apart.
///
/// Two things are not counted: the keys of an indexer, and that DeepSeek 4 keeps the cells of each
/// sequence id apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Numbers of the keys of one token, of all layers.
    pub keys: u64,
    /// Numbers of the values of one token, of all layers.
    pub values: u64,
    /// Bytes of one recurrent state, of all layers; 0 of a model that keeps cells only. How many
    /// states a context has is what [`ContextOptions::states`](crate::ContextOptions::states)
    /// says.
    pub state: u64,
    /// Whether llama.cpp may keep snapshots of each state, so that rows of a forward can be left
    /// out of it again.
    pub snapshots: bool,
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
        Ok(KvShape {
            bytes: bytes.len(),
            ..shape(&ArchKeys::of(&file))
        })
    }

    /// Bytes of so many cells with these types.
    pub fn cache_bytes(&self, cells: u64, types: CacheTypes) -> u64 {
        let token = types.k.bytes(self.keys) + types.v.bytes(self.values);
        token.saturating_mul(cells)
    }
}

fn shape(keys: &ArchKeys) -> KvShape {
    let layers = keys.number("block_count").unwrap_or(0);
    let heads = keys.heads();
    let shared = keys.number("attention.shared_kv_layers").unwrap_or(0);
    // Every so many layers, one looks back; the others keep a state.
    let interval = keys.number("full_attention_interval").unwrap_or(1).max(1);
    let kept = layers.saturating_sub(shared);
    let kv_heads = match keys.by_layer("attention.head_count_kv") {
        Some(by_layer) => by_layer.iter().take(kept as usize).sum(),
        None => {
            let each = keys.number("attention.head_count_kv").unwrap_or(heads);
            each * kept.div_ceil(interval)
        }
    };
    // Multi-head latent attention keeps one row for both, under the name of the keys.
    let latent = keys.number("attention.key_length_mla").is_some();
    KvShape {
        keys: kv_heads * keys.key_length(),
        values: if latent {
            0
        } else {
            kv_heads * keys.value_length()
        },
        state: state_bytes(keys),
        snapshots: has_snapshots(keys.architecture()),
        layers: layers as u32,
        bytes: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::cache_type::CacheType;
    use crate::tiny::Tiny;

    fn written(tiny: Tiny) -> KvShape {
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
        let found = written(Tiny::deep("kv-shape", 0));
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
        assert_eq!(written(every_fourth).keys, 2 * 2 * 16);
        let by_layer = hybrid("kv-by-layer")
            .numbers("some.attention.head_count_kv", &[0, 0, 2, 0, 0, 2, 0, 0])
            .number("some.attention.key_length", 32)
            .number("some.attention.value_length", 8);
        let found = written(by_layer);
        assert_eq!((found.keys, found.values), (4 * 32, 4 * 8));
        let latent = hybrid("kv-latent")
            .number("some.attention.head_count_kv", 1)
            .number("some.attention.key_length", 576)
            .number("some.attention.key_length_mla", 192);
        assert_eq!(written(latent).values, 0);
    }

    #[test]
    fn a_damaged_file_is_counted_as_far_as_it_makes_sense() {
        let nothing = written(Tiny::new("kv-nothing").text("general.architecture", "some"));
        assert_eq!((nothing.keys, nothing.values), (0, 0));
        let huge = hybrid("kv-huge").number("some.attention.head_count_kv", u32::MAX);
        // Too many heads: as many as the attention has.
        assert_eq!(written(huge).keys, 8 * 64);
    }
}
