//! Requests in OpenAI's shape: parsed, checked, and turned into a [`GenerationJob`].
//!
//! A file is a field, or the fields of one object. The comments of fields are descriptions in
//! the OpenAPI document, which clients read; they are worded for clients.
//!
//! [`GenerationJob`]: crate::job::GenerationJob

mod bias;
pub(crate) mod chat;
mod common;
pub(crate) mod completion;
mod message;
mod others;
mod prediction;
mod prompt;
mod reasoning;
mod response_format;
pub(crate) mod responses;
mod schema_version;
mod speculation;
pub(crate) mod stop;
mod structured;
mod template;
mod tool;
mod tool_choice;

pub use chat::{parse_chat, parse_chat_with};
pub use completion::{parse_completion, parse_completion_with};
pub use responses::{ParsedResponse, ResponseEcho, parse_response, parse_response_with};
pub(crate) use template::continues_last;

#[cfg(test)]
mod other_field_tests;
#[cfg(test)]
mod tests;
