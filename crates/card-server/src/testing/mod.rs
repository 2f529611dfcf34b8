//! The whole server without a model: a synthetic one writes, its tokens are bytes. For tests
//! of what is said over HTTP, which then take milliseconds; nothing here measures a model.

mod embedder;
mod model;
mod parts;
mod server;
mod setup;
mod template;
mod tokenizer;

pub use parts::{constraint, lets_in, passed_on};
pub use server::{Server, start, start_listening};
pub use setup::{LoadGate, TestSetup, served};
pub use template::Turns;
pub use tokenizer::ByteTokenizer;
