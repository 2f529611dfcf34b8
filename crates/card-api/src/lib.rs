//! The protocols that clients speak: requests, parsed and checked, answers and errors in their
//! shapes, and the OpenAPI document that describes them.
//!
//! Everything here takes bytes from outside, and needs neither a model nor HTTP: it is fuzzed
//! by itself (`fuzz/`). A body is read once, straight from its bytes and in time linear in
//! their number; what costs memory by its number is bounded while it is read ([`limits`]).
//!
//! A protocol is a folder with its requests and its responses ([`openai`], [`llama_server`]).
//! Whatever protocol a request comes in, its parser makes a [`GenerationJob`] or an
//! [`ApiError`], so that nothing behind the parser knows of protocols. Another protocol is
//! another folder, a parser to [`GenerationJob`], and a function in `document/paths.rs`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod document;
pub mod error;
pub mod health;
pub mod job;
pub mod limits;
pub mod llama_server;
pub mod openai;
mod reading;
pub mod tool_calls;

pub use error::ApiError;
pub use job::{AnswerShape, GenerationJob, LlamaOptions, PromptInput};
pub use llama_server::completion::parse_native;
pub use llama_server::infill::parse_infill;
pub use llama_server::tokenize::{Tokenize, parse_detokenize, parse_tokenize};
pub use openai::request::{parse_chat, parse_completion};
