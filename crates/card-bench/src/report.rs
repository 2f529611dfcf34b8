//! What a contest found, as JSON, Markdown and one self-contained page.

use std::collections::BTreeMap;
use std::fmt::Write;

use card_core::cost::CostCurve;
use card_core::types::Source;
use serde::{Deserialize, Serialize};

use crate::bound::{Costs, Record, blind, least_ms};
use crate::contest::{Contestant, Results, Sample, Task};
use crate::plot::{self, Series};
use crate::stats::{Spread, percentile};

/// Tokens after the first one below which an answer measures nothing.
pub const LEAST_TOKENS: usize = 8;

/// Everything that was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What was compared, in words.
    pub title: String,
    /// The emulated devices, if the times are theirs.
    pub emulated: Option<String>,
    /// Facts: machine, models, settings.
    pub facts: Vec<(String, String)>,
    /// One per category.
    pub cells: Vec<Cell>,
    /// What was varied, if one thing was.
    pub sweep: Option<Sweep>,
}

/// One thing that was varied.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sweep {
    /// What it is, with its unit.
    pub x: String,
    /// Name of a contestant, and its value.
    pub points: Vec<(String, f64)>,
}

/// One category of prompts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// The category.
    pub category: String,
    /// One per contestant.
    pub rows: Vec<Row>,
}

/// One contestant on one category. Shares are between 0 and 1.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Who.
    pub name: String,
    /// Generations.
    pub runs: usize,
    /// Time per token of plain decoding over its own, on the same prompt.
    pub speed_up: Spread,
    /// The same over the whole answer, the time to its first token included.
    pub answer_speed_up: Spread,
    /// Tokens per second after the first token.
    pub tokens_per_second: Spread,
    /// Milliseconds to the first token.
    pub first_ms: Spread,
    /// Milliseconds between tokens: the 50th, 95th and 99th percentile.
    pub gap_ms: [f64; 3],
    /// Tokens per target forward.
    pub mean_accepted_length: f64,
    /// Share of corrections that were cached.
    pub hit_rate: f64,
    /// Candidates verified.
    pub offered: usize,
    /// Candidates accepted.
    pub accepted: usize,
    /// Candidates accepted, by source.
    pub by_source: BTreeMap<String, usize>,
    /// Share of the time the target's lane stood idle.
    pub target_idle: f64,
    /// Share of the time the drafter's lane stood idle (on a shared lane: did not draft).
    pub draft_idle: f64,
    /// Most KiB of candidates.
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
    /// Share of what that schedule reaches in the event, on these very texts; `None` for lanes
    /// of their own.
    #[serde(default)]
    pub of_lived: Option<Spread>,
}

/// What the bound of a task needs: the record of its text, and the costs.
pub struct Known {
    /// By task.
    pub records: Vec<Record>,
    /// What is known of both models' forwards from before.
    pub costs: Costs,
}

/// Sums up a contest. A category without an answer of [`LEAST_TOKENS`] is left out.
pub fn cells(
    contestants: &[Contestant],
    tasks: &[Task],
    results: &Results,
    known: Option<&Known>,
) -> Vec<Cell> {
    let plain = contestants.iter().position(|c| c.plain).unwrap_or(0);
    let mut order: Vec<&str> = Vec::new();
    for task in tasks {
        if !order.contains(&&task.category[..]) {
            order.push(&task.category);
        }
    }
    let bounds = known.map(|k| bounds(k, results, tasks.len()));
    let cell = |category: &str| {
        let of: Vec<usize> = (0..results.len())
            .filter(|i| tasks[i % tasks.len()].category == category)
            .filter(|&i| results[i][plain].decoded >= LEAST_TOKENS)
            .collect();
        let rows = contestants.iter().enumerate().map(|(k, contestant)| {
            let samples: Vec<(&Sample, &Sample)> = of
                .iter()
                .map(|&i| (&results[i][k], &results[i][plain]))
                .collect();
            let mut row = row(&contestant.name, &samples);
            let peer = samples.iter().any(|s| s.0.tokens.is_empty());
            if let Some(bounds) = bounds.as_ref().filter(|_| !peer && k != plain) {
                let share = |least: fn(&Bound) -> f64| {
                    let of = of.iter();
                    Spread::of(of.map(|&i| least(&bounds[i]) / results[i][k].decode_ms))
                };
                let lived = of.iter().map(|&i| bounds[i].lived_ms);
                let lived = lived
                    .zip(&of)
                    .map(|(ms, &i)| Some(ms? / results[i][k].decode_ms));
                row.of_lived = lived.collect::<Option<Vec<_>>>().map(Spread::of);
                row.of_bound = Some(share(|b| b.seeing_ms));
                row.of_blind = Some(share(|b| b.blind_ms));
            }
            row
        });
        (!of.is_empty()).then(|| Cell {
            category: category.to_owned(),
            rows: rows.collect(),
        })
    };
    order.into_iter().filter_map(cell).collect()
}

/// Least milliseconds of a text: with perfect information, and on average without.
struct Bound {
    seeing_ms: f64,
    blind_ms: f64,
    /// What the schedule of the latter takes on this very text.
    lived_ms: Option<f64>,
}

/// The bounds of each result's text, with the costs this contest measured.
fn bounds(known: &Known, results: &Results, tasks: usize) -> Vec<Bound> {
    let mut by_rows: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    let (mut draft_ms, mut draft_forwards) = (0.0, 0);
    for sample in results.iter().flatten() {
        for &(rows, ms) in &sample.forwards {
            by_rows.entry(rows).or_default().push(ms);
        }
        draft_ms += sample.draft_ms;
        draft_forwards += sample.draft_forwards;
    }
    /// Fewer forwards of a size say little.
    const ENOUGH: usize = 5;
    let mut points: BTreeMap<u32, f64> = known.costs.target.points().collect();
    let seen = by_rows
        .into_iter()
        .filter(|(_, times)| times.len() >= ENOUGH);
    points.extend(seen.map(|(rows, times)| (rows, Spread::of(times).median)));
    // Steps include catching up, so the mean is above a step's own cost; the bound takes
    // the smaller of this and what was measured alone.
    let mean = draft_ms / draft_forwards.max(1) as f64;
    let mut costs = known.costs.clone();
    costs.target = CostCurve::from_points(points);
    if draft_forwards > 0 {
        costs.draft_step = mean.min(costs.draft_step);
    }
    let bound = |record: &Record| {
        let seeing_ms = least_ms(record, &costs);
        // What could be expected of a text may be more than what came of it allows.
        let blind = blind(record, &costs);
        Bound {
            seeing_ms,
            blind_ms: blind.expected_ms.max(seeing_ms),
            lived_ms: blind.lived_ms,
        }
    };
    (0..results.len())
        .map(|i| bound(&known.records[i % tasks]))
        .collect()
}

fn row(name: &str, samples: &[(&Sample, &Sample)]) -> Row {
    let sum = |of: fn(&Sample) -> f64| samples.iter().map(|s| of(s.0)).sum::<f64>();
    let count = |of: fn(&Sample) -> usize| samples.iter().map(|s| of(s.0)).sum::<usize>();
    let share = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
    let mut gaps: Vec<f64> = samples.iter().flat_map(|s| s.0.gaps_ms.clone()).collect();
    gaps.sort_by(f64::total_cmp);
    let (hits, misses) = (count(|s| s.hits), count(|s| s.misses));
    let wall = sum(|s| s.first_ms + s.decode_ms);
    let peer = samples.iter().any(|s| s.0.tokens.is_empty());
    let mut same = 0;
    let mut left_at = Vec::new();
    for (sample, plain) in samples.iter().filter(|_| !peer) {
        let alike = sample.tokens.iter().zip(&plain.tokens);
        let alike = alike.take_while(|(a, b)| a == b).count();
        if alike == plain.tokens.len() && alike == sample.tokens.len() {
            same += 1;
        } else if let Some(margin) = plain.margins.values().nth(alike) {
            left_at.push(*margin);
        }
    }
    let by_source = Source::ALL.into_iter().filter_map(|source| {
        let n: usize = samples.iter().map(|s| s.0.by_source[source.index()]).sum();
        (n > 0).then(|| (source.name().to_owned(), n))
    });
    let joules: Option<f64> = samples.iter().map(|s| s.0.joules).sum();
    let tokens = count(|s| s.decoded + 1) as f64;
    Row {
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
        accepted: count(|s| s.accepted),
        by_source: by_source.collect(),
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

impl Report {
    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut out = format!("# {}\n\n", self.title);
        if let Some(emulated) = &self.emulated {
            let _ = writeln!(
                out,
                "**Emulated devices** ({emulated}): tokens and acceptance are real, times are the profile's.\n"
            );
        }
        for (name, value) in &self.facts {
            let _ = writeln!(out, "- {name}: {value}");
        }
        out.push_str("\nMedian (least–most) over the prompts; speed-up is against plain decoding of the same prompt in the same run, from the first token on; over the whole answer, the time to the first token counts too.\n");
        for cell in &self.cells {
            let _ = write!(
                out,
                "\n## {}\n\n| {} |\n{}|\n",
                cell.category,
                HEADS.join(" | ").trim_start(),
                "|---".repeat(HEADS.len())
            );
            for r in &cell.rows {
                let [name, values @ ..] = columns(r);
                let _ = writeln!(out, "| {name} | {} |", values.join(" | "));
            }
        }
        out
    }

    /// As one HTML page that needs nothing else.
    pub fn html(&self) -> String {
        let groups: Vec<String> = self.cells.iter().map(|c| c.category.clone()).collect();
        let names: Vec<String> = self
            .cells
            .first()
            .map(|c| c.rows.iter().map(|r| r.name.clone()).collect())
            .unwrap_or_default();
        let series = |value: &dyn Fn(&Row) -> Option<f64>| -> Vec<Series> {
            names
                .iter()
                .enumerate()
                .skip(1)
                .map(|(k, name)| Series {
                    name: name.clone(),
                    points: self
                        .cells
                        .iter()
                        .enumerate()
                        .filter_map(|(i, c)| Some((i as f64, value(&c.rows[k])?)))
                        .collect(),
                })
                .filter(|s| !s.points.is_empty())
                .collect()
        };
        let mut page = String::from(PAGE_HEAD);
        let _ = write!(page, "<title>{0}</title><h1>{0}</h1>", escape(&self.title));
        if let Some(emulated) = &self.emulated {
            let _ = write!(
                page,
                "<p class=note><b>Emulated devices</b> ({}): tokens and acceptance are real, times are the profile's.</p>",
                escape(emulated)
            );
        }
        page.push_str("<dl>");
        for (name, value) in &self.facts {
            let _ = write!(page, "<dt>{}<dd>{}", escape(name), escape(value));
        }
        page.push_str("</dl>");
        page.push_str(&plot::bars(
            "Speed-up, median",
            &groups,
            &series(&|r| Some(r.speed_up.median)),
        ));
        if let Some(sweep) = &self.sweep {
            let line = |cell: &Cell| Series {
                name: cell.category.clone(),
                points: cell
                    .rows
                    .iter()
                    .filter_map(|r| {
                        let point = sweep.points.iter().find(|p| p.0 == r.name)?;
                        Some((point.1, r.speed_up.median))
                    })
                    .collect(),
            };
            let lines: Vec<Series> = self.cells.iter().map(line).collect();
            page.push_str(&plot::lines(
                "Speed-up, median",
                &sweep.x,
                "times plain decoding",
                &lines,
            ));
        }
        let bounded = series(&|r| r.of_bound.map(|b| b.median));
        if !bounded.is_empty() {
            page.push_str(&plot::bars(
                "Share of what perfect information could reach",
                &groups,
                &bounded,
            ));
            page.push_str(&plot::bars(
                "Share of the best that is possible without knowing which drafts are right",
                &groups,
                &series(&|r| r.of_blind.map(|b| b.median)),
            ));
        }
        for cell in &self.cells {
            let _ = write!(
                page,
                "<h2>{}</h2><div class=wide><table><tr>",
                escape(&cell.category)
            );
            for head in HEADS {
                let _ = write!(page, "<th>{head}");
            }
            for row in &cell.rows {
                page.push_str("<tr>");
                for value in columns(row) {
                    let _ = write!(page, "<td>{}", escape(&value));
                }
            }
            page.push_str("</table></div>");
        }
        page
    }
}

const HEADS: [&str; 15] = [
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

fn columns(r: &Row) -> [String; 15] {
    let per_cent = |x: f64| format!("{:.0} %", 100.0 * x);
    let bounded = |share: Option<Spread>| share.map_or("–".into(), |b| per_cent(b.median));
    let sources: Vec<String> = r
        .by_source
        .iter()
        .map(|(s, n)| format!("{s} {n}"))
        .collect();
    let accepted = match sources.is_empty() {
        true => format!("{}/{}", r.accepted, r.offered),
        false => format!("{}/{} ({})", r.accepted, r.offered, sources.join(", ")),
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
        r.speed_up.to_string(),
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

/// Text that can stand in a page.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// The beginning of every page we write.
pub const PAGE_HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8>\
<meta name=viewport content=\"width=device-width\"><style>\
:root{color-scheme:light dark}\
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;font-size:13px}th,td{padding:.3rem .6rem;text-align:left;\
border-bottom:1px solid #8885;white-space:nowrap}.wide{overflow-x:auto}\
dt{font-weight:600}dd{margin:0 0 .4rem 0}.note{padding:.6rem 1rem;border-left:4px solid #e69f00}\
svg{max-width:100%;height:auto;border-radius:6px;margin:.6rem 0}</style>";

#[cfg(test)]
mod tests {
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

    #[test]
    fn pages_say_what_is_emulated() {
        let text: Vec<u32> = (0..10).collect();
        let s = sample(10.0, &text);
        let report = Report {
            title: "a <b>".into(),
            emulated: Some("two A100s".into()),
            facts: vec![("model".into(), "x".into())],
            cells: vec![Cell {
                category: "code".into(),
                rows: vec![row("plain", &[(&s, &s)]), row("auto", &[(&s, &s)])],
            }],
            sweep: None,
        };
        assert!(report.html().contains("Emulated devices") && !report.html().contains("a <b>"));
        assert!(report.markdown().contains("Emulated devices"));
    }
}
