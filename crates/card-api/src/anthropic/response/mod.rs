//! Answers in Anthropic's shape. The server writes from these types, and the OpenAPI document
//! describes them.
//!
//! The comments of these types are descriptions in the document, which clients read; they are
//! worded for clients.

pub mod error;
pub mod event;
pub mod message;
