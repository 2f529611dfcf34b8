//! The columns of a table, which Markdown and HTML share.

use super::doubts::{Doubt, doubts, words_against};
use super::table::{BenchRow, TableCell};
use crate::stats::Spread;

/// The heads of a table's columns.
pub(super) const HEADS: [&str; 15] = [
    "",
    "speed-up",
    "whole answer",
    "tokens/s",
    "first token ms",
    "gap p50/p95/p99 ms",
    "τ",
    "hit rate",
    "accepted/verified",
    "target idle",
    "draft idle",
    "cache KiB",
    "of bound",
    "of blind bound (as it came)",
    "same text",
];

/// The columns that matter most, as places in [`HEADS`].
pub(super) const FIRST: [usize; 7] = [0, 1, 2, 3, 4, 6, 14];

/// What the shortest heads mean, in a line that stands under a table.
pub const LEGEND: &str = "τ: tokens for each forward of the target, plain decoding has 1; hits: how \
    often the target's own token was among the cached candidates; idle: share of the time in which \
    the target's lane, or the drafter's, did nothing";

/// What the heads mean, for a reader who sees them for the first time.
pub(super) const MEANINGS: [(&str, &str); 12] = [
    (
        "speed-up",
        "time per token of plain decoding over the contestant's, on the same prompt, from the first token on",
    ),
    (
        "disturbed",
        "the speed-up is above τ, which speculation cannot give: plain decoding was slowed down by something else",
    ),
    (
        "noisy",
        "plain decoding's values are more than a quarter of their median apart, or a row gains on one prompt and loses on another by that much",
    ),
    (
        "whole answer",
        "the same ratio with the time to the first token counted in",
    ),
    ("gap", "milliseconds between tokens, as a reader sees them"),
    (
        "τ",
        "mean accepted length: tokens for each forward of the target; plain decoding has 1",
    ),
    (
        "hit rate",
        "share of the target's own tokens after a wrong guess that were among the cached candidates",
    ),
    (
        "accepted/verified",
        "candidates that became text, of those that the target looked at; in brackets, who proposed them (draft+prompt_lookup: both did)",
    ),
    (
        "idle",
        "share of the time in which a model did nothing, reading the prompt included",
    ),
    (
        "of bound",
        "share of the speed that perfect information could have reached",
    ),
    (
        "of blind bound",
        "share of the best speed without knowing which drafts are right: on average, and on these very texts",
    ),
    (
        "same text",
        "answers that are plain decoding's, token for token, and by how little the first token that differs was decided",
    ),
];

/// A row's name, with a word where its speed-up cannot be.
pub(super) fn name(cell: &TableCell, r: &BenchRow) -> String {
    match doubts(cell, r).contains(&Doubt::Disturbed) {
        true => format!("{} ({})", r.name, Doubt::Disturbed.word()),
        false => r.name.clone(),
    }
}

/// A row's speed-up, with what speaks against it in a word each.
fn speed_up(cell: &TableCell, r: &BenchRow) -> String {
    let words = words_against(cell, r);
    match words.is_empty() {
        true => r.speed_up.to_string(),
        false => format!("{}, {}", r.speed_up, words.join(", ")),
    }
}

/// The cells of a row of this table, one for each of [`HEADS`].
pub(super) fn columns(cell: &TableCell, r: &BenchRow) -> [String; 15] {
    let per_cent = |x: f64| format!("{:.0} %", 100.0 * x);
    let bounded = |share: Option<Spread>| share.map_or("–".into(), |b| per_cent(b.median));
    let sources: Vec<String> = r
        .by_source
        .iter()
        .map(|(s, n)| format!("{s} {n}"))
        .collect();
    let accepted = if sources.is_empty() {
        format!("{}/{}", r.accepted, r.offered)
    } else {
        format!("{}/{} ({})", r.accepted, r.offered, sources.join(", "))
    };
    let same = match r.same_text {
        None => "–".into(),
        Some(n) if r.left_at.is_empty() => format!("{n} of {}", r.runs),
        Some(n) => {
            let widest = r.left_at.iter().copied().fold(0.0, f32::max);
            format!("{n} of {}, left at margins up to {widest:.3}", r.runs)
        }
    };
    [
        r.name.clone(),
        speed_up(cell, r),
        r.answer_speed_up.to_string(),
        r.tokens_per_second.to_string(),
        format!(
            "{:.0} ({:.0}–{:.0})",
            r.first_ms.median, r.first_ms.least, r.first_ms.most
        ),
        r.gap_ms.map(|g| format!("{g:.0}")).join("/"),
        format!("{:.2}", r.mean_accepted_length),
        per_cent(r.hit_rate),
        accepted,
        per_cent(r.target_idle),
        per_cent(r.draft_idle),
        format!("{:.1}", r.cache_kib),
        bounded(r.of_bound),
        match r.of_lived {
            Some(lived) => format!("{} ({})", bounded(r.of_blind), per_cent(lived.median)),
            None => bounded(r.of_blind),
        },
        same,
    ]
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::plain_row;
    use super::*;

    #[test]
    fn a_speed_up_that_cannot_be_stands_with_a_word() {
        let auto = BenchRow {
            speed_up: Spread::of([5.78]),
            mean_accepted_length: 1.19,
            ..plain_row("auto")
        };
        let cell = TableCell {
            category: "code".into(),
            prompts: 1,
            rows: vec![plain_row("plain"), auto],
        };
        let cells = columns(&cell, &cell.rows[1]);
        assert_eq!(cells[1], "5.78 (5.78–5.78), disturbed");
        assert_eq!(columns(&cell, &cell.rows[0])[1], "1.00 (1.00–1.00)");
        assert_eq!(name(&cell, &cell.rows[1]), "auto (disturbed)");
    }
}
