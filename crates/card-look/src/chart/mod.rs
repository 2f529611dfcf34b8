//! Charts as SVG inside a page: each line and each bar carries its name, so there is no legend,
//! and no grid but a few light ticks.
//!
//! Every chart is drawn twice, for a wide page and for a phone; the style sheet shows one. So text
//! keeps its size on every screen.

mod bars;
mod lines;
mod scale;
mod svg;
mod text;

pub use bars::{Bar, BarChart, BarGroup};
pub use lines::{LineChart, Series};
pub use text::Unit;
