//! The one error of this crate.

/// What goes wrong with a model file or a device.
#[derive(Debug, thiserror::Error)]
pub enum LlamaError {
    /// There is no such file, or it cannot be opened.
    #[error(
        "{path}: {source}. Is the path right? `card list` shows the models you have, `card pull` fetches one"
    )]
    Open {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not in the GGUF format.
    #[error("{path} is not a GGUF model ({why}); card runs models in llama.cpp's GGUF format")]
    NotGguf {
        /// The file.
        path: String,
        /// What the file is instead.
        why: String,
    },
    /// llama.cpp refused the file.
    #[error(
        "llama.cpp cannot load {path}: {why}. If the file was downloaded, it may be incomplete: fetch it again"
    )]
    Load {
        /// The file.
        path: String,
        /// The last errors that llama.cpp logged.
        why: String,
    },
    /// The model is of a kind that cannot generate text or verify candidates.
    #[error("{path}: {why}")]
    Unsupported {
        /// The file.
        path: String,
        /// What the model cannot do.
        why: String,
    },
    /// There is no memory for a context.
    #[error(
        "no memory for a context of {context} tokens ({why}); lower --ctx or --parallel, or let \
         each token take less (--cache-type-k q8_0 --cache-type-v q8_0)"
    )]
    Context {
        /// Tokens of one sequence that were asked for.
        context: u32,
        /// The last errors that llama.cpp logged.
        why: String,
    },
    /// The vocabularies of target and draft model differ; the text says in what.
    #[error(
        "the draft model does not speak the target's vocabulary: {0}. Choose a draft model of the target's family, or run without one (--mode plain)"
    )]
    Vocabulary(String),
    /// There is no device of this name.
    #[error("there is no device {name:?}; there are: {known}")]
    Device {
        /// The name that was asked for.
        name: String,
        /// The names there are, separated by commas.
        known: String,
    },
    /// No tensors can be found by a text.
    #[error(
        "{0:?} cannot find tensors by their names; it is a regular expression of at most 8 KiB, \
         like \\.ffn_.*_exps"
    )]
    Pattern(String),
    /// An RPC worker cannot be used.
    #[error("the RPC worker {worker}: {why}")]
    Worker {
        /// The address of the worker.
        worker: String,
        /// Why the worker cannot be used.
        why: String,
    },
    /// llama.cpp was built without its RPC backend.
    #[error(
        "this build has no RPC backend; build from a checkout of the repository, or with GGML_RPC=ON set"
    )]
    NoRpc,
    /// The text cannot be tokenized; the words say why.
    #[error("{0}")]
    Text(String),
    /// The model could not be written with other weights.
    #[error("cannot quantize {path}: {why}")]
    Quantize {
        /// The model that was read.
        path: String,
        /// What went wrong.
        why: String,
    },
    /// The vocabulary of the model cannot be made smaller.
    #[error("cannot trim the vocabulary of {path}: {why}")]
    Trim {
        /// The model that was read.
        path: String,
        /// What went wrong.
        why: String,
    },
}
