//! Chat templates: programs in Jinja, written for Python, that make one text of a conversation.
//!
//! A template writes what Hugging Face's `apply_chat_template` (transformers) makes of it. That
//! function runs jinja2 with certain settings; here it is minijinja, and `environment` has all of
//! its settings. `tests/templates` compares the two.

mod arguments;
mod clock;
mod conversation;
mod environment;
mod error;
mod filters;
mod json;
mod numbers;
mod percent;
mod source;
mod strings;
mod template;

pub use conversation::{ChatMessage, Conversation};
pub use error::ChatError;
pub use template::ChatTemplate;
