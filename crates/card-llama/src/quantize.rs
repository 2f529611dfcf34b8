//! Other weight types of a model, made by llama.cpp.

use std::path::Path;

use llama_cpp_sys_2 as sys;

use crate::model::{c_path, check_magic};
use crate::{LlamaError, log, shim};

/// Weight types by name.
pub const QUANT_TYPES: &[(&str, u32)] = &[
    ("F32", sys::LLAMA_FTYPE_ALL_F32),
    ("F16", sys::LLAMA_FTYPE_MOSTLY_F16),
    ("BF16", sys::LLAMA_FTYPE_MOSTLY_BF16),
    ("Q8_0", sys::LLAMA_FTYPE_MOSTLY_Q8_0),
    ("Q6_K", sys::LLAMA_FTYPE_MOSTLY_Q6_K),
    ("Q5_K_M", sys::LLAMA_FTYPE_MOSTLY_Q5_K_M),
    ("Q5_K_S", sys::LLAMA_FTYPE_MOSTLY_Q5_K_S),
    ("Q4_K_M", sys::LLAMA_FTYPE_MOSTLY_Q4_K_M),
    ("Q4_K_S", sys::LLAMA_FTYPE_MOSTLY_Q4_K_S),
    ("Q4_1", sys::LLAMA_FTYPE_MOSTLY_Q4_1),
    ("Q4_0", sys::LLAMA_FTYPE_MOSTLY_Q4_0),
    ("Q3_K_M", sys::LLAMA_FTYPE_MOSTLY_Q3_K_M),
    ("Q2_K", sys::LLAMA_FTYPE_MOSTLY_Q2_K),
];

/// Writes `input` with weights of the type `name` to `output`, which appears only when it
/// is whole. `pure` gives embeddings and output layer that type too, which by default keep
/// a finer one. `progress` hears (tensors done, tensors in all).
///
/// # Errors
/// If the type is unknown, the input no model, or the output cannot be written.
pub fn quantize(
    input: &Path,
    output: &Path,
    name: &str,
    pure: bool,
    threads: usize,
    mut progress: impl FnMut(u64, u64) + Send + 'static,
) -> Result<(), LlamaError> {
    log::start();
    check_magic(input)?;
    let fail = |why: String| LlamaError::Quantize {
        path: input.display().to_string(),
        why,
    };
    let Some(&(_, ftype)) = QUANT_TYPES.iter().find(|t| t.0.eq_ignore_ascii_case(name)) else {
        let known: Vec<_> = QUANT_TYPES.iter().map(|t| t.0).collect();
        return Err(fail(format!(
            "{name} is no weight type; there are {}",
            known.join(", ")
        )));
    };
    let mut part = output.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    // llama.cpp writes with a stream whose failure it does not report well.
    std::fs::File::create(part)
        .map_err(|e| fail(format!("cannot write {}: {e}", part.display())))?;
    // SAFETY: returns a plain struct.
    let mut params = unsafe { sys::llama_model_quantize_default_params() };
    params.nthread = threads as i32;
    params.ftype = ftype;
    params.pure_ = pure;
    // A model from the catalogue is quantised already; making another type of it is what
    // this is for.
    params.allow_requantize = true;
    let (from, to) = (c_path(input)?, c_path(part)?);
    log::forget();
    let watch = log::watch(Box::new(move |line| {
        // "[  12/ 338]    blk.0.attn_k.weight - ..."
        let counts = line.strip_prefix('[').and_then(|l| l.split_once(']'));
        let counts = counts.and_then(|(c, _)| c.split_once('/'));
        if let Some((done, all)) = counts
            && let (Ok(done), Ok(all)) = (done.trim().parse(), all.trim().parse())
        {
            progress(done, all);
        }
    }));
    // SAFETY: both paths are NUL-terminated and params points to nothing.
    let code = unsafe { shim::llama_model_quantize(from.as_ptr(), to.as_ptr(), &params) };
    drop(watch);
    let result = match code {
        Err(thrown) => Err(fail(thrown.to_string())),
        Ok(0) => std::fs::rename(part, output)
            .map_err(|e| fail(format!("cannot write {}: {e}", output.display()))),
        Ok(_) => Err(fail(log::reason())),
    };
    if result.is_err() {
        let _ = std::fs::remove_file(part);
    }
    result
}
