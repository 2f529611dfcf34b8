//! Flags that make a model fit the memory there is, and adapters of the target. Their names are
//! llama-server's.

use std::path::PathBuf;

use card_llama::CacheType;
use clap::builder::BoolishValueParser;
use clap::{Args, value_parser};

use super::values::{FlagValue, cache_type, one_of, scaled_adapter, tensor_place};

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

const SWITCH: &[FlagValue<Switch>] = &[
    (
        "on",
        "As much goes to the GPUs as they have room for",
        Switch::On,
    ),
    ("off", "All goes there, or loading fails", Switch::Off),
];

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Memory and adapters")]
pub struct FitArgs {
    /// Whether layers of the target, or its experts, stay on the processor where the GPUs have no
    /// room for all of it, and nothing else says where they are
    #[arg(long, value_parser = one_of(SWITCH), default_value = "on", env = "CARD_FIT")]
    pub fit: Switch,
    /// Type of the keys that the target keeps for each token; q8_0 halves them, and changes the
    /// text as another model would: every mode writes that text then
    #[arg(long, value_parser = cache_type(), default_value = "f16", env = "CARD_CACHE_TYPE_K", value_name = "TYPE")]
    pub cache_type_k: CacheType,
    /// Type of the values that the target keeps
    #[arg(long, value_parser = cache_type(), default_value = "f16", env = "CARD_CACHE_TYPE_V", value_name = "TYPE")]
    pub cache_type_v: CacheType,
    /// Type of the keys that the drafter keeps; it changes no text
    #[arg(long, value_parser = cache_type(), default_value = "f16", value_name = "TYPE")]
    pub cache_type_k_draft: CacheType,
    /// Type of the values that the drafter keeps
    #[arg(long, value_parser = cache_type(), default_value = "f16", value_name = "TYPE")]
    pub cache_type_v_draft: CacheType,
    /// Most memory for states of the target that are saved for prompts which begin alike, in MiB; 0
    /// saves none. Only recurrent and hybrid models (Qwen3.5, LFM2, Nemotron-H, Granite 4) have such
    /// states (docs/prefix-cache.md)
    #[arg(long, value_name = "MIB", value_parser = value_parser!(u32).range(0..=1 << 20), default_value_t = 256, env = "CARD_CACHE_RAM")]
    pub cache_ram: u32,
    /// Keep the expert weights of the target on the processor, and the rest of it on the GPU
    #[arg(long, env = "CARD_CPU_MOE", value_parser = BoolishValueParser::new())]
    pub cpu_moe: bool,
    /// Keep the expert weights of the target's first N layers on the processor
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(0..=1024), conflicts_with = "cpu_moe")]
    pub n_cpu_moe: Option<u32>,
    /// Keep the target's tensors whose names match PATTERN (a regular expression) on a device, by
    /// the name `card devices` shows (may be given several times, or with commas)
    #[arg(long, value_name = "PATTERN=DEVICE", value_delimiter = ',', value_parser = tensor_place)]
    pub override_tensor: Vec<String>,
    /// A LoRA adapter (GGUF) for the target; the text is the adapted target's. The drafter has
    /// none (may be given several times, or with commas)
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub lora: Vec<PathBuf>,
    /// A LoRA adapter that is applied more or less strongly than it was trained
    #[arg(long, value_name = "FILE:SCALE", value_delimiter = ',', value_parser = scaled_adapter)]
    pub lora_scaled: Vec<String>,
}
