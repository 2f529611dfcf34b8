//! Requests in Anthropic's shape: parsed, checked, and turned into a [`GenerationJob`].
//!
//! A field is done, refused by its path, or documented as one without effect; there is none that
//! is passed over. The comments of fields are descriptions in the OpenAPI document, which clients
//! read; they are worded for clients.
//!
//! | file | what |
//! |---|---|
//! | `messages.rs` | the fields of a request, and its parser |
//! | `conversation.rs` | messages become what chat templates take |
//! | `content.rs` | blocks of content |
//! | `billing.rs` | the line at the top of Claude Code's system prompt |
//! | `tool.rs`, `tool_choice.rs` | tools |
//! | `thinking.rs`, `output.rs`, `context.rs` | how to think, what to write, what to forget |
//!
//! [`GenerationJob`]: crate::job::GenerationJob

mod billing;
mod content;
mod context;
mod conversation;
pub(crate) mod messages;
mod output;
mod thinking;
mod tool;
mod tool_choice;

pub use messages::{MessagesRequest, parse_count, parse_messages, parse_messages_with};
pub use thinking::ThinkingWish;

#[cfg(test)]
mod tests;
