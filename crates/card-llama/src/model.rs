//! A loaded GGUF file.

use std::ffi::{CString, c_void};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use llama_cpp_sys_2 as sys;

use crate::device::text;
use crate::kernels::{Alive, Kernels, Offer, card_kernels};
use crate::trim::{self, Sizes, Trimmed};
use crate::{LlamaError, Vocab, device, log, rpc, shim};

/// Bytes of a text in the metadata that is asked for: more than any chat template has.
const MOST_META: usize = 1 << 20;

/// How to load a model.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Layers to put on the GPU; `None` for all that there are.
    pub gpu_layers: Option<u32>,
    /// Only these devices, by name; empty for llama.cpp's choice.
    pub devices: Vec<String>,
    /// Machines that take a part of the layers, as `HOST:PORT`, before the devices here
    /// (see [`crate::rpc`]).
    pub workers: Vec<String>,
    /// Whose kernels the weights are laid out for. [`Kernels::Card`] become ggml's where they
    /// cannot be used.
    pub kernels: Kernels,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            gpu_layers: None,
            devices: Vec::new(),
            workers: Vec::new(),
            kernels: Kernels::Card,
        }
    }
}

/// Facts about a model.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ModelInfo {
    /// Architecture, size and weight type in llama.cpp's words, like "qwen2 1.5B Q4_K - Medium".
    pub description: String,
    /// `general.name` of the file, if it has one.
    pub name: Option<String>,
    /// Bytes of weights.
    pub bytes: u64,
    /// Number of parameters.
    pub parameters: u64,
    /// Tokens of the context it was trained for.
    pub trained_context: u32,
    /// Layers.
    pub layers: u32,
}

pub(crate) struct Handle(pub(crate) NonNull<sys::llama_model>);

// SAFETY: a llama_model is not written to after it was loaded; llama.cpp shares it
// between contexts of several threads.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by llama_model_load_from_file, freed once; contexts hold an Arc.
        unsafe { sys::llama_model_free(self.0.as_ptr()) }
    }
}

/// A model in memory. Cheap to clone.
#[derive(Clone)]
pub struct LlamaModel {
    pub(crate) handle: Arc<Handle>,
    /// If its weights are laid out for card's kernels.
    pub(crate) kernels: Option<Arc<Alive>>,
    /// If it has logits for a part of its vocabulary only (see [`crate::trim()`]).
    pub(crate) trimmed: Option<Arc<Trimmed>>,
    path: PathBuf,
}

impl LlamaModel {
    /// Loads a GGUF file. `progress` hears of the part done, 0 to 1.
    ///
    /// # Errors
    /// If the file is missing, no GGUF, incomplete, or of a kind llama.cpp cannot run.
    pub fn load(
        path: &Path,
        options: &LoadOptions,
        progress: &mut dyn FnMut(f32),
    ) -> Result<Self, LlamaError> {
        log::start();
        // Before the first model: ggml copies its list of kernels then.
        let _ = card_kernels();
        check_magic(path)?;
        let shown = path.display().to_string();
        let c_path = c_path(path)?;
        let mut devices = Vec::new();
        for worker in &options.workers {
            devices.extend(rpc::devices(worker)?);
        }
        if !devices.is_empty() && options.devices.is_empty() {
            devices.extend(device::gpus());
        }
        for name in &options.devices {
            devices.push(device::find(name)?);
        }
        // The CPU takes what no other device does. Named like one, it would run without its
        // own kernels and threads; so a list of nothing else is an empty list.
        let chosen = !devices.is_empty();
        devices.retain(|&d| !device::is_cpu(d));
        devices.push(std::ptr::null_mut());
        // SAFETY: returns a plain struct.
        let mut params = unsafe { sys::llama_model_default_params() };
        params.n_gpu_layers = options
            .gpu_layers
            .map_or(-1, |n| n.min(i32::MAX as u32) as i32);
        if chosen {
            params.devices = devices.as_mut_ptr();
        }
        params.use_extra_bufts = options.kernels != Kernels::GgmlPlain;
        let card = options.kernels == Kernels::Card && use_card();
        let _offer = Offer::new(card);
        let mut report: &mut dyn FnMut(f32) = progress;
        params.progress_callback = Some(on_progress);
        params.progress_callback_user_data = (&raw mut report).cast();
        log::forget();
        // SAFETY: the path is NUL-terminated, and everything params points to outlives
        // the call; nothing of it is kept.
        let model = unsafe { shim::llama_model_load_from_file(c_path.as_ptr(), params) };
        let model = loaded(path, model)?;
        let handle = Arc::new(Handle(model));
        // SAFETY: the model is loaded.
        let (encoder, decoder, recurrent, diffusion) = unsafe {
            let m = model.as_ptr();
            (
                sys::llama_model_has_encoder(m),
                sys::llama_model_has_decoder(m),
                sys::llama_model_is_recurrent(m) || sys::llama_model_is_hybrid(m),
                sys::llama_model_is_diffusion(m),
            )
        };
        let why = match (encoder || !decoder || diffusion, recurrent) {
            (true, _) => Some("it does not generate text token by token"),
            (_, true) => Some(
                "it is a recurrent model; its state cannot take back a rejected token, so it \
                 cannot verify candidates",
            ),
            _ => None,
        };
        if let Some(why) = why {
            return Err(LlamaError::Unsupported {
                path: shown,
                why: why.into(),
            });
        }
        let mut model = LlamaModel {
            handle,
            kernels: card.then(|| Arc::new(Alive::new())),
            trimmed: None,
            path: path.to_owned(),
        };
        if let Some(from) = model.meta(trim::FROM) {
            let from = Path::new(&from);
            let vocab = Vocab::new(vocabulary(from)?);
            let trimmed = Trimmed::open(path, from, vocab, model.sizes())?;
            model.trimmed = Some(Arc::new(trimmed));
        } else if !model.vocab().has_texts() {
            return Err(no_texts(path));
        }
        Ok(model)
    }

    /// Whether its weights are laid out for card's kernels (those of them that are on a CPU).
    pub fn has_card_kernels(&self) -> bool {
        self.kernels.is_some()
    }

    fn sizes(&self) -> Sizes {
        let m = self.handle.0.as_ptr();
        // SAFETY: the model is loaded.
        let (input, hidden, logits) = unsafe {
            (
                sys::llama_model_n_embd_inp(m),
                sys::llama_model_n_embd_out(m),
                sys::llama_vocab_n_tokens(sys::llama_model_get_vocab(m)),
            )
        };
        Sizes {
            input: input.max(0) as usize,
            hidden: hidden.max(0) as usize,
            logits: logits.max(0) as usize,
        }
    }

    /// The file it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its vocabulary; of a trimmed model, that of the whole one.
    pub fn vocab(&self) -> Vocab {
        match &self.trimmed {
            Some(trimmed) => trimmed.vocab.clone(),
            None => Vocab::new(self.handle.clone()),
        }
    }

    /// Whether [`crate::trim`] can make a smaller one of it.
    pub fn can_be_trimmed(&self) -> bool {
        let family = self.meta("general.architecture").unwrap_or_default();
        self.trimmed.is_none() && trim::FAMILIES.contains(&family.as_str())
    }

    /// Facts about it.
    pub fn info(&self) -> ModelInfo {
        let m = self.handle.0.as_ptr();
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
                sys::llama_model_size(m),
                sys::llama_model_n_params(m),
                sys::llama_model_n_ctx_train(m),
                sys::llama_model_n_layer(m),
            )
        };
        ModelInfo {
            description: text(buffer.as_ptr().cast()),
            name: self.meta("general.name"),
            bytes,
            parameters,
            trained_context: trained.max(0) as u32,
            layers: layers.max(0) as u32,
        }
    }

    /// A value of the file's metadata, as text.
    pub fn meta(&self, key: &str) -> Option<String> {
        let key = CString::new(key).ok()?;
        let m = self.handle.0.as_ptr();
        let mut buffer = vec![0u8; 64];
        for _ in 0..2 {
            // SAFETY: the model is loaded, the key NUL-terminated, the buffer as long as said.
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
                return Some(text(buffer.as_ptr().cast()));
            }
            if n > MOST_META {
                return None;
            }
            buffer = vec![0u8; n + 1];
        }
        None
    }

    pub(crate) fn template(&self) -> Option<String> {
        // SAFETY: the model is loaded; a null name asks for the default template.
        let p =
            unsafe { shim::llama_model_chat_template(self.handle.0.as_ptr(), std::ptr::null()) };
        let p = p.ok()?;
        (!p.is_null()).then(|| text(p))
    }
}

/// Whether card's kernels can be used; says once why not.
fn use_card() -> bool {
    static SAID: std::sync::Once = std::sync::Once::new();
    match card_kernels() {
        Ok(_) => true,
        Err(why) => {
            SAID.call_once(|| tracing::warn!("ggml's kernels are used, not card's: {why}"));
            false
        }
    }
}

/// A model's vocabulary without its weights.
pub(crate) fn vocabulary(path: &Path) -> Result<Arc<Handle>, LlamaError> {
    log::start();
    check_magic(path)?;
    let c_path = c_path(path)?;
    // SAFETY: returns a plain struct.
    let mut params = unsafe { sys::llama_model_default_params() };
    params.vocab_only = true;
    log::forget();
    // SAFETY: the path is NUL-terminated, and params points to nothing.
    let model = unsafe { shim::llama_model_load_from_file(c_path.as_ptr(), params) };
    let handle = Arc::new(Handle(loaded(path, model)?));
    match Vocab::new(handle.clone()).has_texts() {
        true => Ok(handle),
        false => Err(no_texts(path)),
    }
}

/// What came of loading a file.
fn loaded(
    path: &Path,
    model: Result<*mut sys::llama_model, shim::Thrown>,
) -> Result<NonNull<sys::llama_model>, LlamaError> {
    let fail = |why| LlamaError::Load {
        path: path.display().to_string(),
        why,
    };
    let model = model.map_err(|thrown| fail(thrown.to_string()))?;
    NonNull::new(model).ok_or_else(|| fail(log::reason()))
}

/// llama.cpp ends the process when such a model is asked for a text.
fn no_texts(path: &Path) -> LlamaError {
    LlamaError::Unsupported {
        path: path.display().to_string(),
        why: "it has no vocabulary, so it can neither read nor write text".into(),
    }
}

unsafe extern "C" fn on_progress(part: f32, data: *mut c_void) -> bool {
    // SAFETY: data is the pointer to the callback that `load` passed, which is alive
    // while loading, and only the loading thread calls this.
    let report = unsafe { &mut *data.cast::<&mut dyn FnMut(f32)>() };
    // A panic must not reach llama.cpp; it ends the loading.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| report(part))).is_ok()
}

/// Says what a file is before llama.cpp has a look at it: its own message for a text file
/// or a half-downloaded page is hard to understand.
pub(crate) fn check_magic(path: &Path) -> Result<(), LlamaError> {
    let open = |source| LlamaError::Open {
        path: path.display().to_string(),
        source,
    };
    let not = |why: &str| LlamaError::NotGguf {
        path: path.display().to_string(),
        why: why.into(),
    };
    // Before it is opened: to open a pipe is to wait for somebody who writes.
    let kind = std::fs::metadata(path).map_err(open)?;
    if kind.is_dir() {
        return Err(not("it is a directory"));
    }
    if !kind.is_file() {
        return Err(not("it is a device or a pipe, no regular file"));
    }
    let mut file = File::open(path).map_err(open)?;
    let mut head = Vec::new();
    file.by_ref().take(8).read_to_end(&mut head).map_err(open)?;
    match &head[..] {
        [] => Err(not("it is empty")),
        [b'G', b'G', b'U', b'F', ..] => Ok(()),
        [b'P', b'K', ..] => Err(not("it is a ZIP archive; is it a PyTorch checkpoint?")),
        [b'<', ..] => Err(not("it looks like a web page")),
        [_, _, 0, 0, 0, 0, 0, 0] => Err(not("it looks like a safetensors file")),
        _ => Err(not("it does not begin with \"GGUF\"")),
    }
}

pub(crate) fn c_path(path: &Path) -> Result<CString, LlamaError> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| LlamaError::Open {
        path: path.display().to_string(),
        source: std::io::Error::other("the path has a NUL byte"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::Tiny;

    fn load(file: &Path) -> Result<LlamaModel, LlamaError> {
        LlamaModel::load(file, &LoadOptions::default(), &mut |_| {})
    }

    #[test]
    fn a_file_that_was_cut_off_anywhere_is_an_error_and_not_the_end() {
        let file = Tiny::model("cut-model", 64).write();
        let whole = std::fs::read(&file).unwrap();
        let model = load(&file).unwrap();
        assert_eq!(model.info().layers, 1);
        drop(model);
        // Places near each other are alike.
        for length in (0..whole.len()).step_by(whole.len() / 97) {
            std::fs::write(&file, &whole[..length]).unwrap();
            assert!(load(&file).is_err(), "{length}");
            // Whatever it says of a vocabulary that may be whole.
            let _ = vocabulary(&file);
        }
        let _ = std::fs::remove_file(file);
    }

    #[test]
    fn a_model_without_texts_is_refused() {
        let file = Tiny::new("no-texts")
            .text("general.architecture", "llama")
            .text("tokenizer.ggml.model", "no_vocab")
            .number("llama.vocab_size", 10)
            .write();
        let error = vocabulary(&file).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("no vocabulary"), "{error}");
        let _ = std::fs::remove_file(file);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let error = check_magic(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(error.contains("no regular file"), "{error}");
    }

    #[test]
    fn a_panic_while_it_loads_is_an_error() {
        let file = Tiny::model("panic", 64).write();
        let options = LoadOptions::default();
        let error = LlamaModel::load(&file, &options, &mut |_| panic!("a bug"));
        assert!(error.is_err());
        let _ = std::fs::remove_file(file);
    }

    #[test]
    fn metadata_beyond_the_bound_is_not_read() {
        let file = Tiny::model("meta", 64)
            .text("some", &"x".repeat(1000))
            .text("huge", &"x".repeat(MOST_META + 1))
            .write();
        let model = load(&file).unwrap();
        assert_eq!(model.meta("some").map(|t| t.len()), Some(1000));
        assert_eq!(model.meta("huge"), None);
        assert_eq!(model.meta("missing"), None);
        let _ = std::fs::remove_file(file);
    }
}
