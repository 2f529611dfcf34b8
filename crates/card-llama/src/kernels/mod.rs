//! Card's own matrix kernels in place of ggml's.
//!
//! ggml asks for them through the C++ of `kernels.cpp`, and the arithmetic is in the crate
//! `card-kernels`. `product.rs` and `attention.rs` are the functions that the C++ calls;
//! `register.rs` puts the kernels into ggml's list and checks that they are right.

mod attention;
mod choice;
mod guards;
mod isa;
mod product;
mod register;
mod through_ggml;

pub use choice::Kernels;
pub(crate) use guards::{AttentionGuard, OfferedKernels};
pub use register::card_kernels;

#[cfg(test)]
mod tests;
