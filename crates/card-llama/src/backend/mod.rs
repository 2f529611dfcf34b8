//! The core's model on top of llama.cpp.

pub(crate) mod block_head;
#[cfg(test)]
mod block_head_tests;
pub(crate) mod context;
pub(crate) mod context_options;
pub(crate) mod cores;
pub(crate) mod embedder;
#[cfg(test)]
mod embedder_tests;
mod feature_encoder;
mod head;
pub(crate) mod head_context;
pub(crate) mod head_model;
#[cfg(test)]
mod head_model_tests;
#[cfg(test)]
mod head_testing;
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
