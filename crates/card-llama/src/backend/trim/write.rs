//! Writes the copy of a model that proposes common tokens only.

use std::ffi::{CStr, CString};
use std::path::Path;

use card_core::types::Token;

use super::format::{EMBEDDINGS, FAMILIES, FROM, OUTPUT, TOKENS};
use crate::error::LlamaError;
use crate::sys::file::part_of;
use crate::sys::gguf::Gguf;
use crate::sys::vocab::Vocab;

/// Fast kernels compute so many rows at a time, if there is no rest.
const TOGETHER: usize = 64;

/// Writes the model `input` with an output layer for the `common` most common tokens only to
/// `output`, which appears only when it is whole. `from` is the file that its inputs are
/// looked up in from now on: `input`, or what that was made from.
///
/// # Errors
/// If the input is no model of one file and a family this is known for, or the output cannot
/// be written.
pub fn trim(input: &Path, output: &Path, from: &Path, common: usize) -> Result<(), LlamaError> {
    let fail = |why: String| LlamaError::Trim {
        path: input.display().to_string(),
        why,
    };
    let keep = Vocab::of_file(from)?.common(common.next_multiple_of(TOGETHER));
    let whole = Gguf::open(input, true)?;
    let from = std::fs::canonicalize(from).map_err(|source| LlamaError::Open {
        path: from.display().to_string(),
        source,
    })?;
    let from = CString::new(from.as_os_str().as_encoded_bytes())
        .map_err(|_| fail("the path has a NUL byte".into()))?;
    let family = whole.text(c"general.architecture").unwrap_or_default();
    if !FAMILIES.contains(&family.as_str()) {
        let known = FAMILIES.join(", ");
        return Err(fail(format!(
            "it is of the family {family:?}; this is known for {known}"
        )));
    }
    let length = CString::new(format!("{family}.vocab_size"))
        .map_err(|_| fail("its family has a NUL byte".into()))?;
    let (small, _rows) = shrunk(&whole, &keep, &length, &from)
        .ok_or_else(|| fail("it has no output layer with a row for each token".into()))?;
    let part = part_of(output);
    let written = if small.write(&part)? {
        std::fs::rename(&part, output).map_err(|e| e.to_string())
    } else {
        Err("is the disk full?".into())
    };
    written.map_err(|why| {
        let _ = std::fs::remove_file(&part);
        fail(format!("cannot write {}: {why}", output.display()))
    })
}

/// The model `whole` with rows for the tokens `keep` only, and the memory of those rows, which
/// must stay until it is written. `length` is the key of the vocabulary's size, `from` the file
/// that inputs are looked up in. `None` if there is no table with a row for each token, or no
/// memory.
fn shrunk(
    whole: &Gguf,
    keep: &[Token],
    length: &CStr,
    from: &CStr,
) -> Option<(Gguf, Vec<Vec<u8>>)> {
    let mut small = Gguf::like(whole).ok()?;
    small.remove("tokenizer.").ok()?;
    small.set_text(c"tokenizer.ggml.model", c"no_vocab").ok()?;
    small.set_number(length, keep.len() as u32).ok()?;
    small.set_numbers(TOKENS, keep).ok()?;
    small.set_text(&CString::new(FROM).ok()?, from).ok()?;
    let mut cut = Vec::new();
    for tensor in whole.tensors() {
        if [EMBEDDINGS, OUTPUT].contains(&tensor.name.as_c_str()) {
            let mut rows = Vec::new();
            small.add_rows(whole, &tensor, keep, &mut rows)?;
            cut.push(rows);
        } else {
            small.add(whole, &tensor)?;
        }
    }
    (!cut.is_empty()).then_some((small, cut))
}
