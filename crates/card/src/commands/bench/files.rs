//! The files that a bench writes, and the facts in them about models and machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use card_bench::bound::Witness;
use card_bench::report::BenchReport;
use card_bench::sample::BenchTask;
use card_core::words::counted;
use card_setup::Setup;
use card_sim::recording::Recorded;

use crate::args::BenchArgs;

/// Writes the report as JSON, Markdown and HTML.
pub fn write(out: &Path, report: &BenchReport) -> Result<()> {
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

/// Writes what was drafted for `card sim --acceptance`.
pub fn record(out: &Path, tasks: &[BenchTask], proposed: Vec<Witness>) -> Result<()> {
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

/// What was measured, on what, and the name of what all are compared with.
pub fn facts(args: &BenchArgs, setup: &Setup, baseline: Option<&str>) -> Vec<(String, String)> {
    let mut facts = vec![
        ("target".into(), setup.target.info().description),
        (
            "draft".into(),
            setup
                .draft
                .as_ref()
                .map_or("none".into(), |d| d.info().description),
        ),
        ("machine".into(), machine()),
        (
            "placement".into(),
            setup.placement(None).map_or("–".into(), |p| p.to_string()),
        ),
        ("exactness".into(), setup.guarantee.to_string()),
        (
            "compared with".into(),
            baseline.unwrap_or("nothing").to_owned(),
        ),
        ("tokens per answer".into(), args.tokens.to_string()),
        (
            "command".into(),
            std::env::args().collect::<Vec<_>>().join(" "),
        ),
    ];
    if let Some(e) = &setup.emulation {
        let source = e.profile.source.trim().replace('\n', " ");
        facts.push(("emulated".into(), source));
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
    let cores = counted(cores, "core");
    format!("{name}, {cores}, {}", std::env::consts::ARCH)
}
