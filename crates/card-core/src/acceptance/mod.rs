//! Acceptance calibration: what a proposed probability is worth.
//!
//! A draft model's 0.9, a match of prompt lookup and a predicted output are not comparable as
//! they come. For each (source, bucket of the proposed probability, rank) a Beta count says how
//! often the target wrote the proposed token, which makes them comparable. The prior believes
//! the source, with the weight of a dozen observations. Each sequence has counts of its own as
//! well, whose prior is what all sequences say. Where several sources speak, the
//! [mixer](crate::mixer) makes one probability of theirs.
//!
//! What to expect of a draft that was not made yet is how sure a drafter was of its best children of
//! late, and no more than what became of them allows (`best_children`).

mod best_children;
mod calibration;
mod counts;

pub use calibration::Acceptance;
pub use counts::Counts;
