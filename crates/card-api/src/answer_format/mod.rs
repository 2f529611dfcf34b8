//! In which words a model writes thoughts and calls: a table of families, found by the chat
//! template. Why the table is here and not in a library: docs/adr/0016.

mod families;
mod format;
mod found;
pub(crate) mod markup;

pub use format::AnswerFormat;
pub use markup::{CALL_BEGIN, CALL_END};
