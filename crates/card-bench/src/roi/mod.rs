//! From measurements to a page a manager can decide on: what was measured, what a million
//! tokens cost before and after, where the break-even is, what may go wrong, what to do next.

mod advice;
mod costs;
mod evidence;
mod html;
mod language;
mod left_out;
mod money;
mod page;
mod prices;
#[cfg(test)]
mod tests;

pub use advice::{Advice, advise, overall};
pub use evidence::{RoiEvidence, from_bench, from_metrics, sound};
pub use html::html;
pub use language::Language;
pub use page::markdown;
pub use prices::Prices;
