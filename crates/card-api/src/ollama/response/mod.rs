//! Answers in Ollama's shape. The server writes from these types, and the OpenAPI document
//! describes them.
//!
//! The comments of these types are descriptions in the document, which clients read; they are
//! worded for clients.

pub mod answer;
pub mod embed;
pub mod error;
pub mod models;
mod time;

pub use time::rfc3339;
