//! The core's model on top of llama.cpp.

pub(crate) mod context;
pub(crate) mod context_options;
pub(crate) mod cores;
pub(crate) mod embedder;
#[cfg(test)]
mod embedder_tests;
mod head;
#[cfg(test)]
mod head_tests;
pub(crate) mod hidden_store;
mod kv;
mod lane_load;
#[cfg(test)]
mod loading_tests;
pub(crate) mod model;
mod own_kernels;
#[cfg(test)]
mod saved_state_tests;
mod state_keeper;
mod template;
pub(crate) mod trim;
