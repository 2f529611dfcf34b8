//! One unit of work: a few rows and heads that read the same head of K and of V.

// Several arrays are indexed by the number of a row or of a pair.
#![allow(clippy::needless_range_loop)]

use std::ptr;

use super::kernel::{PAIRS, QUAD, products, weighted};
use super::kv::{BLOCK, Side};
use super::lanes::F32x16;
use super::math::{Scoring, soften};
use super::spans::{Part, Walk, quad, visible};
use super::tensors::Attention;

/// The rows and heads of a unit. Pair `r * heads + h` is its row `r` and its head `h`.
pub(super) struct Tile {
    /// The stream.
    pub(super) stream: usize,
    /// The first head.
    pub(super) head: usize,
    /// Number of heads. If it is more than one, all heads have the same mask.
    pub(super) heads: usize,
    /// The first row.
    pub(super) row: usize,
    /// Number of rows.
    pub(super) rows: usize,
}

/// One thread's scratch.
pub(super) struct Scratch {
    /// A query for each pair, padded with zeros.
    pub(super) q: *mut f32,
    /// An output for each pair.
    pub(super) out: *mut f32,
    /// Scores, then weights, for each pair, of the cells that its row sees.
    pub(super) scores: *mut f32,
    /// The cells that each row sees.
    pub(super) lists: *mut u32,
    /// A block of decoded cells.
    pub(super) decoded: *mut f32,
    /// Floats from one query to the next.
    pub(super) q_stride: usize,
    /// Floats from one output to the next.
    pub(super) out_stride: usize,
    /// Floats from one pair's scores to the next, and numbers from one row's list to the next.
    pub(super) list_stride: usize,
    /// Floats from one decoded cell to the next.
    pub(super) decoded_stride: usize,
}

/// Does the work of a tile.
///
/// # Safety
///
/// The tensors are as [`Attention::run`] demands, the tile is inside their dimensions and nobody
/// else writes its part of `dst`; the scratch has room for the tile and is this thread's alone;
/// the CPU has the instructions of `L`.
#[inline(always)]
pub(super) unsafe fn run<L: F32x16>(a: &Attention, t: &Tile, s: &Scratch) {
    let mut lists: [&[u32]; PAIRS] = [&[]; PAIRS];
    let mut biased = [false; PAIRS];
    // SAFETY: the tile's rows and heads exist, and each row has a list of its own in scratch.
    let (k, v) = unsafe {
        copy_queries(a, t, s);
        for r in 0..t.rows {
            let mask = a.mask_row(t.stream, t.head, t.row + r);
            let list = s.lists.add(r * s.list_stride);
            (lists[r], biased[r]) = visible(mask, a.n_kv, list);
        }
        (keys(a, t), values(a, t))
    };
    let lists = &lists[..t.rows];

    let mut walk = Walk::default();
    while let Some(span) = walk.advance(lists) {
        for number in 0..span.parts(t.rows) {
            let part = span.part(number, lists, t.heads);
            // SAFETY: all cells exist, since a row sees them.
            unsafe { score::<L>(&k, s, &part) };
        }
    }

    let mut factors = [0.0; PAIRS];
    for (pair, factor) in factors.iter_mut().take(t.rows * t.heads).enumerate() {
        let r = pair / t.heads;
        // SAFETY: every score of the row's cells is written by now; the list has room for 16
        // more; the head has a sink if there are sinks.
        unsafe {
            let how = scoring(a, t, pair, biased[r]);
            *factor = soften::<L>(s.scores.add(pair * s.list_stride), lists[r], &how);
            ptr::write_bytes(s.out.add(pair * s.out_stride), 0, s.out_stride);
        }
    }

    let mut walk = Walk::default();
    while let Some(span) = walk.advance(lists) {
        for number in 0..span.parts(t.rows) {
            let part = span.part(number, lists, t.heads);
            // SAFETY: all cells exist, since a row sees them.
            unsafe { sum::<L>(&v, s, &part) };
        }
    }

    for (pair, factor) in factors.iter().take(t.rows * t.heads).enumerate() {
        let row = t.row + pair / t.heads;
        let head = t.head + pair % t.heads;
        let at = ((t.stream * a.n_q + row) * a.n_head + head) * a.dv;
        // SAFETY: the output of this row and head is this tile's and has `dv` floats.
        unsafe {
            let out = s.out.add(pair * s.out_stride);
            let to = a.dst.add(at);
            for d in 0..a.dv {
                to.add(d).write(*out.add(d) * factor);
            }
        }
    }
}

/// Copies the tile's queries to scratch, with zeros behind.
///
/// # Safety
///
/// As for [`run`].
#[inline(always)]
unsafe fn copy_queries(a: &Attention, t: &Tile, s: &Scratch) {
    for r in 0..t.rows {
        for h in 0..t.heads {
            let from = (t.row + r) * a.q_nb[1] + (t.head + h) * a.q_nb[2] + t.stream * a.q_nb[3];
            // SAFETY: this query exists and has `dk` floats; the pair has `q_stride` floats of
            // scratch, which is `dk` or more.
            unsafe {
                let to = s.q.add((r * t.heads + h) * s.q_stride);
                let bytes = a.dk * size_of::<f32>();
                ptr::copy_nonoverlapping(a.q.add(from), to.cast::<u8>(), bytes);
                ptr::write_bytes(to.add(a.dk), 0, s.q_stride - a.dk);
            }
        }
    }
}

/// The head of K that the tile reads.
///
/// # Safety
///
/// As for [`run`].
unsafe fn keys(a: &Attention, t: &Tile) -> Side {
    let head = t.head / (a.n_head / a.n_head_k);
    let stream = t.stream / (a.n_stream / a.n_stream_k);
    Side {
        // SAFETY: this head and stream exist.
        base: unsafe { a.k.add(head * a.k_nb[2] + stream * a.k_nb[3]) },
        stride: a.k_nb[1],
        kind: a.k_type,
        len: a.dk,
    }
}

/// The head of V that the tile reads.
///
/// # Safety
///
/// As for [`run`].
unsafe fn values(a: &Attention, t: &Tile) -> Side {
    let head = t.head / (a.n_head / a.n_head_v);
    let stream = t.stream / (a.n_stream / a.n_stream_v);
    Side {
        // SAFETY: this head and stream exist.
        base: unsafe { a.v.add(head * a.v_nb[2] + stream * a.v_nb[3]) },
        stride: a.v_nb[1],
        kind: a.v_type,
        len: a.dv,
    }
}

/// How the scores of a pair are made.
///
/// # Safety
///
/// As for [`run`].
unsafe fn scoring(a: &Attention, t: &Tile, pair: usize, biased: bool) -> Scoring {
    let head = t.head + pair % t.heads;
    // SAFETY: the row of the mask and the sink of the head exist.
    unsafe {
        let bias = if biased {
            a.mask_row(t.stream, head, t.row + pair / t.heads)
                .map(|mask| (mask, a.slope(head)))
        } else {
            None
        };
        Scoring {
            scale: a.scale,
            softcap: a.softcap,
            bias,
            sink: a.sinks.map(|sinks| *sinks.add(head)),
        }
    }
}

/// Writes the products of the part's cells and pairs.
///
/// # Safety
///
/// As for [`run`]; the part is one of the tile's.
#[inline(always)]
unsafe fn score<L: F32x16>(k: &Side, s: &Scratch, part: &Part) {
    let mut done = 0;
    for cells in part.cells.chunks(BLOCK) {
        // SAFETY: a row sees the cells, so they exist; each pair has a query and room for the
        // scores of all cells that it sees.
        unsafe {
            let rows = k.rows(cells, s.decoded, s.decoded_stride);
            let mut pair = part.first;
            while pair < part.end {
                let n = quad(part.end - pair);
                let mut q = [ptr::null(); QUAD];
                let mut out = [ptr::null_mut(); QUAD];
                for i in 0..n {
                    let at = part.from[pair + i] + done;
                    q[i] = s.q.add((pair + i) * s.q_stride).cast_const();
                    out[i] = s.scores.add((pair + i) * s.list_stride + at);
                }
                products::<L>(k.kind, n, &q, &rows[..cells.len()], &out, k.len);
                pair += n;
            }
        }
        done += cells.len();
    }
}

/// Adds the part's cells, weighted, to the outputs of its pairs.
///
/// # Safety
///
/// As for [`run`]; the part is one of the tile's, and comes after all parts with earlier cells.
#[inline(always)]
unsafe fn sum<L: F32x16>(v: &Side, s: &Scratch, part: &Part) {
    let mut done = 0;
    for cells in part.cells.chunks(BLOCK) {
        // SAFETY: a row sees the cells, so they exist; each pair has an output and a weight for
        // each cell that it sees.
        unsafe {
            let rows = v.rows(cells, s.decoded, s.decoded_stride);
            let mut pair = part.first;
            while pair < part.end {
                let n = quad(part.end - pair);
                let mut weights = [ptr::null(); QUAD];
                let mut out = [ptr::null_mut(); QUAD];
                for i in 0..n {
                    let at = part.from[pair + i] + done;
                    weights[i] = s.scores.add((pair + i) * s.list_stride + at).cast_const();
                    out[i] = s.out.add((pair + i) * s.out_stride);
                }
                weighted::<L>(v.kind, n, &weights, &rows[..cells.len()], &out, v.len);
                pair += n;
            }
        }
        done += cells.len();
    }
}
