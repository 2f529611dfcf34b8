//! Flags of `card sim`.

use std::path::PathBuf;

use card_sim::study::Vary;
use clap::Args;

use super::values::{FlagValue, one_of};

pub const SIM_HELP: &str = "\
Examples:
  card sim                               a 70B target and a 1B drafter, against the published 4.83×
  card sim --vary latency --html a.html  how far away the drafter may be
  card sim published-bursts --why        where a schedule loses time against the blind bound
  card sim serve-32                      goodput under load, on as many GPUs with and without drafters
  card sim fleet                         4 targets, 4 drafters, machines that fail, and what it costs
  card sim fleet --print > mine.toml     a scenario to change: then card sim mine.toml
  card sim --acceptance card-bench/acceptance.jsonl   drafts as right as on your own prompts

A scenario takes seconds, a fleet and --vary take minutes; a bar says how many are left.";

const VARY: &[FlagValue<Vary>] = &[
    ("latency", "One-way latency of the links", Vary::Latency),
    ("agreement", "How often drafts are right", Vary::Agreement),
    ("draft-cost", "What a draft forward takes", Vary::DraftCost),
    ("cache", "Memory for candidates", Vary::Cache),
    ("nodes", "Nodes per draft forward", Vary::Nodes),
    ("load", "Requests at a time", Vary::Load),
    ("drafters", "Drafters for each target", Vary::Drafters),
    ("rate", "Requests that arrive a second", Vary::Rate),
];

#[derive(Args, Debug)]
pub struct SimArgs {
    /// A TOML file or a built-in scenario: published-70b-1b, published-bursts, edge-cloud, fleet,
    /// serve-32, serve-256
    #[arg(default_value = "published-70b-1b")]
    pub scenario: String,
    /// Vary one thing
    #[arg(long, value_parser = one_of(VARY))]
    pub vary: Option<Vary>,
    /// Drafts are right where they were in this recording (acceptance.jsonl of `card bench`), in
    /// place of a share the scenario names
    #[arg(long, value_name = "FILE")]
    pub acceptance: Option<PathBuf>,
    /// Say why card and auto are no faster: for each cause the share of the time that was spent
    /// beyond the blind bound (docs/bounds.md). One request at a time
    #[arg(long)]
    pub why: bool,
    /// Seed of everything that is left to chance [default: the scenario's]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Write a page: what the study says, a chart, and all figures
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print the scenario as TOML, and end
    #[arg(long)]
    pub print: bool,
}
