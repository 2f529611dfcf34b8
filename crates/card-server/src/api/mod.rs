//! OpenAI's API: what clients send, and what they get back.

pub mod answer;
pub mod request;
pub mod tools;

pub use answer::Answer;
pub use request::{Job, parse_chat, parse_completion};
