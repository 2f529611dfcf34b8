//! Tables of weights by token, read from the original file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use card_core::types::Token;
use llama_cpp_sys_2 as cpp;

use crate::error::LlamaError;
use crate::sys::gguf::Tensor;

/// Checks that a table has a row of `width` numbers for each token.
pub(super) fn check_table(table: &Tensor, width: usize, vocab: usize) -> Result<(), String> {
    let name = table.name.to_string_lossy();
    let [columns, rows] = table.shape;
    if usize::try_from(columns) != Ok(width) {
        return Err(format!(
            "its {name} is {columns} wide, the trimmed model {width}"
        ));
    }
    if !usize::try_from(rows).is_ok_and(|rows| rows >= vocab) {
        return Err(format!(
            "its {name} has {rows} rows, its vocabulary {vocab} tokens"
        ));
    }
    if table.kind != cpp::GGML_TYPE_F32 && to_float(table.kind).is_none() {
        return Err(format!("its {name} has weights of a type without numbers"));
    }
    Ok(())
}

/// What makes numbers of weights of a type; F32 needs none.
fn to_float(kind: cpp::ggml_type) -> cpp::ggml_to_float_t {
    if kind >= cpp::GGML_TYPE_COUNT {
        return None;
    }
    // SAFETY: the type is one that ggml knows; what it says of it stays for the process.
    unsafe { cpp::ggml_get_type_traits(kind).as_ref() }.and_then(|traits| traits.to_float)
}

/// A table of weights in a file, of which a forward needs a few rows: the system keeps their
/// pages in memory.
pub(super) struct Table {
    file: Mutex<File>,
    tensor: Tensor,
}

impl Table {
    /// The table that `tensor` is in the file `from`.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub(super) fn open(from: &Path, tensor: &Tensor) -> Result<Self, LlamaError> {
        let file = File::open(from).map_err(|source| LlamaError::Open {
            path: from.display().to_string(),
            source,
        })?;
        Ok(Table {
            file: Mutex::new(file),
            tensor: tensor.clone(),
        })
    }

    /// Weights of a row.
    pub(super) fn width(&self) -> usize {
        self.tensor.shape[0] as usize
    }

    /// The weights of a token, as many as `into` has room for.
    pub(super) fn read(&self, token: Token, into: &mut [f32]) -> std::io::Result<()> {
        let tensor = &self.tensor;
        if i64::from(token) >= tensor.shape[1] || into.len() != self.width() {
            return Err(std::io::Error::other(format!("there is no token {token}")));
        }
        let mut row = vec![0u8; tensor.row_bytes];
        // Within the file: its tensors were when it was opened.
        let at = tensor.offset + u64::from(token) * row.len() as u64;
        {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut row)?;
        }
        match to_float(tensor.kind) {
            // SAFETY: the row has the bytes of `shape[0]` weights of its type, a whole number of
            // blocks, and `into` is as long (checked above).
            Some(convert) => unsafe {
                convert(row.as_ptr().cast(), into.as_mut_ptr(), tensor.shape[0]);
            },
            // Only F32 needs none (`check_table`).
            None => {
                for (value, bytes) in into.iter_mut().zip(row.as_chunks().0) {
                    *value = f32::from_le_bytes(*bytes);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_do_not_fit_the_model_are_refused() {
        let table = |columns, rows, kind| Tensor {
            name: c"token_embd.weight".to_owned(),
            kind,
            shape: [columns, rows],
            row_bytes: 4 * 32,
            offset: 0,
        };
        let f32s = cpp::GGML_TYPE_F32;
        assert_eq!(check_table(&table(32, 10, f32s), 32, 10), Ok(()));
        assert_eq!(check_table(&table(32, 12, f32s), 32, 10), Ok(()));
        for (columns, rows, kind) in [
            (16, 10, f32s),
            (64, 10, f32s),
            (-1, 10, f32s),
            (32, 9, f32s),
            (32, -1, f32s),
            (32, 10, cpp::GGML_TYPE_I64),
            (32, 10, u32::MAX),
        ] {
            let table = table(columns, rows, kind);
            assert!(check_table(&table, 32, 10).is_err(), "{table:?}");
        }
    }
}
