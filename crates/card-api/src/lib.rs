//! OpenAI's API as clients speak it: requests, parsed and checked, and errors in its shape.
//!
//! Everything here takes bytes from outside, and needs neither a model nor llama.cpp: it is
//! fuzzed by itself (`fuzz/`).

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod error;
pub mod request;
mod shape;
pub mod tools;

pub use error::ApiError;
pub use request::{Job, parse_chat, parse_completion};
pub use shape::Shape;
