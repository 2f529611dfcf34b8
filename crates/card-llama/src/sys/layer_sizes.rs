//! How many bytes of weights each layer of a model has, by its file.

use std::path::{Path, PathBuf};

use super::gguf::Gguf;
use crate::error::LlamaError;

/// Layers of a model at most.
const MOST_LAYERS: usize = 4096;
/// Parts of a model that is split into files at most.
const MOST_PARTS: u32 = 9999;

/// Bytes of the weights of one layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerBytes {
    /// Of the experts, a few of which are computed for each token.
    pub experts: u64,
    /// Of everything else.
    pub rest: u64,
}

/// Bytes of the weights of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerSizes {
    /// Of each layer, from the first on.
    pub layers: Vec<LayerBytes>,
    /// Of what turns the last layer's output into logits.
    pub output: u64,
}

impl LayerSizes {
    /// What the header of a file says, and of all other parts if it is the first part of a model
    /// that is split.
    ///
    /// # Errors
    /// If a file is missing, no GGUF, or damaged.
    pub fn of_file(path: &Path) -> Result<Self, LlamaError> {
        let mut tensors = Vec::new();
        for part in parts(path) {
            tensors.extend(Gguf::open(&part, false)?.tensor_sizes());
        }
        Ok(Self::of(&tensors))
    }

    /// Of tensors by name.
    fn of(tensors: &[(String, u64)]) -> Self {
        let mut sizes = LayerSizes::default();
        let mut embeddings = 0;
        let mut own_output = false;
        for (name, bytes) in tensors {
            let layer = name.strip_prefix("blk.").and_then(|rest| {
                let (layer, tensor) = rest.split_once('.')?;
                Some((layer.parse::<usize>().ok()?, tensor))
            });
            match layer {
                Some((layer, tensor)) if layer < MOST_LAYERS => {
                    if sizes.layers.len() <= layer {
                        sizes.layers.resize(layer + 1, LayerBytes::default());
                    }
                    let layer = &mut sizes.layers[layer];
                    if tensor.contains("_exps") || tensor.contains("_chexps") {
                        layer.experts = layer.experts.saturating_add(*bytes);
                    } else {
                        layer.rest = layer.rest.saturating_add(*bytes);
                    }
                }
                Some(_) => {}
                None if name.starts_with("output") => {
                    own_output |= name == "output.weight";
                    sizes.output = sizes.output.saturating_add(*bytes);
                }
                None if name == "token_embd.weight" => embeddings = *bytes,
                None => {}
            }
        }
        // Without an output layer of its own a model has a second copy of its embeddings there.
        if !own_output {
            sizes.output = sizes.output.saturating_add(embeddings);
        }
        sizes
    }
}

/// The files of a model, if `path` is its only one or the first of several, as llama.cpp names
/// them: `NAME-00001-of-00003.gguf`.
pub(crate) fn parts(path: &Path) -> Vec<PathBuf> {
    let split = || -> Option<Vec<PathBuf>> {
        let name = path.file_name()?.to_str()?;
        let (name, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (name, first) = name.rsplit_once('-')?;
        let count: u32 = count
            .parse()
            .ok()
            .filter(|n| (2..=MOST_PARTS).contains(n))?;
        let part = |n: u32| path.with_file_name(format!("{name}-{n:05}-of-{count:05}.gguf"));
        (first.parse::<u32>() == Ok(1)).then(|| (1..=count).map(part).collect())
    };
    split().unwrap_or_else(|| vec![path.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::Tiny;

    #[test]
    fn experts_are_counted_by_themselves() {
        let file = Tiny::deep("layer-sizes", 4).write();
        let sizes = LayerSizes::of_file(&file).unwrap();
        let bytes = std::fs::metadata(&file).unwrap().len();
        let _ = std::fs::remove_file(file);
        assert_eq!(sizes.layers.len(), 3);
        for layer in &sizes.layers {
            assert_eq!(layer.experts, 3 * 256 * 512 * 4 * 4);
            assert!(layer.rest > 0 && layer.rest < layer.experts);
        }
        let layers: u64 = sizes.layers.iter().map(|l| l.experts + l.rest).sum();
        assert!(sizes.output > 0 && layers + sizes.output < bytes);
    }

    #[test]
    fn a_model_without_an_output_layer_has_its_embeddings_twice() {
        let tensor = |name: &str, bytes| (name.to_owned(), bytes);
        let sizes = LayerSizes::of(&[
            tensor("token_embd.weight", 100),
            tensor("output_norm.weight", 1),
            tensor("blk.1.attn_q.weight", 7),
            tensor("blk.x.attn_q.weight", 7),
            tensor("blk.99999.attn_q.weight", 7),
        ]);
        assert_eq!(sizes.output, 101);
        let layer = |rest| LayerBytes { experts: 0, rest };
        assert_eq!(sizes.layers, [layer(0), layer(7)]);
        let own = LayerSizes::of(&[tensor("token_embd.weight", 100), tensor("output.weight", 5)]);
        assert_eq!(own.output, 5);
    }

    #[test]
    fn the_parts_of_a_split_model_have_numbers() {
        let all = parts(Path::new("/m/a-b-00001-of-00003.gguf"));
        let third = PathBuf::from("/m/a-b-00003-of-00003.gguf");
        assert_eq!((all.len(), all.last()), (3, Some(&third)));
        for one in [
            "a.gguf",
            "a-00002-of-00003.gguf",
            "a-00001-of-00001.gguf",
            "-of-.gguf",
        ] {
            assert_eq!(parts(Path::new(one)), [PathBuf::from(one)]);
        }
    }
}
