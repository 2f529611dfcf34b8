//! Tiles, and what is multiplied with them.

use std::arch::asm;

use crate::kernel::avx512::Avx512;
use crate::kernel::code::Code;
use crate::kernel::simd::Simd;
use crate::panel::WIDE;

/// Rows of a group.
pub(crate) const ROWS: usize = 16;
/// Numbers of a tile of outputs.
pub(crate) const TILE: usize = WIDE * ROWS;
/// Units of 32 weights that are done at once.
pub(super) const UNITS: usize = 8;
/// Weights of them.
pub(super) const STEP: usize = 32 * UNITS;
/// Bytes of a tile, and of its lines.
pub(super) const BYTES: usize = 1024;
pub(super) const LINE: usize = 64;

/// What a step of a group is unpacked to.
#[repr(C, align(64))]
pub(super) struct Unpacked {
    /// Codes without their offset, or lower and upper bytes of scaled weights.
    pub(super) bytes: [[u8; STEP * ROWS]; 2],
    /// Scales of the units.
    pub(super) scales: [[f32; ROWS]; UNITS],
    /// Their minima, or pairs of them.
    pub(super) mins: [[u32; ROWS]; UNITS],
    /// The scale of a block of 256, and that of the minima.
    pub(super) block: [[f32; ROWS]; 2],
}

/// Parts whose products are made before those of a part are added: they take their time.
pub(super) const AHEAD: usize = 2;

/// Products of parts on their way.
#[repr(C, align(64))]
pub(super) struct Ring {
    /// Two tiles each: lower and upper bytes.
    pub(super) products: [[[i32; TILE]; 2]; 2 * AHEAD],
    /// Which of them is next.
    pub(super) next: usize,
    /// Weights that will be needed later, and how many lines of them to ask for with a part. All
    /// at once would keep other things from the cache.
    pub(super) later: *const u8,
    pub(super) lines: usize,
}

/// What is multiplied: unpacked weights and a step of a panel. It has so many parts.
#[derive(Clone, Copy)]
pub(super) struct Sides {
    pub(super) weights: *const u8,
    pub(super) panel: *const u8,
    pub(super) parts: usize,
}

/// What a family of weights does with a step of [`UNITS`] units.
pub(super) trait Form {
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
pub(super) unsafe fn configure(weights: usize) {
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

/// Products of 32 weights.
#[inline(always)]
pub(super) unsafe fn multiply(columns: *const u8, weights: *const u8, to: *mut i32) {
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
pub(super) unsafe fn multiply_scaled(
    columns: *const u8,
    weights: *const u8,
    tiles: usize,
    to: *mut i32,
) {
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
pub(super) unsafe fn each_part<F: Form>(
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
    pub(super) fn place(&mut self, after: usize) -> *mut i32 {
        self.products[(self.next + after) % (2 * AHEAD)]
            .as_mut_ptr()
            .cast()
    }
}
