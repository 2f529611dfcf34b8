//! A model that llama.cpp loaded, freed when its last user goes.

use std::path::Path;
use std::ptr::NonNull;

use llama_cpp_sys_2 as cpp;

use super::file::{c_path, check_magic};
use super::start::start;
use super::{log, shim};
use crate::error::LlamaError;

/// Owns a `llama_model`. Contexts and vocabularies of the model share it.
pub(crate) struct Handle(NonNull<cpp::llama_model>);

// SAFETY: a llama_model belongs to no thread.
unsafe impl Send for Handle {}
// SAFETY: only the loading of a LoRA adapter writes to a llama_model that is loaded, and it takes
// the handle for itself (`&mut`, see `Adapters::load`); all else only reads the model, which
// llama.cpp shares between contexts of several threads.
unsafe impl Sync for Handle {}

impl Handle {
    /// Loads a GGUF file.
    ///
    /// # Errors
    /// If the file is missing, no GGUF, incomplete, or of a kind llama.cpp cannot run.
    ///
    /// # Safety
    /// What `params` points to stays during the call.
    pub(crate) unsafe fn load(
        path: &Path,
        params: cpp::llama_model_params,
    ) -> Result<Self, LlamaError> {
        start();
        check_magic(path)?;
        let fail = |why| LlamaError::Load {
            path: path.display().to_string(),
            why,
        };
        let name = c_path(path)?;
        log::forget();
        // SAFETY: the path ends with NUL; the caller vouches for `params`, of which llama.cpp
        // keeps nothing.
        let model = unsafe { shim::llama_model_load_from_file(name.as_ptr(), params) };
        let model = model.map_err(|thrown| fail(thrown.to_string()))?;
        NonNull::new(model)
            .map(Handle)
            .ok_or_else(|| fail(log::reason()))
    }

    /// The model as llama.cpp's functions take it; valid as long as `self`.
    pub(crate) fn raw(&self) -> *mut cpp::llama_model {
        self.0.as_ptr()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by llama_model_load_from_file, freed once; contexts hold an Arc.
        unsafe { cpp::llama_model_free(self.0.as_ptr()) }
    }
}
