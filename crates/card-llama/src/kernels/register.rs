//! The kernels join ggml's list, once, if they are right on this processor.

use std::ffi::c_int;
use std::sync::OnceLock;

use card_kernels::{Isa, Kind, Layout, Product, Strides};

use super::isa::isa;
use super::through_ggml::{GgmlProduct, OWN, card_kernels_multiply};
use crate::sys::start::start;

unsafe extern "C" {
    fn card_kernels_register() -> c_int;
}

/// Why card's kernels cannot be used here; `Ok` says by what instruction set they run.
///
/// The first call registers them with ggml and multiplies a small matrix, to see that ggml
/// asks them and that they are right.
///
/// # Errors
/// If this build has none (see docs/build.md), the processor is too old, or the check failed.
pub fn card_kernels() -> Result<&'static str, String> {
    static FOUND: OnceLock<Result<String, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        start();
        register().map(|()| isa().to_string())
    });
    found.as_deref().map_err(Clone::clone)
}

fn register() -> Result<(), String> {
    if isa() == Isa::Portable {
        return Err("this processor has none of AVX2, AVX-512 VNNI and NEON dot product".into());
    }
    // SAFETY: called once, before any model is loaded: `LlamaModel::load` begins with it.
    let code = unsafe { card_kernels_register() };
    match code {
        0 => {}
        1 => return Err("this build has none (docs/build.md)".into()),
        2 => return Err("llama.cpp has no CPU backend".into()),
        3 => return Err("this build of ggml keeps the list of its kernels to itself".into()),
        4 => return Err("a model was loaded before they were registered".into()),
        _ => return Err("there is no memory to register them".into()),
    }
    check()
}

/// Multiplies a matrix through ggml, and without it in plain Rust, and compares the bits.
fn check() -> Result<(), String> {
    let case = StartCheck::new();
    let (through, direct) = (case.through_ggml()?, case.direct()?);
    let mut pairs = through.iter().zip(&direct);
    if pairs.all(|(a, b)| a.to_bits() == b.to_bits()) {
        Ok(())
    } else {
        Err("their check gave another result".into())
    }
}

/// The product that the kernels are checked with before they are used.
struct StartCheck {
    /// Weights as a file has them.
    file: Vec<u8>,
    /// Activations.
    from: Vec<f32>,
}

impl StartCheck {
    const KIND: Kind = Kind::Q8_0;
    const WIDTH: usize = 256;
    const HEIGHT: usize = 72;
    /// Columns: so many that wide tiles, full panels and a rest are among them.
    const COLUMNS: usize = 16 + 10 + 1;

    fn new() -> Self {
        let mut file = Vec::new();
        for block in 0..Self::WIDTH / 32 * Self::HEIGHT {
            file.extend([0x00, 0x2c + (block % 3) as u8]);
            file.extend((0..32).map(|i| (block * 7 + i * 29) as u8));
        }
        let from = (0..Self::WIDTH * Self::COLUMNS)
            .map(|i| (i as f32 * 0.37).sin())
            .collect();
        StartCheck { file, from }
    }

    /// The product by the kernels, as ggml calls them.
    fn through_ggml(&self) -> Result<Vec<f32>, String> {
        let mut to = vec![0f32; Self::HEIGHT * Self::COLUMNS];
        let mut back = vec![0u8; self.file.len()];
        let mut product = GgmlProduct {
            kind: Self::KIND as u32,
            memory: OWN,
            width: Self::WIDTH as i64,
            height: Self::HEIGHT as i64,
            matrices: 1,
            file: self.file.as_ptr().cast(),
            back: back.as_mut_ptr().cast(),
            back_at: 0,
            back_bytes: back.len(),
            from: self.from.as_ptr(),
            columns: [Self::COLUMNS as i64, 1],
            ids: std::ptr::null(),
            slots: 0,
            to: to.as_mut_ptr(),
            threads: 2,
            asked: 0,
        };
        // SAFETY: the arrays have the sizes that the numbers say.
        let code = unsafe { card_kernels_multiply(&mut product) };
        if code != 0 {
            return Err(format!("ggml could not use them (code {code})"));
        }
        if product.asked != 2 {
            return Err("ggml did not ask for them".into());
        }
        if back != self.file {
            return Err("weights cannot be read back".into());
        }
        Ok(to)
    }

    /// The product in plain Rust, of weights laid out for this processor.
    fn direct(&self) -> Result<Vec<f32>, String> {
        let layout = Layout::new(Self::KIND, isa().rows(), Self::WIDTH, Self::HEIGHT);
        let layout = layout.ok_or("no layout")?;
        let mut packed = vec![0u8; layout.bytes()];
        layout.pack(&self.file, &mut packed);
        let mut to = vec![0f32; Self::HEIGHT * Self::COLUMNS];
        let product = Product {
            layout,
            weights: packed.as_ptr(),
            from: self.from.as_ptr().cast(),
            from_strides: Strides([4 * Self::WIDTH, 0, 0]),
            to: to.as_mut_ptr().cast(),
            to_strides: Strides([4 * Self::HEIGHT, 0, 0]),
            columns: [Self::COLUMNS, 1, 1],
            experts: None,
        };
        let mut work = vec![0u8; product.work_bytes()];
        // SAFETY: everything lives to the end of this function; plain Rust reads every layout.
        unsafe { product.run(Isa::Portable, 0, 1, &|| {}, work.as_mut_ptr()) };
        Ok(to)
    }
}
