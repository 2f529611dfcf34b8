//! Columns of activations, rounded into panels.

use std::ops::Range;

use crate::isa::Isa;
use crate::panel::Panel;

/// Where a rounded column goes.
#[derive(Clone, Copy)]
pub(super) struct PanelColumn {
    /// The panel that the column is in.
    pub(super) panel: *mut u8,
    /// Number of the column in the panel.
    pub(super) c: usize,
    /// Columns of the panel.
    pub(super) columns: usize,
    /// Floats of the column.
    pub(super) width: usize,
}

/// Rounds blocks of a column.
#[inline(always)]
unsafe fn round_blocks(panel: Panel, from: *const f32, to: PanelColumn, blocks: Range<usize>) {
    for b in blocks {
        let first = b * panel.block();
        let n = panel.block().min(to.width - first);
        // SAFETY: the column has `width` floats.
        let x = unsafe { std::slice::from_raw_parts(from.add(first), n) };
        // SAFETY: the panel has this block.
        unsafe {
            let block = to.panel.add(b * panel.bytes() * to.columns);
            panel.put(x, block, to.c, to.columns);
        }
    }
}

/// [`round_blocks`] with the instructions of `isa`: faster, with the same result.
pub(super) unsafe fn round(
    isa: Isa,
    panel: Panel,
    from: *const f32,
    to: PanelColumn,
    blocks: Range<usize>,
) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn avx2(p: Panel, from: *const f32, to: PanelColumn, blocks: Range<usize>) {
            // SAFETY: the caller's.
            unsafe { round_blocks(p, from, to, blocks) }
        }
        #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn avx512(p: Panel, from: *const f32, to: PanelColumn, blocks: Range<usize>) {
            // SAFETY: the caller's.
            unsafe { round_blocks(p, from, to, blocks) }
        }
        match isa {
            // SAFETY: the caller's, and the instructions are there.
            Isa::Avx512 | Isa::Amx => return unsafe { avx512(panel, from, to, blocks) },
            // SAFETY: as above.
            Isa::Avx2 | Isa::AvxVnni => return unsafe { avx2(panel, from, to, blocks) },
            _ => {}
        }
    }
    let _ = isa;
    // SAFETY: the caller's.
    unsafe { round_blocks(panel, from, to, blocks) }
}
