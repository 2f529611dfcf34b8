//! The types that every other module uses: tokens, sequences, tenants, probabilities, rows and
//! sources.

mod evidence;
mod ids;
mod prob;
mod rows;
mod source;
mod tenant;
mod text_mark;

pub use evidence::Evidence;
pub use ids::{SequenceId, Token};
pub use prob::Prob;
pub use rows::Rows;
pub use source::{DRAFTERS, SOURCES, Source, SourceSet};
pub use tenant::Tenant;
pub use text_mark::TextMark;
