//! Weights and activations that are made up, and products of them.

#![allow(dead_code)] // Not every test uses all of it.

use std::sync::Barrier;

use card_kernels::{ALIGN, Isa, Kind, Layout, Product, Strides, f16_to_f32, f32_to_f16};

/// A small generator: the same numbers from the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }
    /// Between 0 and 1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() & 0xff_ffff) as f32 / 16_777_216.0
    }
    /// Like a normal one: a sum of twelve.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }
    pub fn below(&mut self, n: usize) -> usize {
        self.bits() as usize % n
    }
}

/// Rows of weights as a file has them: random codes, scales of a usual size.
pub fn weights(kind: Kind, width: usize, height: usize, random: &mut Random) -> Vec<u8> {
    let size = kind.block_bytes();
    let mut file = Vec::new();
    for _ in 0..width / kind.block() * height {
        let mut block: Vec<u8> = (0..size).map(|_| random.bits() as u8).collect();
        let d = f32_to_f16(0.001 + 0.01 * random.unit()).to_le_bytes();
        let m = f32_to_f16(0.001 + 0.01 * random.unit()).to_le_bytes();
        match kind {
            Kind::F32 => block.copy_from_slice(&random.normal().to_le_bytes()),
            Kind::F16 => block.copy_from_slice(&f32_to_f16(random.normal()).to_le_bytes()),
            Kind::Bf16 => block.copy_from_slice(&random.normal().to_le_bytes()[2..]),
            Kind::Q6K => block[208..].copy_from_slice(&d),
            Kind::Q4_1 | Kind::Q5_1 | Kind::Q4K | Kind::Q5K => {
                block[..2].copy_from_slice(&d);
                block[2..4].copy_from_slice(&m);
            }
            _ => block[..2].copy_from_slice(&d),
        }
        file.extend(block);
    }
    file
}

pub fn columns(width: usize, n: usize, random: &mut Random) -> Vec<Vec<f32>> {
    (0..n)
        .map(|_| (0..width).map(|_| random.normal()).collect())
        .collect()
}

/// Memory that begins at a multiple of [`ALIGN`].
pub struct Aligned(Vec<[u64; 8]>, usize);

impl Aligned {
    pub fn new(bytes: usize) -> Self {
        Aligned(vec![[0; 8]; bytes.div_ceil(64) + 1], bytes)
    }
    fn start(&self) -> *const u8 {
        let p = self.0.as_ptr().cast::<u8>();
        p.wrapping_add(p.align_offset(ALIGN))
    }
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: a vector is longer than its bytes by one unit.
        unsafe { std::slice::from_raw_parts(self.start(), self.1) }
    }
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let p = self.0.as_mut_ptr().cast::<u8>();
        // SAFETY: as above, and it is borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(p.add(p.align_offset(ALIGN)), self.1) }
    }
}

/// A matrix laid out.
pub struct Matrix {
    pub layout: Layout,
    pub memory: Aligned,
}

impl Matrix {
    pub fn new(kind: Kind, rows: usize, width: usize, height: usize, file: &[u8]) -> Matrix {
        let layout = Layout::new(kind, rows, width, height).unwrap();
        let mut memory = Aligned::new(layout.bytes());
        layout.pack(file, memory.bytes_mut());
        Matrix { layout, memory }
    }

    /// The outputs of each column.
    pub fn times(&self, isa: Isa, threads: usize, columns: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let (width, height) = (self.layout.width, self.layout.height);
        let from = columns.concat();
        let mut to = vec![f32::NAN; height * columns.len()];
        let product = Product {
            layout: self.layout,
            weights: self.memory.bytes().as_ptr(),
            from: from.as_ptr().cast(),
            from_strides: Strides([4 * width, 0, 0]),
            to: to.as_mut_ptr().cast(),
            to_strides: Strides([4 * height, 0, 0]),
            columns: [columns.len(), 1, 1],
            experts: None,
        };
        run(&product, isa, threads);
        to.chunks(height).map(<[f32]>::to_vec).collect()
    }
}

/// What threads share.
struct Shared<T>(T);
// SAFETY: the kernels say which thread writes where.
unsafe impl<T> Sync for Shared<T> {}

pub fn run(product: &Product, isa: Isa, threads: usize) {
    let mut work = vec![0xa5u8; product.work_bytes()];
    let shared = Shared((*product, work.as_mut_ptr()));
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (shared, barrier) = (&shared, &barrier);
            scope.spawn(move || {
                let Shared((product, work)) = shared;
                let wait = || {
                    barrier.wait();
                };
                // SAFETY: all that the product points to outlives the threads.
                unsafe { product.run(isa, thread, threads, &wait, *work) }
            });
        }
    });
}

/// The instruction sets that read `rows` side by side.
pub fn sets(rows: usize) -> Vec<Isa> {
    let all = Isa::available().into_iter();
    all.filter(|i| *i == Isa::Portable || i.rows() == rows)
        .collect()
}

pub fn bits(outputs: &[Vec<f32>]) -> Vec<Vec<u32>> {
    outputs
        .iter()
        .map(|o| o.iter().map(|x| x.to_bits()).collect())
        .collect()
}

/// The product in double precision.
pub fn exact(kind: Kind, file: &[u8], column: &[f32]) -> Vec<f64> {
    let row_bytes = column.len() / kind.block() * kind.block_bytes();
    let mut row = vec![0f32; column.len()];
    file.chunks(row_bytes)
        .map(|bytes| {
            kind.weights(bytes, &mut row);
            row.iter()
                .zip(column)
                .map(|(w, x)| f64::from(*w) * f64::from(*x))
                .sum()
        })
        .collect()
}

pub fn half(x: f32) -> f32 {
    f16_to_f32(f32_to_f16(x))
}
