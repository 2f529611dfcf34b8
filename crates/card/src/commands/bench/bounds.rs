//! What perfect information could have reached on the texts of a bench.

use anyhow::{Context, Result};
use card_bench::bound::{Costs, Witness, records};
use card_bench::lookup::lookup_chains;
use card_bench::report::BoundInputs;
use card_bench::sample::BenchTask;
use card_core::cost::CostCurve;
use card_core::types::Token;
use card_engine::teacher_forcing;
use card_llama::on_own_thread;
use card_setup::{Setup, progress};

/// What the sources would have proposed for each place of the texts.
pub fn proposed<'a>(
    setup: &Setup,
    tasks: &[BenchTask],
    texts: &[&'a [Token]],
) -> Result<Vec<Witness<'a>>> {
    let mut scratch = setup.scratch_draft()?.context("no draft model")?;
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
                teacher_forcing::proposed(&mut *scratch, &task.prompt, text, setup.branch())
            })?,
            lookup: lookup_chains(task, text),
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(all)
}

/// What the bound needs to know.
pub fn known(setup: &Setup, proposed: &[Witness]) -> Result<BoundInputs> {
    let placement = setup.placement(None).context("no placement")?;
    let curve = |points: &[(u32, f64)]| CostCurve::from_points(points.iter().copied());
    let mut costs = Costs::new(
        placement.lanes,
        curve(&placement.target),
        &curve(&placement.draft),
    );
    if setup.emulation.is_some() {
        // No forward of an emulated device has more rows than the last point of its profile.
        let rows = placement.target.iter().map(|p| p.0 as usize).max();
        costs = costs.within(rows.unwrap_or(1));
    }
    Ok(BoundInputs {
        records: records(proposed),
        costs,
    })
}
