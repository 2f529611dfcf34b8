//! Wide tiles, for AMX.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::work::{ColumnTile, Product, Work};
use crate::isa::Isa;
use crate::kernel::amx::{self, AmxPass, ROWS, TILE};
use crate::kind::KindFamily;
use crate::panel::WIDE;

/// Most groups of a pass: a step of the panels serves so many.
const GROUPS: usize = 8;
/// Most tiles of outputs of a pass.
const OUT: usize = 32;

/// Outputs of a pass.
#[repr(C, align(64))]
struct Out([MaybeUninit<f32>; OUT * TILE]);

impl Product {
    /// Multiplies these groups with the wide ones of these tiles, which come first, and says
    /// where they end.
    ///
    /// # Safety
    /// The processor has the instructions of `isa`, the tiles are those of one matrix, their
    /// panels are written, and nobody else writes these rows.
    pub(super) unsafe fn multiply_wide(
        &self,
        isa: Isa,
        tiles: Range<usize>,
        groups: Range<usize>,
        work: &Work,
    ) -> usize {
        let Some(kernel) = amx::kernel(self.layout.kind) else {
            return tiles.start;
        };
        if isa != Isa::Amx {
            return tiles.start;
        }
        // SAFETY: these tiles are there.
        let tile = |t: usize| unsafe { self.tile(t, isa, work) };
        let is_wide = |t: &usize| tile(*t).is_some_and(|tile| tile.columns as usize == WIDE);
        let wide = tiles.clone().take_while(is_wide).count();
        // Weights that are unpacked serve so many tiles. Unpacking takes longer where they are
        // scaled; more tiles than needed drive the panels out of the cache.
        let most = match self.layout.kind.family() {
            KindFamily::SuperMin => 16,
            _ => 8,
        };
        if wide > 0 {
            // SAFETY: the processor has AMX, as the caller says.
            let _before = unsafe { amx::Before::new() };
            for part in cut(tiles.start..tiles.start + wide, most) {
                let Some(first) = tile(part.start) else {
                    break;
                };
                for groups in cut(groups.clone(), (OUT / part.len()).min(GROUPS)) {
                    // SAFETY: the caller's; the tiles follow each other, as do their panels.
                    unsafe { self.pass(kernel, first, part.len(), groups, work) };
                }
            }
        }
        tiles.start + wide
    }

    /// Multiplies these groups with so many tiles from `first` on.
    unsafe fn pass(
        &self,
        kernel: unsafe fn(AmxPass),
        first: ColumnTile,
        tiles: usize,
        groups: Range<usize>,
        work: &Work,
    ) {
        let layout = &self.layout;
        let mut out = Out([MaybeUninit::uninit(); OUT * TILE]);
        let matrix = first.expert as usize * layout.bytes();
        let job = AmxPass {
            group: self
                .weights
                .wrapping_add(matrix + groups.start * layout.group()),
            stride: layout.group(),
            headers: layout.headers(),
            groups: groups.len(),
            units: layout.width / 32,
            panel: self.panel_at(first, work).cast_const(),
            panel_stride: WIDE * self.column_bytes(),
            tiles,
            out: out.0.as_mut_ptr().cast(),
        };
        // SAFETY: the kernel is for these weights; groups and panels have all units, and there
        // is room for as many outputs.
        unsafe { kernel(job) };
        for column in 0..tiles * WIDE {
            // SAFETY: a column of the tiles.
            let place = unsafe { self.column(first.first as usize + column, work) };
            let to = self.to.wrapping_add(self.to_strides.at(place));
            let (t, c) = (column / WIDE, column % WIDE);
            for (g, group) in groups.clone().enumerate() {
                let from = &out.0[(g * tiles + t) * TILE + c * ROWS..][..ROWS];
                let row = group * ROWS;
                let rows = ROWS.min(layout.height - row);
                // SAFETY: the kernel has written them, the column has `height` floats, and these
                // rows are this thread's.
                unsafe {
                    let to = to.cast::<f32>().add(row);
                    let from = from.as_ptr().cast::<f32>();
                    match rows {
                        ROWS => to.copy_from_nonoverlapping(from, ROWS),
                        _ => to.copy_from_nonoverlapping(from, rows),
                    }
                }
            }
        }
    }
}

/// Cuts a range into parts that are nearly equal and have at most `most`.
fn cut(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let (first, all) = (range.start, range.len());
    let parts = all.div_ceil(most);
    (0..parts).map(move |i| first + i * all / parts..first + (i + 1) * all / parts)
}
