//! `card bench`: the modes against plain decoding, interleaved, on real prompts.

mod bounds;
mod files;
mod line_up;
mod table;

use std::process::ExitCode;

use anyhow::{Result, bail};
use card_bench::bound::Witness;
use card_bench::contest;
use card_bench::report::{self, BenchReport, TableCell};
use card_bench::sample::{BenchTask, Rules};
use card_core::policy::Mode;
use card_core::sampler::SamplingParams;
use card_core::types::Token;
use card_setup::models::catalogue::Catalogue;
use card_setup::{Settings, Setup};

use crate::args::BenchArgs;
use crate::tasks::{interleaved, tasks};

/// `card bench`.
pub fn run(args: &BenchArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let settings = Settings {
        // What earlier runs learned would favour those who may use it.
        no_memory: true,
        mode: Mode::Auto,
        ..args.model.settings()
    };
    let setup = Setup::load(&settings, catalogue)?;
    let tasks = tasks(&args.files, args.prompts, &args.category, &setup)?;
    let rules = rules(args, &setup)?;
    let line_up = line_up::line_up(args, &setup, catalogue)?;
    let contestants = line_up.contestants;
    let results = interleaved(&contestants, &tasks, args.repeats, &rules)?;
    setup.check_emulation()?;
    let plain = contest::baseline(&contestants, &results);
    let proposed = proposed(args, &setup, &tasks, &results, plain)?;
    let known = proposed.as_ref().map(|p| bounds::known(&setup, p));
    let known = known.transpose()?;
    let cells = report::cells(&contestants, &tasks, &results, known.as_ref());
    too_short(&tasks, &cells)?;
    let emulation = setup.emulation.as_ref().map(|e| &e.profile);
    let report = BenchReport {
        title: "card bench".into(),
        emulated: emulation.map(|e| format!("{}; times dilated {} times", e.title, e.dilation)),
        facts: files::facts(args, &setup, contestants.get(plain).map(|c| &c.name[..])),
        cells,
        sweep: line_up.sweep,
    };
    files::write(&args.out, &report)?;
    if let Some(proposed) = proposed {
        files::record(&args.out, &tasks, proposed)?;
    }
    table::print(&report);
    if args.why {
        match &known {
            Some(known) => table::print_why(&contestants, &results, known, tasks.len()),
            None => eprintln!("--why needs a draft model and --temp 0, from which the bound comes"),
        }
    }
    eprintln!(
        "\nwritten: {0}/bench.json, {0}/bench.md, {0}/bench.html{1}",
        args.out.display(),
        if known.is_some() {
            ", acceptance.jsonl"
        } else {
            ""
        },
    );
    Ok(ExitCode::SUCCESS)
}

fn rules(args: &BenchArgs, setup: &Setup) -> Result<Rules> {
    let rules = Rules {
        params: SamplingParams {
            temperature: args.temp,
            seed: args.seed,
            ..SamplingParams::default()
        },
        max_tokens: args.tokens,
        stop_tokens: setup.vocab.end_tokens(),
    };
    rules.params.validate()?;
    Ok(rules)
}

/// What the sources would have proposed for the texts of plain decoding; `None` where that is
/// not known.
fn proposed<'a>(
    args: &BenchArgs,
    setup: &Setup,
    tasks: &[BenchTask],
    results: &'a contest::Results,
    plain: usize,
) -> Result<Option<Vec<Witness<'a>>>> {
    if setup.draft.is_none() || args.sweep.is_some() || args.temp > 0.0 {
        return Ok(None);
    }
    let texts: Vec<&[Token]> = (0..tasks.len())
        .map(|i| &results[i][plain].tokens[..])
        .collect();
    bounds::proposed(setup, tasks, &texts).map(Some)
}

/// Says which kinds of prompts had answers too short to measure.
///
/// # Errors
/// If all had.
fn too_short(tasks: &[BenchTask], cells: &[TableCell]) -> Result<()> {
    const LEAST: usize = report::LEAST_TOKENS + 1;
    if cells.is_empty() {
        bail!("no answer had {LEAST} tokens, so nothing can be said of speed: raise --tokens");
    }
    let measured = |kind: &str| cells.iter().any(|c| c.category == kind);
    let mut missing: Vec<&str> = tasks.iter().map(|t| &t.category[..]).collect();
    missing.dedup();
    missing.retain(|kind| !measured(kind));
    if !missing.is_empty() {
        let kinds = missing.join(", ");
        eprintln!("left out, since no answer had {LEAST} tokens: {kinds}");
    }
    Ok(())
}
