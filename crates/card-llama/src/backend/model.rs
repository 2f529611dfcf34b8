//! A model as the core's backend uses it: loaded by llama.cpp, its weights laid out for card's
//! kernels, perhaps with a part of its vocabulary.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use super::trim::format::{FAMILIES, FROM};
use super::trim::trimmed::Trimmed;
use crate::error::LlamaError;
use crate::kernels::{AttentionGuard, Kernels, OfferedKernels, card_kernels};
use crate::sys::cache_type::CacheTypes;
use crate::sys::device::{self, DeviceHandle};
use crate::sys::draft_head::DraftHead;
use crate::sys::file::check_magic;
use crate::sys::handle::Handle;
use crate::sys::lora::{Adapters, LoraFile};
use crate::sys::model::{LoadSettings, LoadedModel, ModelInfo};
use crate::sys::rpc;
use crate::sys::start::start;
use crate::sys::tensor_place::TensorPlace;
use crate::sys::vocab::{Vocab, no_texts};

/// How to load a model.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Layers to put on the GPU; `None` for all that there are.
    pub gpu_layers: Option<u32>,
    /// The only devices to use, by name; empty for llama.cpp's choice.
    pub devices: Vec<String>,
    /// Machines that take a part of the layers, as `HOST:PORT`, before the devices here
    /// (see [`crate::rpc`]).
    pub workers: Vec<String>,
    /// Whose kernels the weights are laid out for. [`Kernels::Card`] become ggml's where they
    /// cannot be used.
    pub kernels: Kernels,
    /// Types of the numbers that KV caches of the model keep.
    pub cache: CacheTypes,
    /// LoRA adapters that change what the model computes.
    pub adapters: Vec<LoraFile>,
    /// Tensors that are kept on a device of their own, whatever their layer; the first place that
    /// fits a tensor counts.
    pub places: Vec<TensorPlace>,
    /// Load the file's head too, if it has one that can draft ([`DraftHead`]).
    pub head: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            gpu_layers: None,
            devices: Vec::new(),
            workers: Vec::new(),
            kernels: Kernels::Card,
            cache: CacheTypes::default(),
            adapters: Vec::new(),
            places: Vec::new(),
            head: false,
        }
    }
}

/// A model in memory. Cheap to clone.
#[derive(Clone)]
pub struct LlamaModel {
    loaded: LoadedModel,
    /// If the weights are laid out for card's kernels.
    kernels: Option<Arc<AttentionGuard>>,
    /// If the model has logits for a part of its vocabulary only (see [`crate::trim()`]).
    trimmed: Option<Arc<Trimmed>>,
    cache: CacheTypes,
    path: PathBuf,
    /// The head of the file that can draft, and whether it was loaded.
    head: Option<(DraftHead, bool)>,
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
        Self::load_as(path, options, false, progress)
    }

    /// Loads a head that has a file of its own.
    ///
    /// # Errors
    /// As [`LlamaModel::load`].
    pub(super) fn load_head(
        path: &Path,
        options: &LoadOptions,
        progress: &mut dyn FnMut(f32),
    ) -> Result<Self, LlamaError> {
        Self::load_as(path, options, true, progress)
    }

    /// Loads a file, as a head by itself or as another model.
    fn load_as(
        path: &Path,
        options: &LoadOptions,
        is_head: bool,
        progress: &mut dyn FnMut(f32),
    ) -> Result<Self, LlamaError> {
        start();
        // Before the first model: ggml copies its list of kernels then.
        let _ = card_kernels();
        check_magic(path)?;
        // What is wrong with a file is said when it is loaded.
        let usable = || {
            let head = DraftHead::of_file(path).ok().flatten();
            head.filter(DraftHead::is_usable)
        };
        let head = options.head.then(usable).flatten();
        let settings = LoadSettings {
            gpu_layers: options.gpu_layers,
            devices: chosen_devices(options)?,
            repack: options.kernels != Kernels::GgmlPlain,
            places: options.places.clone(),
            adapters: options.adapters.clone(),
            head: options.head && head.is_some(),
            is_head,
        };
        let card = options.kernels == Kernels::Card && use_card();
        let _offered = OfferedKernels::new(card);
        let mut model = LlamaModel {
            loaded: LoadedModel::load(path, &settings, progress)?,
            kernels: card.then(|| Arc::new(AttentionGuard::new())),
            trimmed: None,
            cache: options.cache,
            path: path.to_owned(),
            head: head.map(|head| (head, true)),
        };
        if !options.head && model.loaded.head_layers() > 0 {
            model.head = usable().map(|head| (head, false));
        }
        if let Some(from) = model.meta(FROM) {
            let from = Path::new(&from);
            let vocab = Vocab::of_file(from)?;
            let trimmed = Trimmed::open(path, from, vocab, model.loaded.sizes())?;
            model.trimmed = Some(Arc::new(trimmed));
        } else if !model.vocab().has_texts() {
            return Err(no_texts(path));
        }
        Ok(model)
    }

    /// Whether the weights are laid out for card's kernels (those of them that are on a CPU).
    pub fn has_card_kernels(&self) -> bool {
        self.kernels.is_some()
    }

    /// The file that the model came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The vocabulary; of a trimmed model, that of the whole one.
    pub fn vocab(&self) -> Vocab {
        match &self.trimmed {
            Some(trimmed) => trimmed.vocab.clone(),
            None => self.loaded.vocab(),
        }
    }

    /// Whether [`crate::trim()`] can make a smaller one of the model.
    pub fn can_be_trimmed(&self) -> bool {
        let family = self.meta("general.architecture").unwrap_or_default();
        self.trimmed.is_none() && FAMILIES.contains(&family.as_str())
    }

    /// Facts about the model.
    pub fn info(&self) -> ModelInfo {
        self.loaded.info()
    }

    /// A value of the file's metadata, as text.
    pub fn meta(&self, key: &str) -> Option<String> {
        self.loaded.meta(key)
    }

    /// The chat template of the file, if there is one.
    pub(crate) fn template(&self) -> Option<String> {
        self.loaded.template()
    }

    /// The model itself, for contexts of it.
    pub(super) fn handle(&self) -> &Arc<Handle> {
        self.loaded.handle()
    }

    /// Whether the model keeps a state for each sequence id, as recurrent and hybrid models do.
    pub(super) fn keeps_states(&self) -> bool {
        self.loaded.keeps_states()
    }

    /// Whether the model keeps cells beside its states.
    pub(super) fn is_hybrid(&self) -> bool {
        self.loaded.is_hybrid()
    }

    /// Whether the state behind a text can be saved without what attention keeps of the text.
    /// llama.cpp saves the cells of a window with it, and of some such models even all cells.
    pub(super) fn saves_states(&self) -> bool {
        self.keeps_states() && !self.loaded.has_window()
    }

    /// Whether a text that begins as another one did may be read from where they part, and come to
    /// the same logits. Layers that make one cell of several tokens (DeepSeek 4) keep something of
    /// what followed.
    pub fn reuses_prefixes(&self) -> bool {
        self.meta("general.architecture").as_deref() != Some("deepseek4")
    }

    /// What keeps attention as the weights need it.
    pub(super) fn kernels(&self) -> Option<&Arc<AttentionGuard>> {
        self.kernels.as_ref()
    }

    /// What changes the model, if something does.
    pub(super) fn adapters(&self) -> Option<&Arc<Adapters>> {
        self.loaded.adapters()
    }

    /// Types of the numbers that its KV caches keep.
    pub fn cache(&self) -> CacheTypes {
        self.cache
    }

    /// Whether the file's head was loaded ([`LoadOptions::head`]), so that contexts of it can be
    /// made.
    pub fn has_head(&self) -> bool {
        self.head.as_ref().is_some_and(|(_, loaded)| *loaded)
    }

    /// What a trimmed model needs beside itself.
    pub(super) fn trimmed(&self) -> Option<&Arc<Trimmed>> {
        self.trimmed.as_ref()
    }
}

/// The devices that take layers, those of workers first; `None` for llama.cpp's choice.
///
/// The CPU takes what no other device does. Named like one, it would run without its own kernels
/// and threads; so a list of nothing else is an empty list.
fn chosen_devices(options: &LoadOptions) -> Result<Option<Vec<DeviceHandle>>, LlamaError> {
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
    if devices.is_empty() {
        return Ok(None);
    }
    devices.retain(|device| !device.is_cpu());
    Ok(Some(devices))
}

/// Whether card's kernels can be used; says once why not.
fn use_card() -> bool {
    static SAID: Once = Once::new();
    match card_kernels() {
        Ok(_) => true,
        Err(why) => {
            SAID.call_once(|| tracing::warn!("ggml's kernels are used, not card's: {why}"));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::trim::trim;
    use crate::sys::model::MOST_META;
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
            // The vocabulary may be whole, so this says either; it ends no process.
            let _ = Vocab::of_file(&file);
        }
        let _ = std::fs::remove_file(file);
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

    #[test]
    fn a_trimmed_copy_whose_original_is_another_model_by_now_is_refused() {
        let whole = Tiny::model("whole", 64).write();
        let copy = std::env::temp_dir().join(format!("card-tiny-{}-copy.gguf", std::process::id()));
        trim(&whole, &copy, &whole, 64).unwrap();
        assert_eq!(load(&copy).unwrap().vocab().len(), 97);

        let wider = Tiny::model("wider", 128).write();
        std::fs::rename(&wider, &whole).unwrap();
        let error = load(&copy).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("128 wide"), "{error}");

        std::fs::remove_file(&whole).unwrap();
        std::fs::create_dir(&whole).unwrap();
        assert!(load(&copy).is_err());
        std::fs::remove_dir(&whole).unwrap();
        assert!(load(&copy).is_err());
        let _ = std::fs::remove_file(copy);
    }
}
