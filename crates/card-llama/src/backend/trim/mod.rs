//! A draft model that proposes only common tokens.
//!
//! The output layer takes a row of weights for every token of the vocabulary, which is a
//! third of a small model, though nearly all text is written with a fifth of the tokens. A
//! draft model may leave the rare ones to the target (FR-Spec, arXiv 2502.14856; VocabTrim,
//! arXiv 2506.22694). It still reads every token: llama.cpp wants embeddings and output of
//! one length, so what goes in is looked up in the file the copy was made from.

pub(crate) mod format;
mod table;
pub(crate) mod trimmed;
pub(crate) mod widen;
mod write;

pub use write::trim;
