//! What to load and how to run it, as plain values: the only input of this library.
//!
//! The command makes [`Settings`] from its flags. Their names are the flags' names, so that
//! documentation of the one holds for the other.

use std::path::PathBuf;

use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_engine::selftest::Exactness;
use card_llama::{CacheType, CacheTypes, LoraFile, TensorPlace};
use serde::{Deserialize, Serialize};

use crate::link::LinkSettings;
use crate::models::catalogue::DEFAULT_PAIR;

/// Which models to load, where and how: everything [`Setup::load`](crate::Setup::load) needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// The target: a pair or a model of the catalogue, a GGUF file, `hf:OWNER/REPO[:QUANT]`,
    /// `ollama:NAME` or `lmstudio:NAME`.
    pub model: String,
    /// The draft model, named like the target (of a pair, its drafter), or `none`, or `head` for the
    /// head in the target's file. `None` and `auto` are for that head, else for the pair's draft
    /// model, or for one that is found here.
    pub draft: Option<String>,
    /// A second draft model, or `head`. Each draft step goes to the one that promises more.
    pub draft2: Option<String>,
    /// Addresses of draft models on other machines, in place of one here.
    pub drafter: Vec<String>,
    /// Whether a draft copy may stand in for the draft model.
    pub draft_weights: DraftWeights,
    /// How the two models are scheduled.
    pub mode: Mode,
    /// How close the text is to plain decoding's.
    pub exactness: Exactness,
    /// Whose matrix kernels processors run.
    pub kernels: KernelChoice,
    /// Chain length of [`Mode::DraftThenVerify`], in tokens.
    pub draft_len: u32,
    /// Whether the models run at the same time.
    pub lanes: LaneChoice,
    /// Threads in all; `None` for all cores.
    pub threads: Option<u32>,
    /// Threads of the drafter where both models run on one processor at the same time; `None`
    /// for a share that is measured.
    pub draft_threads: Option<u32>,
    /// Tokens of context, prompt included; `None` for 4096, or for what the model was trained
    /// for if that is less; 0 for all that it was trained for, as far as there is room.
    pub ctx: Option<u32>,
    /// Layers of the target on GPUs; `None` for all.
    pub gpu_layers: Option<u32>,
    /// Layers of the drafter on GPUs; `None` for all.
    pub draft_gpu_layers: Option<u32>,
    /// Devices of the target, by name; empty for llama.cpp's choice.
    pub device: Vec<String>,
    /// Devices of the drafter, by name; empty for llama.cpp's choice.
    pub draft_device: Vec<String>,
    /// Machines that hold a part of the target's layers, as `HOST:PORT`.
    pub rpc: Vec<String>,
    /// Whether a part of the target stays on the processor where the GPUs have no room for it.
    pub fit: bool,
    /// Sequences at a time that there shall be memory for, each with a context of its own.
    pub parallel: u32,
    /// Type of the keys that the target keeps.
    pub cache_type_k: CacheType,
    /// Type of the values that the target keeps.
    pub cache_type_v: CacheType,
    /// Type of the keys that the drafter keeps.
    pub cache_type_k_draft: CacheType,
    /// Type of the values that the drafter keeps.
    pub cache_type_v_draft: CacheType,
    /// Whether the expert weights of all layers of the target stay on the processor.
    pub cpu_moe: bool,
    /// Layers of the target, from the first on, whose expert weights stay on the processor.
    pub n_cpu_moe: Option<u32>,
    /// Tensors of the target that are kept on a device of their own, as `PATTERN=DEVICE`.
    pub override_tensor: Vec<String>,
    /// LoRA adapters of the target, applied as they were trained.
    pub lora: Vec<PathBuf>,
    /// LoRA adapters of the target with how strongly they are applied, as `FILE:SCALE`.
    pub lora_scaled: Vec<String>,
    /// A chat template in Jinja, in place of the one in the target's file.
    pub chat_template: Option<String>,
    /// A file with such a template.
    pub chat_template_file: Option<PathBuf>,
    /// Variables for the chat template: an object, as JSON.
    pub chat_template_kwargs: Option<String>,
    /// Most memory for the candidates of one generation, in KiB.
    pub cache_kib: usize,
    /// Most memory for saved states of a target that has one state per sequence, in MiB.
    pub cache_ram: usize,
    /// Whether nothing is used of what earlier runs learned, nor added to it.
    pub no_memory: bool,
    /// An emulation profile to pace the models by: a TOML file, or the name of a built-in one.
    pub emulate: Option<PathBuf>,
    /// Whether nothing is fetched: only models that are here are used.
    pub offline: bool,
    /// How links to other machines are kept safe.
    pub link: LinkSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            model: DEFAULT_PAIR.to_owned(),
            draft: None,
            draft2: None,
            drafter: Vec::new(),
            draft_weights: DraftWeights::Auto,
            mode: Mode::Auto,
            exactness: Exactness::Exact,
            kernels: KernelChoice::Auto,
            draft_len: 4,
            lanes: LaneChoice::Auto,
            threads: None,
            draft_threads: None,
            ctx: None,
            gpu_layers: None,
            draft_gpu_layers: None,
            device: Vec::new(),
            draft_device: Vec::new(),
            rpc: Vec::new(),
            fit: true,
            parallel: 1,
            cache_type_k: CacheType::default(),
            cache_type_v: CacheType::default(),
            cache_type_k_draft: CacheType::default(),
            cache_type_v_draft: CacheType::default(),
            cpu_moe: false,
            n_cpu_moe: None,
            override_tensor: Vec::new(),
            lora: Vec::new(),
            lora_scaled: Vec::new(),
            chat_template: None,
            chat_template_file: None,
            chat_template_kwargs: None,
            cache_kib: 128,
            cache_ram: 256,
            no_memory: false,
            emulate: None,
            offline: false,
            link: LinkSettings::default(),
        }
    }
}

impl Settings {
    /// The number of tokens of context that is asked for, if one is.
    pub fn asked_context(&self) -> Option<u32> {
        self.ctx.filter(|tokens| *tokens > 0)
    }

    /// Types of the numbers that the target's KV cache keeps.
    pub fn target_cache(&self) -> CacheTypes {
        CacheTypes {
            k: self.cache_type_k,
            v: self.cache_type_v,
        }
    }

    /// Types of the numbers that the drafter's KV cache keeps.
    pub fn draft_cache(&self) -> CacheTypes {
        CacheTypes {
            k: self.cache_type_k_draft,
            v: self.cache_type_v_draft,
        }
    }

    /// Tensors of the target that are kept on a device of their own. What names a tensor itself
    /// comes before what names all experts.
    ///
    /// # Errors
    /// If a text is not a pattern and a device.
    pub fn places(&self) -> Result<Vec<TensorPlace>, String> {
        let named = self.override_tensor.iter().map(|t| TensorPlace::parse(t));
        let mut places: Vec<TensorPlace> = named.collect::<Result<_, _>>()?;
        if self.cpu_moe {
            places.push(TensorPlace::experts_on_cpu(None));
        } else if let Some(layers) = self.n_cpu_moe.filter(|n| *n > 0) {
            places.push(TensorPlace::experts_on_cpu(Some(layers)));
        }
        Ok(places)
    }

    /// LoRA adapters of the target.
    ///
    /// # Errors
    /// If a text is not a file and a scale.
    pub fn adapters(&self) -> Result<Vec<LoraFile>, String> {
        let whole = self.lora.iter().map(|path| LoraFile {
            path: path.clone(),
            scale: 1.0,
        });
        let scaled = self.lora_scaled.iter().map(|t| LoraFile::parse(t));
        whole.map(Ok).chain(scaled).collect()
    }
}

/// What a machine drafts with for targets on other machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DrafterSettings {
    /// The draft model, named like the target of [`Settings`]; of a pair, its drafter.
    pub model: String,
    /// Threads in all; `None` for all cores.
    pub threads: Option<u32>,
    /// Layers on GPUs; `None` for all.
    pub gpu_layers: Option<u32>,
    /// Devices, by name; empty for llama.cpp's choice.
    pub device: Vec<String>,
    /// Whose matrix kernels processors run.
    pub kernels: KernelChoice,
    /// Most tokens of context for all targets together.
    pub max_cells: u64,
    /// Whether nothing is fetched.
    pub offline: bool,
}

impl Default for DrafterSettings {
    fn default() -> Self {
        DrafterSettings {
            model: "qwen2.5-coder-0.5b".to_owned(),
            threads: None,
            gpu_layers: None,
            device: Vec::new(),
            kernels: KernelChoice::Auto,
            max_cells: 131_072,
            offline: false,
        }
    }
}

/// Whose matrix kernels processors shall run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelChoice {
    /// Those that are faster here, which is measured once.
    #[default]
    Auto,
    /// Those of the crate `card-kernels`.
    Card,
    /// Those of llama.cpp.
    Ggml,
}

impl KernelChoice {
    /// The name in settings.
    pub fn name(self) -> &'static str {
        match self {
            KernelChoice::Auto => "auto",
            KernelChoice::Card => "card",
            KernelChoice::Ggml => "ggml",
        }
    }
}

/// Which weights a draft model may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DraftWeights {
    /// Those of a draft copy, if measurements say that it is faster.
    #[default]
    Auto,
    /// Those of the file.
    AsIs,
}

/// Whether the two models shall run at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LaneChoice {
    /// If measurements say that it is faster.
    #[default]
    Auto,
    /// No: they take turns.
    Shared,
    /// Yes.
    Disjoint,
}

impl LaneChoice {
    /// The lanes that were chosen; `None` for those that measurements say are faster.
    pub fn chosen(self) -> Option<Lanes> {
        match self {
            LaneChoice::Auto => None,
            LaneChoice::Shared => Some(Lanes::Shared),
            LaneChoice::Disjoint => Some(Lanes::Disjoint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretText;

    #[test]
    fn settings_are_written_and_read_again_without_the_secret() {
        let mut settings = Settings {
            draft: Some("none".into()),
            drafter: vec!["http://draft-box:7070".into()],
            mode: Mode::DraftThenVerify,
            exactness: Exactness::Fast,
            kernels: KernelChoice::Ggml,
            lanes: LaneChoice::Disjoint,
            threads: Some(3),
            cache_type_k: CacheType::Q8_0,
            override_tensor: vec![r"\.ffn_=CPU".into()],
            lora_scaled: vec!["a.gguf:0.5".into()],
            ..Settings::default()
        };
        settings.link.token = Some(SecretText::new("hunter2".into()));
        let text = toml::to_string(&settings).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("mode = \"draft-then-verify\""), "{text}");
        let read: Settings = toml::from_str(&text).unwrap();
        settings.link.token = None;
        assert_eq!(read, settings);
    }

    #[test]
    fn tensors_and_adapters_are_read() {
        let mut settings = Settings {
            cpu_moe: true,
            n_cpu_moe: Some(3),
            override_tensor: vec!["a=CUDA0".into()],
            lora: vec!["a.gguf".into()],
            lora_scaled: vec!["b.gguf:0.5".into()],
            ..Settings::default()
        };
        let places = settings.places().unwrap();
        assert_eq!(places.len(), 2);
        assert_eq!(places[0].device, "CUDA0");
        let scales: Vec<f32> = settings
            .adapters()
            .unwrap()
            .iter()
            .map(|a| a.scale)
            .collect();
        assert_eq!(scales, [1.0, 0.5]);
        settings.override_tensor = vec!["a".into()];
        settings.lora_scaled = vec!["b.gguf".into()];
        assert!(settings.places().is_err() && settings.adapters().is_err());
        assert_eq!(Settings::default().places(), Ok(Vec::new()));
    }

    #[test]
    fn what_is_left_out_is_the_default() {
        let read: Settings = toml::from_str("draft-len = 7").unwrap();
        let expected = Settings {
            draft_len: 7,
            ..Settings::default()
        };
        assert_eq!(read, expected);
        assert!(toml::from_str::<Settings>("draft_length = 7").is_err());
    }
}
