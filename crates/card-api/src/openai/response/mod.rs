//! Answers in OpenAI's shape: the types that describe them in the OpenAPI document, and those
//! that the server writes from.
//!
//! The comments of these types are descriptions in the document, which clients read; they
//! are worded for clients.

pub mod chat;
pub mod error;
pub mod logprobs;
pub mod models;
pub mod report;
pub mod responses;
pub mod text;
pub mod tool_call;
pub mod usage;
