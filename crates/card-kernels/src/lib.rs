//! Products of quantised weights with few columns, made for verification.
//!
//! A target that verifies candidates decodes 2 to 64 rows at a time. These kernels unpack a
//! weight once for all of them, so that a row more costs little, and they are *batch
//! invariant*: an output depends on its weights and its own activations, in one order of sums.
//! The number of rows, their neighbours, the number of threads, and the instruction set change
//! no bit of it.
//!
//! - [`Layout`] lays weights out (`kind.rs`: the types of a GGUF file).
//! - [`Product`] multiplies (`panel.rs` rounds activations, `kernel.rs` has the loops).
//! - [`Attention`] does the same for attention, cell by cell.
//! - [`Isa`] says what the processor can do.

mod attention;
mod half;
mod isa;
mod kernel;
mod kind;
mod layout;
mod panel;
mod product;

pub use attention::{Attention, KvType, Mask};
pub use half::{bf16_to_f32, f16_to_f32, f32_to_f16};
pub use isa::Isa;
pub use kind::Kind;
pub use layout::{ALIGN, Layout};
pub use product::{Experts, Product, Strides};
