//! OpenAI's API: chats and completions.

pub mod request;
pub mod response;
