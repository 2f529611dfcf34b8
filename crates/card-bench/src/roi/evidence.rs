//! What was measured: speculation against plain decoding, from a bench or from a server's
//! metrics.

use serde_json::Value;

use crate::report::{Doubt, FEWEST_PROMPTS, is_impossible};

/// What one measurement says: speculation against plain decoding.
#[derive(Clone, Debug, PartialEq)]
pub struct RoiEvidence {
    /// What was measured: a category of prompts, or live traffic.
    pub label: String,
    /// Tokens per second of plain decoding.
    pub plain: f64,
    /// Tokens per second with speculation.
    pub fast: f64,
    /// Median, least and most of the speed-up, if it was measured prompt by prompt.
    pub spread: Option<(f64, f64, f64)>,
    /// Answers compared with plain decoding, and how many were the same.
    pub exact: (u64, u64),
    /// The number of speculated answers that were measured.
    pub answers: u64,
    /// Memory for candidates, in KiB.
    pub cache_kib: Option<f64>,
    /// Whether plain decoding was not measured side by side, but computed from measured costs.
    pub estimate: bool,
    /// Number of different prompts of a bench; `None` for live traffic.
    pub prompts: Option<u64>,
    /// Mean accepted length (τ): tokens per forward of the target; `None` where it is not known.
    pub mean_accepted_length: Option<f64>,
}

impl RoiEvidence {
    /// How many times as fast as plain decoding speculation is.
    pub fn speed_up(&self) -> f64 {
        match self.spread {
            Some((median, ..)) => median,
            None => self.fast / self.plain,
        }
    }

    /// What speaks against telling the speed-up as a headline.
    pub fn doubt(&self) -> Option<Doubt> {
        let length = self.mean_accepted_length;
        if length.is_some_and(|length| is_impossible(self.speed_up(), length)) {
            return Some(Doubt::Disturbed);
        }
        let few = self.prompts.is_some_and(|n| n < FEWEST_PROMPTS as u64);
        few.then_some(Doubt::FewPrompts)
    }
}

/// The evidence from which figures may be told.
pub fn sound(evidence: &[RoiEvidence]) -> Vec<RoiEvidence> {
    let sound = evidence.iter().filter(|e| e.doubt().is_none());
    sound.cloned().collect()
}

/// The evidence in a `bench.json`: its auto mode, else its last entry, against plain.
///
/// # Errors
/// If it is none.
pub fn from_bench(text: &str) -> Result<Vec<RoiEvidence>, String> {
    let bench: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let cells = bench["cells"]
        .as_array()
        .ok_or("there are no cells: this is no bench.json")?;
    let found: Vec<RoiEvidence> = cells.iter().filter_map(of_cell).collect();
    if found.is_empty() {
        Err("there is no comparison with plain decoding in it".into())
    } else {
        Ok(found)
    }
}

/// The evidence in one table of a `bench.json`; `None` if there is nothing to compare.
fn of_cell(cell: &Value) -> Option<RoiEvidence> {
    let rows = cell["rows"].as_array().map(Vec::as_slice).unwrap_or(&[]);
    let named = |name: &str| rows.iter().find(|r| r["name"] == name);
    // The first row is what the others are compared with: of older versions always `plain`, now
    // perhaps plain decoding on another number of threads.
    let plain = rows.iter().find(|r| {
        let name = r["name"].as_str().unwrap_or_default();
        name == "plain" || name.starts_with("plain, ")
    })?;
    let fast = named("auto").or(rows.last())?;
    let speed = |r: &Value| {
        let median = r["tokens_per_second"]["median"].as_f64();
        median.filter(|s| *s > 0.0)
    };
    let of = |key: &str| fast["speed_up"][key].as_f64();
    let runs = fast["runs"].as_u64().unwrap_or(0);
    Some(RoiEvidence {
        label: cell["category"].as_str().unwrap_or("?").to_owned(),
        plain: speed(plain)?,
        fast: speed(fast)?,
        spread: of("median")
            .zip(of("least"))
            .zip(of("most"))
            .map(|((a, b), c)| (a, b, c)),
        exact: (runs, fast["same_text"].as_u64().unwrap_or(0)),
        answers: runs,
        cache_kib: fast["cache_kib"].as_f64(),
        estimate: false,
        // Older versions did not count prompts, and asked each once by default.
        prompts: Some(cell["prompts"].as_u64().unwrap_or(runs)),
        mean_accepted_length: fast["mean_accepted_length"].as_f64(),
    })
}

/// The evidence in a server's metrics: the arms of a canary, else what plain decoding would
/// have taken by the measured cost of forwards.
///
/// # Errors
/// If there is nothing to compare yet.
pub fn from_metrics(text: &str) -> Result<RoiEvidence, String> {
    let value = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name));
        line.and_then(|l| l.trim().parse::<f64>().ok())
    };
    let arm = |name: &str, arm: &str| value(&format!("card_rollout_{name}{{arm=\"{arm}\"}}"));
    let rate = |a: &str| {
        let (tokens, seconds) = (arm("tokens_total", a)?, arm("decode_seconds_total", a)?);
        (seconds > 0.0 && tokens > 0.0).then(|| tokens / seconds)
    };
    let cache_kib = value("card_cache_bytes").map(|b| b / 1024.0);
    let count = |name: &str| value(name).unwrap_or(0.0) as u64;
    if let (Some(plain), Some(fast)) = (rate("plain"), rate("speculative")) {
        return Ok(RoiEvidence {
            label: "canary".into(),
            plain,
            fast,
            spread: None,
            exact: (
                count("card_rollout_checked_total"),
                count("card_rollout_same_total"),
            ),
            answers: arm("answers_total", "speculative").unwrap_or(0.0) as u64,
            cache_kib,
            estimate: false,
            prompts: None,
            // The server counts the rounds of both arms together.
            mean_accepted_length: None,
        });
    }
    let (Some(plain), Some(fast), Some(tokens)) = (
        value("card_plain_decode_seconds_total").filter(|s| *s > 0.0),
        value("card_decode_seconds_total").filter(|s| *s > 0.0),
        value("card_round_tokens_total").filter(|t| *t > 0.0),
    ) else {
        return Err("no answers were counted yet: let some requests through first".into());
    };
    Ok(RoiEvidence {
        label: "live".into(),
        plain: tokens / plain,
        fast: tokens / fast,
        spread: None,
        exact: (0, 0),
        answers: 0,
        cache_kib,
        estimate: true,
        prompts: None,
        mean_accepted_length: value("card_rounds_total")
            .filter(|rounds| *rounds > 0.0)
            .map(|rounds| tokens / rounds),
    })
}
