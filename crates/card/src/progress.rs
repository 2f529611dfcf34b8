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
    /// Type of its weights.
    pub kind: &'a str,
    /// Whether embeddings and output layer have it too.
    pub pure: bool,
    /// Tokens it has logits for, if not all.
    pub vocabulary: Option<usize>,
}

/// Writes a model with other weights (see [`card_llama::quantize`] and [`card_llama::trim`]),
/// on all cores.
pub fn quantize(input: &Path, output: &Path, weights: Weights) -> Result<()> {
    let Weights {
        kind,
        pure,
        vocabulary,
    } = weights;
    let bar = bar(1, "  {bar:32} {pos}/{len} tensors {eta:>5}");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let shown = bar.clone();
    let done = card_llama::quantize(input, output, kind, pure, threads, move |done, all| {
        shown.set_length(all);
        shown.set_position(done);
    });
    bar.finish_and_clear();
    done?;
    if let Some(tokens) = vocabulary {
        card_llama::trim(output, output, input, tokens)?;
    }
    Ok(())
}
