//! Flags of `card generate` and `card chat`.

use std::path::PathBuf;

use card_core::sampler::SamplingParams;
use clap::Args;

use super::model::ModelArgs;
use super::values::{most_tokens, seed};

#[derive(Args, Debug)]
pub struct GenerateArgs {
    /// The prompt [default: standard input]
    #[arg(short, long)]
    pub prompt: Option<String>,
    /// Read the prompt from a file
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt")]
    pub file: Option<PathBuf>,
    /// Put the prompt into the model's chat template, as a user's message
    #[arg(long)]
    pub chat: bool,
    /// System message for --chat
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub system: Option<String>,
    /// Show the candidates and corrections of every round
    #[arg(long)]
    pub show_cache: bool,
    /// Say why each round was scheduled as it was, on standard error; on a terminal the text follows
    /// at the end
    #[arg(long)]
    pub explain_policy: bool,
    /// A file with the text you expect back (say, the file to be edited): what agrees with
    /// it is verified many tokens at a time
    #[arg(long, value_name = "FILE")]
    pub prediction: Option<PathBuf>,
    /// Print nothing but the text
    #[arg(short, long)]
    pub quiet: bool,
    /// Print the text's token ids as JSON in place of the text
    #[arg(long, conflicts_with = "show_cache")]
    pub tokens: bool,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

#[derive(Args, Debug)]
pub struct ChatArgs {
    /// System message
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Leave it to the terminal to break lines, in mid-word where they end; code is never broken
    #[arg(long)]
    pub no_wrap: bool,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// 0 takes the most probable token; higher is more varied
    #[arg(
        long,
        visible_alias = "temperature",
        default_value_t = 0.0,
        value_name = "T"
    )]
    pub temp: f32,
    /// Only the K most probable tokens; 0 for all
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub top_k: u32,
    /// Only the most probable tokens that add up to P
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    pub top_p: f32,
    /// Only tokens at least P times as probable as the best
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    pub min_p: f32,
    /// Divides the logits of recent tokens; 1 for none
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub repeat_penalty: f32,
    /// Subtracted from a logit for each recent occurrence
    #[arg(
        long,
        default_value_t = 0.0,
        value_name = "X",
        allow_hyphen_values = true
    )]
    pub frequency_penalty: f32,
    /// Subtracted once from the logit of a recent token
    #[arg(
        long,
        default_value_t = 0.0,
        value_name = "X",
        allow_hyphen_values = true
    )]
    pub presence_penalty: f32,
    /// How many tokens are recent
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub repeat_last_n: u32,
    /// Seed of the sampling noise [default: a new one each time]
    #[arg(short, long, value_name = "N", value_parser = seed)]
    pub seed: Option<u64>,
    /// End before this text (may be given several times)
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Most tokens to generate; -1 for as many as the context holds
    #[arg(short = 'n', long, default_value_t = 512, value_name = "N", value_parser = most_tokens)]
    pub max_tokens: u32,
    /// Go on past the model's end-of-text token
    #[arg(long)]
    pub ignore_eos: bool,
}

impl SamplingArgs {
    /// The settings, checked.
    pub fn params(&self) -> anyhow::Result<SamplingParams> {
        let fresh = || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(0, |d| d.as_nanos() as u64)
        };
        let params = SamplingParams {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            penalty_window: self.repeat_last_n,
            // As llama.cpp's own tool does, penalties count the prompt too.
            generated_from: 0,
            logit_bias: Default::default(),
            seed: self.seed.unwrap_or_else(fresh),
        };
        params.clone().checked()?;
        Ok(params)
    }
}
