//! What a product is, and how its columns are cut into tiles that lie in the work memory.

use std::sync::atomic::AtomicUsize;

use crate::isa::Isa;
use crate::kind::KindFamily;
use crate::layout::{ALIGN, Layout};
use crate::panel::{Panel, WIDE};

/// Where a column is: element (i1, i2, i3) lies at `i1 * strides[0] + …` bytes.
#[derive(Clone, Copy, Debug)]
pub struct Strides(pub [usize; 3]);

impl Strides {
    pub(super) fn at(self, [a, b, c]: [usize; 3]) -> usize {
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
    pub(super) fn count(self) -> usize {
        match self {
            Experts::Chosen { count, .. } | Experts::InTurn { count, .. } => count,
        }
    }

    /// The matrix of a column.
    ///
    /// # Safety
    /// Chosen: there is a number for the column.
    pub(super) unsafe fn of(self, [slot, token, _]: [usize; 3]) -> i32 {
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
pub(super) struct ColumnTile {
    /// The matrix.
    pub(super) expert: u32,
    /// The first column, in the order of the tiles.
    pub(super) first: u32,
    /// Number of columns.
    pub(super) columns: u32,
}

/// Where things are in the work memory.
pub(super) struct Work {
    /// From where threads take their chunks of rows.
    pub(super) counter: *const AtomicUsize,
    /// Numbers of the tiles, and of the experts in use with their tiles.
    pub(super) counts: *mut u32,
    /// The tiles, if there are experts.
    pub(super) tiles: *mut ColumnTile,
    /// Columns in the order of their experts.
    pub(super) order: *mut u32,
    /// For each expert, where its next column goes in that order.
    pub(super) next: *mut u32,
    /// The rounded columns.
    panels: *mut u8,
}

impl Product {
    pub(super) fn total(&self) -> usize {
        self.columns.iter().product()
    }

    /// Bytes of work memory that [`Product::run`] needs; the number of threads does not matter.
    pub fn work_bytes(&self) -> usize {
        self.panels_at() + self.total() * self.column_bytes() + ALIGN
    }

    /// Bytes of a column in a panel, up to the next aligned one.
    pub(super) fn column_bytes(&self) -> usize {
        (self.panel().bytes() * self.layout.blocks()).next_multiple_of(ALIGN)
    }

    pub(super) fn panel(&self) -> Panel {
        Panel::new(self.layout.kind.family())
    }

    /// Where the panels begin, from an aligned start.
    fn panels_at(&self) -> usize {
        let lists = match self.experts {
            Some(experts) => {
                let of_columns = self.total() * (size_of::<ColumnTile>() + size_of::<u32>());
                of_columns + experts.count() * size_of::<u32>()
            }
            None => 0,
        };
        (ALIGN + lists).next_multiple_of(ALIGN)
    }

    /// # Safety
    /// `work` points to [`Product::work_bytes`].
    pub(super) unsafe fn work(&self, work: *mut u8) -> Work {
        let start = work.wrapping_add(work.align_offset(ALIGN));
        let tiles = start.wrapping_add(ALIGN).cast::<ColumnTile>();
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
    pub(super) fn cut(&self, columns: usize, isa: Isa) -> Tiles {
        let wide = isa == Isa::Amx && self.layout.kind.family() != KindFamily::Float;
        Tiles::of(columns, isa.columns(), wide)
    }

    /// The place of column `j`.
    pub(super) fn place(&self, j: usize) -> [usize; 3] {
        let [a, b, _] = self.columns;
        [j % a, j / a % b, j / (a * b)]
    }

    /// Tile `t`, if there are as many.
    pub(super) unsafe fn tile(&self, t: usize, isa: Isa, work: &Work) -> Option<ColumnTile> {
        match self.experts {
            // SAFETY: so many were written.
            Some(_) => unsafe {
                (t < work.counts.read() as usize).then(|| work.tiles.add(t).read())
            },
            None => {
                let mut tiles = self.cut(self.total(), isa);
                tiles.nth(t).map(|(first, columns)| ColumnTile {
                    expert: 0,
                    first: first as u32,
                    columns: columns as u32,
                })
            }
        }
    }

    /// Where a tile's panel is.
    pub(super) fn panel_at(&self, tile: ColumnTile, work: &Work) -> *mut u8 {
        work.panels
            .wrapping_add(tile.first as usize * self.column_bytes())
    }

    /// The place of the `i`th column in the order of the tiles.
    pub(super) unsafe fn column(&self, i: usize, work: &Work) -> [usize; 3] {
        match self.experts {
            // SAFETY: the order has every column of a tile.
            Some(_) => self.place(unsafe { work.order.add(i).read() } as usize),
            None => self.place(i),
        }
    }

    /// The tiles of the `nth` matrix in use: the first and their number.
    pub(super) unsafe fn tiles_of(
        &self,
        nth: usize,
        isa: Isa,
        work: &Work,
    ) -> Option<(usize, usize)> {
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
}

/// Cuts columns into tiles: (first, number) of each. Wide ones come first, the others are nearly
/// equal.
pub(super) struct Tiles {
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
