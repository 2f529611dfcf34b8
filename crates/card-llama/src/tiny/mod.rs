//! Models for tests: as small as can be, with made-up weights.
//!
//! | module | what it has |
//! |---|---|
//! | `file` | GGUF files, written byte by byte |
//! | `models` | small Llamas for this crate's own tests |
//! | [`zoo`] | a model of each architecture that llama.cpp knows |

mod file;
#[cfg(test)]
mod models;
pub mod zoo;

#[cfg(test)]
pub(crate) use file::Tiny;
