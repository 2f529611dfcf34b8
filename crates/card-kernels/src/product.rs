//! A product of weights with the columns of a batch, done by several threads together.
//!
//! Each thread calls [`Product::run`] with the same work memory. First the columns are rounded
//! into panels, then chunks of rows are handed out. How columns share panels, and which thread
//! does what, changes no output.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::isa::Isa;
use crate::kernel::{self, Job, Kernel};
use crate::kind::{Family, Kind};
use crate::layout::{ALIGN, Layout};
use crate::panel::{Panel, WIDE};

#[cfg(target_arch = "x86_64")]
mod wide;

/// Where a column is: element (i1, i2, i3) lies at `i1 * strides[0] + …` bytes.
#[derive(Clone, Copy, Debug)]
pub struct Strides(pub [usize; 3]);

impl Strides {
    fn at(self, [a, b, c]: [usize; 3]) -> usize {
        a * self.0[0] + b * self.0[1] + c * self.0[2]
    }
}

/// Which of several matrices each column goes to.
#[derive(Clone, Copy, Debug)]
pub enum Experts {
    /// The column's router said it.
    Chosen {
        /// Number of matrices.
        count: usize,
        /// `i32` numbers: the matrix of (slot, token). A number that is no matrix leaves its
        /// column as it is.
        ids: *const u8,
        /// Bytes between the slots and the tokens of `ids`.
        strides: [usize; 2],
    },
    /// By the second number of the column: so many have the same matrix, then the next one.
    InTurn {
        /// Number of matrices.
        count: usize,
        /// Columns (by the second number) with the same matrix.
        repeat: usize,
    },
}

impl Experts {
    fn count(self) -> usize {
        match self {
            Experts::Chosen { count, .. } | Experts::InTurn { count, .. } => count,
        }
    }

    /// The matrix of a column.
    ///
    /// # Safety
    /// Chosen: there is a number for the column.
    unsafe fn of(self, [slot, token, _]: [usize; 3]) -> i32 {
        match self {
            Experts::InTurn { repeat, .. } => (token / repeat) as i32,
            Experts::Chosen { ids, strides, .. } => {
                let at = slot * strides[0] + token * strides[1];
                // SAFETY: the caller's.
                unsafe { ids.add(at).cast::<i32>().read_unaligned() }
            }
        }
    }
}

/// A product. Columns are counted by three numbers; with chosen experts they are slot, token
/// and 1.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// How the weights lie.
    pub layout: Layout,
    /// The weights: [`Layout::bytes`] for each matrix.
    pub weights: *const u8,
    /// Activations: `f32`, the numbers of a column side by side.
    pub from: *const u8,
    /// Where columns of activations are. With experts a stride of 0 gives all slots the same.
    pub from_strides: Strides,
    /// Outputs: `f32`, the numbers of a column side by side.
    pub to: *mut u8,
    /// Where columns of outputs are.
    pub to_strides: Strides,
    /// How many columns there are.
    pub columns: [usize; 3],
    /// Whether there are several matrices.
    pub experts: Option<Experts>,
}

/// Columns that go through one kernel.
#[derive(Clone, Copy)]
#[repr(C)]
struct Tile {
    expert: u32,
    first: u32,
    columns: u32,
}

/// Where things are in the work memory.
struct Work {
    counter: *const AtomicUsize,
    /// Numbers of the tiles, and of the experts in use with their tiles.
    counts: *mut u32,
    tiles: *mut Tile,
    /// Columns in the order of their experts.
    order: *mut u32,
    /// For each expert, where its next column goes in that order.
    next: *mut u32,
    panels: *mut u8,
}

/// Bytes of weights that stay in the cache of a core while columns go over them.
const CHUNK: usize = 256 << 10;
/// Most columns of a panel.
const MOST: usize = 10;
/// Most rows of a group.
const ROWS: usize = 16;

impl Product {
    fn total(&self) -> usize {
        self.columns.iter().product()
    }

    /// Bytes of work memory that [`Product::run`] needs; the number of threads does not matter.
    pub fn work_bytes(&self) -> usize {
        self.panels_at() + self.total() * self.column_bytes() + ALIGN
    }

    /// Bytes of a column in a panel, up to the next aligned one.
    fn column_bytes(&self) -> usize {
        (self.panel().bytes() * self.layout.blocks()).next_multiple_of(ALIGN)
    }

    fn panel(&self) -> Panel {
        Panel::new(self.layout.kind.family())
    }

    /// Where the panels begin, from an aligned start.
    fn panels_at(&self) -> usize {
        let lists = match self.experts {
            Some(experts) => {
                let of_columns = self.total() * (size_of::<Tile>() + size_of::<u32>());
                of_columns + experts.count() * size_of::<u32>()
            }
            None => 0,
        };
        (ALIGN + lists).next_multiple_of(ALIGN)
    }

    /// # Safety
    /// `work` points to [`Product::work_bytes`].
    unsafe fn work(&self, work: *mut u8) -> Work {
        let start = work.wrapping_add(work.align_offset(ALIGN));
        let tiles = start.wrapping_add(ALIGN).cast::<Tile>();
        let order: *mut u32 = tiles.wrapping_add(self.total()).cast();
        Work {
            counter: start.cast(),
            counts: start.wrapping_add(ALIGN / 2).cast(),
            tiles,
            order,
            next: order.wrapping_add(self.total()),
            panels: start.wrapping_add(self.panels_at()),
        }
    }

    /// Cuts columns of one matrix into tiles.
    fn cut(&self, columns: usize, isa: Isa) -> Tiles {
        let wide = isa == Isa::Amx && self.layout.kind.family() != Family::Float;
        Tiles::of(columns, isa.columns(), wide)
    }

    /// The place of column `j`.
    fn place(&self, j: usize) -> [usize; 3] {
        let [a, b, _] = self.columns;
        [j % a, j / a % b, j / (a * b)]
    }

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
                    work.tiles.add(tiles).write(Tile {
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

    /// Tile `t`, if there are as many.
    unsafe fn tile(&self, t: usize, isa: Isa, work: &Work) -> Option<Tile> {
        match self.experts {
            // SAFETY: so many were written.
            Some(_) => unsafe {
                (t < work.counts.read() as usize).then(|| work.tiles.add(t).read())
            },
            None => {
                let mut tiles = self.cut(self.total(), isa);
                tiles.nth(t).map(|(first, columns)| Tile {
                    expert: 0,
                    first: first as u32,
                    columns: columns as u32,
                })
            }
        }
    }

    /// Where a tile's panel is.
    fn panel_at(&self, tile: Tile, work: &Work) -> *mut u8 {
        work.panels
            .wrapping_add(tile.first as usize * self.column_bytes())
    }

    /// The place of the `i`th column in the order of the tiles.
    unsafe fn column(&self, i: usize, work: &Work) -> [usize; 3] {
        match self.experts {
            // SAFETY: the order has every column of a tile.
            Some(_) => self.place(unsafe { work.order.add(i).read() } as usize),
            None => self.place(i),
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
                let to = Target {
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

    /// The tiles of the `nth` matrix in use: the first and their number.
    unsafe fn tiles_of(&self, nth: usize, isa: Isa, work: &Work) -> Option<(usize, usize)> {
        if self.experts.is_none() {
            let tiles = self.cut(self.total(), isa).len();
            return (nth == 0).then_some((0, tiles));
        }
        // SAFETY: the lists are written.
        unsafe {
            let (tiles, used) = (work.counts.read(), work.counts.add(1).read());
            if nth >= used as usize {
                return None;
            }
            let expert = |t: usize| work.tiles.add(t).read().expert;
            let (mut first, mut seen) = (0, 0);
            while seen < nth {
                first += 1;
                seen += usize::from(expert(first) != expert(first - 1));
            }
            let same = (first..tiles as usize).take_while(|&t| expert(t) == expert(first));
            Some((first, same.count()))
        }
    }

    /// Multiplies these groups with the wide tiles, which come first, and says where they end.
    #[cfg(not(target_arch = "x86_64"))]
    unsafe fn multiply_wide(
        &self,
        _: Isa,
        tiles: std::ops::Range<usize>,
        _: std::ops::Range<usize>,
        _: &Work,
    ) -> usize {
        tiles.start
    }

    unsafe fn multiply_rows(
        &self,
        isa: Isa,
        tile: Tile,
        groups: std::ops::Range<usize>,
        work: &Work,
    ) {
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

/// Cuts columns into tiles: (first, number) of each. Wide ones come first, the others are nearly
/// equal.
struct Tiles {
    columns: usize,
    wide: usize,
    tiles: usize,
    next: usize,
}

impl Tiles {
    fn of(columns: usize, most: usize, wide: bool) -> Tiles {
        let wide = if wide { columns / WIDE } else { 0 };
        Tiles {
            columns,
            wide,
            tiles: wide + (columns - wide * WIDE).div_ceil(most),
            next: 0,
        }
    }

    fn start(&self, t: usize) -> usize {
        if t <= self.wide {
            return t * WIDE;
        }
        let first = self.wide * WIDE;
        first + (t - self.wide) * (self.columns - first) / (self.tiles - self.wide)
    }
}

impl Iterator for Tiles {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        self.nth(0)
    }

    fn nth(&mut self, n: usize) -> Option<(usize, usize)> {
        let t = self.next + n;
        self.next = t + 1;
        (t < self.tiles).then(|| (self.start(t), self.start(t + 1) - self.start(t)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.tiles.saturating_sub(self.next);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Tiles {}

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

/// Where a rounded column goes.
#[derive(Clone, Copy)]
struct Target {
    panel: *mut u8,
    c: usize,
    columns: usize,
    width: usize,
}

/// Rounds blocks of a column.
#[inline(always)]
unsafe fn round_blocks(panel: Panel, from: *const f32, to: Target, blocks: std::ops::Range<usize>) {
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
unsafe fn round(
    isa: Isa,
    panel: Panel,
    from: *const f32,
    to: Target,
    blocks: std::ops::Range<usize>,
) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn avx2(p: Panel, from: *const f32, to: Target, blocks: std::ops::Range<usize>) {
            // SAFETY: the caller's.
            unsafe { round_blocks(p, from, to, blocks) }
        }
        #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn avx512(p: Panel, from: *const f32, to: Target, blocks: std::ops::Range<usize>) {
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
