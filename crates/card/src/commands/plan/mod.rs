//! `card plan`: measures this machine, tries the ways to run the pair on the user's own
//! prompts, and writes the settings that follow.

mod settings_file;
mod ways;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use card_bench::contest::{Contestant, Runner};
use card_bench::report::{self, BenchRow, Doubt, TableCell, doubts, words_against};
use card_bench::sample::{BenchTask, Rules};
use card_core::policy::Mode;
use card_core::sampler::SamplingParams;
use card_core::words::counted;
use card_setup::models::catalogue::Catalogue;
use card_setup::{Settings, Setup};
use settings_file::settings_file;
use ways::{Way, drafted, elsewhere, ways};

use crate::args::PlanArgs;
use crate::tasks::{interleaved, tasks};

/// Gain below which the simpler way is taken.
const WORTH: f64 = 1.02;

/// `card plan`.
pub fn run(args: &PlanArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let began = Instant::now();
    let setups = setups(args, catalogue)?;
    let measured = began.elapsed();
    let mut tasks = tasks(&args.files, args.prompts, &[], &setups[0])?;
    for task in &mut tasks {
        // One verdict over all of them.
        task.category = "all".into();
    }
    let ways = all_ways(args, &setups);
    let cell = tried(args, &setups, &ways, &tasks)?;
    let cell = cell.context("no answer was long enough to measure: raise --tokens")?;
    if let Some(e) = &setups[0].emulation {
        println!("emulated devices: {}", e.profile.title);
    }
    for row in &cell.rows {
        let against = words_against(&cell, row);
        println!(
            "  {:34} {:18} {:6.2} tokens/s  τ {:5.2}  cache {:.1} KiB  {}",
            row.name,
            row.speed_up.to_string(),
            row.tokens_per_second.median,
            row.mean_accepted_length,
            row.cache_kib,
            against.join(", "),
        );
    }
    println!("τ: tokens for each forward of the target, plain decoding has 1");
    let best = best(&cell.rows).context("nothing was tried")?;
    let (way, row) = (&ways[best], &cell.rows[best]);
    let expected = expected(&cell, row);
    println!("\nrecommended: {}", way.name);
    println!("  {expected}; {}", why(&setups[way.setup], way, row));
    println!("  {}", took(measured, began.elapsed() - measured));
    let text = settings_file(args, way, row, &expected);
    std::fs::write(&args.out, text)
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    eprintln!(
        "written: {0} (`card serve --config {0}`)",
        args.out.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// What is to be expected of a row, or why nothing can be said.
fn expected(cell: &TableCell, row: &BenchRow) -> String {
    let against = doubts(cell, row);
    if against.contains(&Doubt::Disturbed) {
        return "how much faster it is cannot be said: something disturbed plain decoding; plan \
                again on a quiet machine"
            .into();
    }
    let prompts = counted(cell.prompts, "prompt");
    if against.contains(&Doubt::FewPrompts) {
        return format!("{prompts} cannot say how much faster it is; ask more (--prompts)");
    }
    let noisy = if against.contains(&Doubt::Noisy) {
        ", noisy"
    } else {
        ""
    };
    let speed = row.speed_up;
    format!(
        "expected {:.2} times plain decoding ({:.2}–{:.2} on {prompts}{noisy})",
        speed.median, speed.least, speed.most
    )
}

/// How long it took to measure the models and to try the ways.
fn took(measured: Duration, tried: Duration) -> String {
    let tried = format!("tried in {:.0} s", tried.as_secs_f64());
    // Loading alone takes longer than that where something was measured.
    match measured.as_secs_f64() {
        s if s < 0.5 => format!("costs are known from before; {tried}"),
        s => format!("loaded and measured in {s:.0} s, {tried}"),
    }
}

/// The pair, and the target with each of the other draft models.
fn setups(args: &PlanArgs, catalogue: &Catalogue) -> Result<Vec<Setup>> {
    let mut settings = Settings {
        no_memory: true,
        mode: Mode::Auto,
        drafter: Vec::new(),
        ..args.model.settings()
    };
    let mut setups = vec![Setup::load(&settings, catalogue)?];
    for draft in &args.drafts {
        settings.draft = Some(draft.clone());
        setups.push(Setup::load(&settings, catalogue)?);
    }
    Ok(setups)
}

/// All ways to try: the pair's, those with other draft models, and drafters on other machines.
fn all_ways(args: &PlanArgs, setups: &[Setup]) -> Vec<Way> {
    let pair = &setups[0];
    let mut all = ways(pair);
    for (i, (draft, other)) in args.drafts.iter().zip(&setups[1..]).enumerate() {
        all.extend(drafted(i + 1, other, draft));
    }
    all.extend(args.model.drafter.iter().map(|url| elsewhere(pair, url)));
    all
}

/// Tries every way on the tasks. Returns a table with a row for each, in their order; `None` if no
/// answer was long enough.
fn tried(
    args: &PlanArgs,
    setups: &[Setup],
    ways: &[Way],
    tasks: &[BenchTask],
) -> Result<Option<TableCell>> {
    let mut contestants = Vec::new();
    for way in ways {
        contestants.push(Contestant {
            name: way.name.clone(),
            plain: way.run.mode == Mode::Plain,
            runner: Runner::Engine(Box::new(setups[way.setup].engine(&way.run)?)),
        });
    }
    let rules = Rules {
        params: SamplingParams::default(),
        max_tokens: args.tokens,
        stop_tokens: setups[0].vocab.end_tokens(),
    };
    let results = interleaved(&contestants, tasks, 1, &rules)?;
    setups[0].check_emulation()?;
    // Plain decoding is the first way, and the only one that is plain, so it is the first row.
    let cells = report::cells(&contestants, tasks, &results, None);
    Ok(cells.into_iter().next())
}

/// The fastest; of two that are close, the simpler one, which comes first.
fn best(rows: &[BenchRow]) -> Option<usize> {
    let mut best = None;
    for (i, row) in rows.iter().enumerate() {
        let speed = row.speed_up.median;
        if best.is_none_or(|(_, b)| speed > WORTH * b) {
            best = Some((i, speed));
        }
    }
    best.map(|b| b.0)
}

fn why(setup: &Setup, way: &Way, row: &BenchRow) -> String {
    let costs = setup.placement(way.run.lanes).map(|p| {
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
