//! When ggml may use the kernels: for weights while a model is loaded, for attention while there is
//! a model that was.

use std::sync::{Mutex, MutexGuard, PoisonError};

unsafe extern "C" {
    fn card_kernels_offer(offer: bool);
    fn card_kernels_attention(on: bool);
}

/// Lets the models that this thread loads use the kernels, until it is dropped.
pub(crate) struct OfferedKernels;

impl OfferedKernels {
    /// Lets them, or does not.
    pub(crate) fn new(offer: bool) -> OfferedKernels {
        // SAFETY: sets a variable of this thread.
        unsafe { card_kernels_offer(offer) };
        OfferedKernels
    }
}

impl Drop for OfferedKernels {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { card_kernels_offer(false) };
    }
}

/// A model that was loaded for the kernels: while there is one, or a context of one, attention
/// is theirs too.
#[derive(Debug)]
pub(crate) struct AttentionGuard;

impl AttentionGuard {
    /// How many there are. Attention is turned on and off under the lock, so that the last word
    /// is that of the last change.
    fn count() -> MutexGuard<'static, usize> {
        static COUNT: Mutex<usize> = Mutex::new(0);
        COUNT.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns attention on, or leaves it on.
    pub(crate) fn new() -> AttentionGuard {
        let mut count = AttentionGuard::count();
        *count += 1;
        // SAFETY: sets an atomic variable.
        unsafe { card_kernels_attention(true) };
        AttentionGuard
    }
}

impl Drop for AttentionGuard {
    fn drop(&mut self) {
        let mut count = AttentionGuard::count();
        *count -= 1;
        if *count == 0 {
            // SAFETY: as above.
            unsafe { card_kernels_attention(false) };
        }
    }
}
