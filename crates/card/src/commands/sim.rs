//! `card sim`: the engine on machines nobody has at hand, in virtual time.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use card_bench::bound::{Costs, TextBound, Witness, records};
use card_bench::report::LEGEND;
use card_core::sources::Chain;
use card_core::types::Source;
use card_core::words::counted;
use card_setup::progress;
use card_sim::forced::forced_answers;
use card_sim::study::{self, StudyEntry, StudyPoint, Vary};
use card_sim::{Recording, Scenario, builtin, goodput, page};

use crate::args::SimArgs;
use crate::why;

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
            "acceptance {}: the first draft is right at {:.0} % of the places",
            if args.acceptance.is_some() {
                "as recorded"
            } else {
                "in runs, drawn at random"
            },
            100.0 * recording.agreement()
        );
    }
    for point in &results {
        print_point(args.vary, point);
        let here = varied(&scenario, args.vary, point.x);
        if let Some(bound) = &here.latency_bound
            && let Some(said) = goodput::sentence(bound, here.devices(), point)
        {
            println!("  {said}");
        }
        if args.why {
            print_why(&here, point)?;
        }
    }
    println!("{LEGEND}");
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
        scenario.draw_bursts()?;
    }
    let several = scenario.load.parallel > 1 || args.vary == Some(Vary::Load);
    anyhow::ensure!(
        !(args.why && several),
        "--why compares with a bound for one request at a time; the scenario has several \
         (load.parallel)"
    );
    anyhow::ensure!(
        args.vary != Some(Vary::Rate) || scenario.load.per_second > 0.0,
        "--vary rate needs a scenario in which requests arrive at a rate (load.per_second)"
    );
    anyhow::ensure!(
        args.vary != Some(Vary::Agreement) || scenario.bursts.is_none(),
        "the scenario's bursts say how often drafts are right, so that cannot be varied"
    );
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
            let values = v.values().iter().map(|&x| Some(x));
            values.map(|x| (x, varied(scenario, vary, x))).collect()
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

/// The scenario of one value of what is varied.
fn varied(scenario: &Scenario, vary: Option<Vary>, x: Option<f64>) -> Scenario {
    match vary.zip(x) {
        Some((vary, x)) => vary.apply(scenario, x),
        None => scenario.clone(),
    }
}

/// Prints where the time of card and auto went beyond the blind bound.
fn print_why(scenario: &Scenario, point: &StudyPoint) -> Result<()> {
    let answers = forced_answers(scenario)?;
    let Some(drafter) = scenario.drafters.first().filter(|_| !answers.is_empty()) else {
        return Ok(());
    };
    let witnesses: Vec<Witness> = answers
        .iter()
        .map(|answer| Witness {
            prompt: answer.prompt,
            text: &answer.text,
            drafted: answer.places.clone(),
            // Made-up text does not repeat itself.
            lookup: vec![(Source::PromptLookup, Chain::new()); answer.text.len()],
        })
        .collect();
    let rows = scenario.target.forward_ms.iter().map(|p| p.0 as usize);
    let costs = Costs::new(
        scenario.policy.lanes,
        scenario.target.cost(),
        &drafter.cost(),
    );
    let costs = costs.within(rows.max().unwrap_or(1));
    let bounds = records(&witnesses)
        .iter()
        .map(|record| TextBound::of(record, &costs).blind_ms)
        .sum::<f64>();
    for name in ["card", "auto"] {
        if let Some(entry) = point.entries.iter().find(|e| e.name == name) {
            for line in why::table(name, &entry.outcome.shortfall, bounds) {
                println!("{line}");
            }
        }
    }
    Ok(())
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
