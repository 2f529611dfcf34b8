//! The command line: the flags of each command in a file of its own.
//!
//! Flags are only read here. What they mean to the library is in the settings that methods called
//! `settings` make of them. (`///` on flags and commands is what `--help` shows.)

mod audit;
mod bench;
mod draft;
mod fit;
mod generate;
mod hub;
mod link;
mod llama_server;
mod model;
mod models;
mod negative;
mod plan;
mod quantize;
mod report;
mod sampling;
mod serve;
mod several;
mod sim;
mod template;
mod told;
mod values;
mod vectors;

use std::path::PathBuf;

pub use audit::{AuditCommand, ExplainArgs, VerifyArgs};
pub use bench::{BenchArgs, ExportArgs, SweepArg};
use clap::{Parser, Subcommand};
pub use draft::{DraftArgs, EdgeArgs, RpcWorkerArgs};
pub use generate::{ChatArgs, GenerateArgs, SamplingArgs};
pub use hub::as_models;
pub use llama_server::long_names;
pub use models::{ListArgs, PullArgs, RemoveArgs};
pub use negative::negative_numbers;
pub use plan::{CalibrateArgs, PlanArgs, SelftestArgs};
pub use quantize::QuantizeArgs;
pub use report::ReportArgs;
pub use serve::ServeArgs;
pub use several::{SeveralArgs, TableModel};
pub use sim::SimArgs;

/// Lossless LLM acceleration by cache-assisted parallel speculative decoding.
///
/// A small draft model fills a cache of candidates while the large target model verifies
/// them, many at a time. The output is the target's own, token for token; it just arrives
/// sooner.
#[derive(Parser, Debug)]
#[command(
    version,
    after_help = "Start with:\n  card pull qwen-coder\n  card generate --chat -p \"Write a quicksort in Rust\""
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: CliCommand,
    /// Say more (-v: what card does, -vv: llama.cpp's messages too)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Use this catalogue of models in place of the built-in one
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub catalogue: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub enum CliCommand {
    /// Generate text from a prompt, streaming it
    Generate(GenerateArgs),
    /// Talk with a model
    Chat(ChatArgs),
    /// Serve models to others: an OpenAI-compatible server, with a page at `/`
    #[command(after_help = serve::SERVE_HELP)]
    Serve(Box<ServeArgs>),
    /// Draft for targets on other machines
    #[command(after_help = draft::DRAFT_HELP)]
    Draft(DraftArgs),
    /// An endpoint on a small device: drafted here, decided by a server in the cloud
    #[command(after_help = draft::EDGE_HELP)]
    Edge(EdgeArgs),
    /// Check audit logs
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Explain a request from an audit log: one page that shows where each token came from
    Explain(ExplainArgs),
    /// Fetch a model or a pair, of the catalogue or of the hub
    #[command(after_help = models::PULL_HELP)]
    Pull(PullArgs),
    /// Show the models that are here, and the catalogue
    List(ListArgs),
    /// Remove a model that is here
    #[command(after_help = models::REMOVE_HELP)]
    Remove(RemoveArgs),
    /// Write a model with another type of weights
    #[command(after_help = quantize::QUANTIZE_HELP)]
    Quantize(QuantizeArgs),
    /// Find out which forwards give the same logits here, and what each costs
    Selftest(SelftestArgs),
    /// Measure what forwards cost here, and show the way to run a pair that follows
    Calibrate(CalibrateArgs),
    /// Compare modes, drafters and other servers with plain decoding, on real prompts
    #[command(after_help = bench::BENCH_HELP)]
    Bench(Box<BenchArgs>),
    /// Simulate devices, links, fleets and faults: the same engine in virtual time
    #[command(after_help = sim::SIM_HELP)]
    Sim(SimArgs),
    /// Measure this machine, try the ways to run a pair on your prompts, and write card.toml
    #[command(after_help = plan::PLAN_HELP)]
    Plan(PlanArgs),
    /// What a rollout pays: bench, canary or metrics become a page for whoever decides
    #[command(after_help = report::REPORT_HELP)]
    Report(ReportArgs),
    /// Write where a draft model is wrong as JSON lines, for those who want to train it
    ExportPairs(ExportArgs),
    /// Hold a part of the layers of a target on another machine that is too large for it
    #[command(after_help = draft::RPC_HELP)]
    RpcWorker(RpcWorkerArgs),
    /// Show the devices models can run on
    Devices,
}
