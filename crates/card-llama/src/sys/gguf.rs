//! GGUF files as they lie on disk: metadata, tensors, writing. For what llama.cpp itself
//! does not do to a model.

use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr::NonNull;

use llama_cpp_sys_2 as cpp;

use super::file::{c_path, check_magic};
use super::log;
use super::shim::{self, Thrown};
use crate::error::LlamaError;

/// Numbers in a list of the metadata that is read here: more than any vocabulary has tokens.
const MOST_NUMBERS: usize = 1 << 24;

/// An open file, or one that is being made.
///
/// Invariant: what tensors of a file that is being made point to (their original file, or the
/// rows that [`Gguf::add_rows`] collected) stays until it is written.
pub(crate) struct Gguf {
    raw: NonNull<cpp::gguf_context>,
    /// Where the tensors' data is, if it was read.
    data: Option<NonNull<cpp::ggml_context>>,
}

impl Drop for Gguf {
    fn drop(&mut self) {
        // SAFETY: both were made by us and are freed once.
        unsafe {
            cpp::gguf_free(self.raw.as_ptr());
            if let Some(data) = self.data {
                cpp::ggml_free(data.as_ptr());
            }
        }
    }
}

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    /// The name, like `token_embd.weight`.
    pub(crate) name: CString,
    /// The type of the weights.
    pub(crate) kind: cpp::ggml_type,
    /// Columns (the length of a row) and rows.
    pub(crate) shape: [i64; 2],
    /// Bytes of a row.
    pub(crate) row_bytes: usize,
    /// Byte of the file at which the data begins.
    pub(crate) offset: u64,
}

impl Gguf {
    /// Opens a file; `data` reads the tensors too. Each is known to lie in the file then.
    ///
    /// # Errors
    /// If the file is missing, no GGUF, damaged or cut off.
    pub(crate) fn open(path: &Path, data: bool) -> Result<Self, LlamaError> {
        check_magic(path)?;
        let broken = |why: String| LlamaError::NotGguf {
            path: path.display().to_string(),
            why,
        };
        let length = std::fs::metadata(path).map_err(|source| LlamaError::Open {
            path: path.display().to_string(),
            source,
        })?;
        let c_path = c_path(path)?;
        let header = Self::read(&c_path, false).map_err(broken)?;
        // Memory is taken by what the header says, so that is compared with the file first.
        if let Some(tensor) = header.beyond(length.len()) {
            return Err(broken(format!(
                "its tensor {tensor} lies beyond its end; was it cut off?"
            )));
        }
        if data {
            Self::read(&c_path, true).map_err(broken)
        } else {
            Ok(header)
        }
    }

    fn read(path: &CStr, data: bool) -> Result<Self, String> {
        let mut tensors: *mut cpp::ggml_context = std::ptr::null_mut();
        let params = cpp::gguf_init_params {
            no_alloc: !data,
            ctx: if data {
                &raw mut tensors
            } else {
                std::ptr::null_mut()
            },
        };
        log::forget();
        // SAFETY: the path is ends with NUL; `ctx` points to a pointer that outlives the call.
        let raw = unsafe { shim::gguf_init_from_file(path.as_ptr(), params) };
        let raw = raw.map_err(|e| e.to_string())?;
        let raw = NonNull::new(raw).ok_or("its header is damaged or cut off")?;
        Ok(Gguf {
            raw,
            data: NonNull::new(tensors),
        })
    }

    /// A tensor that is not all within a file of so many bytes.
    fn beyond(&self, length: u64) -> Option<String> {
        let file = self.raw.as_ptr();
        self.tensors().iter().enumerate().find_map(|(id, tensor)| {
            // SAFETY: the file is alive and the id below the number of its tensors.
            let size = unsafe { cpp::gguf_get_tensor_size(file, id as i64) } as u64;
            let end = tensor.offset.checked_add(size);
            let within = end.is_some_and(|end| end <= length);
            (!within).then(|| tensor.name.to_string_lossy().into_owned())
        })
    }

    /// A new one with the metadata of `other` but no tensors.
    pub(crate) fn like(other: &Gguf) -> Result<Self, Thrown> {
        // SAFETY: no arguments.
        let raw = unsafe { shim::gguf_init_empty() }?;
        let raw = NonNull::new(raw).ok_or_else(|| Thrown("out of memory".into()))?;
        let new = Gguf { raw, data: None };
        // SAFETY: both are alive; everything is copied.
        unsafe { shim::gguf_set_kv(raw.as_ptr(), other.raw.as_ptr()) }?;
        Ok(new)
    }

    /// The file as llama.cpp's functions take it; valid as long as `self`.
    #[cfg(any(test, feature = "tiny"))]
    pub(crate) fn raw(&self) -> *mut cpp::gguf_context {
        self.raw.as_ptr()
    }

    fn find(&self, key: &CStr, kind: cpp::gguf_type) -> Option<i64> {
        // SAFETY: the file is alive, the key NUL-terminated, the id one that it gave.
        unsafe {
            let id = cpp::gguf_find_key(self.raw.as_ptr(), key.as_ptr());
            (id >= 0 && cpp::gguf_get_kv_type(self.raw.as_ptr(), id) == kind).then_some(id)
        }
    }

    /// A text of the metadata.
    pub(crate) fn text(&self, key: &CStr) -> Option<String> {
        let id = self.find(key, cpp::GGUF_TYPE_STRING)?;
        // SAFETY: the key is there and a string, which lives as long as the file is open.
        let text = unsafe { CStr::from_ptr(cpp::gguf_get_val_str(self.raw.as_ptr(), id)) };
        Some(text.to_string_lossy().into_owned())
    }

    /// A whole number of the metadata, of whatever type; `None` if it is below 0.
    pub(crate) fn number(&self, key: &CStr) -> Option<u64> {
        let file = self.raw.as_ptr();
        // SAFETY: the file is alive, the key NUL-terminated, and the number is asked for by the
        // type that it has.
        unsafe {
            let id = cpp::gguf_find_key(file, key.as_ptr());
            if id < 0 {
                return None;
            }
            match cpp::gguf_get_kv_type(file, id) {
                cpp::GGUF_TYPE_UINT8 => Some(cpp::gguf_get_val_u8(file, id).into()),
                cpp::GGUF_TYPE_UINT16 => Some(cpp::gguf_get_val_u16(file, id).into()),
                cpp::GGUF_TYPE_UINT32 => Some(cpp::gguf_get_val_u32(file, id).into()),
                cpp::GGUF_TYPE_UINT64 => Some(cpp::gguf_get_val_u64(file, id)),
                cpp::GGUF_TYPE_INT32 => cpp::gguf_get_val_i32(file, id).try_into().ok(),
                cpp::GGUF_TYPE_INT64 => cpp::gguf_get_val_i64(file, id).try_into().ok(),
                _ => None,
            }
        }
    }

    /// A yes or no of the metadata.
    pub(crate) fn flag(&self, key: &CStr) -> Option<bool> {
        let id = self.find(key, cpp::GGUF_TYPE_BOOL)?;
        // SAFETY: the key is there and of that type.
        Some(unsafe { cpp::gguf_get_val_bool(self.raw.as_ptr(), id) })
    }

    /// Length of a list of the metadata, of whatever type its elements are.
    pub(crate) fn length(&self, key: &CStr) -> Option<u64> {
        let id = self.find(key, cpp::GGUF_TYPE_ARRAY)?;
        // SAFETY: the key is there and an array.
        Some(unsafe { cpp::gguf_get_arr_n(self.raw.as_ptr(), id) } as u64)
    }

    /// A list of numbers of the metadata, signed ones too; `None` if one is below 0.
    pub(crate) fn counts(&self, key: &CStr) -> Option<Vec<u64>> {
        if let Some(numbers) = self.numbers(key) {
            return Some(numbers.into_iter().map(u64::from).collect());
        }
        let id = self.find(key, cpp::GGUF_TYPE_ARRAY)?;
        let file = self.raw.as_ptr();
        // SAFETY: the key is there and an array.
        let (kind, length) = unsafe {
            (
                cpp::gguf_get_arr_type(file, id),
                cpp::gguf_get_arr_n(file, id),
            )
        };
        if kind != cpp::GGUF_TYPE_INT32 || length > MOST_NUMBERS {
            return None;
        }
        // SAFETY: as above, and its elements are no texts.
        let first = unsafe { cpp::gguf_get_arr_data(file, id) }.cast::<i32>();
        if length == 0 || first.is_null() {
            return Some(Vec::new());
        }
        // SAFETY: its elements are i32, as many as said, and stay while the file is open.
        let signed = unsafe { std::slice::from_raw_parts(first, length) };
        signed.iter().map(|&n| n.try_into().ok()).collect()
    }

    /// A list of numbers of the metadata.
    pub(crate) fn numbers(&self, key: &CStr) -> Option<Vec<u32>> {
        let id = self.find(key, cpp::GGUF_TYPE_ARRAY)?;
        let file = self.raw.as_ptr();
        // SAFETY: the key is there and an array.
        let (kind, length) = unsafe {
            (
                cpp::gguf_get_arr_type(file, id),
                cpp::gguf_get_arr_n(file, id),
            )
        };
        if kind != cpp::GGUF_TYPE_UINT32 || length > MOST_NUMBERS {
            return None;
        }
        // SAFETY: as above, and its elements are no texts.
        let first = unsafe { cpp::gguf_get_arr_data(file, id) }.cast::<u32>();
        // Of an empty one there is no first.
        if length == 0 || first.is_null() {
            return Some(Vec::new());
        }
        // SAFETY: its elements are u32, as many as said, and stay while the file is open.
        Some(unsafe { std::slice::from_raw_parts(first, length) }.to_vec())
    }

    /// Sets a text of the metadata.
    pub(crate) fn set_text(&mut self, key: &CStr, value: &CStr) -> Result<(), Thrown> {
        // SAFETY: the file is alive, both are NUL-terminated and copied.
        unsafe { shim::gguf_set_val_str(self.raw.as_ptr(), key.as_ptr(), value.as_ptr()) }
    }

    /// Sets a number of the metadata.
    pub(crate) fn set_number(&mut self, key: &CStr, value: u32) -> Result<(), Thrown> {
        // SAFETY: the file is alive, the key NUL-terminated.
        unsafe { shim::gguf_set_val_u32(self.raw.as_ptr(), key.as_ptr(), value) }
    }

    /// Sets a list of numbers of the metadata.
    pub(crate) fn set_numbers(&mut self, key: &CStr, values: &[u32]) -> Result<(), Thrown> {
        // SAFETY: the file is alive, the key NUL-terminated, the values copied.
        unsafe {
            shim::gguf_set_arr_data(
                self.raw.as_ptr(),
                key.as_ptr(),
                cpp::GGUF_TYPE_UINT32,
                values.as_ptr().cast(),
                values.len(),
            )
        }
    }

    /// Removes the keys that begin with `prefix`.
    pub(crate) fn remove(&mut self, prefix: &str) -> Result<(), Thrown> {
        // SAFETY: the file is alive; keys are copied before they are removed by their text.
        unsafe {
            let file = self.raw.as_ptr();
            let keys: Vec<CString> = (0..cpp::gguf_get_n_kv(file))
                .map(|id| CStr::from_ptr(cpp::gguf_get_key(file, id)).to_owned())
                .filter(|key| key.to_bytes().starts_with(prefix.as_bytes()))
                .collect();
            for key in keys {
                shim::gguf_remove_key(file, key.as_ptr())?;
            }
        }
        Ok(())
    }

    /// The tensors, in the file's order.
    pub(crate) fn tensors(&self) -> Vec<Tensor> {
        let file = self.raw.as_ptr();
        // SAFETY: the file is alive and the ids below the number of its tensors; a shape has
        // GGML_MAX_DIMS (4) numbers.
        unsafe {
            let start = cpp::gguf_get_data_offset(file) as u64;
            let tensor = |id| {
                let kind = cpp::gguf_get_tensor_type(file, id);
                let shape = std::slice::from_raw_parts(cpp::gguf_get_tensor_ne(file, id), 4);
                Tensor {
                    name: CStr::from_ptr(cpp::gguf_get_tensor_name(file, id)).to_owned(),
                    kind,
                    shape: [shape[0], shape[1]],
                    row_bytes: cpp::ggml_row_size(kind, shape[0]),
                    offset: start + cpp::gguf_get_tensor_offset(file, id) as u64,
                }
            };
            (0..cpp::gguf_get_n_tensors(file)).map(tensor).collect()
        }
    }

    /// Name and bytes of each tensor.
    pub(crate) fn tensor_sizes(&self) -> Vec<(String, u64)> {
        let file = self.raw.as_ptr();
        let tensors = self.tensors().into_iter().enumerate();
        let sized = tensors.map(|(id, tensor)| {
            // SAFETY: the file is alive and the id below the number of its tensors.
            let bytes = unsafe { cpp::gguf_get_tensor_size(file, id as i64) };
            (tensor.name.to_string_lossy().into_owned(), bytes as u64)
        });
        sized.collect()
    }

    /// Adds a tensor of `from` as it is. `from` must stay until this is written.
    pub(crate) fn add(&mut self, from: &Gguf, tensor: &Tensor) -> Option<()> {
        // SAFETY: `from` is alive; the description is copied, the data is not.
        unsafe {
            let found = cpp::ggml_get_tensor(from.data?.as_ptr(), tensor.name.as_ptr());
            if found.is_null() {
                return None;
            }
            shim::gguf_add_tensor(self.raw.as_ptr(), found).ok()
        }
    }

    /// Adds `rows` of a tensor of `from`, in this order. `into` takes their data and must
    /// stay until this is written.
    pub(crate) fn add_rows(
        &mut self,
        from: &Gguf,
        tensor: &Tensor,
        rows: &[u32],
        into: &mut Vec<u8>,
    ) -> Option<()> {
        // SAFETY: `from` is alive. The data of a tensor that was read is as long as its rows,
        // and each row is checked to be one of them; the description is copied into the file
        // with its data pointing into `into`, so the context it was made in may go.
        unsafe {
            let found = cpp::ggml_get_tensor(from.data?.as_ptr(), tensor.name.as_ptr()).as_ref()?;
            let first = found.data.cast::<u8>();
            if first.is_null() {
                return None;
            }
            into.reserve(rows.len() * tensor.row_bytes);
            for &row in rows {
                if i64::from(row) >= tensor.shape[1] {
                    return None;
                }
                let at = first.add(row as usize * tensor.row_bytes);
                into.extend_from_slice(std::slice::from_raw_parts(at, tensor.row_bytes));
            }
            let context = NonNull::new(cpp::ggml_init(cpp::ggml_init_params {
                mem_size: 2 * cpp::ggml_tensor_overhead(),
                mem_buffer: std::ptr::null_mut(),
                no_alloc: true,
            }))?;
            let made = cpp::ggml_new_tensor_2d(
                context.as_ptr(),
                tensor.kind,
                tensor.shape[0],
                rows.len() as i64,
            );
            let added = match made.as_mut() {
                Some(tensor_made) => {
                    cpp::ggml_set_name(tensor_made, tensor.name.as_ptr());
                    tensor_made.data = into.as_mut_ptr().cast();
                    shim::gguf_add_tensor(self.raw.as_ptr(), made).ok()
                }
                None => None,
            };
            cpp::ggml_free(context.as_ptr());
            added
        }
    }

    /// Writes it; whether that worked.
    pub(crate) fn write(&self, path: &Path) -> Result<bool, LlamaError> {
        let path = c_path(path)?;
        // SAFETY: the file is alive and so is its tensors' data; the path is NUL-terminated.
        let done = unsafe { shim::gguf_write_to_file(self.raw.as_ptr(), path.as_ptr(), false) };
        Ok(done.unwrap_or(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::Tiny;

    #[test]
    fn a_list_of_no_numbers_is_a_list() {
        let file = Tiny::new("no-numbers")
            .numbers("none", &[])
            .numbers("some", &[3, 1])
            .text("text", "x")
            .write();
        let gguf = Gguf::open(&file, false).unwrap();
        assert_eq!(gguf.numbers(c"none"), Some(vec![]));
        assert_eq!(gguf.numbers(c"some"), Some(vec![3, 1]));
        assert_eq!(gguf.numbers(c"text"), None);
        assert_eq!(gguf.numbers(c"missing"), None);
        assert_eq!(gguf.text(c"text").as_deref(), Some("x"));
        assert_eq!(gguf.counts(c"some"), Some(vec![3, 1]));
        assert_eq!(gguf.counts(c"text"), None);
        assert_eq!(
            (gguf.number(c"some"), gguf.number(c"missing")),
            (None, None)
        );
        let _ = std::fs::remove_file(file);
        let file = Tiny::new("a-number").number("seven", 7).write();
        let gguf = Gguf::open(&file, false).unwrap();
        assert_eq!(gguf.number(c"seven"), Some(7));
        let _ = std::fs::remove_file(file);
    }

    #[test]
    fn a_tensor_beyond_the_end_of_the_file_is_refused_before_memory_is_taken() {
        // 4 TiB of weights in a file of some bytes.
        let file = Tiny::new("beyond")
            .missing_tensor("huge", &[1 << 20, 1 << 20])
            .write();
        for data in [false, true] {
            let error = Gguf::open(&file, data).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("beyond its end"), "{error}");
        }
        let _ = std::fs::remove_file(file);
    }

    #[test]
    fn a_file_that_was_cut_off_anywhere_is_refused() {
        let file = Tiny::new("cut")
            .text("general.architecture", "llama")
            .numbers("list", &[1, 2, 3])
            .tensor("weights", &[32, 4])
            .write();
        let whole = std::fs::read(&file).unwrap();
        assert!(Gguf::open(&file, true).is_ok());
        for length in 0..whole.len() {
            std::fs::write(&file, &whole[..length]).unwrap();
            assert!(Gguf::open(&file, true).is_err(), "{length}");
        }
        let _ = std::fs::remove_file(file);
    }
}
