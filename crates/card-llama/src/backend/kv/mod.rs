//! The memory of a context: which llama.cpp sequence ids hold which cells or states, and what is
//! done to llama.cpp's memory so that it agrees.
//!
//! | module | what it has |
//! |---|---|
//! | `trees`, `tree` | books of a model with a cell per token: trees that share cells |
//! | `states` | books of a model with a state per id: chains, each with an id of its own |
//! | `parts` | which rows of such a model go together |
//! | `books` | either of the books |
//! | `cache` | llama.cpp's memory kept in step with them |
//! | `ids` | llama.cpp's sequence ids that are free |
//! | `error` | why books refuse something |

pub(crate) mod books;
pub(crate) mod cache;
mod error;
pub(crate) mod ids;
mod parts;
mod states;
#[cfg(test)]
mod states_tests;
#[cfg(test)]
mod tests;
mod tree;
mod trees;
