//! Flags of `card quantize`.

use std::path::PathBuf;

use clap::Args;

pub const QUANTIZE_HELP: &str = "Example: card quantize qwen2.5-coder-1.5b target-f16.gguf F16";

#[derive(Args, Debug)]
pub struct QuantizeArgs {
    /// Model file, or a name as for --model
    pub input: PathBuf,
    /// File to write
    pub output: PathBuf,
    /// Weight type: F16, BF16, Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q4_0, …
    pub r#type: String,
    /// Embeddings and output layer too, which by default keep a finer type
    #[arg(long)]
    pub pure: bool,
    /// For a draft model: an output layer for the N most common tokens only. The others are proposed
    /// only after they were read; INPUT must stay where it is
    #[arg(long, value_name = "N")]
    pub vocabulary: Option<usize>,
    /// Overwrite OUTPUT without asking, for scripts: without a terminal to ask on, an existing file is
    /// an error
    #[arg(short = 'y', long, visible_alias = "yes")]
    pub force: bool,
}
