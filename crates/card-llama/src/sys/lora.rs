//! LoRA adapters: small files that change what a model computes.

use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use llama_cpp_sys_2 as cpp;

use super::file::{c_path, check_magic};
use super::handle::Handle;
use super::{log, shim};
use crate::error::LlamaError;

/// Adapters of one model. Each is looked up in every matrix of every forward.
pub(crate) const MOST: usize = 64;

/// A LoRA adapter, and how strongly it is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraFile {
    /// The GGUF file.
    pub path: PathBuf,
    /// 1 applies the adapter as it was trained, 0 not at all.
    pub scale: f32,
}

impl LoraFile {
    /// Reads `FILE:SCALE`.
    ///
    /// # Errors
    /// If it is something else.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "an adapter and its scale are like adapter.gguf:0.5".to_owned();
        let (path, scale) = text.rsplit_once(':').ok_or_else(wrong)?;
        let scale: f32 = scale.trim().parse().map_err(|_| wrong())?;
        if path.is_empty() || !scale.is_finite() {
            return Err(wrong());
        }
        Ok(LoraFile {
            path: PathBuf::from(path),
            scale,
        })
    }
}

/// The adapters that a model was loaded with.
///
/// Invariant: the adapters belong to the model, which frees them when it goes; the handle keeps it.
pub(crate) struct Adapters {
    raw: Vec<NonNull<cpp::llama_adapter_lora>>,
    scales: Vec<f32>,
    model: Arc<Handle>,
}

// SAFETY: an adapter belongs to no thread, like the model that owns it.
unsafe impl Send for Adapters {}
// SAFETY: nothing writes to an adapter after `Adapters::load`; contexts only read it.
unsafe impl Sync for Adapters {}

impl Adapters {
    /// Loads adapters of a model, and shares the model. llama.cpp writes each adapter into the
    /// model, so nobody else may have the model before.
    ///
    /// # Errors
    /// If a file is missing, no adapter, or one of another model.
    pub(crate) fn load(mut model: Handle, files: &[LoraFile]) -> Result<Self, LlamaError> {
        let (mut raw, mut scales) = (Vec::new(), Vec::new());
        for file in files {
            let fail = |why: &str| unusable(&file.path, why);
            if files.len() > MOST {
                return Err(fail(&format!("a model takes at most {MOST} adapters")));
            }
            if !file.scale.is_finite() {
                return Err(fail("its scale is no number"));
            }
            raw.push(load(&mut model, &file.path)?);
            scales.push(file.scale);
        }
        Ok(Adapters {
            raw,
            scales,
            model: Arc::new(model),
        })
    }

    /// The model that the adapters belong to.
    pub(crate) fn model(&self) -> &Arc<Handle> {
        &self.model
    }

    /// Whether the adapters are those of a model.
    pub(crate) fn belong_to(&self, model: &Arc<Handle>) -> bool {
        Arc::ptr_eq(&self.model, model)
    }

    /// Has a context of the model compute with the adapters.
    ///
    /// # Errors
    /// If there is no memory for the list of them; the words are llama.cpp's.
    ///
    /// # Safety
    /// `context` is a live context of the adapters' model, which nobody else uses.
    pub(crate) unsafe fn apply(&self, context: *mut cpp::llama_context) -> Result<(), String> {
        let mut raw: Vec<_> = self.raw.iter().map(|adapter| adapter.as_ptr()).collect();
        let mut scales = self.scales.clone();
        // SAFETY: the caller vouches for the context, which keeps its model and so the adapters;
        // both lists are as long as said, and llama.cpp copies them.
        let code = unsafe {
            shim::llama_set_adapters_lora(context, raw.as_mut_ptr(), raw.len(), scales.as_mut_ptr())
        };
        match code.map_err(|thrown| thrown.to_string())? {
            0 => Ok(()),
            code => Err(format!("the adapters cannot be applied (code {code})")),
        }
    }
}

fn load(model: &mut Handle, path: &Path) -> Result<NonNull<cpp::llama_adapter_lora>, LlamaError> {
    check_magic(path)?;
    let name = c_path(path)?;
    log::forget();
    // SAFETY: the model is loaded, and nobody else has it while it is written to, since it was
    // given as `&mut`; the path ends with NUL.
    let raw = unsafe { shim::llama_adapter_lora_init(model.raw(), name.as_ptr()) };
    let raw = raw.map_err(|thrown| unusable(path, &thrown.to_string()))?;
    let raw = NonNull::new(raw).ok_or_else(|| unusable(path, &log::reason()))?;
    // SAFETY: the adapter was made a moment ago; llama.cpp returns a field of it.
    if unsafe { cpp::llama_adapter_get_alora_n_invocation_tokens(raw.as_ptr()) } > 0 {
        return Err(unusable(
            path,
            "it is applied only after certain tokens (aLoRA), which card does not do",
        ));
    }
    Ok(raw)
}

fn unusable(path: &Path, why: &str) -> LlamaError {
    LlamaError::Unsupported {
        path: path.display().to_string(),
        why: format!(
            "this LoRA adapter cannot be used: {why}. It has to be a GGUF file that was made for \
             this very model"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_and_its_scale_are_read() {
        let file = LoraFile::parse("C:\\some.gguf:-0.5").unwrap();
        assert_eq!(
            (file.path.to_str(), file.scale),
            (Some("C:\\some.gguf"), -0.5)
        );
        for wrong in ["", "some.gguf", ":1", "some.gguf:x", "some.gguf:inf"] {
            assert!(LoraFile::parse(wrong).is_err(), "{wrong}");
        }
    }
}
