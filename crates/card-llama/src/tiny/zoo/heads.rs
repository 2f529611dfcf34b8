//! Models with a head: a layer that reads the next token beside a hidden state, and says what comes
//! after it.

use std::path::PathBuf;

use super::model_file::write_model;
use super::table::{Architecture, find};
use super::{recipe, weights};
use crate::error::LlamaError;
use crate::kernels::card_kernels;
use crate::sys::draft_head::head_architectures;

/// Tensors of a head that the target's own take the place of.
const SHARED: [&str; 3] = ["embed_tokens", "shared_head_head", "shared_head_norm"];
/// Tensors with which a layer adds to what it was given.
const ADDING: [&str; 3] = ["attn_output", "ssm_out", "ffn_down"];

/// The architectures whose heads card runs.
pub fn heads() -> impl Iterator<Item = &'static Architecture> {
    head_architectures().filter_map(find)
}

/// Writes a model with a head, whose weights are those of the seed; the head is mostly wrong. It
/// lies in the folder for temporary files, and whoever calls this removes it.
///
/// # Errors
/// If the file cannot be written, or llama.cpp does not take it.
pub fn with_head(architecture: &Architecture, seed: u64) -> Result<PathBuf, LlamaError> {
    with_head_of(architecture, seed, 1)
}

/// The same, with so many layers of a head.
///
/// # Errors
/// As [`with_head`].
pub fn with_head_of(
    architecture: &Architecture,
    seed: u64,
    layers: u32,
) -> Result<PathBuf, LlamaError> {
    write(architecture, layers, |tensor, shape| {
        weights::weights(seed, tensor, shape)
    })
}

/// Writes a model whose head is nearly always right. What a token's layers add to its embedding is
/// made so small that the next token hangs on the last one alone; and the head takes the embedding
/// of the next token as it is, so that its logits are those which the target will have there.
///
/// # Errors
/// As [`with_head`].
pub fn with_right_head(architecture: &Architecture, seed: u64) -> Result<PathBuf, LlamaError> {
    write(architecture, 1, |tensor, shape| {
        if tensor.contains("nextn.eh_proj") {
            return takes_the_token(shape);
        }
        let mut made = hardly_adding(seed, tensor, shape);
        if tensor.contains("nextn.enorm") {
            made.fill(1.0);
        }
        made
    })
}

/// The weights of a model whose layers add next to nothing to a token's embedding.
pub(super) fn hardly_adding(seed: u64, tensor: &str, shape: &[u64]) -> Vec<f32> {
    const SMALL: f32 = 1e-4;
    let mut made = weights::weights(seed, tensor, shape);
    if ADDING.iter().any(|part| tensor.contains(part)) {
        made.iter_mut().for_each(|weight| *weight *= SMALL);
    }
    made
}

/// A projection of an embedding and a hidden state, one behind the other, to the embedding.
pub(super) fn takes_the_token(shape: &[u64]) -> Vec<f32> {
    let both = shape.first().copied().unwrap_or(1) as usize;
    let all = shape.iter().product::<u64>() as usize;
    let mut made = vec![0.0; all];
    for (row, weights) in made.chunks_mut(both).enumerate() {
        weights[row] = 1.0;
    }
    made
}

fn write(
    architecture: &Architecture,
    layers: u32,
    weights: impl Fn(&str, &[u64]) -> Vec<f32>,
) -> Result<PathBuf, LlamaError> {
    let name = architecture.name();
    // Before the first model: ggml copies its list of kernels then.
    let _ = card_kernels();
    let keys = recipe::with_head(name, architecture.experts(), layers);
    write_model(name, &keys, |tensor, shape| {
        let shared = SHARED.iter().any(|part| tensor.contains(part));
        (!shared && !recipe::is_scale(tensor)).then(|| weights(tensor, shape))
    })
}
