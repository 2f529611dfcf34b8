//! llama-server's own API: what its clients send beside OpenAI's, and what they get.
//!
//! A file is a field, the fields of one route, or the answers of one. What is taken, what is
//! taken only where it changes nothing (`neutral.rs`), and what is refused by name stands in
//! docs/llama-server.md.

mod bias;
pub mod completion;
pub mod embedding;
pub mod error;
pub mod gbnf;
pub mod infill;
pub mod models;
mod neutral;
pub mod prompt;
pub mod rerank;
pub mod response;
pub mod samplers;
pub mod slot;
mod stop;
pub mod tokenize;

pub use bias::BiasedText;
