//! From an HTTP request to the tasks it asks for, whatever protocol it speaks.
//!
//! A request is admitted by its head, its body is received, and a workshop parses and prepares
//! it: renders its conversation, makes tokens of its text, compiles its grammar. Each of its
//! answers becomes a generation. The protocol brings the parser, and writes the answer.

mod begin;
mod incoming;
mod prepare;
mod prompt;
mod small;
mod usage;

pub(crate) use begin::{FirstNews, RunningRequest, begin};
pub(crate) use incoming::Incoming;
pub(crate) use prompt::count;
pub(crate) use small::small;
pub(crate) use usage::TokenUsage;
