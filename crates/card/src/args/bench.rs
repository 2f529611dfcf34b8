//! Flags of `card bench`, and of `card export-pairs`, which runs on the same prompts.

use std::path::PathBuf;

use card_setup::secret::SecretText;
use clap::{Args, ValueEnum, value_parser};

use super::model::ModelArgs;
use super::values::{secret, seed, sizes};

pub const BENCH_HELP: &str = "\
Examples:
  card bench                                   the built-in prompts: modes against plain decoding
  card bench my.jsonl --prompts 5 --tokens 128 your own prompts
  card bench --sweep cache                     memory of the cache against speed
  card bench --emulate a100-70b-1b             paced like devices you do not have
  card bench --why                             and where card and auto lose against the blind bound
  card bench --peer http://127.0.0.1:8080      another server on the same prompts (docs/bench.md)";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SweepArg {
    /// Several draft models (--drafts)
    Draft,
    /// Bytes for candidates
    Cache,
    /// In turns or at the same time
    Lanes,
    /// Which sources propose
    Sources,
    /// How far away the drafter is (with --emulate)
    Latency,
    /// The drafter in this process, or another's over a socket
    Link,
}

#[derive(Args, Debug)]
pub struct BenchArgs {
    /// Files of prompts, one JSON object a line with `question`, `text`, `prompt` or `turns`
    /// (and `prediction`, if an answer is expected) [default: a small built-in set]
    pub files: Vec<PathBuf>,
    /// Prompts of each file or built-in category; fewer than 3 give figures, but no headline
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = sizes(1..=100_000))]
    pub prompts: usize,
    /// These built-in categories, beside the files if there are any: code, maths, chat, edit,
    /// json, japanese
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub category: Vec<String>,
    /// Most tokens of an answer
    #[arg(long, default_value_t = 96, value_name = "N", value_parser = value_parser!(u32).range(2..))]
    pub tokens: u32,
    /// Times every prompt is asked
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = sizes(1..=100_000))]
    pub repeats: usize,
    /// Temperature; 0 takes the most probable token
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    pub temp: f32,
    /// Seed of the sampling noise
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = seed)]
    pub seed: u64,
    /// Chain lengths of draft-then-verify to compare with
    #[arg(long, default_values_t = [2, 4, 7], value_delimiter = ',', value_name = "N", value_parser = value_parser!(u32).range(1..=32))]
    pub draft_lens: Vec<u32>,
    /// Vary one thing in place of comparing the modes
    #[arg(long, value_enum)]
    pub sweep: Option<SweepArg>,
    /// Draft models of `--sweep draft`
    #[arg(long, value_delimiter = ',', value_name = "MODEL")]
    pub drafts: Vec<String>,
    /// Another OpenAI-compatible server, measured on the same prompts (may be given several times)
    #[arg(long, value_name = "URL")]
    pub peer: Vec<String>,
    /// Key for the peers
    #[arg(
        long,
        env = "CARD_PEER_KEY",
        hide_env_values = true,
        hide_default_value = true,
        value_name = "KEY",
        value_parser = secret()
    )]
    pub peer_key: Option<SecretText>,
    /// Say why card and auto are no faster: for each cause the share of the time that was spent
    /// beyond the blind bound (docs/bounds.md)
    #[arg(long, conflicts_with = "sweep")]
    pub why: bool,
    /// Folder for the report
    #[arg(short, long, default_value = "card-bench", value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub model: ModelArgs,
}

#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Files of prompts as for `card bench` [default: its built-in set]
    pub files: Vec<PathBuf>,
    /// Prompts of each file or built-in category
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = sizes(1..=100_000))]
    pub prompts: usize,
    /// Most tokens of an answer
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = value_parser!(u32).range(2..))]
    pub tokens: u32,
    /// File to write
    #[arg(short, long, default_value = "pairs.jsonl", value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    pub model: ModelArgs,
}
