//! The llama.cpp backend of CARD.
//!
//! It sits directly on `llama-cpp-sys-2`, the bindings below `llama-cpp-2`: the safe
//! wrapper hides what exactness and scheduling need (docs/backend.md). All `unsafe` of the
//! project is in this crate and in `card-kernels`.
//!
//! Three layers, each of which knows only those below it:
//!
//! 1. `sys`: llama.cpp's objects (model, vocabulary, context, batch, GGUF file, pool of threads)
//!    as Rust types that check their arguments. What llama.cpp throws ends in a C++ shim
//!    (`sys/shim.cpp`) and comes as an error.
//! 2. `kernels`: card's matrix kernels in place of ggml's.
//! 3. `backend`: the core's [`Model`](card_core::forward::Model) on top of them: which llama.cpp
//!    sequence ids hold which branch of a tree, which cores decode, and draft models with a part
//!    of the vocabulary.
//!
//! Beside them are the chat template, which is pure text, and the look at the processor.

#[cfg(all(
    target_arch = "x86_64",
    not(target_feature = "avx2"),
    not(feature = "portable")
))]
compile_error!(
    "ggml would be built without AVX2 and run several times slower. Build from a checkout of \
     the repository (its .cargo/config.toml sets target-cpu=native), set \
     RUSTFLAGS=\"-C target-cpu=native\", or use the feature `portable` for a binary that \
     chooses its kernels when it starts. See docs/build.md."
);

mod backend;
mod chat;
mod cpu;
mod error;
mod kernels;
mod sys;
#[cfg(any(test, feature = "tiny"))]
pub mod tiny;

pub use backend::context::LlamaContext;
pub use backend::context_options::ContextOptions;
pub use backend::cores::{Cores, on_own_thread};
pub use backend::embedder::{EmbedderOptions, LlamaEmbedder};
pub use backend::hidden_store::HiddenStore;
pub use backend::model::{LlamaModel, LoadOptions};
pub use backend::trim::trim;
pub use chat::{ChatError, ChatMessage, ChatTemplate, Conversation};
pub use cpu::check_cpu;
pub use error::LlamaError;
pub use kernels::{Kernels, card_kernels};
pub use sys::cache_type::{CacheType, CacheTypes};
pub use sys::device::{Device, devices, system_info};
pub use sys::draft_head::DraftHead;
pub use sys::kv_shape::KvShape;
pub use sys::layer_sizes::{LayerBytes, LayerSizes};
pub use sys::lora::LoraFile;
pub use sys::model::ModelInfo;
pub use sys::pooling::Pooling;
pub use sys::quantize::{QUANT_TYPES, quantize};
pub use sys::rpc;
pub use sys::tensor_place::TensorPlace;
pub use sys::vocab::{Vocab, check_vocabularies};
