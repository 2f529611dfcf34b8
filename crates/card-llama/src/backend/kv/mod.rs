//! The KV cache of a context: which llama.cpp sequence ids hold which cells, and what is done to
//! llama.cpp's cache so that it agrees.

pub(crate) mod cache;
#[cfg(test)]
mod tests;
mod tree;
mod trees;
