//! The settings file that a plan writes.

use std::fmt::Write;

use card_bench::report::BenchRow;
use card_engine::selftest::Exactness;
use card_setup::KernelChoice;

use super::ways::{Way, quoted};
use crate::args::PlanArgs;

/// The settings that make `way` so, with what is `expected` of it, in words.
pub fn settings_file(args: &PlanArgs, way: &Way, row: &BenchRow, expected: &str) -> String {
    let mut text = format!("# By `card plan`: {}, {expected}.\n", way.name);
    let _ = writeln!(text, "model = {}", quoted(&args.model.model));
    let own = way.settings.iter().any(|s| s.starts_with("draft ="));
    if let Some(draft) = args.model.draft.as_deref().filter(|_| !own) {
        let _ = writeln!(text, "draft = {}", quoted(draft));
    }
    // What was measured holds with these.
    if args.model.exactness == Exactness::Fast {
        let _ = writeln!(text, "exactness = \"fast\"");
    }
    if args.model.kernels != KernelChoice::Auto {
        let _ = writeln!(text, "kernels = {}", quoted(args.model.kernels.name()));
    }
    for line in &way.settings {
        let _ = writeln!(text, "{line}");
    }
    // Four times what was ever cached is plenty; memory beyond does nothing.
    let kib = (4.0 * row.cache_kib).ceil().max(16.0) as usize;
    let _ = writeln!(text, "cache-kib = {}", kib.next_power_of_two());
    text
}
