//! The core's model on top of llama.cpp.

pub(crate) mod context;
pub(crate) mod context_options;
pub(crate) mod cores;
pub(crate) mod embedder;
#[cfg(test)]
mod embedder_tests;
mod kv;
#[cfg(test)]
mod loading_tests;
pub(crate) mod model;
mod template;
pub(crate) mod trim;
