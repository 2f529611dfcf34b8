//! Flags of the commands that fetch, show and remove models: `card pull`, `card list`,
//! `card remove`.

use card_setup::models::catalogue::DEFAULT_PAIR;
use clap::Args;

pub const PULL_HELP: &str = "\
Examples:
  card pull qwen-coder                        a pair of the catalogue
  card pull hf:Qwen/Qwen3-8B-GGUF:Q8_0        a model of the hub, into the cache other tools use too
  card pull hf:OWNER/REPO/FILE.gguf           a file of it
For gated models set HF_TOKEN to a token of an account that accepted their conditions. HF_HOME or
HF_HUB_CACHE say where the cache is, HF_ENDPOINT which hub is asked.";

pub const REMOVE_HELP: &str = "\
Examples:
  card remove smol                            both models of a pair
  card remove hf:Qwen/Qwen3-8B-GGUF           what is here of a repository of the hub
  card remove ollama:qwen3:8b --others        what another tool keeps, as that tool would";

#[derive(Args, Debug)]
pub struct PullArgs {
    /// Names of models or pairs: of the catalogue (`card list`), or hf:OWNER/REPO[:QUANT]
    #[arg(default_value = DEFAULT_PAIR, value_name = "NAME")]
    pub names: Vec<String>,
}

#[derive(Args, Debug)]
pub struct ListArgs {
    /// Print what is here as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct RemoveArgs {
    /// Names of models, as `card list` shows them
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Remove also what another tool fetched or keeps
    #[arg(long)]
    pub others: bool,
}
