//! What speaks against a figure of a bench. A figure in doubt stays in its table, with a word; it
//! is no headline.

use super::table::{BenchRow, TableCell};
use crate::stats::Spread;

/// Fewest different prompts of a kind from which a speed-up is told as a headline.
pub const FEWEST_PROMPTS: usize = 3;
/// A speed-up this many times above the mean accepted length is not from speculation.
const ABOVE: f64 = 1.1;
/// Values further apart than this share of their median are noisy.
const NOISY: f64 = 0.25;
/// Speed-ups closer to 1 than this are called neither gain nor loss.
pub(super) const NOTABLE: f64 = 0.05;

/// What speaks against a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The speed-up is above what speculation can give, so plain decoding was disturbed.
    Disturbed,
    /// The values are so far apart that their median says little.
    Noisy,
    /// Too few prompts were measured ([`FEWEST_PROMPTS`]).
    FewPrompts,
}

impl Doubt {
    /// The word beside the figure.
    pub fn word(self) -> &'static str {
        match self {
            Doubt::Disturbed => "disturbed",
            Doubt::Noisy => "noisy",
            Doubt::FewPrompts => "few prompts",
        }
    }
}

/// Whether a speed-up over plain decoding is above what speculation can give: each forward of the
/// target brings that many tokens on average (τ), and takes no less time than one of plain
/// decoding (2211.17192, section 3). A little more is left to chance.
pub fn is_impossible(speed_up: f64, mean_accepted_length: f64) -> bool {
    mean_accepted_length >= 1.0 && speed_up > ABOVE * mean_accepted_length
}

/// What speaks against the speed-up of a row of this table, the weightiest first. Nothing does
/// against the first row, with which the others are compared.
pub fn doubts(cell: &TableCell, row: &BenchRow) -> Vec<Doubt> {
    let Some(plain) = cell.rows.first().filter(|p| p.name != row.name) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    // Of a peer nobody knows how many tokens a forward brings.
    if row.same_text.is_some() && is_impossible(row.speed_up.median, row.mean_accepted_length) {
        found.push(Doubt::Disturbed);
    }
    if is_noisy(plain, row) {
        found.push(Doubt::Noisy);
    }
    if cell.prompts < FEWEST_PROMPTS {
        found.push(Doubt::FewPrompts);
    }
    found
}

/// What speaks against a row, in a word each; that there are few prompts holds for the whole table,
/// and is not among them.
pub fn words_against(cell: &TableCell, row: &BenchRow) -> Vec<&'static str> {
    let found = doubts(cell, row).into_iter();
    let of_row = found.filter(|d| *d != Doubt::FewPrompts);
    of_row.map(Doubt::word).collect()
}

/// Plain decoding takes about as long for each token of each prompt of a kind: where it does not,
/// the machine was not quiet. Speculation may well differ from prompt to prompt, but a row that is
/// faster on one and slower on another does not say whether it gains.
fn is_noisy(plain: &BenchRow, row: &BenchRow) -> bool {
    let speed = row.speed_up;
    let both_ways = speed.least < 1.0 - NOTABLE && speed.most > 1.0 + NOTABLE;
    is_wide(plain.tokens_per_second) || (both_ways && is_wide(speed))
}

/// Whether the least and the most are far apart, compared with the median.
fn is_wide(spread: Spread) -> bool {
    spread.most - spread.least > NOISY * spread.median
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::plain_row;
    use super::*;

    fn row(speeds: &[f64]) -> BenchRow {
        BenchRow {
            speed_up: Spread::of(speeds.iter().copied()),
            mean_accepted_length: 2.0,
            same_text: Some(3),
            ..plain_row("auto")
        }
    }

    fn cell(plain_speeds: &[f64], row: BenchRow) -> TableCell {
        let plain = BenchRow {
            tokens_per_second: Spread::of(plain_speeds.iter().copied()),
            ..plain_row("plain")
        };
        TableCell {
            category: "code".into(),
            prompts: 3,
            rows: vec![plain, row],
        }
    }

    fn found(cell: &TableCell) -> Vec<Doubt> {
        doubts(cell, &cell.rows[1])
    }

    #[test]
    fn a_speed_up_above_the_tokens_per_forward_is_no_speculation() {
        let quiet = [10.0, 10.5, 11.0];
        assert_eq!(found(&cell(&quiet, row(&[5.78]))), [Doubt::Disturbed]);
        assert!(found(&cell(&quiet, row(&[1.95]))).is_empty());
        // What a peer gives per forward is not known, and plain decoding is what others are
        // compared with.
        let peer = BenchRow {
            same_text: None,
            mean_accepted_length: 0.0,
            ..row(&[5.78])
        };
        assert!(found(&cell(&quiet, peer)).is_empty());
        let all = cell(&quiet, row(&[5.78]));
        assert!(doubts(&all, &all.rows[0]).is_empty());
    }

    #[test]
    fn noise_is_plain_decoding_that_varies_or_a_row_that_gains_and_loses() {
        let quiet = [10.0, 10.5, 11.0];
        assert_eq!(
            found(&cell(&[10.0, 10.5, 14.0], row(&[1.5]))),
            [Doubt::Noisy]
        );
        assert_eq!(
            found(&cell(&quiet, row(&[0.65, 0.89, 1.22]))),
            [Doubt::Noisy]
        );
        // Prompts that gain more and less are no noise.
        assert!(found(&cell(&quiet, row(&[1.19, 1.5, 1.76]))).is_empty());
    }

    #[test]
    fn two_prompts_are_too_few() {
        let mut few = cell(&[10.0, 10.5, 11.0], row(&[1.5]));
        few.prompts = 2;
        assert_eq!(found(&few), [Doubt::FewPrompts]);
        assert!(Doubt::FewPrompts.word().contains("few"));
    }
}
