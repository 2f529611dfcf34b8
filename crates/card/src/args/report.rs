//! Flags of `card report`.

use std::path::PathBuf;

use card_bench::roi::Language;
use clap::Args;

use super::values::{FlagValue, amount, one_of};

pub const REPORT_HELP: &str = "\
Examples:
  card report card-bench/bench.json --price-per-hour 1.20 -o report.html
  card report http://127.0.0.1:8080/metrics --price-per-hour 1.20 --lang ja -o report.html";

const LANGUAGES: &[FlagValue<Language>] = &[
    ("en", "English", Language::English),
    ("ja", "日本語", Language::Japanese),
];

#[derive(Args, Debug)]
pub struct ReportArgs {
    /// bench.json files, files of metrics, or addresses of metrics (http://…/metrics)
    #[arg(required = true, value_name = "FILE or URL")]
    pub sources: Vec<String>,
    /// What the machine costs per hour
    #[arg(long, value_name = "PRICE", value_parser = amount)]
    pub price_per_hour: f64,
    /// What drafting adds per hour, if the drafter has a machine of its own
    #[arg(long, default_value_t = 0.0, value_name = "PRICE", value_parser = amount)]
    pub draft_price_per_hour: f64,
    /// Currency of the prices
    #[arg(long, default_value = "EUR", value_name = "NAME")]
    pub currency: String,
    /// Tokens written in a month, for what that saves
    #[arg(long, value_name = "N", value_parser = amount)]
    pub tokens_per_month: Option<f64>,
    /// Language of the page
    #[arg(long, value_parser = one_of(LANGUAGES), default_value = "en")]
    pub lang: Language,
    /// File to write, .html or .md [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}
