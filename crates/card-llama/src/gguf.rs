//! GGUF files as they lie on disk: metadata, tensors, writing. For what llama.cpp itself
//! does not do to a model.

use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;

use crate::LlamaError;
use crate::model::{c_path, check_magic};

/// An open file, or one that is being made.
pub(crate) struct Gguf {
    raw: NonNull<sys::gguf_context>,
    /// Where the tensors' data is, if it was read.
    data: Option<NonNull<sys::ggml_context>>,
}

impl Drop for Gguf {
    fn drop(&mut self) {
        // SAFETY: both were made by us and are freed once.
        unsafe {
            sys::gguf_free(self.raw.as_ptr());
            if let Some(data) = self.data {
                sys::ggml_free(data.as_ptr());
            }
        }
    }
}

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) name: CString,
    pub(crate) kind: sys::ggml_type,
    /// Columns (the length of a row) and rows.
    pub(crate) shape: [i64; 2],
    /// Bytes of a row.
    pub(crate) row_bytes: usize,
    /// Where its data begins in the file.
    pub(crate) offset: u64,
}

impl Gguf {
    /// Opens a file; `data` reads the tensors too.
    pub(crate) fn open(path: &Path, data: bool) -> Result<Self, LlamaError> {
        check_magic(path)?;
        let c_path = c_path(path)?;
        let mut tensors: *mut sys::ggml_context = std::ptr::null_mut();
        let params = sys::gguf_init_params {
            no_alloc: !data,
            ctx: match data {
                true => &raw mut tensors,
                false => std::ptr::null_mut(),
            },
        };
        // SAFETY: the path is NUL-terminated; `ctx` points to a pointer that outlives the call.
        let raw = unsafe { sys::gguf_init_from_file(c_path.as_ptr(), params) };
        let raw = NonNull::new(raw).ok_or_else(|| LlamaError::NotGguf {
            path: path.display().to_string(),
            why: "its header is damaged or cut off".into(),
        })?;
        Ok(Gguf {
            raw,
            data: NonNull::new(tensors),
        })
    }

    /// A new one with the metadata of `other` but no tensors.
    pub(crate) fn like(other: &Gguf) -> Option<Self> {
        // SAFETY: no arguments.
        let raw = NonNull::new(unsafe { sys::gguf_init_empty() })?;
        // SAFETY: both are alive; everything is copied.
        unsafe { sys::gguf_set_kv(raw.as_ptr(), other.raw.as_ptr()) };
        Some(Gguf { raw, data: None })
    }

    fn find(&self, key: &CStr, kind: sys::gguf_type) -> Option<i64> {
        // SAFETY: the file is alive, the key NUL-terminated, the id one that it gave.
        unsafe {
            let id = sys::gguf_find_key(self.raw.as_ptr(), key.as_ptr());
            (id >= 0 && sys::gguf_get_kv_type(self.raw.as_ptr(), id) == kind).then_some(id)
        }
    }

    /// A text of the metadata.
    pub(crate) fn text(&self, key: &CStr) -> Option<String> {
        let id = self.find(key, sys::GGUF_TYPE_STRING)?;
        // SAFETY: the key is there and a string, which lives as long as the file is open.
        let text = unsafe { CStr::from_ptr(sys::gguf_get_val_str(self.raw.as_ptr(), id)) };
        Some(text.to_string_lossy().into_owned())
    }

    /// A list of numbers of the metadata.
    pub(crate) fn numbers(&self, key: &CStr) -> Option<Vec<u32>> {
        let id = self.find(key, sys::GGUF_TYPE_ARRAY)?;
        // SAFETY: the key is there and an array; its elements are u32 and as many as said.
        unsafe {
            let file = self.raw.as_ptr();
            if sys::gguf_get_arr_type(file, id) != sys::GGUF_TYPE_UINT32 {
                return None;
            }
            let first = sys::gguf_get_arr_data(file, id).cast::<u32>();
            Some(std::slice::from_raw_parts(first, sys::gguf_get_arr_n(file, id)).to_vec())
        }
    }

    pub(crate) fn set_text(&mut self, key: &CStr, value: &CStr) {
        // SAFETY: the file is alive, both are NUL-terminated and copied.
        unsafe { sys::gguf_set_val_str(self.raw.as_ptr(), key.as_ptr(), value.as_ptr()) }
    }

    pub(crate) fn set_number(&mut self, key: &CStr, value: u32) {
        // SAFETY: the file is alive, the key NUL-terminated.
        unsafe { sys::gguf_set_val_u32(self.raw.as_ptr(), key.as_ptr(), value) }
    }

    pub(crate) fn set_numbers(&mut self, key: &CStr, values: &[u32]) {
        // SAFETY: the file is alive, the key NUL-terminated, the values copied.
        unsafe {
            sys::gguf_set_arr_data(
                self.raw.as_ptr(),
                key.as_ptr(),
                sys::GGUF_TYPE_UINT32,
                values.as_ptr().cast(),
                values.len(),
            );
        }
    }

    /// Removes the keys that begin with `prefix`.
    pub(crate) fn remove(&mut self, prefix: &str) {
        // SAFETY: the file is alive; keys are copied before they are removed by their text.
        unsafe {
            let file = self.raw.as_ptr();
            let keys: Vec<CString> = (0..sys::gguf_get_n_kv(file))
                .map(|id| CStr::from_ptr(sys::gguf_get_key(file, id)).to_owned())
                .filter(|key| key.to_bytes().starts_with(prefix.as_bytes()))
                .collect();
            for key in keys {
                sys::gguf_remove_key(file, key.as_ptr());
            }
        }
    }

    /// The tensors, in the file's order.
    pub(crate) fn tensors(&self) -> Vec<Tensor> {
        let file = self.raw.as_ptr();
        // SAFETY: the file is alive and the ids below the number of its tensors; a shape has
        // GGML_MAX_DIMS (4) numbers.
        unsafe {
            let start = sys::gguf_get_data_offset(file) as u64;
            let tensor = |id| {
                let kind = sys::gguf_get_tensor_type(file, id);
                let shape = std::slice::from_raw_parts(sys::gguf_get_tensor_ne(file, id), 4);
                Tensor {
                    name: CStr::from_ptr(sys::gguf_get_tensor_name(file, id)).to_owned(),
                    kind,
                    shape: [shape[0], shape[1]],
                    row_bytes: sys::ggml_row_size(kind, shape[0]),
                    offset: start + sys::gguf_get_tensor_offset(file, id) as u64,
                }
            };
            (0..sys::gguf_get_n_tensors(file)).map(tensor).collect()
        }
    }

    /// Adds a tensor of `from` as it is. `from` must stay until this is written.
    pub(crate) fn add(&mut self, from: &Gguf, tensor: &Tensor) -> Option<()> {
        // SAFETY: `from` is alive; the description is copied, the data is not.
        unsafe {
            let found = sys::ggml_get_tensor(from.data?.as_ptr(), tensor.name.as_ptr());
            if found.is_null() {
                return None;
            }
            sys::gguf_add_tensor(self.raw.as_ptr(), found);
        }
        Some(())
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
            let found = sys::ggml_get_tensor(from.data?.as_ptr(), tensor.name.as_ptr()).as_ref()?;
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
            let context = NonNull::new(sys::ggml_init(sys::ggml_init_params {
                mem_size: 2 * sys::ggml_tensor_overhead(),
                mem_buffer: std::ptr::null_mut(),
                no_alloc: true,
            }))?;
            let made = sys::ggml_new_tensor_2d(
                context.as_ptr(),
                tensor.kind,
                tensor.shape[0],
                rows.len() as i64,
            );
            sys::ggml_set_name(made, tensor.name.as_ptr());
            (*made).data = into.as_mut_ptr().cast();
            sys::gguf_add_tensor(self.raw.as_ptr(), made);
            sys::ggml_free(context.as_ptr());
        }
        Some(())
    }

    /// Writes it; whether that worked.
    pub(crate) fn write(&self, path: &Path) -> Result<bool, LlamaError> {
        let path = c_path(path)?;
        // SAFETY: the file is alive and so is its tensors' data; the path is NUL-terminated.
        Ok(unsafe { sys::gguf_write_to_file(self.raw.as_ptr(), path.as_ptr(), false) })
    }
}
