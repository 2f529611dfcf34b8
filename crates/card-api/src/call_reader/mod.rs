//! Calls of tools in a model's text, as it streams: marks are looked for, and what follows one is
//! read in the form of the model's family.
//!
//! Whatever a text says, it is read in time linear in its length, what is held back is bounded,
//! and how it was cut into pieces makes no difference. What turns out to be no call is text, as
//! the model wrote it.

mod argument;
mod body;
mod gemma_call;
mod json_call;
pub(crate) mod json_span;
mod json_text;
mod literal;
mod named_call;
mod nested;
mod progress;
mod python_call;
mod reader;
mod tagged_call;

pub(crate) use progress::floor;
pub(crate) use reader::CallReader;
