//! Flags of `card sim`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

pub const SIM_HELP: &str = "\
Examples:
  card sim                               a 70B target and a 1B drafter, against the published 4.83×
  card sim --vary latency --html a.html  how far away the drafter may be
  card sim fleet                         4 targets, 4 drafters, machines that fail, and what it costs
  card sim fleet --print > mine.toml     a scenario to change: then card sim mine.toml
  card sim --acceptance card-bench/acceptance.jsonl   drafts as right as on your own prompts";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VaryArg {
    /// One-way latency of the links
    Latency,
    /// How often drafts are right
    Agreement,
    /// What a draft forward takes
    DraftCost,
    /// Memory for candidates
    Cache,
    /// Nodes per draft forward
    Nodes,
    /// Requests at a time
    Load,
    /// Drafters for each target
    Drafters,
}

#[derive(Args, Debug)]
pub struct SimArgs {
    /// A TOML file or a built-in scenario: published-70b-1b, edge-cloud, fleet
    #[arg(default_value = "published-70b-1b")]
    pub scenario: String,
    /// Vary one thing
    #[arg(long, value_enum)]
    pub vary: Option<VaryArg>,
    /// Drafts are right where they were in this recording (acceptance.jsonl of `card bench`), in
    /// place of a share the scenario names
    #[arg(long, value_name = "FILE")]
    pub acceptance: Option<PathBuf>,
    /// Seed of everything that is left to chance [default: the scenario's]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Write a page with a plot
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print the scenario as TOML, and end
    #[arg(long)]
    pub print: bool,
}
