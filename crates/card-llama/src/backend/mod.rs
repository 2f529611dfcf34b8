//! The core's model on top of llama.cpp.

pub(crate) mod context;
pub(crate) mod context_options;
pub(crate) mod cores;
mod kv;
mod lane_load;
#[cfg(test)]
mod loading_tests;
pub(crate) mod model;
mod own_kernels;
mod template;
pub(crate) mod trim;
