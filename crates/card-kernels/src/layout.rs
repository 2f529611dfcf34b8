//! How weights lie in memory: rows side by side, so that each lane of a vector belongs to one
//! output and sums its row from the first weight to the last.
//!
//! `rows` rows form a *group*. A group has its scales first (block after block), then its codes
//! in *units* of 32 weights. Within a unit four neighbouring weights of a row fill 32 bits, and
//! the rows' 32 bits lie side by side. Halves of bytes hold two such fours: weights 8p to 8p+3
//! below, 8p+4 to 8p+7 above. Fifth and sixth bits have vectors of their own behind.

use std::sync::Mutex;

use crate::kind::{Codes, FLOAT_STEP, Kind, KindFamily};

/// Bytes to which groups and their parts are aligned.
pub const ALIGN: usize = 64;

/// The layout of a matrix, or of several alike (experts).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Type of the weights.
    pub kind: Kind,
    /// Rows side by side.
    pub rows: usize,
    /// Weights of a row: what is summed over.
    pub width: usize,
    /// Rows of the matrix: outputs.
    pub height: usize,
}

impl Layout {
    /// The layout of a matrix with rows of `width` weights, `rows` of them side by side.
    /// `None` if a row does not consist of whole blocks.
    pub fn new(kind: Kind, rows: usize, width: usize, height: usize) -> Option<Layout> {
        (width.is_multiple_of(kind.block()) && width > 0 && height > 0).then_some(Layout {
            kind,
            rows,
            width,
            height,
        })
    }

    /// Groups of rows; the last may be filled up with zeros.
    pub fn groups(&self) -> usize {
        self.height.div_ceil(self.rows)
    }

    /// Blocks of a row (steps of a row of plain numbers).
    pub(crate) fn blocks(&self) -> usize {
        match self.kind.family() {
            KindFamily::Float => self.width.div_ceil(FLOAT_STEP),
            _ => self.width / self.kind.block(),
        }
    }

    /// Bytes beside the codes of a block, for a group.
    pub(crate) fn header(&self) -> usize {
        let row = match self.kind.family() {
            KindFamily::Float => 0,
            KindFamily::Simple { .. } => 2,
            KindFamily::SimpleMin => 4,
            KindFamily::SuperMin => 16,
            KindFamily::Super { share, .. } => 256 / share + 2,
        };
        row * self.rows
    }

    /// Bytes of the codes of a block, for a group.
    pub(crate) fn quants(&self) -> usize {
        let row = match self.kind.family() {
            KindFamily::Float => FLOAT_STEP * self.kind.block_bytes(),
            _ => self.kind.block() / 32 * self.kind.scheme().unit(),
        };
        row * self.rows
    }

    /// Bytes of all headers of a group.
    pub(crate) fn headers(&self) -> usize {
        (self.header() * self.blocks()).next_multiple_of(ALIGN)
    }

    /// Bytes of a group.
    pub(crate) fn group(&self) -> usize {
        self.headers() + (self.quants() * self.blocks()).next_multiple_of(ALIGN)
    }

    /// Bytes of the matrix.
    pub fn bytes(&self) -> usize {
        self.group() * self.groups()
    }

    /// Bytes of a row as a file has it.
    pub fn file_row(&self) -> usize {
        self.width / self.kind.block() * self.kind.block_bytes()
    }

    /// Lays a matrix out. `file` has [`Layout::file_row`] bytes a row, `packed`
    /// [`Layout::bytes`].
    ///
    /// # Panics
    /// If a length is another one.
    pub fn pack(&self, file: &[u8], packed: &mut [u8]) {
        assert_eq!(file.len(), self.file_row() * self.height);
        assert_eq!(packed.len(), self.bytes());
        let rows = file.chunks(self.file_row() * self.rows);
        let pairs: Vec<_> = rows.zip(packed.chunks_exact_mut(self.group())).collect();
        self.side_by_side(pairs, |(rows, group)| self.pack_group(rows, group));
    }

    /// The inverse of [`Layout::pack`].
    ///
    /// # Panics
    /// As there.
    pub fn unpack(&self, packed: &[u8], file: &mut [u8]) {
        assert_eq!(file.len(), self.file_row() * self.height);
        assert_eq!(packed.len(), self.bytes());
        let rows = file.chunks_mut(self.file_row() * self.rows);
        let pairs: Vec<_> = packed.chunks_exact(self.group()).zip(rows).collect();
        self.side_by_side(pairs, |(group, rows)| self.unpack_group(group, rows));
    }

    /// Does the work on each item, on all cores if it is much.
    fn side_by_side<T: Send>(&self, items: Vec<T>, work: impl Fn(T) + Sync) {
        /// Bytes below which a thread is not worth its start.
        const SMALL: usize = 1 << 20;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = cores.min(self.bytes() / SMALL).max(1);
        if threads == 1 {
            return items.into_iter().for_each(work);
        }
        let items = Mutex::new(items.into_iter());
        let next = || items.lock().ok()?.next();
        let share = || {
            while let Some(item) = next() {
                work(item);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                // Where the system gives no thread, this one does the work alone.
                let _ = std::thread::Builder::new().spawn_scoped(scope, share);
            }
            share();
        });
    }

    fn pack_group(&self, rows: &[u8], group: &mut [u8]) {
        let (headers, quants) = group.split_at_mut(self.headers());
        if self.kind.family() == KindFamily::Float {
            let size = self.kind.block_bytes();
            quants.fill(0);
            for (r, row) in rows.chunks_exact(self.file_row()).enumerate() {
                for (k, x) in row.chunks_exact(size).enumerate() {
                    quants[(k * self.rows + r) * size..][..size].copy_from_slice(x);
                }
            }
            return;
        }
        let size = self.kind.block_bytes();
        for b in 0..self.blocks() {
            let header = &mut headers[b * self.header()..][..self.header()];
            let quants = &mut quants[b * self.quants()..][..self.quants()];
            for r in 0..self.rows {
                let block = rows.get(r * self.file_row() + b * size..);
                let codes = match block {
                    Some(block) if block.len() >= size => Codes::read(self.kind, &block[..size]),
                    _ => Codes::ZERO,
                };
                self.put_header(header, r, &codes);
                for u in 0..self.kind.block() / 32 {
                    let unit = self.kind.scheme().unit() * self.rows;
                    let q = &codes.q[32 * u..][..32];
                    put_unit(self.kind, &mut quants[u * unit..][..unit], self.rows, r, q);
                }
            }
        }
    }

    fn unpack_group(&self, group: &[u8], rows: &mut [u8]) {
        let (headers, quants) = group.split_at(self.headers());
        let size = self.kind.block_bytes();
        if self.kind.family() == KindFamily::Float {
            for (r, row) in rows.chunks_exact_mut(self.file_row()).enumerate() {
                for (k, x) in row.chunks_exact_mut(size).enumerate() {
                    x.copy_from_slice(&quants[(k * self.rows + r) * size..][..size]);
                }
            }
            return;
        }
        for (r, row) in rows.chunks_exact_mut(self.file_row()).enumerate() {
            for (b, block) in row.chunks_exact_mut(size).enumerate() {
                let header = &headers[b * self.header()..][..self.header()];
                let quants = &quants[b * self.quants()..][..self.quants()];
                let mut codes = self.header_of(header, r);
                for u in 0..self.kind.block() / 32 {
                    let unit = self.kind.scheme().unit() * self.rows;
                    let q = &mut codes.q[32 * u..][..32];
                    unit_of(self.kind, &quants[u * unit..][..unit], self.rows, r, q);
                }
                codes.write(self.kind, block);
            }
        }
    }

    fn put_header(&self, header: &mut [u8], r: usize, c: &Codes) {
        let n = self.rows;
        let mut put = |at: usize, x: &[u8]| header[at..at + x.len()].copy_from_slice(x);
        match self.kind.family() {
            KindFamily::Float => {}
            KindFamily::Simple { .. } => put(2 * r, &c.d.to_le_bytes()),
            KindFamily::SimpleMin => {
                put(2 * r, &c.d.to_le_bytes());
                put(2 * (n + r), &c.m.to_le_bytes());
            }
            KindFamily::SuperMin => {
                for (i, word) in six_bits(c).into_iter().enumerate() {
                    put(4 * (i * n + r), &word.to_le_bytes());
                }
                put(12 * n + 2 * r, &c.d.to_le_bytes());
                put(14 * n + 2 * r, &c.m.to_le_bytes());
            }
            KindFamily::Super { share, .. } => {
                let parts = 256 / share;
                for (j, s) in c.scales[..parts].iter().enumerate() {
                    put(j * n + r, &[*s as u8]);
                }
                put(parts * n + 2 * r, &c.d.to_le_bytes());
            }
        }
    }

    fn header_of(&self, header: &[u8], r: usize) -> Codes {
        let n = self.rows;
        let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let mut c = Codes::ZERO;
        match self.kind.family() {
            KindFamily::Float => {}
            KindFamily::Simple { .. } => c.d = half(2 * r),
            KindFamily::SimpleMin => (c.d, c.m) = (half(2 * r), half(2 * (n + r))),
            KindFamily::SuperMin => {
                let word = |i: usize| {
                    let at = 4 * (i * n + r);
                    u32::from(half(at)) | u32::from(half(at + 2)) << 16
                };
                (c.scales, c.mins) = of_six_bits([word(0), word(1), word(2)]);
                (c.d, c.m) = (half(12 * n + 2 * r), half(14 * n + 2 * r));
            }
            KindFamily::Super { share, .. } => {
                let parts = 256 / share;
                for (j, s) in c.scales[..parts].iter_mut().enumerate() {
                    *s = header[j * n + r] as i8;
                }
                c.d = half(parts * n + 2 * r);
            }
        }
        c
    }
}

/// 8 scales and 8 minima of 6 bits in 96: words A, B and C.
///
/// The minima lie so that one mask gives a pair of 16-bit numbers: 0 and 1 at bits 0 and 16 of
/// A, 2 and 3 at bits 6 and 22, 4 to 7 likewise in B. Scales 0 to 4 are in C, 6 bits each; of 5,
/// 6 and 7 four bits are at bit 12 of A, 28 of A and 28 of B, and two at bit 30 of C, 12 of B
/// and 14 of B.
fn six_bits(c: &Codes) -> [u32; 3] {
    let s = c.scales.map(|s| s as u32 & 63);
    let m = c.mins.map(|m| u32::from(m) & 63);
    let a = m[0] | m[2] << 6 | (s[5] & 15) << 12 | m[1] << 16 | m[3] << 22 | (s[6] & 15) << 28;
    let b = m[4]
        | m[6] << 6
        | s[6] >> 4 << 12
        | s[7] >> 4 << 14
        | m[5] << 16
        | m[7] << 22
        | (s[7] & 15) << 28;
    let low = s[0] | s[1] << 6 | s[2] << 12 | s[3] << 18 | s[4] << 24;
    [a, b, low | s[5] >> 4 << 30]
}

fn of_six_bits([a, b, c]: [u32; 3]) -> ([i8; 16], [u8; 8]) {
    let mut scales = [0; 16];
    for (j, s) in scales[..5].iter_mut().enumerate() {
        *s = (c >> (6 * j) & 63) as i8;
    }
    scales[5] = (a >> 12 & 15 | c >> 30 << 4) as i8;
    scales[6] = (a >> 28 | (b >> 12 & 3) << 4) as i8;
    scales[7] = (b >> 28 | (b >> 14 & 3) << 4) as i8;
    let mins = [a, a >> 16, a >> 6, a >> 22, b, b >> 16, b >> 6, b >> 22];
    (scales, mins.map(|m| (m & 63) as u8))
}

/// Lays 32 codes of row `r` into a unit.
fn put_unit(kind: Kind, unit: &mut [u8], rows: usize, r: usize, q: &[u8]) {
    let four = |g: usize| u32::from_le_bytes([q[4 * g], q[4 * g + 1], q[4 * g + 2], q[4 * g + 3]]);
    let mut put = |vector: usize, word: u32| {
        unit[4 * (vector * rows + r)..][..4].copy_from_slice(&word.to_le_bytes());
    };
    let scheme = kind.scheme().unit();
    if scheme == 32 {
        return (0..8).for_each(|g| put(g, four(g)));
    }
    for p in 0..4 {
        let (low, high) = (four(2 * p) & 0x0f0f_0f0f, four(2 * p + 1) & 0x0f0f_0f0f);
        put(p, low | high << 4);
    }
    if scheme == 20 {
        let bits = (0..8).map(|g| (four(g) >> 4 & 0x0101_0101) << g);
        put(4, bits.fold(0, |all, b| all | b));
    }
    if scheme == 24 {
        for h in 0..2 {
            let bits = (0..4).map(|g| (four(4 * h + g) >> 4 & 0x0303_0303) << (2 * g));
            put(4 + h, bits.fold(0, |all, b| all | b));
        }
    }
}

/// The inverse of [`put_unit`].
fn unit_of(kind: Kind, unit: &[u8], rows: usize, r: usize, q: &mut [u8]) {
    let get = |vector: usize| {
        let at = 4 * (vector * rows + r);
        u32::from_le_bytes([unit[at], unit[at + 1], unit[at + 2], unit[at + 3]])
    };
    let scheme = kind.scheme().unit();
    for g in 0..8 {
        let nibbles = get(g / 2) >> (4 * (g % 2)) & 0x0f0f_0f0f;
        let word = match scheme {
            32 => get(g),
            20 => nibbles | (get(4) >> g & 0x0101_0101) << 4,
            24 => nibbles | (get(4 + g / 4) >> (2 * (g % 4)) & 0x0303_0303) << 4,
            _ => nibbles,
        };
        q[4 * g..][..4].copy_from_slice(&word.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_laid_out_can_be_had_back() {
        let mut state = 7u64;
        for kind in Kind::ALL {
            for (rows, height) in [(8, 8), (8, 19), (16, 5), (16, 33)] {
                let layout = Layout::new(kind, rows, 512, height).unwrap();
                let file: Vec<u8> = (0..layout.file_row() * height)
                    .map(|_| {
                        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                        (state >> 33) as u8
                    })
                    .collect();
                let mut packed = vec![0xaa; layout.bytes()];
                layout.pack(&file, &mut packed);
                let mut back = vec![0; file.len()];
                layout.unpack(&packed, &mut back);
                assert_eq!(back, file, "{kind:?} {rows} {height}");
            }
        }
        assert_eq!(Layout::new(Kind::Q4K, 8, 128, 8), None);
        let odd = Layout::new(Kind::F16, 8, 33, 3).unwrap();
        let file: Vec<u8> = (0..odd.file_row() * 3).map(|i| i as u8).collect();
        let (mut packed, mut back) = (vec![1; odd.bytes()], vec![0; file.len()]);
        odd.pack(&file, &mut packed);
        odd.unpack(&packed, &mut back);
        assert_eq!(back, file);
    }
}
