//! Which of its possible forms a model is loaded in: whose kernels its weights are laid out for,
//! and whether a draft copy drafts in place of the file. Measured once, then remembered.

use std::path::Path;

use anyhow::{Context, Result};
use card_core::policy::Mode;
use card_core::scheduler::Shapes;
use card_engine::selftest::{Exactness, SelfTestReport};
use card_llama::Kernels;

use crate::devices;
use crate::draft_copy;
use crate::findings::{identity, known, remember};
use crate::kernels;
use crate::loader::{LoadedDraft, LoadedTarget, Loader, drafts_for_itself};
use crate::self_test::Look;
use crate::settings::DraftWeights;

/// Rows of a draft model's forwards.
const DRAFT_ROWS: usize = 8;

/// The target, laid out for the kernels that the settings name, or for those that are faster
/// here.
///
/// # Errors
/// If it cannot be loaded or tested.
pub fn target(loader: &Loader, file: &Path) -> Result<LoadedTarget> {
    let settings = loader.settings;
    let level = settings.exactness;
    let exact = level == Exactness::Exact;
    let elsewhere = devices::target_elsewhere(settings);
    let layouts = kernels::layouts(settings.kernels, exact, elsewhere);
    let first = layouts.first().copied().unwrap_or(Kernels::Ggml);
    // Whoever speculates has to know costs. The text of plain decoding depends on the
    // kernels and on padding, so they must be those that speculation has.
    if settings.mode == Mode::Plain && !exact {
        return loader.target(file, first, None);
    }
    let look = if exact { Look::Everything } else { Look::Costs };
    if layouts.len() == 1 {
        return loader.target(file, first, Some(look));
    }
    let keys: Vec<_> = layouts.iter().map(|&k| loader.target_key(k)).collect();
    let key = format!(
        "{} | kernels of the target, {level}, {}",
        identity(file)?,
        keys.join(" or ")
    );
    if let Some(budget) = &loader.coarse {
        let chosen = known(loader.store, &key).unwrap_or_else(|| {
            budget.leave_out(|u| u.forms = true);
            first
        });
        return loader.target(file, chosen, Some(look));
    }
    let mut last = None;
    let chosen = remember(loader.store, key, || {
        best(&layouts, |kernels| {
            // Two copies of the weights may not fit.
            last = None;
            let target = loader.target(file, kernels, Some(look))?;
            let report = target.report.as_ref().context("no self-test")?;
            let promise = report.promise(&report.shapes(level));
            last = Some(target);
            Ok(promise)
        })
    })?;
    match last.filter(|t: &LoadedTarget| t.kernels == chosen) {
        Some(target) => Ok(target),
        None => loader.target(file, chosen, Some(look)),
    }
}

/// The draft model in `file`, or a draft copy of it, laid out for the kernels that are faster
/// here, and measured.
///
/// # Errors
/// If it cannot be loaded or measured, or has another vocabulary than the target, of which nearly
/// nothing could be proposed.
pub fn draft(loader: &Loader, file: &Path, target: &LoadedTarget) -> Result<LoadedDraft> {
    let settings = loader.settings;
    let may_change = settings.draft_weights == DraftWeights::Auto
        && settings.emulate.is_none()
        && file != target.model.path();
    let layouts = draft_layouts(loader, file, target);
    let first = layouts.first().copied().unwrap_or(Kernels::Ggml);
    let file = if may_change {
        draft_copy::choose(loader, file, target, first)
    } else {
        file.to_owned()
    };
    let kernels = if layouts.len() == 1 {
        first
    } else {
        let key = format!(
            "{} | kernels of a drafter beside {:?}: {layouts:?}, {}",
            identity(&file)?,
            target.kernels,
            loader.draft_key(first)
        );
        let compare = || {
            best(&layouts, |kernels| {
                let model = loader.draft(&file, target, kernels)?;
                Ok(draft_promise(
                    &loader.draft_report(&model, target, kernels)?,
                ))
            })
        };
        match &loader.coarse {
            None => remember(loader.store, key, compare)?,
            Some(budget) => known(loader.store, &key).unwrap_or_else(|| {
                budget.leave_out(|u| u.forms = true);
                first
            }),
        }
    };
    let model = loader.draft(&file, target, kernels)?;
    if let Some(told) = model.told() {
        tracing::info!("{told}");
    }
    let report = loader.draft_report(&model, target, kernels)?;
    Ok(LoadedDraft { model, report })
}

/// The layouts that a draft model may have; the first one wins ties.
fn draft_layouts(loader: &Loader, file: &Path, target: &LoadedTarget) -> Vec<Kernels> {
    let settings = loader.settings;
    if drafts_for_itself(file, target) {
        return vec![target.kernels];
    }
    // The own kernels bring their attention, for the whole process: a target that was
    // measured without it would compute otherwise than it does without a drafter.
    let apart = settings.exactness == Exactness::Exact
        && target.kernels != Kernels::Card
        && !devices::target_elsewhere(settings);
    if apart {
        vec![Kernels::Ggml]
    } else {
        // How drafts are rounded changes no text, so weights are repacked.
        kernels::layouts(settings.kernels, false, devices::draft_elsewhere(settings))
    }
}

/// Tokens per millisecond to expect of a draft model with these costs. All of its forwards are
/// small.
fn draft_promise(report: &SelfTestReport) -> f64 {
    report.promise(&Shapes {
        max_rows: DRAFT_ROWS,
        ..Shapes::FREE
    })
}

/// The layout that promises most; another than the first has to promise clearly more.
fn best(layouts: &[Kernels], mut promise: impl FnMut(Kernels) -> Result<f64>) -> Result<Kernels> {
    let mut best: Option<(Kernels, f64)> = None;
    for &kernels in layouts {
        let promise = promise(kernels)?;
        tracing::info!(
            "{}: {:.1} tokens/s if 4 of 5 drafts are right",
            kernels::words(kernels),
            1e3 * promise
        );
        if best.is_none_or(|(_, most)| promise > kernels::CLEARLY * most) {
            best = Some((kernels, promise));
        }
    }
    best.map(|b| b.0).context("no kernels to choose from")
}
