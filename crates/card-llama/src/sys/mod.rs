//! llama.cpp's objects as Rust types.
//!
//! Each type owns one object of llama.cpp and frees it once; each method checks what llama.cpp
//! would end the process over, and gives an error for what it throws (see `shim.rs`). The
//! modules in the order in which they use each other:
//!
//! | module | what it has |
//! |---|---|
//! | `shim` | functions that may throw, as functions that return an error |
//! | `ffi`, `file`, `stack` | C texts, paths and file heads, threads with large stacks |
//! | `log`, `abort`, `start` | log lines, last words, the start of llama.cpp |
//! | `registry`, `device`, `rpc` | functions of ggml's backends, devices, workers |
//! | `handle`, `lora`, `tensor_place` | a model in memory, its adapters, where its tensors are |
//! | `vocab`, `model` | a model's tokens, its facts |
//! | `translation` | a vocabulary as the core translates between two of them |
//! | `cache_type` | the types of the numbers that a cache keeps |
//! | `memory`, `batch`, `threadpool`, `deadline`, `context`, `context_memory` | what a forward needs |
//! | `pooling`, `embedding` | what a text's embedding needs |
//! | `gguf`, `layer_sizes`, `quantize` | model files that are read and written |
//! | `arch_keys`, `state_shape`, `kv_shape` | what a model keeps of its tokens, by its file |
//! | `draft_head`, `head_file` | the head that a model's file may have, and heads in files of their own |
//! | `shapes` | the tensors that made-up models of tests have |

mod abort;
mod arch_keys;
pub(crate) mod batch;
pub(crate) mod cache_type;
pub(crate) mod context;
mod context_memory;
mod deadline;
pub(crate) mod device;
pub(crate) mod draft_head;
pub(crate) mod embedding;
mod ffi;
pub(crate) mod file;
pub(crate) mod gguf;
pub(crate) mod handle;
pub(crate) mod head_file;
#[cfg(test)]
mod head_file_tests;
pub(crate) mod kv_shape;
pub(crate) mod layer_sizes;
mod log;
pub(crate) mod lora;
pub(crate) mod memory;
pub(crate) mod model;
pub(crate) mod pooling;
pub(crate) mod quantize;
mod registry;
pub mod rpc;
#[cfg(any(test, feature = "tiny"))]
pub(crate) mod shapes;
pub(crate) mod shim;
pub(crate) mod stack;
pub(crate) mod start;
mod state_shape;
pub(crate) mod tensor_place;
pub(crate) mod threadpool;
mod translation;
pub(crate) mod vocab;
