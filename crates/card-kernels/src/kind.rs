//! Types of weights, and the blocks they come in.
//!
//! A block of a file becomes [`Codes`]: small unsigned numbers with their scales, the same
//! form for every type. The layouts of the blocks are those of ggml (`ggml-common.h`).

use crate::half::{bf16_to_f32, f16_to_f32};

/// A type of weights. The numbers are ggml's, as in a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[allow(missing_docs)] // The names are all there is to say.
pub enum Kind {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q4K = 12,
    Q5K = 13,
    Q6K = 14,
    Iq4Nl = 20,
    Iq4Xs = 23,
    Bf16 = 30,
}

/// How the codes of 32 weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Half a byte each.
    Four,
    /// Half a byte and a bit.
    Five,
    /// Half a byte and two bits.
    Six,
    /// A byte.
    Eight,
}

impl Scheme {
    /// Bytes that 32 weights of one row take.
    pub(crate) const fn unit(self) -> usize {
        match self {
            Scheme::Four => 16,
            Scheme::Five => 20,
            Scheme::Six => 24,
            Scheme::Eight => 32,
        }
    }
}

/// What stands beside the codes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KindFamily {
    /// Plain numbers, in steps of [`FLOAT_STEP`].
    Float,
    /// A block of 32 with a scale, and an offset that is the same for all blocks.
    Simple {
        /// What a code of zero weight is.
        offset: i32,
    },
    /// A block of 32 with a scale and a minimum.
    SimpleMin,
    /// A block of 256: 8 scales and 8 minima of 6 bits, and one scale for each kind of them.
    SuperMin,
    /// A block of 256 with scales of 8 bits, and a scale for them.
    Super {
        /// What a code of zero weight is.
        offset: i32,
        /// Weights that share a scale: 16 or 32.
        share: usize,
    },
}

/// Weights of a row of plain numbers that are summed before they are added to the rest.
pub(crate) const FLOAT_STEP: usize = 32;

/// Values of the codes of IQ4_NL and IQ4_XS, plus 128.
pub(crate) const IQ4: [u8; 16] = [
    1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241,
];

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 13] = [
        Kind::F32,
        Kind::F16,
        Kind::Bf16,
        Kind::Q4_0,
        Kind::Q4_1,
        Kind::Q5_0,
        Kind::Q5_1,
        Kind::Q8_0,
        Kind::Iq4Nl,
        Kind::Iq4Xs,
        Kind::Q4K,
        Kind::Q5K,
        Kind::Q6K,
    ];

    /// The kind with ggml's number `id`.
    pub fn from_ggml(id: u32) -> Option<Kind> {
        Kind::ALL.into_iter().find(|k| *k as u32 == id)
    }

    pub(crate) const fn family(self) -> KindFamily {
        match self {
            Kind::F32 | Kind::F16 | Kind::Bf16 => KindFamily::Float,
            Kind::Q4_0 => KindFamily::Simple { offset: 8 },
            Kind::Q5_0 => KindFamily::Simple { offset: 16 },
            Kind::Q8_0 | Kind::Iq4Nl => KindFamily::Simple { offset: 128 },
            Kind::Q4_1 | Kind::Q5_1 => KindFamily::SimpleMin,
            Kind::Q4K | Kind::Q5K => KindFamily::SuperMin,
            Kind::Q6K => KindFamily::Super {
                offset: 32,
                share: 16,
            },
            Kind::Iq4Xs => KindFamily::Super {
                offset: 128,
                share: 32,
            },
        }
    }

    pub(crate) const fn scheme(self) -> Scheme {
        match self {
            Kind::Q5_0 | Kind::Q5_1 | Kind::Q5K => Scheme::Five,
            Kind::Q6K => Scheme::Six,
            Kind::Q8_0 => Scheme::Eight,
            _ => Scheme::Four,
        }
    }

    /// Weights of a block of the file.
    pub const fn block(self) -> usize {
        match self.family() {
            KindFamily::Float => 1,
            KindFamily::Simple { .. } | KindFamily::SimpleMin => 32,
            KindFamily::Super { .. } | KindFamily::SuperMin => 256,
        }
    }

    /// Bytes of a block of the file.
    pub const fn block_bytes(self) -> usize {
        match self {
            Kind::F32 => 4,
            Kind::F16 | Kind::Bf16 => 2,
            Kind::Q4_0 | Kind::Iq4Nl => 18,
            Kind::Q4_1 => 20,
            Kind::Q5_0 => 22,
            Kind::Q5_1 => 24,
            Kind::Q8_0 => 34,
            Kind::Q4K => 144,
            Kind::Q5K => 176,
            Kind::Q6K => 210,
            Kind::Iq4Xs => 136,
        }
    }
}

impl Kind {
    /// The weights of a row as a file has it, each rounded to `f32` once or twice.
    ///
    /// # Panics
    /// If `file` is not as many blocks as `to` has weights.
    pub fn weights(self, file: &[u8], to: &mut [f32]) {
        assert_eq!(file.len() / self.block_bytes(), to.len() / self.block());
        let blocks = file.chunks_exact(self.block_bytes());
        for (bytes, to) in blocks.zip(to.chunks_exact_mut(self.block())) {
            let half = || u16::from_le_bytes([bytes[0], bytes[1]]);
            match self {
                Kind::F32 => to[0] = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
                Kind::F16 => to[0] = f16_to_f32(half()),
                Kind::Bf16 => to[0] = bf16_to_f32(half()),
                _ => Codes::read(self, bytes).weights(self, to),
            }
        }
    }
}

/// A block of 32 or 256 weights as numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Codes {
    /// A code per weight.
    pub(crate) q: [u8; 256],
    /// Scales of its parts.
    pub(crate) scales: [i8; 16],
    /// Minima of its parts.
    pub(crate) mins: [u8; 8],
    /// The scale, as a half.
    pub(crate) d: u16,
    /// The minimum or the scale of minima, as a half.
    pub(crate) m: u16,
}

impl Codes {
    pub(crate) const ZERO: Codes = Codes {
        q: [0; 256],
        scales: [0; 16],
        mins: [0; 8],
        d: 0,
        m: 0,
    };

    /// Reads a block of a file, which has [`Kind::block_bytes`].
    pub(crate) fn read(kind: Kind, b: &[u8]) -> Codes {
        let mut c = Codes::ZERO;
        let half = |i: usize| half_at(b, i);
        match kind {
            Kind::F32 | Kind::F16 | Kind::Bf16 => {}
            Kind::Q4_0 | Kind::Iq4Nl => {
                c.d = half(0);
                nibbles(&mut c.q[..32], &b[2..18]);
            }
            Kind::Q4_1 => {
                (c.d, c.m) = (half(0), half(2));
                nibbles(&mut c.q[..32], &b[4..20]);
            }
            Kind::Q5_0 => {
                c.d = half(0);
                nibbles(&mut c.q[..32], &b[6..22]);
                fifth_bits(&mut c.q[..32], &b[2..6]);
            }
            Kind::Q5_1 => {
                (c.d, c.m) = (half(0), half(2));
                nibbles(&mut c.q[..32], &b[8..24]);
                fifth_bits(&mut c.q[..32], &b[4..8]);
            }
            Kind::Q8_0 => {
                c.d = half(0);
                for (q, &x) in c.q[..32].iter_mut().zip(&b[2..]) {
                    *q = x ^ 0x80;
                }
            }
            Kind::Q4K | Kind::Q5K => c.read_super_min(kind, b),
            Kind::Q6K => c.read_q6k(b),
            Kind::Iq4Xs => c.read_iq4xs(b),
        }
        c
    }

    /// Q4_K and Q5_K: eight scales and minima of 6 bits, packed into 12 bytes; then, in Q5_K, the
    /// fifth bits of the codes, and their lower halves.
    fn read_super_min(&mut self, kind: Kind, b: &[u8]) {
        (self.d, self.m) = (half_at(b, 0), half_at(b, 2));
        let s = &b[4..16];
        for j in 0..8 {
            let (scale, min) = match j {
                0..4 => (s[j] & 63, s[j + 4] & 63),
                _ => (
                    s[j + 4] & 15 | s[j - 4] >> 6 << 4,
                    s[j + 4] >> 4 | s[j] >> 6 << 4,
                ),
            };
            self.scales[j] = scale as i8;
            self.mins[j] = min;
        }
        let quants = b.len() - 128;
        for (i, part) in b[quants..].chunks_exact(32).enumerate() {
            for (l, x) in part.iter().enumerate() {
                let high = |bit: usize| match kind {
                    Kind::Q5K => (b[16 + l] >> bit & 1) << 4,
                    _ => 0,
                };
                self.q[64 * i + l] = x & 15 | high(2 * i);
                self.q[64 * i + 32 + l] = x >> 4 | high(2 * i + 1);
            }
        }
    }

    /// Q6_K: lower halves and two upper bits of the codes apart (see [`q6k_place`]), then 16
    /// scales of 8 bits.
    fn read_q6k(&mut self, b: &[u8]) {
        self.d = half_at(b, 208);
        for (j, s) in self.scales.iter_mut().enumerate() {
            *s = b[192 + j] as i8;
        }
        for e in 0..256 {
            let (low, high, shift) = q6k_place(e);
            let x = match shift {
                0..4 => b[low] & 15,
                _ => b[low] >> 4,
            };
            self.q[e] = x | (b[128 + high] >> shift & 3) << 4;
        }
    }

    /// IQ4_XS: eight scales of 6 bits whose upper two lie apart, then the codes.
    fn read_iq4xs(&mut self, b: &[u8]) {
        self.d = half_at(b, 0);
        let high = half_at(b, 2);
        for j in 0..8 {
            let low = b[4 + j / 2] >> (4 * (j % 2)) & 15;
            let six = low | ((high >> (2 * j) & 3) << 4) as u8;
            self.scales[j] = six as i8 - 32;
        }
        for (part, bytes) in self.q.chunks_exact_mut(32).zip(b[8..].chunks_exact(16)) {
            nibbles(part, bytes);
        }
    }

    /// The weights.
    fn weights(&self, kind: Kind, to: &mut [f32]) {
        let (d, m) = (f16_to_f32(self.d), f16_to_f32(self.m));
        for (i, (w, &q)) in to.iter_mut().zip(&self.q).enumerate() {
            let q = match kind {
                Kind::Iq4Nl | Kind::Iq4Xs => IQ4[usize::from(q)],
                _ => q,
            };
            let q = f32::from(q);
            *w = match kind.family() {
                KindFamily::Float => 0.0,
                KindFamily::Simple { offset } => d * (q - offset as f32),
                KindFamily::SimpleMin => d * q + m,
                KindFamily::SuperMin => {
                    let (scale, min) = (self.scales[i / 32], self.mins[i / 32]);
                    d * f32::from(scale) * q - m * f32::from(min)
                }
                KindFamily::Super { offset, share } => {
                    d * f32::from(self.scales[i / share]) * (q - offset as f32)
                }
            };
        }
    }

    /// Writes the block as a file has it: the inverse of [`Codes::read`].
    pub(crate) fn write(&self, kind: Kind, b: &mut [u8]) {
        b.fill(0);
        match kind {
            Kind::F32 | Kind::F16 | Kind::Bf16 => {}
            Kind::Q4_0 | Kind::Iq4Nl => {
                put_half(b, 0, self.d);
                to_nibbles(&self.q[..32], &mut b[2..18]);
            }
            Kind::Q4_1 => {
                put_half(b, 0, self.d);
                put_half(b, 2, self.m);
                to_nibbles(&self.q[..32], &mut b[4..20]);
            }
            Kind::Q5_0 => {
                put_half(b, 0, self.d);
                to_fifth_bits(&self.q[..32], &mut b[2..6]);
                to_nibbles(&self.q[..32], &mut b[6..22]);
            }
            Kind::Q5_1 => {
                put_half(b, 0, self.d);
                put_half(b, 2, self.m);
                to_fifth_bits(&self.q[..32], &mut b[4..8]);
                to_nibbles(&self.q[..32], &mut b[8..24]);
            }
            Kind::Q8_0 => {
                put_half(b, 0, self.d);
                for (x, q) in b[2..].iter_mut().zip(&self.q[..32]) {
                    *x = q ^ 0x80;
                }
            }
            Kind::Q4K | Kind::Q5K => self.write_super_min(kind, b),
            Kind::Q6K => self.write_q6k(b),
            Kind::Iq4Xs => self.write_iq4xs(b),
        }
    }

    /// The inverse of [`Codes::read_super_min`], into zeros.
    fn write_super_min(&self, kind: Kind, b: &mut [u8]) {
        put_half(b, 0, self.d);
        put_half(b, 2, self.m);
        for j in 0..4 {
            let (s, m) = (self.scales[j] as u8, self.mins[j]);
            let (s4, m4) = (self.scales[j + 4] as u8, self.mins[j + 4]);
            b[4 + j] = s | s4 >> 4 << 6;
            b[8 + j] = m | m4 >> 4 << 6;
            b[12 + j] = s4 & 15 | m4 << 4;
        }
        let quants = b.len() - 128;
        for i in 0..4 {
            for l in 0..32 {
                let (x, y) = (self.q[64 * i + l], self.q[64 * i + 32 + l]);
                b[quants + 32 * i + l] = x & 15 | y << 4;
                if kind == Kind::Q5K {
                    b[16 + l] |= x >> 4 << (2 * i) | y >> 4 << (2 * i + 1);
                }
            }
        }
    }

    /// The inverse of [`Codes::read_q6k`], into zeros.
    fn write_q6k(&self, b: &mut [u8]) {
        put_half(b, 208, self.d);
        for (j, s) in self.scales.iter().enumerate() {
            b[192 + j] = *s as u8;
        }
        for e in 0..256 {
            let (low, high, shift) = q6k_place(e);
            b[low] |= match shift {
                0..4 => self.q[e] & 15,
                _ => self.q[e] << 4,
            };
            b[128 + high] |= self.q[e] >> 4 << shift;
        }
    }

    /// The inverse of [`Codes::read_iq4xs`], into zeros.
    fn write_iq4xs(&self, b: &mut [u8]) {
        put_half(b, 0, self.d);
        let mut high = 0u16;
        for j in 0..8 {
            let six = (self.scales[j] + 32) as u8;
            b[4 + j / 2] |= (six & 15) << (4 * (j % 2));
            high |= u16::from(six >> 4) << (2 * j);
        }
        put_half(b, 2, high);
        for (part, bytes) in self.q.chunks_exact(32).zip(b[8..].chunks_exact_mut(16)) {
            to_nibbles(part, bytes);
        }
    }
}

/// The half that begins at byte `i`.
fn half_at(b: &[u8], i: usize) -> u16 {
    u16::from_le_bytes([b[i], b[i + 1]])
}

/// Writes a half to byte `i` and the next.
fn put_half(b: &mut [u8], i: usize, half: u16) {
    b[i..i + 2].copy_from_slice(&half.to_le_bytes());
}

/// Where Q6_K keeps weight `e`: the byte of its low half, the byte of its high bits (counted
/// behind the low halves), and how far those are shifted. From a shift of 4 on the low half is
/// the upper one of its byte.
fn q6k_place(e: usize) -> (usize, usize, usize) {
    let (part, l) = (e / 128, e % 32);
    let quarter = e % 128 / 32;
    let low = 64 * part + 32 * (quarter % 2) + l;
    (low, 32 * part + l, 2 * quarter)
}

/// Low halves first, then high halves.
fn nibbles(q: &mut [u8], bytes: &[u8]) {
    let half = bytes.len();
    for (j, x) in bytes.iter().enumerate() {
        q[j] = x & 15;
        q[j + half] = x >> 4;
    }
}

fn to_nibbles(q: &[u8], bytes: &mut [u8]) {
    let half = bytes.len();
    for (j, x) in bytes.iter_mut().enumerate() {
        *x = q[j] & 15 | q[j + half] << 4;
    }
}

fn fifth_bits(q: &mut [u8], bits: &[u8]) {
    for (j, x) in q.iter_mut().enumerate() {
        *x |= (bits[j / 8] >> (j % 8) & 1) << 4;
    }
}

fn to_fifth_bits(q: &[u8], bits: &mut [u8]) {
    for (j, x) in q.iter().enumerate() {
        bits[j / 8] |= x >> 4 << (j % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_survives_a_round_trip() {
        let mut state = 1u64;
        for kind in Kind::ALL.into_iter().filter(|k| k.block() > 1) {
            for _ in 0..50 {
                let bytes: Vec<u8> = (0..kind.block_bytes())
                    .map(|_| {
                        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                        (state >> 33) as u8
                    })
                    .collect();
                let mut back = vec![0; bytes.len()];
                Codes::read(kind, &bytes).write(kind, &mut back);
                assert_eq!(back, bytes, "{kind:?}");
            }
        }
    }
}
