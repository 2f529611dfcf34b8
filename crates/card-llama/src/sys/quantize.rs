//! Other weight types of a model, made by llama.cpp.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use llama_cpp_sys_2 as cpp;

use super::file::{c_path, check_magic, part_of};
use super::start::start;
use super::{log, shim};
use crate::error::LlamaError;

/// Weight types by name.
pub const QUANT_TYPES: &[(&str, u32)] = &[
    ("F32", cpp::LLAMA_FTYPE_ALL_F32),
    ("F16", cpp::LLAMA_FTYPE_MOSTLY_F16),
    ("BF16", cpp::LLAMA_FTYPE_MOSTLY_BF16),
    ("Q8_0", cpp::LLAMA_FTYPE_MOSTLY_Q8_0),
    ("Q6_K", cpp::LLAMA_FTYPE_MOSTLY_Q6_K),
    ("Q5_K_M", cpp::LLAMA_FTYPE_MOSTLY_Q5_K_M),
    ("Q5_K_S", cpp::LLAMA_FTYPE_MOSTLY_Q5_K_S),
    ("Q4_K_M", cpp::LLAMA_FTYPE_MOSTLY_Q4_K_M),
    ("Q4_K_S", cpp::LLAMA_FTYPE_MOSTLY_Q4_K_S),
    ("Q4_1", cpp::LLAMA_FTYPE_MOSTLY_Q4_1),
    ("Q4_0", cpp::LLAMA_FTYPE_MOSTLY_Q4_0),
    ("Q3_K_M", cpp::LLAMA_FTYPE_MOSTLY_Q3_K_M),
    ("Q2_K", cpp::LLAMA_FTYPE_MOSTLY_Q2_K),
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
) -> Result<Option<String>, LlamaError> {
    start();
    check_magic(input)?;
    let fail = |why: String| LlamaError::Quantize {
        path: input.display().to_string(),
        why,
    };
    let ftype = type_of(name).map_err(fail)?;
    let part = part_of(output);
    // llama.cpp writes with a stream whose failure it does not report well.
    std::fs::File::create(&part)
        .map_err(|e| fail(format!("cannot write {}: {e}", part.display())))?;
    // SAFETY: returns a plain struct.
    let mut params = unsafe { cpp::llama_model_quantize_default_params() };
    params.nthread = threads as i32;
    params.ftype = ftype;
    params.pure_ = pure;
    // A model from the catalogue is quantised already; making another type of it is what
    // this is for.
    params.allow_requantize = true;
    let (from, to) = (c_path(input)?, c_path(&part)?);
    log::forget();
    let finer: Arc<Mutex<Option<String>>> = Arc::default();
    let heard = finer.clone();
    let watch = log::watch(Box::new(move |line| {
        if let Some((done, all)) = tensors_done(line) {
            progress(done, all);
        }
        if let Some(tensors) = finer_tensors(line) {
            *heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(tensors.to_owned());
        }
    }));
    // SAFETY: both paths end with NUL and params points to nothing.
    let code = unsafe { shim::llama_model_quantize(from.as_ptr(), to.as_ptr(), &params) };
    drop(watch);
    let result = match code {
        Err(thrown) => Err(fail(not_written(&thrown.to_string(), &part))),
        Ok(0) => std::fs::rename(&part, output)
            .map_err(|e| fail(format!("cannot write {}: {e}", output.display()))),
        Ok(_) => Err(fail(log::reason())),
    };
    if result.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    result?;
    let finer = finer.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok(finer)
}

/// llama.cpp's number of a weight type.
fn type_of(name: &str) -> Result<u32, String> {
    let known = QUANT_TYPES.iter().find(|t| t.0.eq_ignore_ascii_case(name));
    known.map(|t| t.1).ok_or_else(|| {
        let names: Vec<_> = QUANT_TYPES.iter().map(|t| t.0).collect();
        format!("{name} is no weight type; there are {}", names.join(", "))
    })
}

/// Why a model was not written. Of a stream that fails, llama.cpp says no more than that it did.
fn not_written(why: &str, file: &Path) -> String {
    if why.contains("iostream") || why.contains("basic_ios") {
        let file = file.display();
        return format!("{file} cannot be written; is the disk full? ({why})");
    }
    why.to_owned()
}

/// How many of how many tensors got another type, if a log line says so: "function: WARNING: 30 of
/// 211 tensor(s) required fallback quantization".
fn finer_tensors(line: &str) -> Option<&str> {
    let (said, _) = line.split_once(" tensor(s) required fallback quantization")?;
    said.rsplit_once(": ").map(|(_, counts)| counts)
}

/// Tensors done and in all, if a log line says so: "[  12/ 338]    blk.0.attn_k.weight - ...".
fn tensors_done(line: &str) -> Option<(u64, u64)> {
    let (counts, _) = line.strip_prefix('[')?.split_once(']')?;
    let (done, all) = counts.split_once('/')?;
    Some((done.trim().parse().ok()?, all.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_finer_type_are_said_in_words() {
        let file = Path::new("a.gguf.part");
        let full = not_written("basic_ios::clear: iostream error", file);
        assert!(full.starts_with("a.gguf.part cannot be written; is the disk full?"));
        assert_eq!(not_written("unknown tensor", file), "unknown tensor");
        let line = "llama_model_quantize_impl: WARNING: 30 of 211 tensor(s) required fallback \
                    quantization";
        assert_eq!(finer_tensors(line), Some("30 of 211"));
        assert_eq!(finer_tensors("[  12/ 338] blk.0"), None);
    }

    #[test]
    fn progress_is_read_from_log_lines() {
        let line = "[  12/ 338]    blk.0.attn_k.weight - [ 64, 64, 1, 1]";
        assert_eq!(tensors_done(line), Some((12, 338)));
        for line in ["", "[", "[1]", "[a/b]", "size = 3"] {
            assert_eq!(tensors_done(line), None, "{line}");
        }
    }

    #[test]
    fn an_unknown_type_is_told_from_the_known_ones() {
        assert!(type_of("q4_k_m").is_ok());
        assert!(type_of("Q4_X").unwrap_err().contains("there are F32, F16"));
    }
}
