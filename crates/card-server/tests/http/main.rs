//! What anybody can say to the server over HTTP, and what it must not do then. It runs
//! without a model, so each test takes milliseconds.

#![allow(clippy::unwrap_used)]

#[path = "../client/mod.rs"]
mod client;
mod common;

mod answers;
mod anthropic;
mod cors;
mod fields;
mod gateways;
mod life;
mod llama_server;
mod llama_server_texts;
mod ollama;
mod pages;
mod reports;
mod responses;
mod several;
mod slots;
mod starting;
mod streams;
mod users;
mod values;
mod vectors;
mod work;
