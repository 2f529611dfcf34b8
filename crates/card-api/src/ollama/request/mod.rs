//! Requests in Ollama's shape: parsed, checked, and turned into a [`GenerationJob`].
//!
//! A field is done, refused by its path, or documented as one without effect; there is none that
//! is passed over. The comments of fields are descriptions in the OpenAPI document, which clients
//! read; they are worded for clients.
//!
//! | file | what |
//! |---|---|
//! | `common.rs` | what a chat and a completion have in common |
//! | `chat.rs`, `generate.rs` | what only one of them has, and their parsers |
//! | `message.rs`, `tool.rs` | messages and tools become what chat templates take |
//! | `options.rs` | `options`: how to sample |
//! | `format.rs`, `think.rs` | what to write, whether to think |
//! | `show.rs` | `/api/show` |
//! | `embed.rs` | `/api/embed` and `/api/embeddings` |
//!
//! [`GenerationJob`]: crate::job::GenerationJob

pub(crate) mod chat;
mod common;
pub(crate) mod embed;
mod format;
pub(crate) mod generate;
mod message;
mod options;
pub(crate) mod show;
mod think;
mod tool;

pub use chat::{parse_ollama_chat, parse_ollama_chat_with};
pub use common::OllamaRequest;
pub use embed::{EmbedRequest, parse_embed, parse_embeddings};
pub use generate::{parse_generate, parse_generate_with};
pub use show::parse_show;

#[cfg(test)]
mod tests;
