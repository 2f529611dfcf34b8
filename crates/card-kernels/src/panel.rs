//! Activations, rounded to bytes, as the kernels read them.
//!
//! A *panel* holds up to [`Isa::columns`](crate::Isa::columns) columns for one pass over the
//! weights. Block after block it has the columns' scales, their sums, and their bytes, four
//! weights of a column in 32 bits and the columns side by side. So a kernel reads it from one
//! end to the other.
//!
//! A *wide* panel, for AMX, has [`WIDE`] columns. There the bytes lie in lines of as
//! many weights as are multiplied at once (32 or 64): column after column a line.
//!
//! A block of a column is rounded by itself: 127 steps up to its largest magnitude, to the
//! nearest, ties to even. Neither its neighbours nor their number matter.

use crate::kind::{FLOAT_STEP, KindFamily};

/// Columns of a wide panel, and of no other one.
pub(crate) const WIDE: usize = 16;

/// How a column's block is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panel {
    family: KindFamily,
}

impl Panel {
    pub(crate) fn new(family: KindFamily) -> Panel {
        Panel { family }
    }

    /// Activations of a block.
    pub(crate) const fn block(self) -> usize {
        match self.family {
            KindFamily::Float => FLOAT_STEP,
            KindFamily::Simple { .. } | KindFamily::SimpleMin => 32,
            KindFamily::SuperMin | KindFamily::Super { .. } => 256,
        }
    }

    /// Sums that a block has.
    const fn sums(self) -> usize {
        match self.family {
            KindFamily::Float => 0,
            KindFamily::Simple { .. } | KindFamily::SimpleMin => 1,
            KindFamily::SuperMin => 4,
            KindFamily::Super { share, .. } => 256 / share,
        }
    }

    /// Bytes that a block of one column takes.
    pub(crate) const fn bytes(self) -> usize {
        match self.family {
            KindFamily::Float => 4 * FLOAT_STEP,
            _ => 4 + 4 * self.sums() + self.block(),
        }
    }

    /// Writes column `c` of a block of `columns`. `x` are its activations; a step of plain
    /// numbers may be shorter than [`FLOAT_STEP`] and is filled up with zeros.
    ///
    /// # Safety
    /// `to` points to `columns` times [`Panel::bytes`] bytes, aligned to 4, and nobody else
    /// writes to this column of it.
    #[inline(always)]
    pub(crate) unsafe fn put(self, x: &[f32], to: *mut u8, c: usize, columns: usize) {
        match self.family {
            KindFamily::Float => {
                for k in 0..FLOAT_STEP {
                    let value = x.get(k).copied().unwrap_or(0.0);
                    // SAFETY: a block of `columns` times FLOAT_STEP floats.
                    unsafe { to.cast::<f32>().add(k * columns + c).write(value) }
                }
            }
            // SAFETY: as the caller says; the slices have a block's length.
            KindFamily::Simple { .. } | KindFamily::SimpleMin => unsafe {
                self.put_bytes::<32>(x, to, c, columns)
            },
            // SAFETY: as above.
            KindFamily::SuperMin | KindFamily::Super { .. } => unsafe {
                self.put_bytes::<256>(x, to, c, columns)
            },
        }
    }

    /// [`Panel::put`] for a block of `N` activations.
    #[inline(always)]
    unsafe fn put_bytes<const N: usize>(self, x: &[f32], to: *mut u8, c: usize, columns: usize) {
        let x: &[f32; N] = match x.try_into() {
            Ok(x) => x,
            Err(_) => return,
        };
        // SAFETY: the caller's; a column's words lie `columns` apart.
        let put = |word: usize, value: u32| unsafe {
            to.cast::<u32>().add(word * columns + c).write(value);
        };
        let (q, d) = round(x);
        put(0, d.to_bits());
        let part = |from: usize, n: usize| -> i32 {
            q[from..from + n].iter().map(|&q| i32::from(q)).sum()
        };
        match self.family {
            KindFamily::Float => {}
            KindFamily::Simple { offset } => put(1, (-offset * part(0, 32)) as u32),
            KindFamily::SimpleMin => put(1, (part(0, 32) as f32).to_bits()),
            KindFamily::SuperMin => {
                for j in 0..N / 64 {
                    let (low, high) = (part(64 * j, 32), part(64 * j + 32, 32));
                    put(1 + j, low as u32 & 0xffff | (high as u32) << 16);
                }
            }
            KindFamily::Super { offset, share } => {
                for j in 0..N / share {
                    put(1 + j, (-offset * part(share * j, share)) as u32);
                }
            }
        }
        let first = 1 + self.sums();
        if columns == WIDE {
            let line = match self.family {
                KindFamily::SuperMin | KindFamily::Super { share: 16, .. } => 64,
                _ => 32,
            };
            for (i, bytes) in q.chunks_exact(line).enumerate() {
                // SAFETY: as above; there is a line for each column.
                unsafe {
                    let to = to.add(4 * WIDE * first + line * (WIDE * i + c));
                    to.copy_from_nonoverlapping(bytes.as_ptr().cast(), line);
                }
            }
            return;
        }
        for (g, four) in q.chunks_exact(4).enumerate() {
            let word = [four[0], four[1], four[2], four[3]].map(|q| q as u8);
            put(first + g, u32::from_ne_bytes(word));
        }
    }
}

/// Bytes and their scale. Values that are not finite give zeros with a scale that is not a
/// number, so that the outputs of this column are not either.
#[inline(always)]
fn round<const N: usize>(x: &[f32; N]) -> ([i8; N], f32) {
    let mut most = 0u32;
    for v in x {
        most = most.max(v.to_bits() & 0x7fff_ffff);
    }
    let mut q = [0i8; N];
    if most >= 0x7f80_0000 {
        return (q, f32::NAN);
    }
    let most = f32::from_bits(most);
    let steps = 127.0 / most;
    if !steps.is_finite() {
        // All zero, or so small that nothing of it would be seen.
        return (q, 0.0);
    }
    for (q, v) in q.iter_mut().zip(x) {
        let step = (v * steps).round_ties_even();
        // SAFETY: |v| is at most `most`, so the step is between -127 and 127.
        *q = unsafe { step.to_int_unchecked::<i32>() } as i8;
    }
    (q, most / 127.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_becomes_127_and_what_is_not_finite_spoils_its_block_alone() {
        let mut x = [0.5f32; 32];
        x[3] = -2.0;
        let (q, d) = round(&x);
        assert_eq!((q[3], q[0], d), (-127, 32, 2.0 / 127.0));
        x[7] = f32::INFINITY;
        assert!(round(&x).1.is_nan());
        assert_eq!(round(&[1e-42; 32]), ([0; 32], 0.0));
        assert_eq!(round(&[0.0; 32]), ([0; 32], 0.0));
        let (q, d) = round(&[f32::MAX; 32]);
        assert_eq!((q[0], d), (127, f32::MAX / 127.0));
    }
}
