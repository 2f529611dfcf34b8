//! Progress bars, all made in one place.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `length` steps in the given indicatif template, ticking by itself so that a
/// stall shows as one.
pub fn bar(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// For work whose length is not known.
pub fn spinner(message: &'static str) -> ProgressBar {
    let bar = bar(0, "  {spinner} {msg} {elapsed}");
    bar.set_message(message);
    bar
}

/// What a copy of a model shall be like.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    /// Type of its weights, if not what they are.
    pub kind: Option<&'a str>,
    /// Whether embeddings and output layer have it too.
    pub pure: bool,
    /// Tokens it has logits for, if not all.
    pub vocabulary: Option<usize>,
}

/// Writes a model with other weights (see [`card_llama::quantize`] and [`card_llama::trim`]).
pub fn rewrite(input: &Path, output: &Path, weights: Weights) -> Result<()> {
    if let Some(kind) = weights.kind {
        quantize(input, output, kind, weights.pure)?;
    }
    if let Some(tokens) = weights.vocabulary {
        let source = weights.kind.map_or(input, |_| output);
        let trimmed = card_llama::trim(source, output, input, tokens);
        if trimmed.is_err() && weights.kind.is_some() {
            let _ = std::fs::remove_file(output);
        }
        trimmed?;
    }
    Ok(())
}

/// On all cores.
fn quantize(input: &Path, output: &Path, kind: &str, pure: bool) -> Result<()> {
    let bar = bar(1, "  {bar:32} {pos}/{len} tensors {eta:>5}");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let shown = bar.clone();
    let done = card_llama::quantize(input, output, kind, pure, threads, move |done, all| {
        shown.set_length(all);
        shown.set_position(done);
    });
    bar.finish_and_clear();
    Ok(done?)
}
