//! What a schedule with perfect information could have reached.
//!
//! It knows the text, and for every position what each source would have proposed there.
//! So it never drafts or verifies a token that turns out wrong, and takes for each round
//! the number of candidates that is best in the long run. No schedule of the same sources
//! on the same devices can be faster, so the share of it that a run reached tells how much
//! a better policy could still bring, and how much only better drafts or devices could.
//! [`TextBound`] has all bounds of a text.

mod blind;
mod branches;
mod costs;
mod pipelined;
mod record;
mod seeing;
mod text_bound;
mod witness;

pub use blind::{Blind, blind};
pub use costs::Costs;
pub use pipelined::pipelined_ms;
pub use record::{LookupToken, Record};
pub use seeing::least_ms;
pub use text_bound::TextBound;
pub use witness::{Witness, records};
