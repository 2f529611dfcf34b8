//! `card bench`: the modes against plain decoding, interleaved, on real prompts.

mod line_up;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use card_bench::bound::{Costs, Witness, records};
use card_bench::contest::{self, Contestant, Rules, Task};
use card_bench::prompts::{self, Prompt};
use card_bench::report::{self, Cell, Report};
use card_core::cost::CostCurve;
use card_core::sampler::SamplingParams;
use card_core::types::Token;
use card_engine::recall;
use card_llama::{Message, on_own_thread};
use card_sim::recording::Recorded;

use crate::args::{BenchArgs, ModeArg};
use crate::rig::Rig;
use card_setup::models::catalogue::Catalogue;
use card_setup::progress;

/// `card bench`.
pub fn run(args: &BenchArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let mut model = args.model.clone();
    // What earlier runs learned would favour those who may use it.
    model.no_memory = true;
    model.mode = ModeArg::Auto;
    let rig = Rig::load(&model, catalogue)?;
    let tasks = tasks(&args.files, args.prompts, &args.category, &rig)?;
    let rules = Rules {
        params: SamplingParams {
            temperature: args.temp,
            seed: args.seed,
            ..SamplingParams::default()
        },
        max_tokens: args.tokens,
        stop_tokens: rig.vocab.end_tokens(),
    };
    rules.params.validate()?;
    let line_up = line_up::line_up(args, &rig, catalogue)?;
    let contestants = line_up.contestants;
    let results = interleaved(&contestants, &tasks, args.repeats, &rules)?;
    rig.check_emulation()?;
    let plain = contestants.iter().position(|c| c.plain).unwrap_or(0);
    let proposed = match rig.draft.is_some() && args.sweep.is_none() && args.temp <= 0.0 {
        true => {
            let texts: Vec<&[Token]> = (0..tasks.len())
                .map(|i| &results[i][plain].tokens[..])
                .collect();
            Some(proposed(&rig, &tasks, &texts)?)
        }
        false => None,
    };
    let known = proposed.as_ref().map(|p| known(&rig, p)).transpose()?;
    let cells = report::cells(&contestants, &tasks, &results, known.as_ref());
    too_short(&tasks, &cells)?;
    let report = Report {
        title: "card bench".into(),
        emulated: rig
            .emulation
            .as_ref()
            .map(|e| format!("{}; times dilated {} times", e.title, e.dilation)),
        facts: facts(args, &rig),
        cells,
        sweep: line_up.sweep,
    };
    write(&args.out, &report)?;
    if let Some(proposed) = proposed {
        record(&args.out, &tasks, proposed)?;
    }
    print(&report);
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

/// Every contestant on every task, one after the other, with a progress bar.
pub fn interleaved(
    contestants: &[Contestant],
    tasks: &[Task],
    repeats: usize,
    rules: &Rules,
) -> Result<contest::Results> {
    let turns = contestants.len() * tasks.len() * repeats;
    let bar = progress::bar(turns as u64, "  {bar:32} {pos}/{len} {msg:28} {eta:>5}");
    let mut begun = 0;
    let results = contest::run(contestants, tasks, repeats, rules, &mut |name| {
        bar.set_position(begun);
        bar.set_message(name.to_owned());
        begun += 1;
    });
    bar.finish_and_clear();
    Ok(results?)
}

/// The first `most` prompts of each file and of each built-in category that is named; all
/// of those without files and names.
pub fn tasks(
    files: &[PathBuf],
    most: usize,
    categories: &[String],
    rig: &Rig,
) -> Result<Vec<Task>> {
    let mut chosen: Vec<Prompt> = Vec::new();
    for file in files {
        chosen.extend(prompts::from_file(file, most)?);
    }
    if files.is_empty() || !categories.is_empty() {
        for prompt in prompts::built_in() {
            let same = |p: &&Prompt| p.category == prompt.category;
            let wanted = categories.is_empty() || categories.contains(&prompt.category);
            if wanted && chosen.iter().filter(same).count() < most {
                chosen.push(prompt);
            }
        }
    }
    if chosen.is_empty() {
        bail!(
            "no prompt is of category {}; there are code, maths, chat, edit, json and japanese",
            categories.join(", ")
        );
    }
    let template = rig.template.as_ref().context(
        "this model has no chat template, so there is no telling how to ask it something",
    )?;
    let task = |p: Prompt| {
        let rendered = template.render(&[Message::new("user", p.text.clone())])?;
        let prediction = p.prediction.as_deref().unwrap_or_default();
        Ok(Task {
            prompt: rig.vocab.tokenize(&rendered, true)?,
            prediction: rig.vocab.tokenize(prediction, false)?,
            category: p.category,
            text: p.text,
        })
    };
    chosen.into_iter().map(task).collect()
}

/// Says which kinds of prompts had answers too short to measure.
///
/// # Errors
/// If all had.
fn too_short(tasks: &[Task], cells: &[Cell]) -> Result<()> {
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

/// What the sources would have proposed for each place of the texts.
fn proposed<'a>(rig: &Rig, tasks: &[Task], texts: &[&'a [Token]]) -> Result<Vec<Witness<'a>>> {
    let mut scratch = rig.scratch_draft()?.context("no draft model")?;
    let mut all = Vec::new();
    let bar = progress::bar(
        tasks.len() as u64,
        "  computing the bound {bar:24} {eta:>4}",
    );
    for (task, &text) in tasks.iter().zip(texts) {
        all.push(Witness {
            prompt: task.prompt.len(),
            text,
            drafted: on_own_thread(|| {
                recall::proposed(&mut scratch, &task.prompt, text, rig.branch())
            })?,
            hand: contest::at_hand(task, text),
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(all)
}

/// What the bound needs to know.
fn known(rig: &Rig, proposed: &[Witness]) -> Result<report::Known> {
    let placement = rig.placement(None).context("no placement")?;
    let curve = |points: &[(u32, f64)]| CostCurve::from_points(points.iter().copied());
    Ok(report::Known {
        records: records(proposed),
        costs: Costs::new(
            placement.lanes,
            curve(&placement.target),
            &curve(&placement.draft),
        ),
    })
}

/// Writes what was drafted for `card sim --acceptance`.
fn record(out: &Path, tasks: &[Task], proposed: Vec<Witness>) -> Result<()> {
    let mut lines = String::new();
    for (task, known) in tasks.iter().zip(proposed) {
        let answer = Recorded {
            category: task.category.clone(),
            places: known.drafted.into_iter().map(|d| d.0).collect(),
        };
        lines += &serde_json::to_string(&answer)?;
        lines.push('\n');
    }
    let file = out.join("acceptance.jsonl");
    std::fs::write(&file, lines).with_context(|| format!("cannot write {}", file.display()))
}

fn facts(args: &BenchArgs, rig: &Rig) -> Vec<(String, String)> {
    let mut facts = vec![
        ("target".into(), rig.target.info().description),
        (
            "draft".into(),
            rig.draft
                .as_ref()
                .map_or("none".into(), |d| d.info().description),
        ),
        ("machine".into(), machine()),
        (
            "placement".into(),
            rig.placement(None).map_or("–".into(), |p| p.to_string()),
        ),
        ("exactness".into(), rig.holds.to_string()),
        ("tokens per answer".into(), args.tokens.to_string()),
        (
            "command".into(),
            std::env::args().collect::<Vec<_>>().join(" "),
        ),
    ];
    if let Some(e) = &rig.emulation {
        facts.push(("emulated".into(), e.source.trim().replace('\n', " ")));
    }
    facts
}

/// The processor's name and the number of cores.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|l| l.strip_prefix("model name"));
    let name = name
        .and_then(|l| l.split(':').nth(1))
        .map_or("processor", str::trim);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{name}, {cores} cores, {}", std::env::consts::ARCH)
}

fn write(out: &Path, report: &Report) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let files: [(&str, String); 3] = [
        ("bench.json", serde_json::to_string_pretty(report)?),
        ("bench.md", report.markdown()),
        ("bench.html", report.html()),
    ];
    for (name, text) in files {
        let file: PathBuf = out.join(name);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn print(report: &Report) {
    if let Some(emulated) = &report.emulated {
        println!("emulated devices: {emulated}");
    }
    println!(
        "speed-up over plain decoding, median (least–most), from the first token on and over the \
         whole answer; τ: tokens per target forward; \
         bound: share of what perfect information could reach, of the best without it on \
         average, and of what that reaches on these very texts"
    );
    for Cell { category, rows } in &report.cells {
        println!("{category}");
        for r in rows {
            let bounds = r.of_bound.zip(r.of_blind);
            let bound = bounds.map_or(String::new(), |(seeing, blind)| {
                let [seeing, blind] = [seeing, blind].map(|b| 100.0 * b.median);
                let lived = r.of_lived.map_or(String::new(), |lived| {
                    format!(", as it came {:.0} %", 100.0 * lived.median)
                });
                format!("  bound {seeing:.0}/{blind:.0} %{lived}")
            });
            let same = match r.same_text {
                Some(n) if n < r.runs => {
                    let widest = r.left_at.iter().copied().fold(0.0, f32::max);
                    format!(
                        "  {} texts left plain's at margins up to {widest:.3}",
                        r.runs - n
                    )
                }
                _ => String::new(),
            };
            println!(
                "  {:30} {:18} whole {:18} {:6.2} tokens/s  τ {:5.2}  hits {:3.0} %  idle {:2.0}/{:2.0} %{bound}{same}",
                r.name,
                r.speed_up.to_string(),
                r.answer_speed_up.to_string(),
                r.tokens_per_second.median,
                r.mean_accepted_length,
                100.0 * r.hit_rate,
                100.0 * r.target_idle,
                100.0 * r.draft_idle,
            );
        }
    }
}
