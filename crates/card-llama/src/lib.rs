//! The llama.cpp backend of CARD.
//!
//! It sits directly on `llama-cpp-sys-2`, the bindings below `llama-cpp-2`: the safe
//! wrapper hides what exactness and scheduling need (docs/backend.md). All `unsafe` of the
//! project is in this crate and in `card-kernels`.
//!
//! What llama.cpp throws ends in a C++ shim (`shim.cpp`) and comes as an error.

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

mod chat;
mod context;
mod cores;
mod cpu;
mod deadline;
mod device;
mod gguf;
mod kernels;
mod kv;
mod log;
mod model;
mod quantize;
pub mod rpc;
mod shim;
mod stack;
#[cfg(test)]
mod tiny;
mod trim;
mod vocab;

pub use chat::{ChatError, ChatTemplate, Message};
pub use context::{ContextOptions, LlamaContext, on_own_thread};
pub use cores::Cores;
pub use cpu::check_cpu;
pub use device::{Device, devices, system_info};
pub use kernels::{Kernels, card_kernels};
pub use model::{LlamaModel, LoadOptions, ModelInfo};
pub use quantize::{QUANT_TYPES, quantize};
pub use trim::trim;
pub use vocab::{Vocab, check_vocabularies};

/// What goes wrong with a model file or a device.
#[derive(Debug, thiserror::Error)]
pub enum LlamaError {
    /// No such file.
    #[error(
        "{path}: {source}. Is the path right? `card list` shows the models you have, `card pull` fetches one"
    )]
    Open {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a GGUF file.
    #[error("{path} is not a GGUF model ({why}); card runs models in llama.cpp's GGUF format")]
    NotGguf {
        /// The file.
        path: String,
        /// What it is instead.
        why: String,
    },
    /// llama.cpp refused it.
    #[error(
        "llama.cpp cannot load {path}: {why}. If the file was downloaded, it may be incomplete: fetch it again"
    )]
    Load {
        /// The file.
        path: String,
        /// Its last words.
        why: String,
    },
    /// A model of a kind that cannot do it.
    #[error("{path}: {why}")]
    Unsupported {
        /// The file.
        path: String,
        /// Which kind.
        why: String,
    },
    /// No context.
    #[error("no memory for a context of {context} tokens ({why}); lower --ctx")]
    Context {
        /// Tokens asked for.
        context: u32,
        /// llama.cpp's last words.
        why: String,
    },
    /// The vocabularies differ.
    #[error(
        "the draft model does not speak the target's vocabulary: {0}. Choose a draft model of the target's family, or run without one (--mode plain)"
    )]
    Vocabulary(String),
    /// No such device.
    #[error("there is no device {name:?}; there are: {known}")]
    Device {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A worker cannot be used.
    #[error("the RPC worker {worker}: {why}")]
    Worker {
        /// Its address.
        worker: String,
        /// Why not.
        why: String,
    },
    /// Built without.
    #[error(
        "this build has no RPC backend; build from a checkout of the repository, or with GGML_RPC=ON set"
    )]
    NoRpc,
    /// Text that cannot be.
    #[error("{0}")]
    Text(String),
    /// Quantisation failed.
    #[error("cannot quantize {path}: {why}")]
    Quantize {
        /// The input.
        path: String,
        /// Why not.
        why: String,
    },
    /// The vocabulary cannot be made smaller.
    #[error("cannot trim the vocabulary of {path}: {why}")]
    Trim {
        /// The input.
        path: String,
        /// Why not.
        why: String,
    },
}
