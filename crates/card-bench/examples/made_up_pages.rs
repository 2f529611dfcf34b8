//! Writes the pages of `card bench` and `card calibrate` from numbers that are made up, so that
//! one can look at pages without models and without hours: `scripts/test-pages` does. Nothing in
//! them was measured, and their titles say so.
//!
//! `cargo run -p card-bench --example made_up_pages -- FOLDER`

use std::error::Error;
use std::path::PathBuf;

use card_bench::calibrate;
use card_bench::report::{BenchReport, BenchRow, Sweep, TableCell};
use card_bench::stats::Spread;
use card_core::protocol::Lanes;
use card_engine::placement::Placement;

/// What the title of each page says.
const TITLE: &str = "card bench, with numbers that are made up";
/// Milliseconds between tokens of plain decoding.
const PLAIN_MS: f64 = 40.0;

fn main() -> Result<(), Box<dyn Error>> {
    let folder: PathBuf = std::env::args_os()
        .nth(1)
        .ok_or("usage: made_up_pages FOLDER")?
        .into();
    std::fs::create_dir_all(&folder)?;
    let bench = bench();
    std::fs::write(folder.join("bench.html"), bench.html())?;
    std::fs::write(folder.join("bench-sweep.html"), sweep().html())?;
    std::fs::write(
        folder.join("bench.json"),
        serde_json::to_string_pretty(&bench)?,
    )?;
    let page = calibrate::html(&placements(), 0.83);
    std::fs::write(folder.join("calibrate.html"), page)?;
    Ok(())
}

/// A row of six answers that is so many times as fast as plain decoding.
fn row(name: &str, speed_up: f64) -> BenchRow {
    let around = |x: f64| Spread::of([0.88 * x, x, 1.13 * x]);
    let plain = name == "plain";
    let peer = name.starts_with("peer");
    let spread = if plain {
        Spread::of([1.0])
    } else {
        around(speed_up)
    };
    let share = (!plain && !peer).then(|| around(0.3 * speed_up));
    let ms = PLAIN_MS / speed_up;
    BenchRow {
        name: name.into(),
        runs: 6,
        speed_up: spread,
        answer_speed_up: Spread::of([1.0 + 0.9 * (spread.median - 1.0)]),
        // Plain decoding takes about as long for each token of each prompt.
        tokens_per_second: match plain {
            true => Spread::of([0.97, 1.0, 1.02].map(|x| x * 1e3 / ms)),
            false => around(1e3 / ms),
        },
        first_ms: around(310.0),
        gap_ms: [0.6 * ms, 2.1 * ms, 2.9 * ms],
        mean_accepted_length: if plain { 1.0 } else { 1.35 * speed_up },
        hit_rate: if plain { 0.0 } else { 0.62 },
        offered: if plain { 0 } else { 840 },
        accepted: if plain { 0 } else { 395 },
        by_source: if plain {
            Default::default()
        } else {
            [
                ("draft".to_owned(), 307),
                ("draft+prompt_lookup".to_owned(), 64),
                ("prompt_lookup".to_owned(), 24),
            ]
            .into()
        },
        target_idle: 0.04,
        draft_idle: if plain { 1.0 } else { 0.21 },
        cache_kib: if plain { 0.0 } else { 5.5 },
        joules_per_token: None,
        same_text: (!peer).then_some(6),
        left_at: Vec::new(),
        of_bound: share,
        of_blind: share.map(|_| around(0.55 * speed_up)),
        of_lived: share.map(|_| around(0.52 * speed_up)),
    }
}

fn report(cells: Vec<TableCell>, sweep: Option<Sweep>) -> BenchReport {
    BenchReport {
        title: TITLE.into(),
        emulated: None,
        facts: vec![
            ("target".into(), "a made-up model of 7 B parameters".into()),
            ("draft".into(), "a made-up model of 0.5 B parameters".into()),
            ("machine".into(), "none: the numbers are made up".into()),
        ],
        cells,
        sweep,
    }
}

/// The modes and another server on four kinds of text.
fn bench() -> BenchReport {
    let cell = |(category, speed): (&str, f64)| TableCell {
        category: category.into(),
        prompts: 6,
        rows: vec![
            row("plain", 1.0),
            row("draft-then-verify 4", 0.78 * speed),
            row("card", 0.97 * speed),
            row("auto", speed),
            row("peer http://127.0.0.1:8080", 0.7 * speed),
        ],
    };
    let kinds = [
        ("code", 1.72),
        ("maths", 1.41),
        ("edit", 2.35),
        ("chat", 1.02),
    ];
    report(kinds.into_iter().map(cell).collect(), None)
}

/// Sizes of the candidate cache, on two kinds of text.
fn sweep() -> BenchReport {
    let sizes = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 128.0];
    let name = |kib: f64| format!("card, {kib} KiB");
    let cell = |(category, most): (&str, f64)| {
        let speeds = sizes.map(|kib| row(&name(kib), most * (1.0 - 0.4 / kib)));
        TableCell {
            category: category.into(),
            prompts: 6,
            rows: [row("plain", 1.0)].into_iter().chain(speeds).collect(),
        }
    };
    let cells = [("code", 1.72), ("chat", 1.2)].into_iter().map(cell);
    let sweep = Sweep {
        x: "KiB of candidates per sequence".into(),
        points: sizes.iter().map(|&kib| (name(kib), kib)).collect(),
    };
    report(cells.collect(), Some(sweep))
}

/// Both ways to run two models on two cores.
fn placements() -> Vec<Placement> {
    let rows = [1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 64, 128];
    let curve = |first: f64, more: f64| -> Vec<(u32, f64)> {
        rows.iter()
            .map(|&n| (n, first + more * f64::from(n - 1)))
            .collect()
    };
    vec![
        Placement {
            lanes: Lanes::Shared,
            target_threads: 2,
            draft_threads: 2,
            target: curve(PLAIN_MS, 0.9),
            draft: curve(4.0, 0.3),
        },
        Placement {
            lanes: Lanes::Disjoint,
            target_threads: 1,
            draft_threads: 1,
            target: curve(1.7 * PLAIN_MS, 1.6),
            draft: curve(7.0, 0.5),
        },
    ]
}
