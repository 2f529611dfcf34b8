//! From an HTTP request to the tasks it asks for, whatever protocol it speaks.
//!
//! A request is admitted by its head, its body is received, and a workshop parses and prepares
//! it: renders its conversation, makes tokens of its text, compiles its grammar. Each of its
//! answers becomes a generation. The protocol brings the parser, and writes the answer.

mod begin;
mod incoming;
mod mixed;
mod prepare;
mod prompt;
mod small;
mod token_lists;
mod tools_in_text;
mod usage;
mod vectors;

pub(crate) use begin::{RunningRequest, begin, begin_with};
pub(crate) use incoming::IncomingRequest;
pub(crate) use mixed::{prompt_tokens, surrounding_tokens, text_bytes, text_tokens};
pub(crate) use prepare::{MOST_ECHO, check_kept_logprobs};
pub(crate) use prompt::{chat_text, count, too_long};
pub(crate) use small::{at_once, small};
pub(crate) use token_lists::TokenLists;
pub(crate) use usage::TokenUsage;
pub(crate) use vectors::{
    TextVectors, check_bytes, check_tokens, embedded_tokens, embedder, framed, vectors,
};
