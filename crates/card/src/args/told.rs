//! Flags of what llama-server's paths do and tell. Their names are llama-server's, where it has
//! them.

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::values::{FlagValue, one_of};

/// What a number of tokens is that means as many as fit.
const NO_LIMIT: i64 = -1;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "As llama-server has them")]
#[allow(
    dead_code,
    reason = "some flags say what is so anyway, and are not read"
)]
pub struct ToldArgs {
    /// Most tokens of an answer at llama-server's own paths where a request does not say; -1 for
    /// what fits
    #[arg(
        long,
        visible_alias = "predict",
        env = "CARD_N_PREDICT",
        default_value_t = NO_LIMIT,
        allow_hyphen_values = true,
        value_name = "N",
        value_parser = clap::value_parser!(i64).range(NO_LIMIT..=i64::from(i32::MAX))
    )]
    pub n_predict: i64,
    /// Whether the model thinks before it answers, where a request does not say and the chat
    /// template has a switch for that [default: what the template does]
    #[arg(long, env = "CARD_REASONING", value_parser = one_of(REASONING))]
    pub reasoning: Option<bool>,
    /// /slots does not list slots
    #[arg(long, env = "CARD_NO_SLOTS", value_parser = BoolishValueParser::new())]
    pub no_slots: bool,
    /// Save slots in this folder, and restore them from it (/slots/ID?action=save) [default: they
    /// are not]
    #[arg(long, env = "CARD_SLOT_SAVE_PATH", value_name = "DIR")]
    pub slot_save_path: Option<PathBuf>,
    /// /metrics tells nothing
    #[arg(long, env = "CARD_NO_METRICS", value_parser = BoolishValueParser::new())]
    pub no_metrics: bool,
    /// A request does not load the model that it names; POST /models/load does
    #[arg(long, env = "CARD_NO_MODELS_AUTOLOAD", value_parser = BoolishValueParser::new())]
    pub no_models_autoload: bool,
    /// What the model is good for, in words of your own, for /v1/models
    #[arg(long, env = "CARD_TAGS", value_delimiter = ',', value_name = "WORD")]
    pub tags: Vec<String>,
    /// Every answer of a chat tells the prompt as the model read it (`__verbose`)
    #[arg(long, env = "CARD_VERBOSE_ANSWERS", value_parser = BoolishValueParser::new())]
    pub verbose_answers: bool,
    /// As always here: chat templates are Jinja
    #[arg(long, hide = true)]
    pub jinja: bool,
    /// As always here: /slots lists slots
    #[arg(long, hide = true, conflicts_with = "no_slots")]
    pub slots: bool,
    /// As always here: /metrics tells metrics
    #[arg(long, hide = true, conflicts_with = "no_metrics")]
    pub metrics: bool,
    /// As always here: generations share forwards
    #[arg(long, hide = true)]
    pub cont_batching: bool,
}

impl ToldArgs {
    /// Most tokens of an answer; `None` for what fits.
    pub fn most_tokens(&self) -> Option<u32> {
        u32::try_from(self.n_predict).ok()
    }
}

const REASONING: &[FlagValue<bool>] = &[
    ("on", "It thinks", true),
    (
        "auto",
        "It thinks, where its template can have it think",
        true,
    ),
    ("off", "It does not think", false),
];

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        told: ToldArgs,
    }

    fn read(line: &[&str]) -> Option<ToldArgs> {
        let line = [&["card"][..], line].concat();
        CommandLine::try_parse_from(line).ok().map(|l| l.told)
    }

    #[test]
    fn a_number_of_tokens_may_be_none() {
        assert_eq!(read(&[]).unwrap().most_tokens(), None);
        assert_eq!(read(&["--n-predict", "-1"]).unwrap().most_tokens(), None);
        assert_eq!(read(&["--predict", "64"]).unwrap().most_tokens(), Some(64));
        assert!(read(&["--n-predict", "-2"]).is_none());
    }

    #[test]
    fn switches_of_llama_server_say_what_is_so_anyway() {
        let line = ["--jinja", "--slots", "--metrics", "--cont-batching"];
        assert!(read(&line).is_some());
        assert!(read(&["--slots", "--no-slots"]).is_none());
        assert_eq!(
            read(&["--reasoning", "off"]).unwrap().reasoning,
            Some(false)
        );
    }
}
