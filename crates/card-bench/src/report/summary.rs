//! From the samples of a contest to the rows of its tables.

use super::bounds::{BoundInputs, text_bounds};
use super::table::{BenchRow, TableCell};
use crate::bound::TextBound;
use crate::contest::{Contestant, Results, baseline};
use crate::counts::TokenCounts;
use crate::sample::{BenchTask, Sample};
use crate::stats::{Spread, percentile};

/// Tokens after the first one below which an answer measures nothing.
pub const LEAST_TOKENS: usize = 8;

/// Sums up a contest: all contestants beside the fastest that decodes plainly, which is the first
/// row of each table. A category without an answer of [`LEAST_TOKENS`] is left out.
pub fn cells(
    contestants: &[Contestant],
    tasks: &[BenchTask],
    results: &Results,
    known: Option<&BoundInputs>,
) -> Vec<TableCell> {
    let plain = baseline(contestants, results);
    let mut order: Vec<usize> = (0..contestants.len()).collect();
    if let Some(first) = order.get_mut(..=plain) {
        first.rotate_right(1);
    }
    let bounds = known.map(|k| text_bounds(k, contestants, results, tasks.len()));
    let mut cells = Vec::new();
    for category in categories(tasks) {
        let of: Vec<usize> = (0..results.len())
            .filter(|i| tasks[i % tasks.len()].category == category)
            .filter(|&i| results[i][plain].decoded >= LEAST_TOKENS)
            .collect();
        if of.is_empty() {
            continue;
        }
        let rows = order.iter().map(|&k| {
            let contestant = &contestants[k];
            let samples: Vec<(&Sample, &Sample)> = of
                .iter()
                .map(|&i| (&results[i][k], &results[i][plain]))
                .collect();
            let mut row = row(&contestant.name, &samples);
            let peer = samples.iter().any(|s| s.0.tokens.is_empty());
            if let Some(bounds) = bounds.as_ref().filter(|_| !peer && !contestant.plain) {
                let each = of.iter().map(|&i| (&bounds[i], results[i][k].decode_ms));
                note_bounds(&mut row, &each.collect::<Vec<_>>());
            }
            row
        });
        cells.push(TableCell {
            category: category.to_owned(),
            prompts: prompts(&of, tasks.len()),
            rows: rows.collect(),
        });
    }
    cells
}

/// Number of different prompts behind these results.
fn prompts(of: &[usize], tasks: usize) -> usize {
    let mut different: Vec<usize> = of.iter().map(|i| i % tasks).collect();
    different.sort_unstable();
    different.dedup();
    different.len()
}

/// The categories of these tasks, in the order in which they come first.
fn categories(tasks: &[BenchTask]) -> Vec<&str> {
    let mut order: Vec<&str> = Vec::new();
    for task in tasks {
        if !order.contains(&&task.category[..]) {
            order.push(&task.category);
        }
    }
    order
}

/// Notes which share of each bound a contestant reached: the bound of each text and the
/// milliseconds that decoding it took.
fn note_bounds(row: &mut BenchRow, each: &[(&TextBound, f64)]) {
    let share = |least: fn(&TextBound) -> f64| Spread::of(each.iter().map(|(b, ms)| least(b) / ms));
    let lived = each.iter().map(|(b, ms)| Some(b.lived_ms? / ms));
    row.of_lived = lived.collect::<Option<Vec<_>>>().map(Spread::of);
    row.of_bound = Some(share(|b| b.seeing_ms));
    row.of_blind = Some(share(|b| b.blind_ms));
}

/// Sums up what one contestant did, each sample beside plain decoding's of the same prompt.
fn row(name: &str, samples: &[(&Sample, &Sample)]) -> BenchRow {
    let sum = |of: fn(&Sample) -> f64| samples.iter().map(|s| of(s.0)).sum::<f64>();
    let count = |of: fn(&Sample) -> usize| samples.iter().map(|s| of(s.0)).sum::<usize>();
    let share = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
    let mut gaps: Vec<f64> = samples.iter().flat_map(|s| s.0.gaps_ms.clone()).collect();
    gaps.sort_by(f64::total_cmp);
    let (hits, misses) = (count(|s| s.hits), count(|s| s.misses));
    let wall = sum(|s| s.first_ms + s.decode_ms);
    let peer = samples.iter().any(|s| s.0.tokens.is_empty());
    let (same, left_at) = if peer {
        (0, Vec::new())
    } else {
        compared(samples)
    };
    let mut counts = TokenCounts::default();
    samples.iter().for_each(|s| counts.add(&s.0.counts));
    let joules: Option<f64> = samples.iter().map(|s| s.0.joules).sum();
    let tokens = count(|s| s.decoded + 1) as f64;
    BenchRow {
        name: name.to_owned(),
        runs: samples.len(),
        speed_up: Spread::of(
            samples
                .iter()
                .map(|(s, plain)| plain.ms_per_token() / s.ms_per_token()),
        ),
        answer_speed_up: Spread::of(
            samples
                .iter()
                .map(|(s, plain)| plain.answer_ms_per_token() / s.answer_ms_per_token()),
        ),
        tokens_per_second: Spread::of(samples.iter().map(|s| 1e3 / s.0.ms_per_token())),
        first_ms: Spread::of(samples.iter().map(|s| s.0.first_ms)),
        gap_ms: [0.5, 0.95, 0.99].map(|p| percentile(&gaps, p)),
        mean_accepted_length: share(count(|s| s.decoded) as f64, count(|s| s.rounds) as f64),
        hit_rate: share(hits as f64, (hits + misses) as f64),
        offered: count(|s| s.offered),
        accepted: counts.accepted(),
        by_source: counts.by_sources().into_iter().collect(),
        target_idle: 1.0 - share(sum(|s| s.target_ms), wall).min(1.0),
        draft_idle: 1.0 - share(sum(|s| s.draft_ms), wall).min(1.0),
        cache_kib: samples.iter().map(|s| s.0.cache_bytes).max().unwrap_or(0) as f64 / 1024.0,
        joules_per_token: joules.map(|j| j / tokens.max(1.0)),
        same_text: (!peer).then_some(same),
        left_at,
        of_bound: None,
        of_blind: None,
        of_lived: None,
    }
}

/// How many texts are plain decoding's, and the margins of plain decoding where others left it.
fn compared(samples: &[(&Sample, &Sample)]) -> (usize, Vec<f32>) {
    let mut same = 0;
    let mut left_at = Vec::new();
    for (sample, plain) in samples {
        let alike = sample.tokens.iter().zip(&plain.tokens);
        let alike = alike.take_while(|(a, b)| a == b).count();
        if alike == plain.tokens.len() && alike == sample.tokens.len() {
            same += 1;
        } else if let Some(margin) = plain.margins.values().nth(alike) {
            left_at.push(*margin);
        }
    }
    (same, left_at)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn sample(ms: f64, tokens: &[u32]) -> Sample {
        Sample {
            decode_ms: ms,
            decoded: tokens.len(),
            tokens: tokens.to_vec(),
            rounds: tokens.len(),
            margins: tokens
                .iter()
                .enumerate()
                .map(|(i, _)| (i as u32, 0.5))
                .collect(),
            ..Sample::default()
        }
    }

    /// A row of one answer of ten tokens, which is plain decoding's.
    pub fn plain_row(name: &str) -> BenchRow {
        let text: Vec<u32> = (0..10).collect();
        let s = sample(10.0, &text);
        row(name, &[(&s, &s)])
    }

    #[test]
    fn a_prompt_that_is_asked_again_is_no_other_prompt() {
        // Two prompts, asked three times.
        assert_eq!(prompts(&[0, 1, 2, 3, 4, 5], 2), 2);
        assert_eq!(prompts(&[1, 3], 2), 1);
        assert_eq!(prompts(&[], 2), 0);
    }

    #[test]
    fn a_row_compares_with_plain_decoding() {
        let text: Vec<u32> = (0..10).collect();
        let mut other = text.clone();
        other[4] = 99;
        let (plain, fast) = (sample(100.0, &text), sample(50.0, &text));
        let odd = sample(100.0, &other);
        let r = row("auto", &[(&fast, &plain), (&odd, &plain)]);
        assert_eq!((r.speed_up.least, r.speed_up.most), (1.0, 2.0));
        // First tokens that take as long as the rest take half of the gain.
        let late = |sample: &Sample| Sample {
            first_ms: 100.0,
            ..sample.clone()
        };
        let whole = row("auto", &[(&late(&fast), &late(&plain))]);
        assert!((whole.answer_speed_up.median - 200.0 / 150.0).abs() < 1e-9);
        assert_eq!(r.same_text, Some(1));
        assert_eq!(r.left_at, [0.5]);
    }
}
