//! What a contest found, as JSON, Markdown and one self-contained page.

mod bounds;
mod columns;
mod doubts;
mod html;
mod markdown;
mod reading;
mod summary;
mod table;

pub use bounds::{BoundInputs, text_bounds};
pub use columns::LEGEND;
pub use doubts::{Doubt, FEWEST_PROMPTS, doubts, is_impossible, words_against};
pub use reading::reading;
pub use summary::{LEAST_TOKENS, cells};
pub use table::{BenchReport, BenchRow, Sweep, TableCell};
