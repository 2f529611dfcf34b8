//! What a report means for its reader: a few sentences from the figures.

use card_core::words::counted;

use super::doubts::{Doubt, FEWEST_PROMPTS, NOTABLE, doubts};
use super::table::{BenchReport, BenchRow, TableCell};

/// The sentences, the most important first. Of a speed-up that cannot be, or that too few prompts
/// say, none is told: what is wrong with it, and what to do, is told in its place.
pub fn reading(report: &BenchReport) -> Vec<String> {
    let mut sentences = match &report.sweep {
        Some(sweep) => best_points(report, &sweep.x),
        None => gains(report).into_iter().collect(),
    };
    sentences.extend(same_texts(report));
    sentences.extend(disturbed(report));
    sentences.extend(noisy(report));
    sentences.extend(few(report));
    sentences
}

/// Whether a row's speed-up may be told by itself, without the table.
fn is_headline(cell: &TableCell, row: &BenchRow) -> bool {
    let against = doubts(cell, row);
    !against.contains(&Doubt::Disturbed) && !against.contains(&Doubt::FewPrompts)
}

/// What is compared with plain decoding in one category: all rows but the first.
fn compared(cell: &TableCell) -> &[BenchRow] {
    cell.rows.get(1..).unwrap_or_default()
}

/// The contestant that a user would run: auto, else the fastest on average.
fn recommended(report: &BenchReport) -> Option<&str> {
    let rows = || report.cells.iter().flat_map(compared);
    if let Some(auto) = rows().find(|r| r.name == "auto") {
        return Some(&auto.name);
    }
    let product = |name: &str| {
        let of = rows().filter(|r| r.name == name);
        of.map(|r| r.speed_up.median).product::<f64>()
    };
    let best = rows().max_by(|a, b| product(&a.name).total_cmp(&product(&b.name)));
    best.map(|r| &r.name[..])
}

/// Which kinds of text are written faster, and which are not.
fn gains(report: &BenchReport) -> Option<String> {
    let name = recommended(report)?;
    let (mut faster, mut alike, mut slower) = (Vec::new(), Vec::new(), Vec::new());
    for cell in &report.cells {
        let row = compared(cell).iter().find(|r| r.name == name);
        let Some(row) = row.filter(|row| is_headline(cell, row)) else {
            continue;
        };
        let speed = row.speed_up.median;
        let kind = &cell.category;
        if speed >= 1.0 + NOTABLE {
            faster.push(format!("{kind} {speed:.1}"));
        } else if speed <= 1.0 - NOTABLE {
            slower.push(format!("{kind} ({speed:.2} times)"));
        } else {
            alike.push(kind.clone());
        }
    }
    let mut parts = Vec::new();
    if !faster.is_empty() {
        parts.push(format!(
            "{name} writes {} times as fast as plain decoding here",
            listed(&faster)
        ));
    }
    if !alike.is_empty() {
        let does = if alike.len() == 1 { "does" } else { "do" };
        parts.push(match faster.is_empty() {
            true => format!(
                "{name} is as fast as plain decoding here on {}",
                listed(&alike)
            ),
            false => format!("{} {does} not gain", listed(&alike)),
        });
    }
    if !slower.is_empty() {
        parts.push(match parts.is_empty() {
            true => format!(
                "{name} is slower than plain decoding here on {}",
                listed(&slower)
            ),
            false => format!("it is slower on {}", listed(&slower)),
        });
    }
    (!parts.is_empty()).then(|| format!("{}.", parts.join("; ")))
}

/// The best value of what was varied, for each kind of text.
fn best_points(report: &BenchReport, x: &str) -> Vec<String> {
    let Some(sweep) = &report.sweep else {
        return Vec::new();
    };
    let value = |row: &BenchRow| sweep.points.iter().find(|p| p.0 == row.name).map(|p| p.1);
    let best = |cell: &TableCell| {
        let rows = compared(cell).iter().filter(|r| is_headline(cell, r));
        let points = rows.filter_map(|r| Some((value(r)?, r.speed_up.median)));
        let (at, speed) = points.max_by(|a, b| a.1.total_cmp(&b.1))?;
        let at = format!("{at:.2}");
        let at = at.trim_end_matches('0').trim_end_matches('.');
        Some(format!(
            "{} is fastest at {at} ({x}): {speed:.1} times plain decoding.",
            cell.category
        ))
    };
    report.cells.iter().filter_map(best).collect()
}

/// Whether the texts are plain decoding's.
fn same_texts(report: &BenchReport) -> Option<String> {
    let rows = report.cells.iter().flat_map(compared);
    let checked: Vec<(usize, usize)> = rows.filter_map(|r| Some((r.same_text?, r.runs))).collect();
    let same: usize = checked.iter().map(|c| c.0).sum();
    let all: usize = checked.iter().map(|c| c.1).sum();
    match all - same.min(all) {
        _ if all == 0 => None,
        0 => Some(match all {
            1 => "The only answer is plain decoding's, token for token.".to_owned(),
            _ => format!("All {all} answers are plain decoding's, token for token."),
        }),
        n => Some(format!(
            "{n} of {} {} from plain decoding's: see \"same text\" in the table.",
            counted(all, "answer"),
            if n == 1 { "differs" } else { "differ" }
        )),
    }
}

/// The rows that this speaks against, each with its category.
fn doubted(report: &BenchReport, doubt: Doubt) -> Vec<(&TableCell, &BenchRow)> {
    let rows = report
        .cells
        .iter()
        .flat_map(|c| compared(c).iter().map(move |r| (c, r)));
    rows.filter(|(c, r)| doubts(c, r).contains(&doubt))
        .collect()
}

/// The categories in which this speaks against a row.
fn doubted_kinds(report: &BenchReport, doubt: Doubt) -> Vec<String> {
    let rows = doubted(report, doubt).into_iter();
    let mut kinds: Vec<String> = rows.map(|(cell, _)| cell.category.clone()).collect();
    kinds.dedup();
    kinds
}

/// Speed-ups that speculation cannot have given: each forward of the target brings τ tokens, so
/// it is faster by τ at the most. The widest gap is named.
fn disturbed(report: &BenchReport) -> Option<String> {
    let rows = doubted(report, Doubt::Disturbed);
    let gap = |row: &BenchRow| row.speed_up.median / row.mean_accepted_length;
    let &(cell, row) = rows.iter().max_by(|a, b| gap(a.1).total_cmp(&gap(b.1)))?;
    let more = match rows.len() - 1 {
        0 => String::new(),
        n => format!(" ({} more of the kind)", counted(n, "figure")),
    };
    Some(format!(
        "The speed-up of {} on {}, {:.2}, is above its {:.2} tokens per forward, so not from \
         speculation: something disturbed plain decoding{more}. Measure again on a quiet machine \
         (`card calibrate` says whether it is one).",
        row.name, cell.category, row.speed_up.median, row.mean_accepted_length
    ))
}

/// Kinds of text whose values are far apart.
fn noisy(report: &BenchReport) -> Option<String> {
    let kinds = doubted_kinds(report, Doubt::Noisy);
    (!kinds.is_empty()).then(|| {
        format!(
            "Noisy: on {} the values are more than a quarter of their median apart, so the median \
             says little. Ask more prompts (--prompts, --repeats), and let nothing else run.",
            listed(&kinds)
        )
    })
}

/// Kinds of text of which too few prompts were measured.
fn few(report: &BenchReport) -> Option<String> {
    let kinds = doubted_kinds(report, Doubt::FewPrompts);
    (!kinds.is_empty()).then(|| {
        format!(
            "Fewer than {FEWEST_PROMPTS} prompts were measured of {}: too few to say how much \
             faster it is; the table has what was measured. Ask more (--prompts).",
            listed(&kinds)
        )
    })
}

/// a, b and c.
fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::plain_row;
    use super::super::table::Sweep;
    use super::*;
    use crate::stats::Spread;

    fn row(name: &str, speed: f64) -> BenchRow {
        BenchRow {
            speed_up: Spread::of([speed]),
            mean_accepted_length: 2.0,
            runs: 4,
            same_text: Some(4),
            ..plain_row(name)
        }
    }

    fn report(cells: &[(&str, f64)]) -> BenchReport {
        let cell = |&(category, speed): &(&str, f64)| TableCell {
            category: category.into(),
            prompts: 4,
            rows: vec![row("plain", 1.0), row("card", 1.1), row("auto", speed)],
        };
        BenchReport {
            title: "bench".into(),
            emulated: None,
            facts: Vec::new(),
            cells: cells.iter().map(cell).collect(),
            sweep: None,
        }
    }

    #[test]
    fn the_first_sentence_says_what_gains_and_what_does_not() {
        let told = reading(&report(&[
            ("code", 1.7),
            ("maths", 1.4),
            ("chat", 1.01),
            ("ja", 0.9),
        ]));
        assert_eq!(
            told,
            [
                "auto writes code 1.7 and maths 1.4 times as fast as plain decoding here; chat does \
                 not gain; it is slower on ja (0.90 times).",
                "All 32 answers are plain decoding's, token for token."
            ]
        );
        let told = reading(&report(&[("code", 1.0), ("chat", 1.0)]));
        assert_eq!(
            told[0],
            "auto is as fast as plain decoding here on code and chat."
        );
        let told = reading(&report(&[("chat", 0.8)]));
        assert_eq!(
            told[0],
            "auto is slower than plain decoding here on chat (0.80 times)."
        );
    }

    fn says(bench: &BenchReport, words: &str) -> bool {
        reading(bench).iter().any(|s| s.contains(words))
    }

    #[test]
    fn a_figure_that_cannot_be_is_named_and_is_no_headline() {
        let mut bench = report(&[("code", 5.78), ("chat", 1.5)]);
        assert!(says(&bench, "disturbed") && says(&bench, "Measure again"));
        assert_eq!(
            reading(&bench)[0],
            "auto writes chat 1.5 times as fast as plain decoding here."
        );
        bench.cells[0].rows[2].speed_up = Spread::of([1.9]);
        assert!(!says(&bench, "disturbed"));
        bench.cells[0].rows[1].same_text = Some(0);
        assert!(says(&bench, "4 of 16 answers differ"));
    }

    #[test]
    fn fewer_than_three_prompts_give_no_headline() {
        let mut bench = report(&[("code", 1.7)]);
        assert!(says(&bench, "times as fast"));
        // However often they were asked.
        bench.cells[0].prompts = 2;
        assert!(!says(&bench, "times as fast") && says(&bench, "too few"));
        bench.sweep = Some(Sweep {
            x: "KiB".into(),
            points: vec![("auto".into(), 32.0)],
        });
        assert!(!says(&bench, "fastest at"));
    }

    #[test]
    fn values_that_are_far_apart_are_called_noisy() {
        let mut bench = report(&[("code", 1.7)]);
        assert!(!says(&bench, "Noisy"));
        bench.cells[0].rows[0].tokens_per_second = Spread::of([5.0, 6.0, 9.0]);
        assert!(says(&bench, "Noisy: on code"));
    }

    #[test]
    fn of_what_was_varied_the_best_value_is_named() {
        let mut bench = report(&[("code", 1.7)]);
        bench.sweep = Some(Sweep {
            x: "KiB of candidates per sequence".into(),
            points: vec![("card".into(), 1.0), ("auto".into(), 32.0)],
        });
        assert_eq!(
            reading(&bench)[0],
            "code is fastest at 32 (KiB of candidates per sequence): 1.7 times plain decoding."
        );
    }

    #[test]
    fn a_report_of_nothing_says_nothing() {
        assert!(reading(&report(&[])).is_empty());
    }
}
