//! A product of weights with the columns of a batch, done by several threads together.
//!
//! Each thread calls [`Product::run`] with the same work memory. First the columns are rounded
//! into panels, then chunks of rows are handed out. How columns share panels, and which thread
//! does what, changes no output.

use std::ops::Range;
use std::sync::atomic::Ordering;

use crate::isa::Isa;
use crate::kernel::{self, Job, Kernel};
use crate::kind::Kind;

mod round;
#[cfg(target_arch = "x86_64")]
mod wide;
mod work;

pub use work::{Experts, Product, Strides};

use round::{PanelColumn, round};
use work::{ColumnTile, Work};

/// Bytes of weights that stay in the cache of a core while columns go over them.
const CHUNK: usize = 256 << 10;
/// Most columns of a panel.
const MOST: usize = 10;
/// Most rows of a group.
const ROWS: usize = 16;

impl Product {
    /// Does this thread's part. All `threads` threads call it with the same memory, and
    /// `barrier` returns when all have called it.
    ///
    /// # Safety
    /// - The processor has the instructions of `isa`, for whose [`Isa::rows`] the weights were
    ///   laid out.
    /// - All pointers reach as far as the layout, the strides and the counts say, floats and
    ///   ids are aligned to 4, and nobody else writes to any of it meanwhile.
    /// - `work` has [`Product::work_bytes`], the same for all threads.
    pub unsafe fn run(
        &self,
        isa: Isa,
        thread: usize,
        threads: usize,
        barrier: &dyn Fn(),
        work: *mut u8,
    ) {
        let rows = self.layout.rows;
        assert!(
            rows == isa.rows() || isa == Isa::Portable,
            "laid out for other kernels"
        );
        // SAFETY: the caller's.
        let work = unsafe { self.work(work) };
        if thread == 0 {
            // SAFETY: the counter is aligned, and the others wait at a barrier for it.
            unsafe { (*work.counter).store(0, Ordering::Relaxed) };
            if let Some(experts) = self.experts {
                // SAFETY: as above; the lists have room for every column.
                unsafe { self.sort(experts, isa, &work) };
            }
        }
        if self.experts.is_some() {
            barrier();
        }
        // SAFETY: the lists are written, and each block of a column is rounded by one thread.
        unsafe { self.round(isa, thread, threads, &work) };
        barrier();
        // SAFETY: the panels are written, and each chunk of rows is done by one thread.
        unsafe { self.multiply(isa, threads, &work) };
    }

    /// Sorts the columns by expert, in time that grows with columns plus experts, and cuts them
    /// into tiles. Columns of one expert keep their order; one whose number is no expert's is
    /// left out.
    unsafe fn sort(&self, experts: Experts, isa: Isa, work: &Work) {
        let count = experts.count();
        // SAFETY: the caller's: there is a number for each column.
        let expert = |j: usize| unsafe { experts.of(self.place(j)) };
        let expert = |j: usize| usize::try_from(expert(j)).ok().filter(|e| *e < count);
        // SAFETY: the work memory has a number for each expert, and only this thread uses it now.
        let next = unsafe {
            work.next.write_bytes(0, count);
            std::slice::from_raw_parts_mut(work.next, count)
        };
        for e in (0..self.total()).filter_map(expert) {
            next[e] += 1;
        }
        let (mut tiles, mut used, mut first) = (0, 0, 0);
        for (e, next) in next.iter_mut().enumerate() {
            let here = std::mem::replace(next, first) as usize;
            for (at, columns) in self.cut(here, isa) {
                // SAFETY: there are no more tiles than columns.
                unsafe {
                    work.tiles.add(tiles).write(ColumnTile {
                        expert: e as u32,
                        first: first + at as u32,
                        columns: columns as u32,
                    });
                }
                tiles += 1;
            }
            used += u32::from(here > 0);
            first += here as u32;
        }
        for j in 0..self.total() {
            if let Some(e) = expert(j) {
                // SAFETY: the order has room for each column, and a column has one expert.
                unsafe { work.order.add(next[e] as usize).write(j as u32) };
                next[e] += 1;
            }
        }
        // SAFETY: two numbers behind the counter.
        unsafe {
            work.counts.write(tiles as u32);
            work.counts.add(1).write(used);
        }
    }

    /// Rounds this thread's share of the columns.
    unsafe fn round(&self, isa: Isa, thread: usize, threads: usize, work: &Work) {
        let blocks = self.layout.blocks();
        let parts = blocks.div_ceil(threads);
        let mine = (thread * parts).min(blocks)..((thread + 1) * parts).min(blocks);
        let mut t = 0;
        // SAFETY: as the caller says.
        while let Some(tile) = unsafe { self.tile(t, isa, work) } {
            let columns = tile.columns as usize;
            let panel = self.panel_at(tile, work);
            for c in 0..columns {
                // SAFETY: the column is one of the tile.
                let place = unsafe { self.column(tile.first as usize + c, work) };
                let from = self.from.wrapping_add(self.from_strides.at(place)).cast();
                let to = PanelColumn {
                    panel,
                    c,
                    columns,
                    width: self.layout.width,
                };
                // SAFETY: the column has `width` floats, and the panel room for its blocks.
                unsafe { round(isa, self.panel(), from, to, mine.clone()) };
            }
            t += 1;
        }
    }

    /// Takes chunks of rows until there are no more.
    unsafe fn multiply(&self, isa: Isa, threads: usize, work: &Work) {
        let layout = &self.layout;
        let groups = layout.groups();
        let chunk = (CHUNK / layout.group()).clamp(1, groups.div_ceil(4 * threads).max(1));
        let chunks = groups.div_ceil(chunk);
        loop {
            // SAFETY: the counter lives as long as the work memory.
            let item = unsafe { &*work.counter }.fetch_add(1, Ordering::Relaxed);
            let (nth, part) = (item / chunks, item % chunks);
            // SAFETY: the lists are written.
            let Some((first, tiles)) = (unsafe { self.tiles_of(nth, isa, work) }) else {
                return;
            };
            let rows = part * chunk..((part + 1) * chunk).min(groups);
            // SAFETY: the panels of wide tiles are written, and these rows are this thread's.
            let done = unsafe { self.multiply_wide(isa, first..first + tiles, rows.clone(), work) };
            for t in done..first + tiles {
                // SAFETY: a tile of those that there are.
                if let Some(tile) = unsafe { self.tile(t, isa, work) } {
                    // SAFETY: the panel is written, and these rows are this thread's.
                    unsafe { self.multiply_rows(isa, tile, rows.clone(), work) };
                }
            }
        }
    }

    /// Multiplies these groups with the wide tiles, which come first, and says where they end.
    #[cfg(not(target_arch = "x86_64"))]
    unsafe fn multiply_wide(
        &self,
        _: Isa,
        tiles: Range<usize>,
        _: Range<usize>,
        _: &Work,
    ) -> usize {
        tiles.start
    }

    unsafe fn multiply_rows(&self, isa: Isa, tile: ColumnTile, groups: Range<usize>, work: &Work) {
        let layout = &self.layout;
        let columns = tile.columns as usize;
        let kernel = kernel_for(isa, layout.rows, layout.kind, columns);
        let mut to = [std::ptr::null_mut::<f32>(); MOST];
        for (c, to) in to[..columns].iter_mut().enumerate() {
            // SAFETY: a column of the tile.
            let place = unsafe { self.column(tile.first as usize + c, work) };
            *to = self.to.wrapping_add(self.to_strides.at(place)).cast();
        }
        let matrix = self
            .weights
            .wrapping_add(tile.expert as usize * layout.bytes());
        let panel = self.panel_at(tile, work).cast_const();
        let mut out = [0f32; MOST * ROWS];
        for g in groups {
            let group = matrix.wrapping_add(g * layout.group());
            let job = Job {
                header: group,
                quants: group.wrapping_add(layout.headers()),
                panel,
                blocks: layout.blocks(),
                out: out.as_mut_ptr(),
            };
            // SAFETY: the kernel is for this kind, these rows and columns, and the processor
            // has its instructions; group and panel have all blocks.
            unsafe { kernel(job) };
            let first = g * layout.rows;
            let rows = layout.rows.min(layout.height - first);
            for (c, to) in to[..columns].iter().enumerate() {
                let out = &out[c * layout.rows..][..rows];
                // SAFETY: the column has `height` floats, and these rows are this thread's.
                unsafe { to.add(first).copy_from_nonoverlapping(out.as_ptr(), rows) };
            }
        }
    }
}

/// The kernel of an instruction set. Plain Rust reads every layout.
fn kernel_for(isa: Isa, rows: usize, kind: Kind, columns: usize) -> Kernel {
    match (isa, rows) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512 | Isa::Amx, 16) => kernel::avx512::kernel(kind, columns),
        #[cfg(target_arch = "x86_64")]
        (Isa::AvxVnni, 8) => kernel::avx2::vnni::kernel(kind, columns),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, 8) => kernel::avx2::plain::kernel(kind, columns),
        #[cfg(target_arch = "aarch64")]
        (Isa::Neon, 8) => kernel::neon::plain::kernel(kind, columns),
        #[cfg(target_arch = "aarch64")]
        (Isa::NeonI8mm, 8) => kernel::neon::i8mm::kernel(kind, columns),
        (_, 16) => kernel::portable::of_16::kernel(kind, columns),
        _ => kernel::portable::of_8::kernel(kind, columns),
    }
}
