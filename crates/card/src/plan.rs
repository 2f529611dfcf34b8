//! `card plan`: measures this machine, tries the ways to run the pair on the user's own
//! prompts, and writes the settings that follow.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use card_bench::contest::{Contestant, Rules, Runner};
use card_bench::report::{self, Row};
use card_core::policy::{Lanes, Mode};
use card_core::sampler::SamplingParams;
use clap::ValueEnum;

use crate::args::{ExactnessArg, KernelsArg, ModeArg, PlanArgs};
use crate::bench;
use crate::rig::{Rig, Run};
use card_setup::models::catalogue::Catalogue;

/// Gain below which the simpler way is taken.
const WORTH: f64 = 1.02;

/// A way to run the models.
struct Way {
    name: String,
    /// Which of the rigs.
    rig: usize,
    run: Run,
    /// Lines of the settings file that make it so.
    settings: Vec<String>,
}

/// `card plan`.
pub fn run(args: &PlanArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let began = Instant::now();
    let mut model = args.model.clone();
    model.no_memory = true;
    model.mode = ModeArg::Auto;
    let remote = std::mem::take(&mut model.drafter);
    let mut rigs = vec![Rig::load(&model, catalogue)?];
    for draft in &args.drafts {
        model.draft = Some(draft.clone());
        rigs.push(Rig::load(&model, catalogue)?);
    }
    let rig = &rigs[0];
    let measured = began.elapsed();
    let mut tasks = bench::tasks(&args.files, args.prompts, &[], rig)?;
    for task in &mut tasks {
        // One verdict over all of them.
        task.category = "all".into();
    }
    let mut ways = ways(rig);
    for (i, (draft, other)) in args.drafts.iter().zip(&rigs[1..]).enumerate() {
        ways.extend(drafted(i + 1, other, draft));
    }
    ways.extend(remote.iter().map(|url| elsewhere(rig, url)));
    let mut contestants = Vec::new();
    for way in &ways {
        contestants.push(Contestant {
            name: way.name.clone(),
            plain: way.run.mode == Mode::Plain,
            runner: Runner::Engine(Box::new(rigs[way.rig].engine(&way.run)?)),
        });
    }
    let rules = Rules {
        params: SamplingParams::default(),
        max_tokens: args.tokens,
        stop_tokens: rig.vocab.end_tokens(),
    };
    let results = bench::interleaved(&contestants, &tasks, 1, &rules)?;
    rig.check_emulation()?;
    let cells = report::cells(&contestants, &tasks, &results, None);
    let rows = cells.first().map(|c| &c.rows[..]).unwrap_or_default();
    if let Some(e) = &rig.emulation {
        println!("emulated devices: {}", e.title);
    }
    for row in rows {
        println!(
            "  {:34} {:18} {:6.2} tokens/s  τ {:5.2}  cache {:.1} KiB",
            row.name,
            row.speed_up.to_string(),
            row.tokens_per_second.median,
            row.mean_accepted_length,
            row.cache_kib,
        );
    }
    let best = best(rows).context("no answer was long enough to measure: raise --tokens")?;
    let (way, row) = (&ways[best], &rows[best]);
    println!("\nrecommended: {}", way.name);
    println!(
        "  expected {:.2} times plain decoding ({:.2}–{:.2} on {} of your prompts); {}",
        row.speed_up.median,
        row.speed_up.least,
        row.speed_up.most,
        tasks.len(),
        why(&rigs[way.rig], way, row),
    );
    println!(
        "  measured in {:.0} s, tried in {:.0} s",
        measured.as_secs_f64(),
        (began.elapsed() - measured).as_secs_f64()
    );
    let text = settings(args, way, row);
    std::fs::write(&args.out, text)
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    eprintln!(
        "written: {0} (`card serve --config {0}`)",
        args.out.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn ways(rig: &Rig) -> Vec<Way> {
    let of = |mode: Mode, lanes: Option<Lanes>| Run {
        mode,
        lanes,
        ..rig.run()
    };
    let mut ways = vec![
        Way {
            name: "plain decoding".into(),
            rig: 0,
            run: of(Mode::Plain, None),
            settings: vec!["mode = \"plain\"".into()],
        },
        Way {
            name: "text at hand, no draft model".into(),
            rig: 0,
            run: Run {
                drafts: false,
                ..of(Mode::Auto, None)
            },
            settings: vec!["draft = \"none\"".into()],
        },
    ];
    if rig.draft.is_some() {
        ways.extend(on_lanes(rig));
    }
    ways
}

/// The models of this machine in turns, and at the same time.
fn on_lanes(rig: &Rig) -> Vec<Way> {
    let way = |lanes: Lanes| {
        let placement = rig.placement(Some(lanes))?;
        let (name, mut settings) = match lanes {
            Lanes::Shared => ("in turns", vec!["lanes = \"shared\"".to_owned()]),
            Lanes::Disjoint => ("at the same time", vec!["lanes = \"disjoint\"".to_owned()]),
        };
        settings.push(format!("threads = {}", rig.threads()));
        if lanes == Lanes::Disjoint {
            settings.push(format!("draft-threads = {}", placement.draft_threads));
        }
        Some(Way {
            name: name.to_owned(),
            rig: 0,
            run: Run {
                mode: Mode::Auto,
                lanes: Some(lanes),
                ..rig.run()
            },
            settings,
        })
    };
    [Lanes::Shared, Lanes::Disjoint]
        .into_iter()
        .filter_map(way)
        .collect()
}

/// Another draft model, on the lanes that measurements say are best for it.
fn drafted(number: usize, rig: &Rig, draft: &str) -> Option<Way> {
    let best = rig.placement(None)?.lanes;
    let way = on_lanes(rig)
        .into_iter()
        .find(|w| w.run.lanes == Some(best))?;
    let short = draft.rsplit('/').next().unwrap_or(draft);
    let mut settings = way.settings;
    settings.push(format!("draft = {}", quoted(draft)));
    Some(Way {
        name: format!("{}, {short}", way.name),
        rig: number,
        settings,
        ..way
    })
}

/// A drafter on another machine.
fn elsewhere(rig: &Rig, url: &str) -> Way {
    Way {
        name: format!("drafter at {url}"),
        rig: 0,
        run: Run {
            mode: Mode::Auto,
            drafter: Some(url.to_owned()),
            ..rig.run()
        },
        settings: vec![
            format!("drafter = [{}]", quoted(url)),
            "draft = \"none\"".into(),
            "# its --link-token or certificates are not written here".into(),
        ],
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// The fastest; of two that are close, the simpler one, which comes first.
fn best(rows: &[Row]) -> Option<usize> {
    let mut best = None;
    for (i, row) in rows.iter().enumerate() {
        let speed = row.speed_up.median;
        if best.is_none_or(|(_, b)| speed > WORTH * b) {
            best = Some((i, speed));
        }
    }
    best.map(|b| b.0)
}

fn why(rig: &Rig, way: &Way, row: &Row) -> String {
    let costs = rig.placement(way.run.lanes).map(|p| {
        let first = |points: &[(u32, f64)]| points.first().map_or(0.0, |p| p.1);
        (first(&p.target), first(&p.draft))
    });
    if way.run.drafter.is_some() {
        return format!(
            "its forwards cost this machine nothing, and {:.2} tokens come of each round",
            row.mean_accepted_length
        );
    }
    match (way.run.mode, way.run.drafts, costs) {
        (Mode::Plain, ..) => "nothing that proposes tokens earns what verifying them costs".into(),
        (_, false, _) => "a draft model's forwards cost more than its tokens save".into(),
        (_, true, Some((target, draft))) => format!(
            "a target forward takes {target:.0} ms, a draft forward {draft:.0} ms, and {:.2} tokens come of each round",
            row.mean_accepted_length
        ),
        _ => format!("{:.2} tokens come of each round", row.mean_accepted_length),
    }
}

fn settings(args: &PlanArgs, way: &Way, row: &Row) -> String {
    let mut text = format!(
        "# By `card plan`: {}, expected {:.2} times plain decoding ({:.2}–{:.2}).\n",
        way.name, row.speed_up.median, row.speed_up.least, row.speed_up.most
    );
    let _ = writeln!(text, "model = {}", quoted(&args.model.model));
    let own = way.settings.iter().any(|s| s.starts_with("draft ="));
    if let Some(draft) = args.model.draft.as_deref().filter(|_| !own) {
        let _ = writeln!(text, "draft = {}", quoted(draft));
    }
    // What was measured holds with these.
    if args.model.exactness == ExactnessArg::Fast {
        let _ = writeln!(text, "exactness = \"fast\"");
    }
    if let Some(kernels) = args.model.kernels.to_possible_value()
        && args.model.kernels != KernelsArg::Auto
    {
        let _ = writeln!(text, "kernels = {}", quoted(kernels.get_name()));
    }
    for line in &way.settings {
        let _ = writeln!(text, "{line}");
    }
    // Four times what was ever cached is plenty; memory beyond does nothing.
    let kib = (4.0 * row.cache_kib).ceil().max(16.0) as usize;
    let _ = writeln!(text, "cache-kib = {}", kib.next_power_of_two());
    text
}
