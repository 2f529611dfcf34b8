//! The core's model on top of llama.cpp.

pub(crate) mod context;
pub(crate) mod context_options;
pub(crate) mod cores;
mod kv;
#[cfg(test)]
mod loading_tests;
pub(crate) mod model;
#[cfg(test)]
mod saved_state_tests;
mod template;
pub(crate) mod trim;
