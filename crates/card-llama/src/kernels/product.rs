//! Products of matrices: the functions that the C++ side calls.

use std::ffi::{c_int, c_void};

use card_kernels::{Experts, Kind, Layout, Product, Strides};

use super::isa::isa;

/// A product in numbers: `card_product` of `abi.h`.
#[repr(C)]
pub(crate) struct CProduct {
    kind: u32,
    width: i64,
    height: i64,
    weights: *const u8,
    from: *const u8,
    from_strides: [usize; 3],
    to: *mut u8,
    to_strides: [usize; 3],
    columns: [i64; 3],
    matrices: i64,
    repeat: i64,
    ids: *const u8,
    id_strides: [usize; 2],
}

/// The layout of a matrix, if the kernels have its type and its size can be counted.
fn layout(kind: u32, width: i64, height: i64) -> Option<Layout> {
    /// Weights beyond which bytes might not be counted: one takes less than 8 bytes, and rows
    /// and blocks are filled up to at most this.
    const MOST: usize = isize::MAX as usize / 8;
    const FILLED: [usize; 2] = [256, 16];
    let kind = Kind::from_ggml(kind)?;
    let (width, height) = (usize::try_from(width).ok()?, usize::try_from(height).ok()?);
    let filled = width
        .checked_next_multiple_of(FILLED[0])?
        .checked_mul(height.checked_next_multiple_of(FILLED[1])?)?;
    if filled > MOST {
        return None;
    }
    Layout::new(kind, isa().rows(), width, height)
}

impl CProduct {
    /// The product as `card-kernels` takes it, if the kernels have its type.
    fn product(&self) -> Option<Product> {
        let experts = match (self.matrices, self.repeat) {
            (1, 1) => None,
            (count, 0) => Some(Experts::Chosen {
                count: count as usize,
                ids: self.ids,
                strides: self.id_strides,
            }),
            (count, repeat) => Some(Experts::InTurn {
                count: count as usize,
                repeat: repeat as usize,
            }),
        };
        Some(Product {
            layout: layout(self.kind, self.width, self.height)?,
            weights: self.weights,
            from: self.from,
            from_strides: Strides(self.from_strides),
            to: self.to,
            to_strides: Strides(self.to_strides),
            columns: self.columns.map(|n| n as usize),
            experts,
        })
    }
}

/// Bytes of a matrix laid out; 0 if the kernels do not have its type.
#[unsafe(no_mangle)]
pub(super) extern "C" fn card_matrix_bytes(kind: u32, width: i64, height: i64) -> usize {
    layout(kind, width, height).map_or(0, |l| l.bytes())
}

/// Lays a matrix of a file out.
///
/// # Safety
/// `file` and `packed` have the bytes of a matrix of this type and size.
#[unsafe(no_mangle)]
unsafe extern "C" fn card_matrix_pack(
    kind: u32,
    width: i64,
    height: i64,
    file: *const u8,
    packed: *mut u8,
) {
    if let Some(l) = layout(kind, width, height) {
        // SAFETY: the caller's.
        let (file, packed) = unsafe {
            (
                std::slice::from_raw_parts(file, l.file_row() * l.height),
                std::slice::from_raw_parts_mut(packed, l.bytes()),
            )
        };
        l.pack(file, packed);
    }
}

/// Writes a matrix that was laid out as a file has it.
///
/// # Safety
/// As for [`card_matrix_pack`].
#[unsafe(no_mangle)]
unsafe extern "C" fn card_matrix_unpack(
    kind: u32,
    width: i64,
    height: i64,
    packed: *const u8,
    file: *mut u8,
) {
    if let Some(l) = layout(kind, width, height) {
        // SAFETY: the caller's.
        let (packed, file) = unsafe {
            (
                std::slice::from_raw_parts(packed, l.bytes()),
                std::slice::from_raw_parts_mut(file, l.file_row() * l.height),
            )
        };
        l.unpack(packed, file);
    }
}

/// Bytes of memory that the threads of a product share.
///
/// # Safety
/// `product` points to a product.
#[unsafe(no_mangle)]
unsafe extern "C" fn card_product_work(product: *const CProduct) -> usize {
    // SAFETY: the caller's.
    let product = unsafe { &*product };
    product.product().map_or(0, |p| p.work_bytes())
}

/// Does a thread's part of a product.
///
/// # Safety
/// As for [`Product::run`].
#[unsafe(no_mangle)]
unsafe extern "C" fn card_product_run(
    product: *const CProduct,
    thread: c_int,
    threads: c_int,
    barrier: unsafe extern "C" fn(*mut c_void),
    pool: *mut c_void,
    work: *mut u8,
) {
    // SAFETY: the caller's.
    let product = unsafe { &*product };
    // SAFETY: the pool outlives the operation.
    let wait = || unsafe { barrier(pool) };
    if let Some(product) = product.product() {
        // SAFETY: ggml's tensors are as they say, and its threads all come here.
        unsafe { product.run(isa(), thread as usize, threads as usize, &wait, work) };
    }
}
