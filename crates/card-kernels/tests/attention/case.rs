//! An attention with random data, how it is run, and what it gives in 64-bit floats.

use std::sync::atomic::AtomicUsize;

use card_kernels::{Attention, Isa, KvType, Mask};

/// The mask value that hides a cell.
pub const HIDDEN: u16 = 0xfc00;

/// A small generator of random numbers (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// A number from -1 to 1.
    pub fn real(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 8_388_608.0 - 1.0
    }
}

/// The F16 number of a whole number that F16 can hold.
pub fn half(x: i32) -> u16 {
    if x == 0 {
        return 0;
    }
    let bits = (x as f32).to_bits();
    let exponent = ((bits >> 23) & 0xff) - 112;
    let half = ((bits >> 16) & 0x8000) | (exponent << 10) | ((bits >> 13) & 0x3ff);
    u16::try_from(half).unwrap()
}

/// The value of a finite F16 number.
pub fn half_value(half: u16) -> f64 {
    let sign = if half & 0x8000 == 0 { 1.0 } else { -1.0 };
    let fraction = f64::from(half & 0x3ff);
    match i32::from((half >> 10) & 0x1f) {
        0 => sign * fraction * 2f64.powi(-24),
        exponent => sign * (1024.0 + fraction) * 2f64.powi(exponent - 25),
    }
}

/// Bytes of a row of K or V.
pub fn row_bytes(kind: KvType, len: usize) -> usize {
    match kind {
        KvType::F32 => len * 4,
        KvType::F16 | KvType::Bf16 => len * 2,
        KvType::Q8_0 => len / 32 * 34,
        KvType::Q4_0 => len / 32 * 18,
    }
}

/// A random row of K or V.
pub fn random_row(kind: KvType, len: usize, random: &mut Random) -> Vec<u8> {
    let mut row = Vec::new();
    match kind {
        KvType::F32 => {
            for _ in 0..len {
                row.extend(random.real().to_le_bytes());
            }
        }
        KvType::Bf16 => {
            for _ in 0..len {
                row.extend(((random.real().to_bits() >> 16) as u16).to_le_bytes());
            }
        }
        KvType::F16 => {
            for _ in 0..len {
                // Below 2, with denormal numbers among them.
                let bits = random.next() as u16 & 0x83ff;
                let exponent = if random.below(4) == 0 {
                    random.below(16)
                } else {
                    12 + random.below(3)
                };
                row.extend((bits | ((exponent as u16) << 10)).to_le_bytes());
            }
        }
        KvType::Q8_0 | KvType::Q4_0 => {
            let (exponent, quants) = if kind == KvType::Q8_0 {
                (8u16, 32)
            } else {
                (12, 16)
            };
            for _ in 0..len / 32 {
                let scale = (random.next() as u16 & 0x83ff) | (exponent << 10);
                row.extend(scale.to_le_bytes());
                for _ in 0..quants {
                    row.push(random.next() as u8);
                }
            }
        }
    }
    assert_eq!(row.len(), row_bytes(kind, len));
    row
}

/// The values of a row of K or V.
pub fn row_values(kind: KvType, row: &[u8]) -> Vec<f64> {
    let word = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]);
    match kind {
        KvType::F32 => row
            .chunks(4)
            .map(|x| f64::from(f32::from_le_bytes(x.try_into().unwrap())))
            .collect(),
        KvType::F16 => row.chunks(2).map(|x| half_value(word(x))).collect(),
        KvType::Bf16 => row
            .chunks(2)
            .map(|x| f64::from(f32::from_bits(u32::from(word(x)) << 16)))
            .collect(),
        KvType::Q8_0 => row
            .chunks(34)
            .flat_map(|block| {
                let scale = half_value(word(block));
                let quants = block[2..].iter();
                quants
                    .map(|&quant| f64::from(quant as i8) * scale)
                    .collect::<Vec<f64>>()
            })
            .collect(),
        KvType::Q4_0 => row
            .chunks(18)
            .flat_map(|block| {
                let scale = half_value(word(block));
                let low = block[2..].iter().map(|&quant| quant & 15);
                let high = block[2..].iter().map(|&quant| quant >> 4);
                low.chain(high)
                    .map(|quant| (f64::from(quant) - 8.0) * scale)
                    .collect::<Vec<f64>>()
            })
            .collect(),
    }
}

/// The dimensions and parameters of an attention.
#[derive(Clone)]
pub struct Shape {
    pub dk: usize,
    pub dv: usize,
    pub n_q: usize,
    pub n_kv: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub streams: usize,
    pub kv_streams: usize,
    pub k_type: KvType,
    pub v_type: KvType,
    /// Heads with a mask of their own; 0 for no mask.
    pub mask_heads: usize,
    pub mask_streams: usize,
    pub sinks: bool,
    pub scale: f32,
    pub max_bias: f32,
    pub softcap: f32,
}

impl Shape {
    pub fn new(dk: usize, dv: usize, heads: usize, kv_heads: usize) -> Self {
        Self {
            dk,
            dv,
            n_q: 1,
            n_kv: 1,
            heads,
            kv_heads,
            streams: 1,
            kv_streams: 1,
            k_type: KvType::F16,
            v_type: KvType::F16,
            mask_heads: 1,
            mask_streams: 1,
            sinks: false,
            scale: 1.5 / (dk as f32).sqrt(),
            max_bias: 0.0,
            softcap: 0.0,
        }
    }
}

/// An attention with its data. Rows of Q, K and V lie as llama.cpp lays them: all heads of a row
/// or a cell side by side.
pub struct Case {
    pub shape: Shape,
    pub q: Vec<f32>,
    pub k: Vec<u8>,
    pub v: Vec<u8>,
    pub mask: Vec<u16>,
    pub sinks: Vec<f32>,
}

impl Case {
    /// Random queries, keys, values and sinks; all cells are seen.
    pub fn random(shape: Shape, random: &mut Random) -> Self {
        let s = &shape;
        let rows = s.kv_streams * s.n_kv * s.kv_heads;
        let mut case = Self {
            q: (0..s.streams * s.n_q * s.heads * s.dk)
                .map(|_| 2.0 * random.real())
                .collect(),
            k: Vec::new(),
            v: Vec::new(),
            mask: vec![0; s.mask_streams * s.mask_heads * s.n_q * s.n_kv],
            sinks: (0..s.heads).map(|_| 3.0 * random.real()).collect(),
            shape: shape.clone(),
        };
        for _ in 0..rows {
            case.k.extend(random_row(s.k_type, s.dk, random));
            case.v.extend(random_row(s.v_type, s.dv, random));
        }
        case
    }

    /// Hides cells at random and gives the others biases: zero, or whole numbers down to -20.
    pub fn random_mask(&mut self, random: &mut Random) {
        let biased = self.shape.max_bias > 0.0;
        for value in &mut self.mask {
            *value = if random.below(3) == 0 {
                HIDDEN
            } else if biased {
                half(-(random.below(21) as i32))
            } else {
                0
            };
        }
    }

    pub fn attention(&self, dst: &mut [f32]) -> Attention {
        let s = &self.shape;
        let k_row = row_bytes(s.k_type, s.dk);
        let v_row = row_bytes(s.v_type, s.dv);
        // The distance of two elements is not read.
        let strides = |row: usize| [0, s.kv_heads * row, row, s.kv_heads * row * s.n_kv];
        Attention {
            q: self.q.as_ptr().cast(),
            q_nb: [4, s.heads * s.dk * 4, s.dk * 4, s.n_q * s.heads * s.dk * 4],
            k: self.k.as_ptr(),
            k_nb: strides(k_row),
            k_type: s.k_type,
            v: self.v.as_ptr(),
            v_nb: strides(v_row),
            v_type: s.v_type,
            dk: s.dk,
            dv: s.dv,
            n_q: s.n_q,
            n_kv: s.n_kv,
            n_head: s.heads,
            n_head_k: s.kv_heads,
            n_head_v: s.kv_heads,
            n_stream: s.streams,
            n_stream_k: s.kv_streams,
            n_stream_v: s.kv_streams,
            mask: (s.mask_heads > 0).then(|| Mask {
                ptr: self.mask.as_ptr().cast(),
                nb1: s.n_kv * 2,
                nb2: s.n_q * s.n_kv * 2,
                nb3: s.mask_heads * s.n_q * s.n_kv * 2,
                ne2: s.mask_heads,
                ne3: s.mask_streams,
            }),
            sinks: s.sinks.then_some(self.sinks.as_ptr()),
            scale: s.scale,
            max_bias: s.max_bias,
            softcap: s.softcap,
            dst: dst.as_mut_ptr(),
        }
    }

    /// The output by an instruction set and a number of threads.
    pub fn run(&self, isa: Isa, threads: usize) -> Vec<f32> {
        let s = &self.shape;
        let mut dst = vec![f32::NAN; s.streams * s.n_q * s.heads * s.dv];
        let attention = self.attention(&mut dst);
        let mut scratch = vec![0xff_u8; attention.scratch_bytes(threads)];
        let scratch = Shared(scratch.as_mut_ptr());
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (attention, scratch, next) = (&attention, &scratch, &next);
                scope.spawn(move || {
                    // SAFETY: the tensors have the dimensions and strides given and outlive the
                    // scope, the scratch is large enough for `threads` threads, and `isa` is
                    // one that this CPU runs.
                    unsafe { attention.run(isa, thread, threads, next, scratch.get()) };
                });
            }
        });
        dst
    }

    /// The output in 64-bit floats.
    pub fn reference(&self) -> Vec<f64> {
        let s = &self.shape;
        let mut dst = Vec::new();
        for stream in 0..s.streams {
            for row in 0..s.n_q {
                for head in 0..s.heads {
                    dst.extend(self.reference_row(stream, row, head));
                }
            }
        }
        dst
    }

    /// The output of one row and head in 64-bit floats.
    pub fn reference_row(&self, stream: usize, row: usize, head: usize) -> Vec<f64> {
        let s = &self.shape;
        let q = &self.q[((stream * s.n_q + row) * s.heads + head) * s.dk..][..s.dk];
        let kv_head = head / (s.heads / s.kv_heads);
        let kv_stream = stream / (s.streams / s.kv_streams);
        let mut scores = Vec::new();
        for cell in 0..s.n_kv {
            let bias = if s.mask_heads == 0 {
                0
            } else {
                let plane = stream % s.mask_streams * s.mask_heads + head % s.mask_heads;
                self.mask[(plane * s.n_q + row) * s.n_kv + cell]
            };
            if bias == HIDDEN {
                continue;
            }
            let at = (kv_stream * s.n_kv + cell) * s.kv_heads + kv_head;
            let bytes = row_bytes(s.k_type, s.dk);
            let k = row_values(s.k_type, &self.k[at * bytes..][..bytes]);
            let product: f64 = q.iter().zip(k).map(|(&q, k)| f64::from(q) * k).sum();
            let mut score = product * f64::from(s.scale);
            if s.softcap != 0.0 {
                score = f64::from(s.softcap) * (score / f64::from(s.softcap)).tanh();
            }
            scores.push((at, score + self.slope(head) * half_value(bias)));
        }
        let sink = s.sinks.then(|| f64::from(self.sinks[head]));
        let mut max = sink.unwrap_or(f64::NEG_INFINITY);
        for &(_, score) in &scores {
            max = max.max(score);
        }
        let mut total = sink.map_or(0.0, |sink| (sink - max).exp());
        let mut out = vec![0.0; s.dv];
        for (at, score) in scores {
            let weight = (score - max).exp();
            total += weight;
            let bytes = row_bytes(s.v_type, s.dv);
            let v = row_values(s.v_type, &self.v[at * bytes..][..bytes]);
            for (out, v) in out.iter_mut().zip(v) {
                *out += weight * v;
            }
        }
        if total != 0.0 {
            for out in &mut out {
                *out /= total;
            }
        }
        out
    }

    /// ALiBi's slope of a head.
    pub fn slope(&self, head: usize) -> f64 {
        let bias = f64::from(self.shape.max_bias);
        if bias == 0.0 {
            return 1.0;
        }
        let whole = 1 << self.shape.heads.ilog2();
        let exponent = if head < whole {
            -bias / whole as f64 * (head + 1) as f64
        } else {
            -bias / 2.0 / whole as f64 * (2 * (head - whole) + 1) as f64
        };
        exponent.exp2()
    }

    /// Runs on every instruction set: near the reference, and the same bits on all.
    pub fn check(&self, threads: usize, what: &str) {
        let plain = self.run(Isa::Portable, 1);
        for (i, (x, y)) in plain.iter().zip(self.reference()).enumerate() {
            let off = (f64::from(*x) - y).abs();
            assert!(off < 3e-5, "{what}: output {i} is {x}, expected {y}");
        }
        for isa in Isa::available() {
            let other = self.run(isa, threads);
            assert_eq!(bits(&other), bits(&plain), "{what}: {isa:?} differs");
        }
    }
}

/// A pointer that threads share.
pub struct Shared(*mut u8);

// SAFETY: the threads use parts of the memory that do not overlap.
unsafe impl Sync for Shared {}

impl Shared {
    pub fn get(&self) -> *mut u8 {
        self.0
    }
}

pub fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}
