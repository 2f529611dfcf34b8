//! A study as one HTML page that needs nothing else.

use card_look::chart::Unit;
use card_look::{Page, stacked, terms, wide};

use crate::figure::{self, Figure};
use crate::goodput;
use crate::scenario::Scenario;
use crate::study::{StudyEntry, StudyPoint, Vary};

/// The schedules that are compared with plain decoding, by how their names begin.
const SCHEDULES: [&str; 3] = ["draft-then-verify", "card", "auto"];
const SPEED_UP: Figure = Figure {
    title: "Simulated speed-up over plain decoding",
    axis: "times as fast as plain decoding",
    unit: Unit::Times,
    reference: Some((1.0, "plain decoding")),
};
/// Speed-ups closer than this count as the same.
const SAME: f64 = 0.01;

/// The page: what it means, a chart, the speed-ups, and all figures folded away.
pub fn html(scenario: &Scenario, vary: Option<Vary>, points: &[StudyPoint]) -> String {
    let mut page = Page::new("en", &scenario.title);
    page.note(
        "Simulated",
        ": the production scheduler and drafter in virtual time, on made-up models.",
    );
    for sentence in reading(vary, points) {
        page.lead(&sentence);
    }
    match (vary, points) {
        (Some(vary), _) => {
            let chart = SPEED_UP.lines(vary, points, &SCHEDULES, StudyPoint::speed_up);
            page.add(&chart.html());
            page.heading("Speed-up over plain decoding");
            page.add(&pivot(vary, points));
        }
        (None, [point, ..]) => {
            // Plain decoding is what the others are compared with.
            let others = point.entries.iter().skip(1);
            let bars = others.filter_map(|e| Some((e.name.clone(), point.speed_up(&e.name)?)));
            page.add(&SPEED_UP.bars(bars).html());
            page.heading("Schedules");
            page.add(&schedules(point));
        }
        (None, []) => {}
    }
    if let Some(bound) = &scenario.latency_bound {
        goodput::add(&mut page, bound, scenario.devices(), vary, points);
    }
    page.fold("All figures", &all_figures(vary, points));
    page.fold("How this was simulated", &method(scenario));
    page.finish()
}

/// What the study says: how auto does along what was varied, and whether something else is
/// faster.
fn reading(vary: Option<Vary>, points: &[StudyPoint]) -> Vec<String> {
    let autos = points
        .iter()
        .filter_map(|p| Some((p.x, p.speed_up("auto")?)));
    let autos: Vec<(Option<f64>, f64)> = autos.collect();
    let Some(&(_, first)) = autos.first() else {
        return vec!["There is no drafter, so there is plain decoding only.".into()];
    };
    let mut sentences = vec![match (vary, &autos[..]) {
        (Some(vary), [(Some(a), first), .., (Some(z), last)]) => format!(
            "auto is {first:.2} times as fast as plain decoding at {a}, and {last:.2} times at {z} ({}).",
            vary.unit()
        ),
        _ => format!("auto is {first:.2} times as fast as plain decoding."),
    }];
    let best = |p: &StudyPoint| {
        let rivals = SCHEDULES.iter().filter_map(|s| p.speed_up(s));
        rivals.fold(1.0, f64::max)
    };
    let behind: Vec<String> = points
        .iter()
        .filter(|p| {
            p.speed_up("auto")
                .is_some_and(|s| s < best(p) * (1.0 - SAME))
        })
        .filter_map(|p| p.x)
        .map(|x| x.to_string())
        .collect();
    let slow = points
        .iter()
        .filter_map(|p| p.speed_up("auto"))
        .any(|s| s < 1.0 - SAME);
    sentences.push(match (vary, behind.is_empty()) {
        (Some(_), true) => "No other schedule is faster at any point.".into(),
        (Some(_), false) => format!("Another schedule is faster at {}.", behind.join(", ")),
        (None, _) => against_chains(points),
    });
    if vary.is_some() && !slow {
        sentences.push("It is never slower than plain decoding.".into());
    }
    sentences.retain(|s| !s.is_empty());
    sentences
}

/// What the best draft-then-verify brings.
fn against_chains(points: &[StudyPoint]) -> String {
    let chains = points.first().and_then(|p| p.speed_up(SCHEDULES[0]));
    chains.map_or(String::new(), |speed| {
        format!("The best chain of draft-then-verify is {speed:.2} times as fast.")
    })
}

/// Speed-ups: a row for each value, a column for each schedule.
fn pivot(vary: Vary, points: &[StudyPoint]) -> String {
    let mut heads = vec![vary.unit()];
    heads.extend(SCHEDULES);
    let row = |p: &StudyPoint| {
        let mut cells = vec![p.x.map_or(String::new(), |x| x.to_string())];
        cells.extend(SCHEDULES.map(|name| {
            let speed = p.speed_up(name);
            speed.map_or("–".to_owned(), |s| format!("{s:.2}×"))
        }));
        cells
    };
    stacked(&heads, &points.iter().map(row).collect::<Vec<_>>())
}

/// The figures that matter most of each schedule.
fn schedules(point: &StudyPoint) -> String {
    let heads = ["", "speed-up", "τ", "hit rate", "first token, ms"];
    let row = |e: &StudyEntry| {
        let speed = point.speed_up(&e.name);
        vec![
            e.name.clone(),
            speed.map_or("–".to_owned(), |s| format!("{s:.2}×")),
            format!("{:.2}", e.outcome.mean_accepted_length()),
            format!("{:.0} %", 100.0 * e.outcome.hit_rate()),
            format!("{:.0}", 1e3 * e.outcome.first_token(0.5)),
        ]
    };
    stacked(&heads, &point.entries.iter().map(row).collect::<Vec<_>>())
}

/// Every figure of every schedule at every value.
fn all_figures(vary: Option<Vary>, points: &[StudyPoint]) -> String {
    let entries = || points.iter().flat_map(|p| &p.entries);
    let priced = entries().any(|e| e.outcome.cost > 0.0);
    let mut heads = vec![
        "schedule",
        "speed-up",
        "τ",
        "hit rate",
        "target idle",
        "drafter idle",
        "first token, ms",
        "tokens/s in all",
    ];
    if let Some(vary) = vary {
        heads.insert(0, vary.unit());
    }
    if priced {
        heads.push("cost per million tokens");
    }
    let rows = figure::rows(points, |point, entry| figures(point, entry, priced));
    wide("All figures of the study", &heads, &rows)
}

fn figures(point: &StudyPoint, entry: &StudyEntry, priced: bool) -> Vec<String> {
    let o = &entry.outcome;
    let speed = point.speed_up(&entry.name);
    let mut cells = vec![
        entry.name.clone(),
        speed.map_or("–".to_owned(), |s| format!("{s:.2}×")),
        format!("{:.2}", o.mean_accepted_length()),
        format!("{:.0} %", 100.0 * o.hit_rate()),
        format!("{:.0} %", 100.0 * o.target_idle()),
        format!("{:.0} %", 100.0 * o.draft_idle()),
        format!("{:.0}", 1e3 * o.first_token(0.5)),
        format!("{:.1}", o.throughput()),
    ];
    if priced {
        cells.push(format!("{:.2}", o.cost_per_million()));
    }
    cells
}

/// Where the scenario is from, and what the columns mean.
fn method(scenario: &Scenario) -> String {
    const MEANINGS: [(&str, &str); 6] = [
        (
            "speed-up",
            "the tokens per second that a request sees, over plain decoding's; the median of the requests",
        ),
        (
            "draft-then-verify",
            "chains of a fixed length, here the length that is fastest; the number behind the name",
        ),
        (
            "τ",
            "mean accepted length: tokens for each forward of the target; plain decoding has 1",
        ),
        (
            "hit rate",
            "share of the target's own tokens after a wrong guess that were among the cached candidates",
        ),
        (
            "idle",
            "share of the time in which these machines did nothing",
        ),
        (
            "tokens/s in all",
            "tokens per second of all requests together, waiting included",
        ),
    ];
    format!(
        "<p>{}</p><p>Seed {}.</p>{}",
        card_look::escape(scenario.source.trim()),
        scenario.seed,
        terms(&MEANINGS)
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::outcome::{Outcome, Served};

    /// An outcome of one request at so many tokens per second.
    fn outcome(speed: f64) -> Outcome {
        Outcome {
            served: vec![Served {
                arrived: Duration::ZERO,
                first: Duration::ZERO,
                done: Duration::from_secs_f64(100.0 / speed),
                tokens: 101,
                exact: true,
            }],
            ..Outcome::default()
        }
    }

    fn point(x: Option<f64>, speeds: [f64; 4]) -> StudyPoint {
        let names = ["plain", "draft-then-verify 4", "card", "auto"];
        let entries = names.into_iter().zip(speeds);
        let entries = entries.map(|(name, speed)| StudyEntry {
            name: name.into(),
            outcome: outcome(speed),
        });
        StudyPoint {
            x,
            entries: entries.collect(),
        }
    }

    fn scenario() -> Scenario {
        Scenario::parse(crate::builtin::scenario("published-70b-1b").unwrap()).unwrap()
    }

    #[test]
    fn a_page_says_that_it_is_simulated_and_what_was_found() {
        let points = [
            point(Some(0.0), [10.0, 30.0, 50.0, 50.0]),
            point(Some(200.0), [10.0, 5.0, 11.0, 11.0]),
        ];
        let page = html(&scenario(), Some(Vary::Latency), &points);
        assert!(page.contains("Simulated"));
        let lead = "auto is 5.00 times as fast as plain decoding at 0, and 1.10 times at 200";
        assert!(page.contains(lead), "{page}");
        assert!(page.contains("No other schedule is faster") && page.contains("never slower"));
        // auto lies on card.
        assert!(page.contains("stroke c3 hiding"));
        assert!(page.contains("<td data-head=\"card\">5.00×</td>"), "{page}");
    }

    #[test]
    fn a_schedule_that_is_faster_is_named() {
        let points = [
            point(Some(1.0), [10.0, 30.0, 50.0, 50.0]),
            point(Some(2.0), [10.0, 30.0, 20.0, 9.0]),
        ];
        let told = reading(Some(Vary::Load), &points);
        assert!(
            told.contains(&"Another schedule is faster at 2.".to_owned()),
            "{told:?}"
        );
        assert!(!told.iter().any(|s| s.contains("never slower")));
    }

    #[test]
    fn without_a_range_there_are_bars() {
        let page = html(&scenario(), None, &[point(None, [10.0, 30.0, 50.0, 55.0])]);
        assert!(page.contains("auto is 5.50 times as fast") && page.contains("<rect"));
        assert!(page.contains("The best chain of draft-then-verify is 3.00 times"));
        let mut alone = point(None, [10.0, 1.0, 1.0, 1.0]);
        alone.entries.truncate(1);
        assert!(html(&scenario(), None, &[alone]).contains("plain decoding only"));
    }
}
