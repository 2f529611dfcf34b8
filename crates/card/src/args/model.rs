//! Flags that say which models run, where and how: those of every command that loads a pair.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::{BoolishValueParser, EnumValueParser, PossibleValue, TypedValueParser};
use clap::{Args, ValueEnum, value_parser};

use super::link::LinkArgs;
use super::values::sizes;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Models")]
pub struct ModelArgs {
    /// Pair or model of the catalogue, or a GGUF file: the target
    #[arg(short, long, default_value = card_setup::models::catalogue::DEFAULT_PAIR, env = "CARD_MODEL")]
    pub model: String,
    /// Draft model: a name, a GGUF file, or `none` [default: the pair's]
    #[arg(short, long, env = "CARD_DRAFT")]
    pub draft: Option<String>,
    /// A second draft model; each step goes to the one that promises more
    #[arg(long, value_name = "MODEL")]
    pub draft2: Option<String>,
    /// Draft models on other machines (`card draft`), in place of one here
    #[arg(long, env = "CARD_DRAFTER", value_delimiter = ',', value_name = "URL")]
    pub drafter: Vec<String>,
    #[command(flatten)]
    pub link: LinkArgs,
    /// Whether a lighter copy of the draft model may stand in for it, where that is faster:
    /// the text is the target's either way
    #[arg(long, value_enum, default_value_t = DraftWeightsArg::Auto, env = "CARD_DRAFT_WEIGHTS")]
    pub draft_weights: DraftWeightsArg,
    /// How to schedule the two
    #[arg(long, value_enum, default_value_t = ModeArg::Auto)]
    pub mode: ModeArg,
    /// How close to plain decoding's text
    #[arg(long, value_name = "LEVEL", default_value = "exact", value_parser = ExactnessParser)]
    pub exactness: ExactnessArg,
    /// Whose matrix kernels processors run
    #[arg(long, value_enum, default_value_t = KernelsArg::Auto, env = "CARD_KERNELS")]
    pub kernels: KernelsArg,
    /// Chain length of `--mode draft-then-verify`
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = value_parser!(u32).range(1..=32))]
    pub draft_len: u32,
    /// Whether the models run at the same time
    #[arg(long, value_enum, default_value_t = LanesArg::Auto)]
    pub lanes: LanesArg,
    /// Threads in all [default: all cores]
    #[arg(short, long, value_name = "N", value_parser = value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Threads of the drafter when both run on one CPU at the same time [default: a share]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1024))]
    pub draft_threads: Option<u32>,
    /// Tokens of context, prompt included [default: 4096, or what the model was trained for]
    #[arg(short, long, value_name = "N", value_parser = value_parser!(u32).range(64..=1_048_576))]
    pub ctx: Option<u32>,
    /// Layers of the target on the GPU [default: all]
    #[arg(long, value_name = "N")]
    pub gpu_layers: Option<u32>,
    /// Layers of the drafter on the GPU [default: all]
    #[arg(long, value_name = "N")]
    pub draft_gpu_layers: Option<u32>,
    /// Devices of the target, by the names `card devices` shows
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub device: Vec<String>,
    /// Devices of the drafter
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub draft_device: Vec<String>,
    /// Other machines that hold a part of the target's layers (`card rpc-worker`, docs/rpc.md);
    /// --gpu-layers says how many layers go there [default: all]
    #[arg(
        long,
        env = "CARD_RPC",
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    pub rpc: Vec<String>,
    /// Most memory for the candidates of one generation
    #[arg(long, default_value_t = 128, value_name = "KIB", value_parser = sizes(0..=1 << 20))]
    pub cache_kib: usize,
    /// Do not use, or add to, what earlier runs learned (docs/sources.md)
    #[arg(long, env = "CARD_NO_MEMORY", value_parser = BoolishValueParser::new())]
    pub no_memory: bool,
    /// Pace the models like devices you do not have: a TOML file or a built-in profile
    #[arg(long, value_name = "PROFILE", hide_short_help = true)]
    pub emulate: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    /// One token per forward; no drafter
    Plain,
    /// Draft a chain of --draft-len tokens, verify it, start over
    DraftThenVerify,
    /// Query-and-correct: verify what the cache has while the drafter goes on
    Card,
    /// Whatever is fastest by the costs measured here, plain decoding included
    Auto,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExactnessArg {
    /// The text is plain decoding's, by the cheapest means the self-test finds here
    Exact,
    /// As fast as it comes: a near-tie may come out otherwise, and is reported
    Fast,
}

/// Reads an [`ExactnessArg`], and knows what the levels of earlier versions are called now.
#[derive(Clone)]
struct ExactnessParser;

impl TypedValueParser for ExactnessParser {
    type Value = ExactnessArg;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<ExactnessArg, clap::Error> {
        let now = match value.to_str() {
            Some("default") => "fast",
            Some("strict" | "bitwise") => "exact",
            _ => return EnumValueParser::<ExactnessArg>::new().parse_ref(command, arg, value),
        };
        let before = value.to_string_lossy();
        let why = format!("--exactness {before} is now --exactness {now} (docs/exactness.md)");
        let error = clap::Error::raw(clap::error::ErrorKind::ValueValidation, why);
        Err(error.with_cmd(command))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let all = ExactnessArg::value_variants().iter();
        Some(Box::new(all.filter_map(ValueEnum::to_possible_value)))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KernelsArg {
    /// Whichever is faster here, found once
    Auto,
    /// card's own: every shape of forward gives the same logits
    Card,
    /// llama.cpp's
    Ggml,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DraftWeightsArg {
    /// The copy (4 bits a weight, made in seconds) if measurements say it is faster
    Auto,
    /// The file's own
    AsIs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LanesArg {
    /// What measurements on this machine say is faster
    Auto,
    /// The models take turns
    Shared,
    /// The models run at the same time; on one CPU they split the threads
    Disjoint,
}
