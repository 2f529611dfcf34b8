//! Goodput in words and in a chart: the tokens per second of the requests that were answered as
//! fast as a bound asks (DistServe, arXiv 2401.09670), on as many devices for each schedule.

use card_look::chart::Unit;
use card_look::{Page, stacked};

use crate::figure::{self, Figure};
use crate::scenario::LatencyBound;
use crate::study::{StudyPoint, Vary};

/// The schedules of a chart, by how their names begin.
const SCHEDULES: [&str; 5] = [
    "plain",
    "draft-then-verify",
    "card",
    "auto",
    "in turns: auto",
];

const GOODPUT: Figure = Figure {
    title: "Simulated goodput on as many devices",
    axis: "tokens per second of requests that met the bound",
    unit: Unit::Number,
    reference: None,
};

/// The comparison in one line; `None` without a drafter.
///
/// It compares auto with plain decoding and with the best draft-then-verify, all on so many devices.
pub fn sentence(bound: &LatencyBound, devices: usize, point: &StudyPoint) -> Option<String> {
    let of = |name: &str| point.goodput(name, bound);
    let (plain, chains, auto) = (of("plain")?, of("draft-then-verify")?, of("auto")?);
    let against = |name: &str, than: f64| {
        if than > 0.0 {
            format!("{:.2} times {name} ({than:.0})", auto / than)
        } else {
            format!("{name} has none")
        }
    };
    Some(format!(
        "Goodput (first token within {:.0} ms, then {:.0} ms a token) on {devices} devices each: auto \
         {auto:.0} tokens/s; {}, {}.",
        bound.first_token_ms,
        bound.token_ms,
        against("plain decoding", plain),
        against("the best draft-then-verify", chains),
    ))
}

/// Adds the comparison, a chart and a table to a page.
pub(crate) fn add(
    page: &mut Page,
    bound: &LatencyBound,
    devices: usize,
    vary: Option<Vary>,
    points: &[StudyPoint],
) {
    page.heading("Goodput");
    match (vary, points) {
        (Some(vary), _) => {
            let value = |point: &StudyPoint, name: &str| point.goodput(name, bound);
            page.add(&GOODPUT.lines(vary, points, &SCHEDULES, value).html());
        }
        (None, [point, ..]) => {
            if let Some(sentence) = sentence(bound, devices, point) {
                page.add(&format!("<p>{}</p>", card_look::escape(&sentence)));
            }
            let entries = point.entries.iter();
            let bars = entries.map(|e| (e.name.clone(), e.outcome.goodput(bound)));
            page.add(&GOODPUT.bars(bars).html());
        }
        (None, []) => {}
    }
    page.add(&table(bound, vary, points));
}

/// What each schedule made of the bound, at each value of what was varied.
fn table(bound: &LatencyBound, vary: Option<Vary>, points: &[StudyPoint]) -> String {
    let mut heads = vec!["", "goodput, tokens/s", "in time", "tokens/s in all"];
    if let Some(vary) = vary {
        heads[0] = vary.unit();
        heads.insert(1, "schedule");
    }
    let rows = figure::rows(points, |_, entry| {
        let outcome = &entry.outcome;
        vec![
            entry.name.clone(),
            format!("{:.0}", outcome.goodput(bound)),
            format!("{:.0} %", 100.0 * outcome.met(bound)),
            format!("{:.0}", outcome.throughput()),
        ]
    });
    stacked(&heads, &rows)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::outcome::{Outcome, Served};
    use crate::study::StudyEntry;

    const BOUND: LatencyBound = LatencyBound {
        first_token_ms: 500.0,
        token_ms: 60.0,
    };

    /// Requests of eleven tokens, so many of which are in time, in a second.
    fn entry(name: &str, in_time: usize, late: usize) -> StudyEntry {
        let ms = Duration::from_millis;
        let served = |first: u64| Served {
            arrived: ms(0),
            first: ms(first),
            done: ms(first + 500),
            tokens: 11,
            exact: true,
        };
        let mut all = vec![served(100); in_time];
        all.extend(vec![served(5000); late]);
        StudyEntry {
            name: name.into(),
            outcome: Outcome {
                served: all,
                time: Duration::from_secs(1),
                ..Outcome::default()
            },
        }
    }

    fn point(x: Option<f64>, plain: usize) -> StudyPoint {
        StudyPoint {
            x,
            entries: vec![
                entry("plain", plain, 10 - plain),
                entry("draft-then-verify 4, in turns", 4, 6),
                entry("auto", 8, 2),
            ],
        }
    }

    #[test]
    fn the_comparison_counts_the_requests_in_time() {
        let said = sentence(&BOUND, 10, &point(None, 2)).unwrap();
        assert!(said.contains("10 devices") && said.contains("auto 88 tokens/s"));
        assert!(said.contains("4.00 times plain decoding (22)"), "{said}");
        assert!(said.contains("2.00 times the best draft-then-verify (44)"));
        let none = sentence(&BOUND, 10, &point(None, 0)).unwrap();
        assert!(none.contains("plain decoding has none"), "{none}");
    }

    #[test]
    fn a_page_shows_goodput_with_and_without_a_range() {
        let mut page = Page::new("en", "test");
        add(&mut page, &BOUND, 10, None, &[point(None, 2)]);
        let html = page.finish();
        assert!(html.contains("Goodput") && html.contains("<rect") && html.contains("80 %"));
        let points = [point(Some(0.5), 5), point(Some(2.0), 1)];
        let mut page = Page::new("en", "test");
        add(&mut page, &BOUND, 10, Some(Vary::Rate), &points);
        let html = page.finish();
        assert!(html.contains("times as many requests a second") && html.contains("<svg"));
    }
}
