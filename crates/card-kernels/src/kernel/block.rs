//! Sums of a block of 256 weights with several scales.

use super::code::Code;
use super::simd::Simd;

/// The sums of a block of 256 for each column.
pub(super) struct BlockSums<S: Simd, const C: usize> {
    /// Of the parts that are exact.
    run: [S::Floats; C],
    /// Of as many before them.
    before: [S::Floats; C],
    /// Of all that is complete.
    pub(super) all: [S::Floats; C],
}

impl<S: Simd, const C: usize> BlockSums<S, C> {
    /// # Safety
    /// The processor has the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
        // SAFETY: the caller's.
        let zero = unsafe { [S::zero(); C] };
        BlockSums {
            run: zero,
            before: zero,
            all: zero,
        }
    }

    /// Adds part `j` times its scale. Parts come in their order.
    ///
    /// # Safety
    /// As for [`BlockSums::new`].
    #[inline(always)]
    pub(super) unsafe fn add<Q: Code>(&mut self, j: usize, parts: [S::Acc; C], scale: S::Floats) {
        // SAFETY: the caller's.
        unsafe {
            if Q::EXACT == 0 {
                return Self::sum::<Q>(&mut self.all, parts, scale);
            }
            Self::sum::<Q>(&mut self.run, parts, scale);
            let complete = (j + 1) % (2 * Q::EXACT);
            if complete == Q::EXACT {
                self.before = self.run;
                self.run = [S::zero(); C];
            } else if complete == 0 {
                for c in 0..C {
                    let both = S::plus(self.before[c], self.run[c]);
                    self.all[c] = S::plus(self.all[c], both);
                }
                self.run = [S::zero(); C];
            }
        }
    }

    #[inline(always)]
    unsafe fn sum<Q: Code>(to: &mut [S::Floats; C], parts: [S::Acc; C], scale: S::Floats) {
        for (sum, part) in to.iter_mut().zip(parts) {
            // SAFETY: the caller's.
            *sum = unsafe { S::fused(S::sum(part, Q::BITS), scale, *sum) };
        }
    }
}
