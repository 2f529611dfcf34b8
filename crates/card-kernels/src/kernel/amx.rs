//! AMX: tiles of 16 columns and 16 rows, 16384 products of bytes in an instruction.
//!
//! The weights of 16 rows are unpacked to bytes once for all columns. They then lie as the
//! instruction wants its right side: a line of 64 bytes for every four weights. The left side is
//! the columns' bytes, a line for each column (`panel.rs`, wide panels). Products are whole
//! numbers and come out through memory, which costs more than making them. The rest is done by
//! AVX-512, each output in the order of `kernel.rs`, so that its bits are the same.
//!
//! - Blocks of 32 with a scale: the products of each block come out.
//! - Blocks of 256 with 8 scales of 8 bits: likewise, of every 32 weights.
//! - Other blocks of 256: each weight is multiplied with its scale first. Such a number has up
//!   to 14 bits, so its bytes are multiplied apart, the upper one with a sign. The products of a
//!   double run come out (`kernel.rs`), the whole block at best.

use std::arch::asm;

use super::avx512::Avx512;
use super::code::{Code, Eight, Five, Four, FourOfTable, Six};
use super::simd::Simd;
use crate::kind::Kind;
use forms::{Scaled8, Scaled16, Simple, SuperMin};
use tile::{AHEAD, Form, LINE, Ring, STEP, Sides, UNITS, Unpacked, configure};
pub(crate) use tile::{ROWS, TILE};

mod forms;
mod tile;

/// Groups of rows times panels.
#[derive(Clone, Copy)]
pub(crate) struct AmxPass {
    /// The first group.
    pub(crate) group: *const u8,
    /// Bytes from group to group.
    pub(crate) stride: usize,
    /// Bytes of a group's headers.
    pub(crate) headers: usize,
    /// Number of groups.
    pub(crate) groups: usize,
    /// Units of 32 weights of a row.
    pub(crate) units: usize,
    /// The first panel of [`crate::panel::WIDE`] columns.
    pub(crate) panel: *const u8,
    /// Bytes from panel to panel.
    pub(crate) panel_stride: usize,
    /// Number of panels.
    pub(crate) tiles: usize,
    /// The outputs: group after group a tile for each panel, a line of rows for each column.
    pub(crate) out: *mut f32,
}

/// How the tiles of this thread were cut before: ggml's own kernels cut them once for a thread,
/// and rely on it.
///
/// When it is dropped the tiles are cut like that again, or given back, so that they are not kept
/// when threads are changed.
#[repr(C, align(64))]
pub(crate) struct Before([u8; 64]);

impl Before {
    /// # Safety
    /// The processor has AMX, and this process may use it.
    pub(crate) unsafe fn new() -> Before {
        let mut before = Before([0; 64]);
        // SAFETY: writes 64 bytes, zeros if the tiles are not cut.
        unsafe {
            asm!("sttilecfg [{}]", in(reg) &mut before, options(nostack, preserves_flags));
        }
        before
    }
}

impl Drop for Before {
    fn drop(&mut self) {
        // SAFETY: what was there before, or nothing: both can be.
        unsafe {
            match self.0[0] {
                0 => asm!("tilerelease", options(nomem, nostack, preserves_flags)),
                _ => asm!(
                    "ldtilecfg [{}]",
                    in(reg) &*self,
                    options(nostack, readonly, preserves_flags)
                ),
            }
        }
    }
}

impl AmxPass {
    /// Unpacks a step of a group, and says how many parts it has.
    #[inline(always)]
    unsafe fn unpack<F: Form>(&self, step: usize, g: usize, to: &mut Unpacked) -> usize {
        let units = UNITS.min(self.units - step * UNITS);
        // SAFETY: the group has as many units and their headers.
        unsafe {
            let group = self.group.add(g * self.stride);
            let quants = group.add(self.headers + step * UNITS * <F::Code as Code>::UNIT * ROWS);
            F::unpack(group.add(step * F::HEADER), quants, units, to);
        }
        units / F::PART
    }

    /// Asks for the headers of the next step of a group, or of the first one of the next pass,
    /// and gives the place of its codes.
    #[inline(always)]
    unsafe fn later<F: Form>(&self, step: usize, g: usize) -> *const u8 {
        let (step, g) = match (step + 1) * UNITS < self.units {
            true => (step + 1, g),
            false => (0, g + self.groups),
        };
        let group = self.group.wrapping_add(g * self.stride);
        for line in 0..F::HEADER.div_ceil(LINE) {
            // SAFETY: nothing is read.
            unsafe { Avx512::ask(group.wrapping_add(step * F::HEADER + LINE * line)) };
        }
        group.wrapping_add(self.headers + step * UNITS * <F::Code as Code>::UNIT * ROWS)
    }

    /// Does it: step after step, so that a step of the panels serves all groups, and in a step
    /// group after group, so that a group's codes serve all panels.
    #[inline(always)]
    unsafe fn run<F: Form>(&self) {
        let new = || Unpacked {
            bytes: [[0; STEP * ROWS]; 2],
            scales: [[0.0; ROWS]; UNITS],
            mins: [[0; ROWS]; UNITS],
            block: [[0.0; ROWS]; 2],
        };
        let mut unpacked = [new(), new()];
        let mut ring = Ring {
            products: [[[0; TILE]; 2]; 2 * AHEAD],
            next: 0,
            later: std::ptr::null(),
            lines: 0,
        };
        let tiles = self.tiles;
        let turns = self.units.div_ceil(UNITS) * self.groups;
        // SAFETY: the groups and panels have as many units, the outputs as many tiles.
        unsafe {
            configure(F::TILE);
            self.out.write_bytes(0, self.groups * tiles * TILE);
            let mut parts = self.unpack::<F>(0, 0, &mut unpacked[0]);
            for turn in 0..turns {
                let (step, g) = (turn / self.groups, turn % self.groups);
                let of = turn % 2;
                ring.later = self.later::<F>(step, g);
                ring.lines = (<F::Code as Code>::UNIT * ROWS * UNITS / 64)
                    .div_ceil(tiles * parts.max(AHEAD));
                let sides = |step: usize, of: &Unpacked, t: usize, parts| Sides {
                    weights: of.bytes.as_ptr().cast(),
                    panel: self.panel.add(t * self.panel_stride + step * F::PANEL),
                    parts,
                };
                if turn == 0 {
                    let first = sides(0, &unpacked[0], 0, parts);
                    for part in 0..AHEAD.min(parts) {
                        F::make(first, part, ring.place(part));
                    }
                }
                let mut later = parts;
                for t in 0..tiles {
                    let now = sides(step, &unpacked[of], t, parts);
                    let next = if t + 1 < tiles {
                        Some(sides(step, &unpacked[of], t + 1, parts))
                    } else if turn + 1 < turns {
                        let (step, g) = ((turn + 1) / self.groups, (turn + 1) % self.groups);
                        later = self.unpack::<F>(step, g, &mut unpacked[1 - of]);
                        Some(sides(step, &unpacked[1 - of], 0, later))
                    } else {
                        None
                    };
                    let out = self.out.add((g * tiles + t) * TILE);
                    F::step(now, next, &unpacked[of], &mut ring, out);
                }
                parts = later;
            }
        }
    }
}

/// The kernel for a kind of weights, unless that is plain numbers.
///
/// # Safety of the kernel
/// The processor has AMX, AVX-512 and VBMI, and the pass is for weights of this kind.
pub(crate) fn kernel(kind: Kind) -> Option<unsafe fn(AmxPass)> {
    #[target_feature(
        enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi"
    )]
    unsafe fn run<F: Form>(job: AmxPass) {
        // SAFETY: the caller's, and the features are there.
        unsafe { job.run::<F>() }
    }
    Some(match kind {
        Kind::F32 | Kind::F16 | Kind::Bf16 => return None,
        Kind::Q4_0 => run::<Simple<Four, 8, false>>,
        Kind::Q4_1 => run::<Simple<Four, 0, true>>,
        Kind::Q5_0 => run::<Simple<Five, 16, false>>,
        Kind::Q5_1 => run::<Simple<Five, 0, true>>,
        Kind::Q8_0 => run::<Simple<Eight, 128, false>>,
        Kind::Iq4Nl => run::<Simple<FourOfTable, 128, false>>,
        Kind::Iq4Xs => run::<Scaled8<FourOfTable, 128>>,
        Kind::Q4K => run::<SuperMin<Four>>,
        Kind::Q5K => run::<SuperMin<Five>>,
        Kind::Q6K => run::<Scaled16<Six, 32>>,
    })
}
