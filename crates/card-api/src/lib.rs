//! OpenAI's API as clients speak it: requests, parsed and checked, answers and errors in its
//! shape, and the OpenAPI document that describes them.
//!
//! Everything here takes bytes from outside, and needs neither a model nor llama.cpp: it is
//! fuzzed by itself (`fuzz/`). A body is read once, straight from its bytes and in time linear
//! in their number; what costs memory by its number is bounded while it is read
//! ([`limits`]).

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod bounded;
pub mod error;
mod fields;
pub mod limits;
mod loose;
mod message;
mod number;
pub mod openapi;
pub mod request;
pub mod response;
mod shape;
mod tokenize;
pub mod tools;

pub use error::ApiError;
pub use request::{Job, parse_chat, parse_completion};
pub use shape::Shape;
pub use tokenize::{Tokenize, parse_detokenize, parse_tokenize};
