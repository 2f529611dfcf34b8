//! Copies of a model with other weights.

use std::path::Path;

use anyhow::Result;

use crate::progress;

/// What the weights of a copy are like.
#[derive(Clone, Copy)]
pub struct CopyWeights<'a> {
    /// Type of the weights; `None` for what they are in the file.
    pub kind: Option<&'a str>,
    /// Whether embeddings and output layer get that type too.
    pub pure: bool,
    /// Number of tokens the copy has logits for; `None` for all.
    pub vocabulary: Option<usize>,
}

/// Writes a model with other weights (see [`card_llama::quantize`] and [`card_llama::trim`]). Returns
/// how many of how many tensors got a finer type than was asked for, if some did.
///
/// # Errors
/// If the model cannot be read, the copy cannot be written, or its weights cannot be of that
/// type.
pub fn rewrite(input: &Path, output: &Path, weights: CopyWeights) -> Result<Option<String>> {
    let finer = match weights.kind {
        Some(kind) => quantize(input, output, kind, weights.pure)?,
        None => None,
    };
    if let Some(tokens) = weights.vocabulary {
        let source = weights.kind.map_or(input, |_| output);
        let trimmed = card_llama::trim(source, output, input, tokens);
        if trimmed.is_err() && weights.kind.is_some() {
            let _ = std::fs::remove_file(output);
        }
        trimmed?;
    }
    Ok(finer)
}

/// Writes a model with weights of another type, on all cores.
fn quantize(input: &Path, output: &Path, kind: &str, pure: bool) -> Result<Option<String>> {
    let bar = progress::bar(1, "  {bar:32} {pos}/{len} tensors {eta:>5}");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let shown = bar.clone();
    let done = card_llama::quantize(input, output, kind, pure, threads, move |done, all| {
        shown.set_length(all);
        shown.set_position(done);
    });
    bar.finish_and_clear();
    Ok(done?)
}
