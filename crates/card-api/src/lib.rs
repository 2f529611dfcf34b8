//! The protocols that clients speak: requests, parsed and checked, answers and errors in their
//! shapes, and the OpenAPI document that describes them.
//!
//! Everything here takes bytes from outside, and needs neither a model nor HTTP: it is fuzzed
//! by itself (`fuzz/`). A body is read once, straight from its bytes and in time linear in
//! their number; what costs memory by its number is bounded while it is read ([`limits`]).
//!
//! A protocol is a folder with its requests and its responses ([`openai`],
//! [`anthropic`], [`ollama`], [`llama_server`]).
//! Whatever protocol a request comes in, its parser makes a [`GenerationJob`] or an
//! [`ApiError`], so that nothing behind the parser knows of protocols. Another protocol is
//! another folder, a parser to [`GenerationJob`], and a function in `document/paths.rs`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod answer_format;
pub mod answer_parts;
pub mod anthropic;
mod argument_fit;
mod bare_call;
pub mod call_arguments;
mod call_reader;
mod channels;
pub mod document;
pub mod error;
pub mod health;
pub mod job;
pub mod limits;
pub mod llama_server;
pub mod loads;
mod offered_tool;
pub mod ollama;
pub mod openai;
mod reading;
pub mod sampling;
mod spoken_part;
mod thoughts;

pub use error::ApiError;
pub use job::{
    AnswerShape, CallForm, GenerationJob, LlamaOptions, OfferedFunction, PenalizedText,
    PromptInput, Speculation, TemplateOptions,
};
pub use llama_server::completion::parse_native;
pub use llama_server::embedding::{EmbeddingRequest, parse_embedding};
pub use llama_server::infill::parse_infill;
pub use llama_server::models::parse_model_name;
pub use llama_server::rerank::{RerankRequest, parse_rerank};
pub use llama_server::slot::parse_slot_file;
pub use llama_server::tokenize::{Tokenize, parse_detokenize, parse_tokenize};
pub use openai::request::{
    ParsedResponse, ResponseEcho, parse_chat, parse_chat_with, parse_completion,
    parse_completion_with, parse_response, parse_response_with,
};
