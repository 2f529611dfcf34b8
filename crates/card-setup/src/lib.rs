//! From plain settings to loaded models, placements and a running engine.

#![forbid(unsafe_code)]

pub mod emulation;
pub mod models;
pub mod progress;
pub mod rewrite;
pub mod secret;
