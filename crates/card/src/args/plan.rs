//! Flags of the commands that measure this machine: `card plan`, `card calibrate`,
//! `card selftest`.

use std::path::PathBuf;

use clap::{Args, value_parser};

use super::model::ModelArgs;
use super::values::sizes;

pub const PLAN_HELP: &str = "\
Examples:
  card plan my.jsonl -m qwen-coder          then: card serve --config card.toml
  card plan -m target.gguf --draft small.gguf --drafts tiny.gguf,middle.gguf
  card plan --drafter http://draft-box:7070 --link-token-file secret     is the other machine worth it?";

#[derive(Args, Debug)]
pub struct PlanArgs {
    /// Your prompts, as for `card bench` [default: its built-in set]
    pub files: Vec<PathBuf>,
    /// Prompts of each file or built-in category
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = sizes(1..=100_000))]
    pub prompts: usize,
    /// Most tokens of an answer
    #[arg(long, default_value_t = 48, value_name = "N", value_parser = value_parser!(u32).range(2..))]
    pub tokens: u32,
    /// More draft models to try, of other sizes say
    #[arg(long, value_delimiter = ',', value_name = "MODEL")]
    pub drafts: Vec<String>,
    /// File to write
    #[arg(short, long, default_value = "card.toml", value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    pub model: ModelArgs,
}

#[derive(Args, Debug)]
pub struct CalibrateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Measure anew, whatever was measured before: after a change of the machine, or where it was
    /// busy then
    #[arg(long)]
    pub again: bool,
    /// Write a page: which way is best, and charts of what forwards cost
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct SelftestArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}
