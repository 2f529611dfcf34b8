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
use super::{Code, Eight, Five, Four, FourOfTable, Simd, Six};
use crate::kind::Kind;
use crate::panel::WIDE;
use forms::{Scaled8, Scaled16, Simple, SuperMin};

mod forms;

/// Rows of a group.
pub(crate) const ROWS: usize = 16;
/// Numbers of a tile of outputs.
pub(crate) const TILE: usize = WIDE * ROWS;
/// Units of 32 weights that are done at once.
const UNITS: usize = 8;
/// Weights of them.
const STEP: usize = 32 * UNITS;
/// Bytes of a tile, and of its lines.
const BYTES: usize = 1024;
const LINE: usize = 64;

/// Groups of rows times panels.
#[derive(Clone, Copy)]
pub(crate) struct Pass {
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
    /// The first panel of [`WIDE`] columns.
    pub(crate) panel: *const u8,
    /// Bytes from panel to panel.
    pub(crate) panel_stride: usize,
    /// Number of panels.
    pub(crate) tiles: usize,
    /// The outputs: group after group a tile for each panel, a line of rows for each column.
    pub(crate) out: *mut f32,
}

/// What a step of a group is unpacked to.
#[repr(C, align(64))]
struct Unpacked {
    /// Codes without their offset, or lower and upper bytes of scaled weights.
    bytes: [[u8; STEP * ROWS]; 2],
    /// Scales of the units.
    scales: [[f32; ROWS]; UNITS],
    /// Their minima, or pairs of them.
    mins: [[u32; ROWS]; UNITS],
    /// The scale of a block of 256, and that of the minima.
    block: [[f32; ROWS]; 2],
}

/// Parts whose products are made before those of a part are added: they take their time.
const AHEAD: usize = 2;

/// Products of parts on their way.
#[repr(C, align(64))]
struct Ring {
    /// Two tiles each: lower and upper bytes.
    products: [[[i32; TILE]; 2]; 2 * AHEAD],
    /// Which of them is next.
    next: usize,
    /// Weights that will be needed later, and how many lines of them to ask for with a part. All
    /// at once would keep other things from the cache.
    later: *const u8,
    lines: usize,
}

/// What is multiplied: unpacked weights and a step of a panel. It has so many parts.
#[derive(Clone, Copy)]
struct Sides {
    weights: *const u8,
    panel: *const u8,
    parts: usize,
}

/// What a family of weights does with a step of [`UNITS`] units.
trait Form {
    type Code: Code;
    /// Units whose products come out together.
    const PART: usize;
    /// Weights that a tile has.
    const TILE: usize;
    /// Bytes of headers of a step.
    const HEADER: usize;
    /// Bytes of a panel for a step.
    const PANEL: usize;

    /// Unpacks so many units.
    unsafe fn unpack(header: *const u8, quants: *const u8, units: usize, to: &mut Unpacked);
    /// Makes the products of a part, which the sides have.
    unsafe fn make(sides: Sides, part: usize, to: *mut i32);
    /// Adds a step to a tile of outputs. The products of its first parts are in the ring, and
    /// those of the next step's first parts are put there.
    unsafe fn step(now: Sides, next: Option<Sides>, of: &Unpacked, ring: &mut Ring, out: *mut f32);
}

/// Says how tiles are cut for so many weights: 0 and 1 for products, 2 for columns, 3 and 4 for
/// weights.
unsafe fn configure(weights: usize) {
    #[repr(C, align(64))]
    struct Config {
        palette: u8,
        start: u8,
        zero: [u8; 14],
        bytes: [u16; 16],
        rows: [u8; 16],
    }
    let mut config = Config {
        palette: 1,
        start: 0,
        zero: [0; 14],
        bytes: [0; 16],
        rows: [0; 16],
    };
    let products = (WIDE, 4 * ROWS);
    let codes = (weights / 4, 4 * ROWS);
    let tiles = [products, products, (WIDE, weights), codes, codes];
    for (i, (rows, bytes)) in tiles.into_iter().enumerate() {
        (config.rows[i], config.bytes[i]) = (rows as u8, bytes as u16);
    }
    // SAFETY: 64 bytes that say what the processor can do, which the caller has looked for.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, readonly, preserves_flags));
    }
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

/// Products of 32 weights.
#[inline(always)]
unsafe fn multiply(columns: *const u8, weights: *const u8, to: *mut i32) {
    // SAFETY: the caller has set the tiles up; the lines of columns are 32 bytes apart, those
    // of weights and products 64.
    unsafe {
        asm!(
            "tileloadd tmm3, [{weights} + {line}]",
            "tileloadd tmm2, [{columns} + {half}]",
            "tilezero tmm0",
            "tdpbssd tmm0, tmm2, tmm3",
            "tilestored [{to} + {line}], tmm0",
            columns = in(reg) columns,
            weights = in(reg) weights,
            to = in(reg) to,
            line = in(reg) LINE,
            half = in(reg) LINE / 2,
            out("tmm0") _, out("tmm2") _, out("tmm3") _,
            options(nostack, preserves_flags),
        );
    }
}

/// Products of so many times 64 scaled weights: of their lower bytes and of their upper ones.
#[inline(always)]
unsafe fn multiply_scaled(columns: *const u8, weights: *const u8, tiles: usize, to: *mut i32) {
    // SAFETY: the caller has set the tiles up; lines are 64 bytes apart, tiles 1024, upper bytes
    // 4096 behind the lower ones.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "2:",
            "tileloadd tmm2, [{columns} + {line}]",
            "tileloadd tmm3, [{weights} + {line}]",
            "tileloadd tmm4, [{weights} + {line} + 4096]",
            "tdpbsud tmm0, tmm2, tmm3",
            "tdpbssd tmm1, tmm2, tmm4",
            "add {columns}, 1024",
            "add {weights}, 1024",
            "dec {tiles}",
            "jnz 2b",
            "tilestored [{to} + {line}], tmm0",
            "tilestored [{to} + {line} + 1024], tmm1",
            columns = inout(reg) columns => _,
            weights = inout(reg) weights => _,
            tiles = inout(reg) tiles => _,
            to = in(reg) to,
            line = in(reg) LINE,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _,
            options(nostack),
        );
    }
}

/// Calls `add` with the products of each part and its number, and makes those of later ones.
#[inline(always)]
unsafe fn each_part<F: Form>(
    now: Sides,
    next: Option<Sides>,
    ring: &mut Ring,
    mut add: impl FnMut(*const i32, usize),
) {
    let parts = now.parts.max(AHEAD);
    for part in 0..parts {
        let later = part + AHEAD;
        if later < parts {
            // SAFETY: the sides have this part, and the ring is free there.
            unsafe { F::make(now, later, ring.place(AHEAD)) };
        } else if let Some(next) = next
            && later - parts < next.parts
        {
            // SAFETY: as above.
            unsafe { F::make(next, later - parts, ring.place(AHEAD)) };
        }
        if part < now.parts {
            add(ring.place(0), part);
        }
        ring.next += 1;
        for _ in 0..ring.lines {
            // SAFETY: nothing is read.
            unsafe { Avx512::ask(ring.later) };
            ring.later = ring.later.wrapping_add(LINE);
        }
    }
}

impl Ring {
    /// Where products are that will be added after so many others.
    #[inline(always)]
    fn place(&mut self, after: usize) -> *mut i32 {
        self.products[(self.next + after) % (2 * AHEAD)]
            .as_mut_ptr()
            .cast()
    }
}

impl Pass {
    /// Unpacks a step of a group, and says how many parts it has.
    #[inline(always)]
    unsafe fn unpack<F: Form>(&self, step: usize, g: usize, to: &mut Unpacked) -> usize {
        let units = UNITS.min(self.units - step * UNITS);
        // SAFETY: the group has as many units and their headers.
        unsafe {
            let group = self.group.add(g * self.stride);
            let quants = group.add(self.headers + step * UNITS * F::Code::UNIT * ROWS);
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
        group.wrapping_add(self.headers + step * UNITS * F::Code::UNIT * ROWS)
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
                ring.lines = (F::Code::UNIT * ROWS * UNITS / 64).div_ceil(tiles * parts.max(AHEAD));
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
pub(crate) fn kernel(kind: Kind) -> Option<unsafe fn(Pass)> {
    #[target_feature(
        enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi"
    )]
    unsafe fn run<F: Form>(job: Pass) {
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
