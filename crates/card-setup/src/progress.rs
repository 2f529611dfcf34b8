//! Progress bars, all made in one place.

use std::time::Duration;

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

/// A bar that nobody sees, for work in the background.
pub fn hidden() -> ProgressBar {
    ProgressBar::hidden()
}

/// A bar over the bytes of a file.
pub fn bytes(length: u64) -> ProgressBar {
    let style = "  {bar:32} {bytes:>10} of {total_bytes} {binary_bytes_per_sec:>14} {eta:>5}";
    bar(length, style)
}

/// A spinner, for work whose length is not known.
pub fn spinner(message: &'static str) -> ProgressBar {
    let bar = bar(0, "  {spinner} {msg} {elapsed}");
    bar.set_message(message);
    bar
}
