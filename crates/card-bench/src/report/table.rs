//! What a report says, as plain data; `bench.json` has these fields.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stats::Spread;

/// Everything that was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BenchReport {
    /// What was compared, in words.
    pub title: String,
    /// The emulated devices, if the times are theirs.
    pub emulated: Option<String>,
    /// Facts: machine, models, settings.
    pub facts: Vec<(String, String)>,
    /// One table for each category of prompts.
    pub cells: Vec<TableCell>,
    /// What was varied, if one thing was.
    pub sweep: Option<Sweep>,
}

/// One thing that was varied.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sweep {
    /// What was varied, with its unit.
    pub x: String,
    /// The name of each contestant, and the value it ran with.
    pub points: Vec<(String, f64)>,
}

/// The results of one category of prompts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TableCell {
    /// The kind of task.
    pub category: String,
    /// Number of different prompts that were measured; 0 in reports of versions that did not count
    /// them.
    #[serde(default)]
    pub prompts: usize,
    /// One row for each contestant; the first is what the others are compared with, which is plain
    /// decoding with the number of threads that was fastest.
    pub rows: Vec<BenchRow>,
}

/// One contestant on one category. Shares are between 0 and 1.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BenchRow {
    /// The name of the contestant.
    pub name: String,
    /// The number of generations.
    pub runs: usize,
    /// Time per token of plain decoding over its own, on the same prompt.
    pub speed_up: Spread,
    /// The same ratio over the whole answer, the time to its first token included.
    pub answer_speed_up: Spread,
    /// Tokens per second after the first token.
    pub tokens_per_second: Spread,
    /// Milliseconds to the first token.
    pub first_ms: Spread,
    /// Milliseconds between tokens: the 50th, 95th and 99th percentile.
    pub gap_ms: [f64; 3],
    /// Mean accepted length (τ): tokens per target forward that decodes (2211.17192, section 3).
    pub mean_accepted_length: f64,
    /// Share of corrections that were found among the cached candidates (CARD's hit rate).
    pub hit_rate: f64,
    /// Candidates verified.
    pub offered: usize,
    /// Candidates accepted.
    pub accepted: usize,
    /// Candidates accepted, by the sources that proposed each: `draft`, or `draft+prompt_lookup`
    /// where two did. They add up to `accepted`.
    pub by_source: BTreeMap<String, usize>,
    /// Share of the time the target's lane stood idle.
    pub target_idle: f64,
    /// Share of the time the drafter's lane stood idle (on a shared lane: did not draft).
    pub draft_idle: f64,
    /// Most KiB that candidates took at a time.
    pub cache_kib: f64,
    /// Joules per token, where the system tells.
    pub joules_per_token: Option<f64>,
    /// Generations with plain decoding's text; `None` for a peer.
    pub same_text: Option<usize>,
    /// Margins (logits) of plain decoding where a text left it.
    pub left_at: Vec<f32>,
    /// Share of what perfect information could have reached.
    pub of_bound: Option<Spread>,
    /// Share of what the best schedule reaches on average that does not know which drafts
    /// are right.
    pub of_blind: Option<Spread>,
    /// Share of what that schedule reaches on these very texts, where chance was kinder or harder
    /// than on average; `None` for lanes of their own.
    #[serde(default)]
    pub of_lived: Option<Spread>,
}
