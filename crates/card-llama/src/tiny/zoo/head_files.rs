//! Heads in files of their own (EAGLE-3, DFlash, DSpark), and targets for which such a head is right.

use std::path::PathBuf;

use super::heads::{hardly_adding, takes_the_token};
use super::model_file::{write_model, write_model_with};
use super::table::{Architecture, find};
use super::{recipe, weights};
use crate::error::LlamaError;
use crate::kernels::card_kernels;
use crate::sys::head_file::TAPPED;

/// The name that llama.cpp has for such heads.
const NAME: &str = "eagle3";
/// Tokens that a head of few tokens proposes.
pub const FEW: u32 = 96;

/// The architectures whose layers such a head can read.
pub fn head_targets() -> impl Iterator<Item = &'static Architecture> {
    TAPPED.into_iter().filter_map(find)
}

/// Writes a head for the model of an architecture. It has embeddings of its own, and an output layer
/// for a part of the vocabulary, [`FEW`] tokens; its weights are those of the seed, so that it is
/// mostly wrong. It lies in the folder for temporary files, and whoever calls this removes it.
///
/// # Errors
/// If the file cannot be written, or llama.cpp does not take it.
pub fn head_file(target: &Architecture, seed: u64) -> Result<PathBuf, LlamaError> {
    // Before the first model: ggml copies its list of kernels then.
    let _ = card_kernels();
    let keys = recipe::eagle3(target.name());
    let make = |tensor: &str, shape: &[u64]| {
        if recipe::is_scale(tensor) {
            return None;
        }
        let mut shape = shape.to_vec();
        if tensor == "output.weight" {
            shape[1] = u64::from(FEW);
        }
        let made = weights::weights(seed, tensor, &shape);
        Some((shape, made))
    };
    write_model_with(NAME, &keys, make, |file| {
        let shape = [recipe::WIDTH, recipe::TOKENS].map(u64::from);
        let embeddings = weights::weights(seed, "token_embd.weight", &shape);
        file.whole_numbers("d2t", &proposed())
            .weights("token_embd.weight", &shape, embeddings)
    })
}

/// Writes a block drafter for the model of an architecture, with a Markov head (DSpark) or without
/// (DFlash). It borrows the target's embeddings and output layer, so both have to be as wide as most
/// models; its weights are those of the seed, so that it is mostly wrong.
///
/// # Errors
/// As [`head_file`].
pub fn block_head_file(
    target: &Architecture,
    seed: u64,
    markov: bool,
) -> Result<PathBuf, LlamaError> {
    const RANK: u64 = 4;
    let _ = card_kernels();
    let keys = recipe::dflash(target.name());
    let make = |tensor: &str, shape: &[u64]| {
        let borrowed = ["token_embd.weight", "output.weight"].contains(&tensor);
        let made = || (shape.to_vec(), weights::weights(seed, tensor, shape));
        (!borrowed && !recipe::is_scale(tensor)).then(made)
    };
    write_model_with("dflash", &keys, make, |mut file| {
        if markov {
            for name in ["markov_w1.weight", "markov_w2.weight"] {
                let shape = [RANK, u64::from(recipe::TOKENS)];
                file = file.weights(name, &shape, weights::weights(seed, name, &shape));
            }
        }
        file
    })
}

/// The tokens of the target that a head of few tokens proposes, each once.
fn proposed() -> Vec<i64> {
    let all = i64::from(recipe::TOKENS);
    (0..i64::from(FEW)).map(|i| (i * 37 + 5) % all).collect()
}

/// Writes a head for the model of [`forgetful`] with the same seed, which is nearly always right:
/// attention finds the token itself and takes its embedding, nothing else adds to it, and embeddings
/// and output layer are the target's. Both have to be of one width.
///
/// # Errors
/// As [`head_file`].
pub fn right_head_file(target: &Architecture, seed: u64) -> Result<PathBuf, LlamaError> {
    /// A token's own key stands out by about this squared and the root of a head's width.
    const SHARP: f32 = 1.5;
    let _ = card_kernels();
    let mut keys = recipe::eagle3(target.name());
    // What goes past attention is the state after its norm, whose weights are small.
    keys.set("norm_before_residual", true);
    write_model(NAME, &keys, |tensor, shape| {
        if tensor == "output.weight" || recipe::is_scale(tensor) {
            return None;
        }
        let sharp = |mut made: Vec<f32>| {
            made.iter_mut().for_each(|weight| *weight *= SHARP);
            made
        };
        Some(match tensor {
            "blk.0.attn_q.weight" | "blk.0.attn_k.weight" => sharp(takes_the_token(shape)),
            "blk.0.attn_v.weight" | "blk.0.attn_output.weight" => takes_the_token(shape),
            "blk.0.attn_norm.weight" => vec![1.0; shape[0] as usize],
            "blk.0.attn_norm_2.weight" => vec![1e-3; shape[0] as usize],
            other => hardly_adding(seed, other, shape),
        })
    })
}

/// Writes the model of an architecture whose layers add so little to a token's embedding that the
/// next token hangs on the last one alone.
///
/// # Errors
/// As [`head_file`].
pub fn forgetful(architecture: &Architecture, seed: u64) -> Result<PathBuf, LlamaError> {
    let name = architecture.name();
    let _ = card_kernels();
    let keys = recipe::recipe(name, architecture.experts());
    write_model(name, &keys, |tensor, shape| {
        (!recipe::is_scale(tensor)).then(|| hardly_adding(seed, tensor, shape))
    })
}
