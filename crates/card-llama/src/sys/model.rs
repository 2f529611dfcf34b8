//! A loaded GGUF file: what llama.cpp knows of the model.

use std::ffi::{CString, c_void};
use std::path::Path;
use std::sync::Arc;

use llama_cpp_sys_2 as cpp;

use super::device::DeviceHandle;
use super::ffi::{text, text_in};
use super::handle::Handle;
use super::head_file::HeadFile;
use super::lora::{Adapters, LoraFile};
use super::shim;
use super::start::start;
use super::tensor_place::{Overrides, TensorPlace};
use super::vocab::Vocab;
use crate::error::LlamaError;

/// Bytes of a text in the metadata that is asked for: more than any chat template has.
pub(crate) const MOST_META: usize = 1 << 20;

/// How llama.cpp loads a model.
#[derive(Clone, Debug)]
pub(crate) struct LoadSettings {
    /// Layers to put on the GPU; `None` for all that there are.
    pub(crate) gpu_layers: Option<u32>,
    /// The devices that take layers, without the CPU, which takes the rest; `None` for llama.cpp's
    /// choice.
    pub(crate) devices: Option<Vec<DeviceHandle>>,
    /// Whether weights may be laid out anew for the CPU's kernels.
    pub(crate) repack: bool,
    /// Tensors that are kept on a device of their own, whatever their layer.
    pub(crate) places: Vec<TensorPlace>,
    /// LoRA adapters that change what the model computes.
    pub(crate) adapters: Vec<LoraFile>,
    /// Whether the layers of the file's head are loaded too.
    pub(crate) head: bool,
    /// Whether the file is a head by itself ([`HeadFile`](super::head_file::HeadFile)).
    pub(crate) is_head: bool,
}

/// Facts about a model.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ModelInfo {
    /// Architecture, size and weight type in llama.cpp's words, like "qwen2 1.5B Q4_K - Medium".
    pub description: String,
    /// `general.name` of the file, if the file has it.
    pub name: Option<String>,
    /// Bytes of weights.
    pub bytes: u64,
    /// Number of parameters.
    pub parameters: u64,
    /// Tokens of the context that the model was trained for; `u32::MAX` if its file does not say.
    pub trained_context: u32,
    /// Layers.
    pub layers: u32,
}

/// The lengths of what goes into a model and comes out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelSizes {
    /// Numbers of an embedding that goes in.
    pub(crate) input: usize,
    /// Numbers of what goes from layer to layer.
    pub(crate) width: usize,
    /// Numbers of a hidden state that comes out.
    pub(crate) hidden: usize,
    /// Logits of a row, which is the number of tokens of the model's own vocabulary.
    pub(crate) logits: usize,
}

impl ModelSizes {
    /// The lengths that a loaded model has.
    pub(crate) fn of(handle: &Handle) -> Self {
        let m = handle.raw();
        // SAFETY: the model is loaded.
        let (input, width, hidden, logits) = unsafe {
            (
                cpp::llama_model_n_embd_inp(m),
                cpp::llama_model_n_embd(m),
                cpp::llama_model_n_embd_out(m),
                cpp::llama_vocab_n_tokens(cpp::llama_model_get_vocab(m)),
            )
        };
        ModelSizes {
            input: input.max(0) as usize,
            width: width.max(0) as usize,
            hidden: hidden.max(0) as usize,
            logits: logits.max(0) as usize,
        }
    }
}

/// A model that llama.cpp loaded and that generates text token by token. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LoadedModel {
    handle: Arc<Handle>,
    /// What changes the model, if something does.
    adapters: Option<Arc<Adapters>>,
}

impl LoadedModel {
    /// Loads a GGUF file. `progress` hears of the part done, 0 to 1; if it panics, loading ends
    /// with an error. Card's kernels are registered before the first model is loaded, or never:
    /// ggml copies its list of kernels then.
    ///
    /// # Errors
    /// If the file is missing, no GGUF, incomplete, or of a kind llama.cpp cannot run or the core
    /// cannot use; or if an adapter cannot be used.
    pub(crate) fn load(
        path: &Path,
        settings: &LoadSettings,
        progress: &mut dyn FnMut(f32),
    ) -> Result<Self, LlamaError> {
        start();
        let devices = settings.devices.iter().flatten().map(|d| d.raw());
        // The list ends with null.
        let mut devices: Vec<_> = devices.chain([std::ptr::null_mut()]).collect();
        // SAFETY: returns a plain struct.
        let mut params = unsafe { cpp::llama_model_default_params() };
        params.n_gpu_layers = settings
            .gpu_layers
            .map_or(-1, |n| n.min(i32::MAX as u32) as i32);
        if settings.devices.is_some() {
            params.devices = devices.as_mut_ptr();
        }
        params.use_extra_bufts = settings.repack;
        params.load_mtp = settings.head;
        let overrides = Overrides::new(&settings.places)?;
        params.tensor_buft_overrides = overrides.raw();
        let mut report: &mut dyn FnMut(f32) = progress;
        params.progress_callback = Some(on_progress);
        params.progress_callback_user_data = (&raw mut report).cast();
        // SAFETY: the lists of devices and of places and the callback outlive the call.
        let handle = unsafe { Handle::load(path, params) };
        let handle = handle.map_err(|error| of_patterns(error, &settings.places))?;
        if !settings.is_head {
            check_kind(&handle, path)?;
        }
        if settings.adapters.is_empty() {
            return Ok(LoadedModel {
                handle: Arc::new(handle),
                adapters: None,
            });
        }
        let adapters = Adapters::load(handle, &settings.adapters)?;
        Ok(LoadedModel {
            handle: adapters.model().clone(),
            adapters: Some(Arc::new(adapters)),
        })
    }

    /// What changes the model, if something does.
    pub(crate) fn adapters(&self) -> Option<&Arc<Adapters>> {
        self.adapters.as_ref()
    }

    /// The model itself, for contexts of it.
    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// The model's own vocabulary, which may be without texts.
    pub(crate) fn vocab(&self) -> Vocab {
        Vocab::new(self.handle.clone())
    }

    /// The lengths of what goes in and comes out.
    pub(crate) fn sizes(&self) -> ModelSizes {
        ModelSizes::of(&self.handle)
    }

    /// Whether the model keeps a state for each sequence id, which every token changes: it is a
    /// recurrent model, or a hybrid one.
    pub(crate) fn keeps_states(&self) -> bool {
        let m = self.handle.raw();
        // SAFETY: the model is loaded.
        unsafe { cpp::llama_model_is_recurrent(m) || cpp::llama_model_is_hybrid(m) }
    }

    /// Layers of the head that the file names; whether they are there is another matter.
    pub(crate) fn head_layers(&self) -> i32 {
        // SAFETY: the model is loaded.
        unsafe { cpp::llama_model_n_layer_nextn(self.handle.raw()) }
    }

    /// Whether the model keeps cells beside its states.
    pub(crate) fn is_hybrid(&self) -> bool {
        // SAFETY: the model is loaded.
        unsafe { cpp::llama_model_is_hybrid(self.handle.raw()) }
    }

    /// Whether some of its layers look back over a window that slides.
    pub(crate) fn has_window(&self) -> bool {
        // SAFETY: the model is loaded.
        unsafe { cpp::llama_model_n_swa(self.handle.raw()) > 0 }
    }

    /// Facts about the model.
    pub(crate) fn info(&self) -> ModelInfo {
        let m = self.handle.raw();
        let mut buffer = vec![0u8; 256];
        // SAFETY: the model is loaded; the buffer is as long as said.
        let described =
            unsafe { shim::llama_model_desc(m, buffer.as_mut_ptr().cast(), buffer.len()) };
        if described.is_err() {
            buffer.fill(0);
        }
        // SAFETY: the model is loaded.
        let (bytes, parameters, trained, layers) = unsafe {
            (
                cpp::llama_model_size(m),
                cpp::llama_model_n_params(m),
                cpp::llama_model_n_ctx_train(m),
                cpp::llama_model_n_layer(m),
            )
        };
        ModelInfo {
            description: text_in(&buffer),
            name: self.meta("general.name"),
            bytes,
            parameters,
            trained_context: context_of(trained),
            layers: layers.max(0) as u32,
        }
    }

    /// A value of the file's metadata, as text.
    pub fn meta(&self, key: &str) -> Option<String> {
        let key = CString::new(key).ok()?;
        let m = self.handle.raw();
        let mut buffer = vec![0u8; 64];
        for _ in 0..2 {
            // SAFETY: the model is loaded, the key ends with NUL, the buffer as long as said.
            let n = unsafe {
                shim::llama_model_meta_val_str(
                    m,
                    key.as_ptr(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                )
            };
            let n = usize::try_from(n.ok()?).ok()?;
            if n < buffer.len() {
                return Some(text_in(&buffer));
            }
            if n > MOST_META {
                return None;
            }
            buffer = vec![0u8; n + 1];
        }
        None
    }

    /// The chat template of the file, if there is one.
    pub(crate) fn template(&self) -> Option<String> {
        // SAFETY: the model is loaded; a null name asks for the default template.
        let p = unsafe { shim::llama_model_chat_template(self.handle.raw(), std::ptr::null()) };
        let p = p.ok().filter(|p| !p.is_null())?;
        // SAFETY: the template ends with NUL and lives as long as the model.
        Some(unsafe { text(p) })
    }
}

/// Refuses models that do not generate text token by token.
fn check_kind(handle: &Handle, path: &Path) -> Result<(), LlamaError> {
    let m = handle.raw();
    // SAFETY: the model is loaded.
    let (encoder, decoder, diffusion) = unsafe {
        (
            cpp::llama_model_has_encoder(m),
            cpp::llama_model_has_decoder(m),
            cpp::llama_model_is_diffusion(m),
        )
    };
    if !encoder && decoder && !diffusion {
        return Ok(());
    }
    let why = match HeadFile::of_file(path) {
        Ok(Some(head)) => format!(
            "it is a head ({}), which drafts for the model that it was made for: name that model, and \
             this file with --draft",
            head.kind()
        ),
        _ => "it does not generate text token by token".into(),
    };
    Err(LlamaError::Unsupported {
        path: path.display().to_string(),
        why,
    })
}

/// What llama.cpp calls while it loads; `false` ends the loading.
///
/// # Safety
/// `data` points to a callback that nobody else uses meanwhile.
unsafe extern "C" fn on_progress(part: f32, data: *mut c_void) -> bool {
    // SAFETY: `data` is the pointer to the callback that `load` passed, which is alive
    // while loading, and only the loading thread calls this.
    let report = unsafe { &mut *data.cast::<&mut dyn FnMut(f32)>() };
    // A panic must not reach llama.cpp; it ends the loading.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| report(part))).is_ok()
}

/// Why a model does not load: where the patterns of its places are none, that is the reason, and not
/// the file.
fn of_patterns(error: LlamaError, places: &[TensorPlace]) -> LlamaError {
    /// Words of C++'s libraries about patterns.
    const WORDS: [&str; 4] = [
        "regex",
        "regular expression",
        "expression contained",
        "Parenthesis",
    ];
    match &error {
        LlamaError::Load { why, .. } if WORDS.iter().any(|word| why.contains(word)) => {
            let given = places.iter().filter(|place| !place.is_of_experts());
            let patterns: Vec<&str> = given.map(|place| place.pattern.as_str()).collect();
            match patterns.as_slice() {
                [] => error,
                all => LlamaError::Pattern(all.join(",")),
            }
        }
        _ => error,
    }
}

/// The context that llama.cpp reads in a file. Some files say 0, and more than llama.cpp counts is
/// below 0: none of them is a bound.
fn context_of(said: i32) -> u32 {
    u32::try_from(said)
        .ok()
        .filter(|tokens| *tokens > 0)
        .unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_blamed_only_where_somebody_gave_one() {
        let is_blamed = |places: &[TensorPlace]| {
            let error = LlamaError::Load {
                path: "m.gguf".to_owned(),
                why: "Failed to process regex".to_owned(),
            };
            let told = of_patterns(error, places);
            matches!(told, LlamaError::Pattern(all) if all == "(=x")
        };
        let own = [None, Some(2)].map(TensorPlace::experts_on_cpu);
        assert!(!is_blamed(&[]) && !is_blamed(&own));
        let given = TensorPlace::parse("(=x=CPU").unwrap();
        let [all, some] = own;
        assert!(is_blamed(&[all, given, some]));
    }

    #[test]
    fn a_file_without_a_context_bounds_none() {
        assert_eq!(context_of(512), 512);
        for none in [0, -1, i32::MIN] {
            assert_eq!(context_of(none), u32::MAX);
        }
    }
}
