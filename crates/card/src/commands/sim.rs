//! `card sim`: the engine on machines nobody has at hand, in virtual time.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use card_core::words::counted;
use card_setup::progress;
use card_sim::study::{self, StudyEntry, StudyPoint, Vary};
use card_sim::{Recording, Scenario, builtin, page};

use crate::args::SimArgs;

/// `card sim`.
pub fn run(args: &SimArgs) -> Result<ExitCode> {
    let scenario = scenario(args)?;
    if args.print {
        print!("{}", toml::to_string(&scenario)?);
        return Ok(ExitCode::SUCCESS);
    }
    let results = simulate(&scenario, args.vary)?;
    println!("simulated: {} (seed {})", scenario.title, scenario.seed);
    if let Some(recording) = &scenario.recording {
        println!(
            "acceptance as recorded: the first draft is right at {:.0} % of the places",
            100.0 * recording.agreement()
        );
    }
    for point in &results {
        print_point(args.vary, point);
    }
    if let Some(file) = &args.html {
        let page = page::html(&scenario, args.vary, &results);
        std::fs::write(file, page).with_context(|| format!("cannot write {}", file.display()))?;
        eprintln!("written: {}", file.display());
    }
    let exact = results
        .iter()
        .flat_map(|p| &p.entries)
        .all(|e| e.outcome.exact());
    anyhow::ensure!(
        exact,
        "a schedule wrote another text than plain decoding: a bug; please report it with the scenario and seed"
    );
    Ok(ExitCode::SUCCESS)
}

/// The scenario that `args` name, with the seed and the recording that they give.
fn scenario(args: &SimArgs) -> Result<Scenario> {
    let mut scenario = read(&args.scenario)?;
    if let Some(seed) = args.seed {
        scenario.seed = seed;
    }
    if let Some(file) = &args.acceptance {
        anyhow::ensure!(
            args.vary != Some(Vary::Agreement),
            "--acceptance says how often drafts are right, so that cannot be varied"
        );
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let recording = Recording::parse(&text)
            .with_context(|| format!("{} is no recording of `card bench`", file.display()))?;
        scenario.recording = Some(Arc::new(recording));
    }
    Ok(scenario)
}

/// Runs a scenario, or one for each value of what is varied, with a progress bar.
fn simulate(scenario: &Scenario, vary: Option<Vary>) -> Result<Vec<StudyPoint>> {
    let points: Vec<(Option<f64>, Scenario)> = match vary {
        None => vec![(None, scenario.clone())],
        Some(v) => {
            let values = v.values().iter();
            values.map(|&x| (Some(x), v.apply(scenario, x))).collect()
        }
    };
    let runs: usize = points.iter().map(|p| study::runs(&p.1)).sum();
    let bar = progress::bar(runs as u64, "  simulating {bar:32} {pos}/{len} {eta:>4}");
    let mut results = Vec::new();
    for (x, scenario) in &points {
        let entries = study::contest(scenario, &mut || bar.inc(1))?;
        results.push(StudyPoint { x: *x, entries });
    }
    bar.finish_and_clear();
    Ok(results)
}

fn read(name: &str) -> Result<Scenario> {
    let text = match builtin::scenario(name) {
        Some(text) if !Path::new(name).exists() => text.to_owned(),
        _ => {
            let names: Vec<_> = builtin::SCENARIOS.iter().map(|s| s.0).collect();
            std::fs::read_to_string(name).with_context(|| {
                format!(
                    "cannot read the scenario {name}; built in are: {}",
                    names.join(", ")
                )
            })?
        }
    };
    Scenario::parse(&text).with_context(|| format!("{name} is no scenario"))
}

fn print_point(vary: Option<Vary>, point: &StudyPoint) {
    if let (Some(v), Some(x)) = (vary, point.x) {
        println!("{x} {}", v.unit());
    }
    let plain = point.entries.first().map_or(1.0, |e| e.outcome.speed());
    for StudyEntry { name, outcome: o } in &point.entries {
        let mut line = format!(
            "  {name:22} {:5.2}×  τ {:5.2}  hits {:3.0} %  idle {:2.0}/{:2.0} %  first token {:6.0} ms (p95 {:.0})  {:8.1} tokens/s in all",
            o.speed() / plain,
            o.mean_accepted_length(),
            100.0 * o.hit_rate(),
            100.0 * o.target_idle(),
            100.0 * o.draft_idle(),
            1e3 * o.first_token(0.5),
            1e3 * o.first_token(0.95),
            o.throughput(),
        );
        if o.cost > 0.0 {
            let _ = write!(line, "  {:.2} per million tokens", o.cost_per_million());
        }
        if o.faults > 0 {
            let slowest = o.recoveries.iter().max().copied().unwrap_or_default();
            let _ = write!(
                line,
                "  {}, {} back within {:.1} s",
                counted(o.faults, "fault"),
                counted(o.recoveries.len(), "drafter"),
                slowest.as_secs_f64()
            );
        }
        println!("{line}");
    }
}
