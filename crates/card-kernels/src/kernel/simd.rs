//! Instruction sets, as the kernels see them.

/// What the kernels need of an instruction set. A vector has a lane of 32 bits for each of
/// [`Simd::ROWS`] rows.
///
/// # Safety
/// The functions are unsafe because the processor must have the instructions, and because they
/// read and write through pointers, a whole vector or what they say.
pub(crate) trait Simd: Copy + 'static {
    /// Rows of a group.
    const ROWS: usize;
    /// Four bytes per lane.
    type Bytes: Copy;
    /// A whole number per lane.
    type Ints: Copy;
    /// A `f32` per lane.
    type Floats: Copy;
    /// A sum of products of bytes per lane.
    type Acc: Copy;

    /// Asks for the line of 64 bytes that will be read from there; any address will do.
    unsafe fn ask(p: *const u8);
    unsafe fn bytes(p: *const u8) -> Self::Bytes;
    /// The same four bytes in each lane.
    unsafe fn four(p: *const u8) -> Self::Bytes;
    /// The lower halves of the bytes.
    unsafe fn low(b: Self::Bytes) -> Self::Bytes;
    /// The upper halves of the bytes.
    unsafe fn high(b: Self::Bytes) -> Self::Bytes;
    /// `b` with those bits of `plane` that `mask` has once it is shifted by `left` (to the
    /// right if negative). `mask` has only bits that come from the same byte.
    unsafe fn with_bits(b: Self::Bytes, plane: Self::Bytes, left: i32, mask: u8) -> Self::Bytes;
    /// The entries of a table at these places below 16.
    unsafe fn look_up(table: &[u8; 16], b: Self::Bytes) -> Self::Bytes;

    /// A sum that begins with `start`, which makes up for codes that are not negative. Codes
    /// of 8 bits may be taken for signed, without a start: the sum is the same. `bits` are
    /// those of a code, the same constant for a sum.
    unsafe fn start(start: Self::Ints, bits: u32) -> Self::Acc;
    /// Adds the products of codes with activations between -127 and 127. `k` counts from 0 at
    /// the start and is a constant.
    unsafe fn add(
        acc: Self::Acc,
        codes: Self::Bytes,
        activations: Self::Bytes,
        k: usize,
        bits: u32,
    ) -> Self::Acc;
    /// The sum of 4 or 8 steps.
    unsafe fn sum(acc: Self::Acc, bits: u32) -> Self::Floats;

    unsafe fn ints(p: *const u8) -> Self::Ints;
    unsafe fn no_ints() -> Self::Ints;
    unsafe fn same_int(p: *const u8) -> Self::Ints;
    unsafe fn shift_right(i: Self::Ints, bits: u32) -> Self::Ints;
    unsafe fn mask(i: Self::Ints, mask: u32) -> Self::Ints;
    unsafe fn or(a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// Adds the products of the lower and of the upper halves of 16 bits, with sign.
    unsafe fn add_pairs(sum: Self::Ints, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    unsafe fn float(i: Self::Ints) -> Self::Floats;

    unsafe fn zero() -> Self::Floats;
    unsafe fn floats(p: *const u8) -> Self::Floats;
    unsafe fn halves(p: *const u8) -> Self::Floats;
    unsafe fn brain_halves(p: *const u8) -> Self::Floats;
    /// Signed bytes, one per lane.
    unsafe fn signed_bytes(p: *const u8) -> Self::Floats;
    unsafe fn same(p: *const u8) -> Self::Floats;
    unsafe fn plus(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn times(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`, rounded once.
    unsafe fn fused(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// `c - a * b`, rounded once.
    unsafe fn fused_minus(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    unsafe fn store(p: *mut f32, f: Self::Floats);
}
