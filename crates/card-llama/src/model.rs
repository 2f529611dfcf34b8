//! A loaded GGUF file.

use std::ffi::{CString, c_void};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use llama_cpp_sys_2 as sys;

use crate::device::text;
use crate::trim::{self, Trimmed};
use crate::{LlamaError, Vocab, device, log, rpc};

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
    /// Whether weights may be repacked for faster kernels. Repacked weights use other
    /// kernels from some row counts on, so exactness may ask to go without.
    pub repack: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            gpu_layers: None,
            devices: Vec::new(),
            workers: Vec::new(),
            repack: true,
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
        params.use_extra_bufts = options.repack;
        let mut report: &mut dyn FnMut(f32) = progress;
        params.progress_callback = Some(on_progress);
        params.progress_callback_user_data = (&raw mut report).cast();
        log::forget();
        // SAFETY: the path is NUL-terminated, and everything params points to outlives
        // the call; nothing of it is kept.
        let model = unsafe { sys::llama_model_load_from_file(c_path.as_ptr(), params) };
        let Some(model) = NonNull::new(model) else {
            return Err(LlamaError::Load {
                path: shown,
                why: log::reason(),
            });
        };
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
            trimmed: None,
            path: path.to_owned(),
        };
        if let Some(from) = model.meta(trim::FROM) {
            let from = Path::new(&from);
            let trimmed = Trimmed::open(path, from, Vocab::new(vocabulary(from)?))?;
            model.trimmed = Some(Arc::new(trimmed));
        }
        Ok(model)
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
        unsafe {
            sys::llama_model_desc(m, buffer.as_mut_ptr().cast(), buffer.len());
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
        loop {
            // SAFETY: the model is loaded, the key NUL-terminated, the buffer as long as said.
            let n = unsafe {
                sys::llama_model_meta_val_str(
                    m,
                    key.as_ptr(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                )
            };
            let n = usize::try_from(n).ok()?;
            if n < buffer.len() {
                return Some(text(buffer.as_ptr().cast()));
            }
            buffer = vec![0u8; n + 1];
        }
    }

    pub(crate) fn template(&self) -> Option<String> {
        // SAFETY: the model is loaded; a null name asks for the default template.
        let p = unsafe { sys::llama_model_chat_template(self.handle.0.as_ptr(), std::ptr::null()) };
        (!p.is_null()).then(|| text(p))
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
    let model = unsafe { sys::llama_model_load_from_file(c_path.as_ptr(), params) };
    match NonNull::new(model) {
        Some(model) => Ok(Arc::new(Handle(model))),
        None => Err(LlamaError::Load {
            path: path.display().to_string(),
            why: log::reason(),
        }),
    }
}

unsafe extern "C" fn on_progress(part: f32, data: *mut c_void) -> bool {
    // SAFETY: data is the pointer to the callback that `load` passed, which is alive
    // while loading, and only the loading thread calls this.
    let report = unsafe { &mut *data.cast::<&mut dyn FnMut(f32)>() };
    report(part);
    true
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
    let mut file = File::open(path).map_err(open)?;
    if file.metadata().map_err(open)?.is_dir() {
        return Err(not("it is a directory"));
    }
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
