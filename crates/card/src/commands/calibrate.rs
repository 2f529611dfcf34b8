//! `card calibrate`: what forwards cost here, and the way to run the pair that follows.

use std::process::ExitCode;

use anyhow::{Context, Result};
use card_bench::calibrate;
use card_core::words::counted;
use card_setup::models::catalogue::Catalogue;
use card_setup::{LaneChoice, Settings, Setup, state_times};

use crate::args::CalibrateArgs;

/// Spread of the times of like forwards, as a share of their median, that is worth a word.
const NOISY: f64 = 0.3;
/// Width of a bar of the terminal's plot.
const BAR: f64 = 40.0;

/// `card calibrate`.
pub fn run(args: &CalibrateArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let settings = Settings {
        lanes: LaneChoice::Auto,
        ..args.model.settings()
    };
    if args.again {
        let forgotten = Setup::forget_measurements(&settings, catalogue)?;
        eprintln!("forgotten: {forgotten} earlier measurements; all is measured anew");
    }
    let setup = Setup::load(&settings, catalogue)?;
    if let Some(e) = &setup.emulation {
        println!("emulated devices: {}", e.profile.title);
    }
    let top = setup.draft_top();
    for placement in &setup.placements {
        println!("\n{placement}");
        curve("target", &placement.target);
        curve("draft", &placement.draft);
        let (rate, candidates) = placement.promise(top);
        let plain = placement.target.first().map_or(0.0, |p| 1.0 / p.1);
        println!(
            "  with {:.0} % of the drafts right: {:.1} tokens/s ({} a round), {:.1} \
             by plain decoding this way",
            100.0 * top,
            1e3 * rate,
            counted(candidates, "candidate"),
            1e3 * plain
        );
    }
    if let Some(best) = setup.placements.first() {
        println!("\nbest: {best}");
    }
    if let Some(said) = states(&settings, &setup)? {
        println!("{said}");
    }
    if let Some(said) = noise(&setup)? {
        println!("{said}");
    }
    if let Some(file) = &args.html {
        let page = calibrate::html(&setup.placements, top);
        std::fs::write(file, page).with_context(|| format!("cannot write {}", file.display()))?;
        eprintln!("written: {}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// What saving, putting back and taking back a state of the target takes, if it has one per sequence;
/// of an emulated device nobody knows.
fn states(settings: &Settings, setup: &Setup) -> Result<Option<String>> {
    if setup.emulation.is_some() {
        return Ok(None);
    }
    let times = state_times(settings, &setup.target)?;
    Ok(times.map(|times| times.to_string()))
}

/// What speaks against the figures: other work on the machine while they were measured.
fn noise(setup: &Setup) -> Result<Option<String>> {
    let busy = setup.noise()?.filter(|quiet| quiet.is_busy());
    let spread = setup.spread().filter(|spread| *spread > NOISY);
    let mut why = Vec::new();
    why.extend(busy.map(|quiet| quiet.to_string()));
    why.extend(spread.map(|s| {
        let percent = 100.0 * s;
        format!("the middle half of like forwards lies {percent:.0} % apart")
    }));
    Ok((!why.is_empty()).then(|| {
        let why = why.join("; ");
        format!("noisy: {why}. `card calibrate --again` measures anew, when the machine is quiet")
    }))
}

/// A cost curve as a table and as bars.
fn curve(name: &str, points: &[(u32, f64)]) {
    let most = points.iter().map(|p| p.1).fold(1e-9, f64::max);
    for (rows, ms) in points {
        let bar = "▇".repeat((BAR * ms / most).round().max(1.0) as usize);
        let rows = counted(*rows, "row");
        println!("  {name:6} {rows:>8} {ms:9.2} ms  {bar}");
    }
}
