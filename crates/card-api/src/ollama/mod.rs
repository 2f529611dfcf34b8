//! Ollama's API: `/api/chat`, `/api/generate`, and what its clients ask about models.

pub mod request;
pub mod response;
