//! A product that goes through ggml, for the check at the start and for tests.

use std::ffi::{c_int, c_uint, c_void};

/// [`GgmlProduct::memory`] of weights that are laid out for these kernels.
pub(super) const OWN: u32 = 1;

/// A product that is done through ggml: `card_ggml_product` of `abi.h`, which says what the
/// numbers mean.
#[repr(C)]
pub(super) struct GgmlProduct {
    pub(super) kind: u32,
    pub(super) memory: u32,
    pub(super) width: i64,
    pub(super) height: i64,
    pub(super) matrices: i64,
    pub(super) file: *const c_void,
    pub(super) back: *mut c_void,
    pub(super) back_at: usize,
    pub(super) back_bytes: usize,
    pub(super) from: *const f32,
    pub(super) columns: [i64; 2],
    pub(super) ids: *const i32,
    pub(super) slots: i64,
    pub(super) to: *mut f32,
    pub(super) threads: c_int,
    pub(super) asked: c_uint,
}

unsafe extern "C" {
    /// Does a product through ggml; returns an `outcome` of `kernels.cpp`. The kernels must be
    /// registered, and the arrays have the sizes that the numbers say.
    pub(super) fn card_kernels_multiply(product: *mut GgmlProduct) -> c_int;
}
