//! Flags of how a server samples where a request does not say.

use card_setup::SamplingSettings;
use clap::{Args, value_parser};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sampling where a request does not say")]
pub struct DefaultSamplingArgs {
    /// 0 takes the most probable token; higher is more varied [default: what the model's file
    /// recommends in general.sampling.temp, else 1]
    #[arg(long, visible_alias = "temperature", value_name = "T")]
    pub temp: Option<f32>,
    /// Only the K most probable tokens; 0 for all [default: the model's general.sampling.top_k,
    /// else 0]
    #[arg(long, value_name = "K", value_parser = value_parser!(u32).range(0..))]
    pub top_k: Option<u32>,
    /// Only the most probable tokens that add up to P [default: the model's
    /// general.sampling.top_p, else 1]
    #[arg(long, value_name = "P")]
    pub top_p: Option<f32>,
    /// Only tokens at least P times as probable as the best [default: the model's
    /// general.sampling.min_p; else 0 if the model or a flag says top-k or top-p, and 0.05 if not]
    #[arg(long, value_name = "P")]
    pub min_p: Option<f32>,
    /// Divides the logits of recent tokens [default: the model's
    /// general.sampling.penalty_repeat, else 1, which is none]
    #[arg(long, value_name = "X")]
    pub repeat_penalty: Option<f32>,
    /// How many tokens are recent [default: the model's general.sampling.penalty_last_n, else the
    /// whole text]
    #[arg(long, value_name = "N")]
    pub repeat_last_n: Option<u32>,
    /// Subtracted from a logit for each recent occurrence [default: 0]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub frequency_penalty: Option<f32>,
    /// Subtracted once from the logit of a recent token [default: 0]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub presence_penalty: Option<f32>,
    /// Seed of the sampling noise: the same request gets the same answer [default: a new one each
    /// time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

impl DefaultSamplingArgs {
    /// What the flags mean to the library.
    pub fn settings(&self) -> SamplingSettings {
        SamplingSettings {
            temp: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            repeat_last_n: self.repeat_last_n,
            seed: self.seed,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        sampling: DefaultSamplingArgs,
    }

    #[test]
    fn what_is_not_said_is_left_to_the_model() {
        let line = CommandLine::try_parse_from(["card"]).unwrap();
        assert_eq!(line.sampling.settings(), SamplingSettings::default());
        let line = [
            "card",
            "--temp",
            "0.7",
            "--presence-penalty",
            "-1",
            "--seed",
            "3",
        ];
        let settings = CommandLine::try_parse_from(line)
            .unwrap()
            .sampling
            .settings();
        assert_eq!((settings.temp, settings.seed), (Some(0.7), Some(3)));
        assert_eq!(settings.presence_penalty, Some(-1.0));
    }
}
