//! The protocols that clients speak over HTTP, a folder each.
//!
//! A protocol says at which paths it is spoken, turns a body into a job with its parser in
//! [`card_api`], and writes answers, streams and errors in its shape. Everything between, from
//! the request's head to the news of its generations, is the same for all
//! ([`request`](crate::request), [`generation`](crate::generation)).
//!
//! Another protocol is a folder here with its own `routes()`, one line in
//! [`routes`](crate::routes), and a folder in `card_api`; where its errors have a shape of their
//! own, also a [`Protocol`]. A path that needs a model has to be in the OpenAPI document: that is
//! how a server of several models knows that it has to look for one.

pub(crate) mod anthropic;
pub(crate) mod llama_server;
mod norm;
pub(crate) mod ollama;
pub(crate) mod openai;
mod shape;
pub(crate) mod sse;
mod timings;
pub(crate) mod told;

pub(crate) use shape::Protocol;
