//! Card's own matrix kernels in place of ggml's (see `src/kernels.cpp`, crate `card-kernels`).

use std::ffi::{c_int, c_uint, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use card_kernels::{Attention, Experts, Isa, Kind, KvType, Layout, Mask, Product, Strides};
use serde::{Deserialize, Serialize};

/// Whose matrix kernels a model's weights are laid out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernels {
    /// Those of the crate `card-kernels`: the same bits for every shape of forward.
    Card,
    /// ggml's, with weights repacked for them.
    Ggml,
    /// ggml's, with weights as the file has them.
    GgmlPlain,
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
        crate::log::start();
        register().map(|()| isa().to_string())
    });
    found.as_deref().map_err(Clone::clone)
}

/// The instruction set: the best one here, or the one that `CARD_ISA` names (for measuring).
fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        let wanted = std::env::var("CARD_ISA").ok();
        let all = Isa::available().into_iter();
        let named = |isa: &Isa| wanted.as_deref() == Some(format!("{isa:?}").as_str());
        all.clone()
            .find(named)
            .or(all.last())
            .unwrap_or(Isa::Portable)
    })
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

/// Multiplies a matrix through ggml, and without it in plain Rust, and compares the bits. The
/// columns are so many that wide tiles, full panels and a rest are among them.
fn check() -> Result<(), String> {
    const WIDTH: usize = 256;
    const HEIGHT: usize = 72;
    const COLUMNS: usize = 16 + 10 + 1;
    let kind = Kind::Q8_0;
    let layout = Layout::new(kind, isa().rows(), WIDTH, HEIGHT).ok_or("no layout")?;
    let mut file = Vec::new();
    for block in 0..WIDTH / 32 * HEIGHT {
        file.extend([0x00, 0x2c + (block % 3) as u8]);
        file.extend((0..32).map(|i| (block * 7 + i * 29) as u8));
    }
    let from: Vec<f32> = (0..WIDTH * COLUMNS)
        .map(|i| (i as f32 * 0.37).sin())
        .collect();
    let mut through = vec![0f32; HEIGHT * COLUMNS];
    let mut back = vec![0u8; file.len()];
    let mut trial = Trial {
        kind: kind as u32,
        memory: OWN,
        width: WIDTH as i64,
        height: HEIGHT as i64,
        matrices: 1,
        file: file.as_ptr().cast(),
        back: back.as_mut_ptr().cast(),
        back_at: 0,
        back_bytes: back.len(),
        from: from.as_ptr(),
        columns: [COLUMNS as i64, 1],
        ids: std::ptr::null(),
        slots: 0,
        to: through.as_mut_ptr(),
        threads: 2,
        asked: 0,
    };
    // SAFETY: the arrays have the sizes that the numbers say.
    let code = unsafe { card_kernels_multiply(&mut trial) };
    if code != 0 {
        return Err(format!("ggml could not use them (code {code})"));
    }
    if trial.asked != 2 {
        return Err("ggml did not ask for them".into());
    }
    if back != file {
        return Err("weights cannot be read back".into());
    }
    let mut packed = vec![0u8; layout.bytes()];
    layout.pack(&file, &mut packed);
    let mut direct = vec![0f32; HEIGHT * COLUMNS];
    let product = Product {
        layout,
        weights: packed.as_ptr(),
        from: from.as_ptr().cast(),
        from_strides: Strides([4 * WIDTH, 0, 0]),
        to: direct.as_mut_ptr().cast(),
        to_strides: Strides([4 * HEIGHT, 0, 0]),
        columns: [COLUMNS, 1, 1],
        experts: None,
    };
    let mut work = vec![0u8; product.work_bytes()];
    // SAFETY: everything lives to the end of this function; plain Rust reads every layout.
    unsafe { product.run(Isa::Portable, 0, 1, &|| {}, work.as_mut_ptr()) };
    let same = through.iter().zip(&direct);
    match same.clone().all(|(a, b)| a.to_bits() == b.to_bits()) {
        true => Ok(()),
        false => Err("their check gave another result".into()),
    }
}

/// Lets the models that this thread loads use the kernels, until it is dropped.
pub(crate) struct Offer;

impl Offer {
    pub(crate) fn new(offer: bool) -> Offer {
        // SAFETY: sets a variable of this thread.
        unsafe { card_kernels_offer(offer) };
        Offer
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { card_kernels_offer(false) };
    }
}

/// A model that was loaded for the kernels: while there is one, or a context of one, attention
/// is theirs too.
#[derive(Debug)]
pub(crate) struct Alive;

impl Alive {
    /// How many there are. Attention is turned on and off under the lock, so that the last word
    /// is that of the last change.
    fn count() -> MutexGuard<'static, usize> {
        static COUNT: Mutex<usize> = Mutex::new(0);
        COUNT.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn new() -> Alive {
        let mut count = Alive::count();
        *count += 1;
        // SAFETY: sets an atomic variable.
        unsafe { card_kernels_attention(true) };
        Alive
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let mut count = Alive::count();
        *count -= 1;
        if *count == 0 {
            // SAFETY: as above.
            unsafe { card_kernels_attention(false) };
        }
    }
}

/// [`Trial::memory`] of weights that are laid out for these kernels.
const OWN: u32 = 1;

/// A product that is done through ggml; `src/kernels.cpp` has the same struct, with what its
/// numbers mean.
#[repr(C)]
struct Trial {
    kind: u32,
    memory: u32,
    width: i64,
    height: i64,
    matrices: i64,
    file: *const c_void,
    back: *mut c_void,
    back_at: usize,
    back_bytes: usize,
    from: *const f32,
    columns: [i64; 2],
    ids: *const i32,
    slots: i64,
    to: *mut f32,
    threads: c_int,
    asked: c_uint,
}

unsafe extern "C" {
    fn card_kernels_register() -> c_int;
    fn card_kernels_multiply(trial: *mut Trial) -> c_int;
    fn card_kernels_offer(offer: bool);
    fn card_kernels_attention(on: bool);
}

/// A product in the numbers of `src/kernels.cpp`.
#[repr(C)]
pub(crate) struct CProduct {
    kind: u32,
    width: i64,
    height: i64,
    weights: *const u8,
    from: *const u8,
    from_strides: [usize; 3],
    to: *mut u8,
    to_strides: [usize; 3],
    columns: [i64; 3],
    matrices: i64,
    repeat: i64,
    ids: *const u8,
    id_strides: [usize; 2],
}

/// The layout of a matrix, if the kernels have its type and its size can be counted.
fn layout(kind: u32, width: i64, height: i64) -> Option<Layout> {
    /// Weights beyond which bytes might not be counted: one takes less than 8 bytes, and rows
    /// and blocks are filled up to at most this.
    const MOST: usize = isize::MAX as usize / 8;
    const FILLED: [usize; 2] = [256, 16];
    let kind = Kind::from_ggml(kind)?;
    let (width, height) = (usize::try_from(width).ok()?, usize::try_from(height).ok()?);
    let filled = width
        .checked_next_multiple_of(FILLED[0])?
        .checked_mul(height.checked_next_multiple_of(FILLED[1])?)?;
    match filled <= MOST {
        true => Layout::new(kind, isa().rows(), width, height),
        false => None,
    }
}

impl CProduct {
    fn product(&self) -> Option<Product> {
        let experts = match (self.matrices, self.repeat) {
            (1, 1) => None,
            (count, 0) => Some(Experts::Chosen {
                count: count as usize,
                ids: self.ids,
                strides: self.id_strides,
            }),
            (count, repeat) => Some(Experts::InTurn {
                count: count as usize,
                repeat: repeat as usize,
            }),
        };
        Some(Product {
            layout: layout(self.kind, self.width, self.height)?,
            weights: self.weights,
            from: self.from,
            from_strides: Strides(self.from_strides),
            to: self.to,
            to_strides: Strides(self.to_strides),
            columns: self.columns.map(|n| n as usize),
            experts,
        })
    }
}

/// Bytes of a matrix laid out; 0 if the kernels do not have its type.
#[unsafe(no_mangle)]
extern "C" fn card_matrix_bytes(kind: u32, width: i64, height: i64) -> usize {
    layout(kind, width, height).map_or(0, |l| l.bytes())
}

/// # Safety
/// `file` and `packed` have the bytes of a matrix of this type and size.
#[unsafe(no_mangle)]
unsafe extern "C" fn card_matrix_pack(
    kind: u32,
    width: i64,
    height: i64,
    file: *const u8,
    packed: *mut u8,
) {
    if let Some(l) = layout(kind, width, height) {
        // SAFETY: the caller's.
        let (file, packed) = unsafe {
            (
                std::slice::from_raw_parts(file, l.file_row() * l.height),
                std::slice::from_raw_parts_mut(packed, l.bytes()),
            )
        };
        l.pack(file, packed);
    }
}

/// # Safety
/// As for [`card_matrix_pack`].
#[unsafe(no_mangle)]
unsafe extern "C" fn card_matrix_unpack(
    kind: u32,
    width: i64,
    height: i64,
    packed: *const u8,
    file: *mut u8,
) {
    if let Some(l) = layout(kind, width, height) {
        // SAFETY: the caller's.
        let (packed, file) = unsafe {
            (
                std::slice::from_raw_parts(packed, l.bytes()),
                std::slice::from_raw_parts_mut(file, l.file_row() * l.height),
            )
        };
        l.unpack(packed, file);
    }
}

/// # Safety
/// `product` points to a product.
#[unsafe(no_mangle)]
unsafe extern "C" fn card_product_work(product: *const CProduct) -> usize {
    // SAFETY: the caller's.
    let product = unsafe { &*product };
    product.product().map_or(0, |p| p.work_bytes())
}

/// # Safety
/// As for [`Product::run`].
#[unsafe(no_mangle)]
unsafe extern "C" fn card_product_run(
    product: *const CProduct,
    thread: c_int,
    threads: c_int,
    barrier: unsafe extern "C" fn(*mut c_void),
    pool: *mut c_void,
    work: *mut u8,
) {
    // SAFETY: the caller's.
    let product = unsafe { &*product };
    // SAFETY: the pool outlives the operation.
    let wait = || unsafe { barrier(pool) };
    if let Some(product) = product.product() {
        // SAFETY: ggml's tensors are as they say, and its threads all come here.
        unsafe { product.run(isa(), thread as usize, threads as usize, &wait, work) };
    }
}

/// An attention in the numbers of `src/kernels.cpp`.
#[repr(C)]
pub(crate) struct CAttention {
    q: *const u8,
    q_strides: [usize; 3],
    q_size: [i64; 4],
    k: *const u8,
    k_strides: [usize; 3],
    k_size: [i64; 4],
    v: *const u8,
    v_strides: [usize; 3],
    v_size: [i64; 4],
    k_type: u32,
    v_type: u32,
    mask: *const u8,
    mask_strides: [usize; 3],
    mask_size: [i64; 2],
    sinks: *const f32,
    scale: f32,
    max_bias: f32,
    softcap: f32,
    to: *mut f32,
}

/// Bytes before the scratch memory: the counter from which threads take their units.
const COUNTER: usize = 64;

impl CAttention {
    fn attention(&self) -> Option<Attention> {
        let size = |n: i64| usize::try_from(n).ok();
        let strides = |[a, b, c]: [usize; 3]| [0, a, b, c];
        let [dk, n_q, n_head, n_stream] = self.q_size;
        let [_, n_kv, n_head_k, n_stream_k] = self.k_size;
        let [dv, _, n_head_v, n_stream_v] = self.v_size;
        let mask = || -> Option<Mask> {
            Some(Mask {
                ptr: self.mask,
                nb1: self.mask_strides[0],
                nb2: self.mask_strides[1],
                nb3: self.mask_strides[2],
                ne2: size(self.mask_size[0])?,
                ne3: size(self.mask_size[1])?,
            })
        };
        Some(Attention {
            q: self.q,
            q_nb: strides(self.q_strides),
            k: self.k,
            k_nb: strides(self.k_strides),
            k_type: kv_type(self.k_type)?,
            v: self.v,
            v_nb: strides(self.v_strides),
            v_type: kv_type(self.v_type)?,
            dk: size(dk)?,
            dv: size(dv)?,
            n_q: size(n_q)?,
            n_kv: size(n_kv)?,
            n_head: size(n_head)?,
            n_head_k: size(n_head_k)?,
            n_head_v: size(n_head_v)?,
            n_stream: size(n_stream)?,
            n_stream_k: size(n_stream_k)?,
            n_stream_v: size(n_stream_v)?,
            mask: match self.mask.is_null() {
                true => None,
                false => Some(mask()?),
            },
            sinks: (!self.sinks.is_null()).then_some(self.sinks),
            scale: self.scale,
            max_bias: self.max_bias,
            softcap: self.softcap,
            dst: self.to,
        })
    }
}

/// The type of cached keys and values with ggml's number `id`.
fn kv_type(id: u32) -> Option<KvType> {
    match id {
        0 => Some(KvType::F32),
        1 => Some(KvType::F16),
        2 => Some(KvType::Q4_0),
        8 => Some(KvType::Q8_0),
        30 => Some(KvType::Bf16),
        _ => None,
    }
}

/// # Safety
/// `attention` points to an attention.
#[unsafe(no_mangle)]
unsafe extern "C" fn card_attention_work(attention: *const CAttention, threads: c_int) -> usize {
    // SAFETY: the caller's.
    let attention = unsafe { &*attention };
    let attention = attention.attention();
    attention.map_or(0, |a| 2 * COUNTER + a.scratch_bytes(threads as usize))
}

/// # Safety
/// As for [`Attention::run`].
#[unsafe(no_mangle)]
unsafe extern "C" fn card_attention_run(
    attention: *const CAttention,
    thread: c_int,
    threads: c_int,
    barrier: unsafe extern "C" fn(*mut c_void),
    pool: *mut c_void,
    work: *mut u8,
) {
    // SAFETY: the caller's.
    let attention = unsafe { &*attention };
    let start = work.wrapping_add(work.align_offset(COUNTER));
    // SAFETY: the work memory begins with room for a counter, aligned.
    let next = unsafe { &*start.cast::<AtomicUsize>() };
    if thread == 0 {
        next.store(0, Ordering::Relaxed);
    }
    // SAFETY: the pool outlives the operation.
    unsafe { barrier(pool) };
    if let Some(attention) = attention.attention() {
        let scratch = start.wrapping_add(COUNTER);
        // SAFETY: ggml's tensors are as they say, its threads all come here, and the scratch
        // memory is as large as `card_attention_work` said.
        unsafe { attention.run(isa(), thread as usize, threads as usize, next, scratch) };
    }
}

#[cfg(test)]
mod tests;
