//! A draft copy: the draft model with fewer bits or fewer tokens. A draft decides how soon a token
//! is known, never which, so the weights of a copy may be rounded further, and its output layer may
//! leave out rare tokens; whether that pays is measured.

mod copies;
mod trial;

use std::path::{Path, PathBuf};

use anyhow::Result;
use card_llama::Kernels;
use copies::{Copies, CopyPlan};
use trial::CopyTrial;

use crate::findings::{identity, known, remember};
use crate::loader::{LoadedTarget, Loader};

/// The file to draft with: `file`, or a copy of it with less to compute if that is faster
/// here, with these kernels.
pub fn choose(loader: &Loader, file: &Path, target: &LoadedTarget, kernels: Kernels) -> PathBuf {
    match fastest(loader, file, target, kernels) {
        Ok(chosen) => chosen,
        // Nothing is lost but some speed.
        Err(error) => {
            tracing::warn!("no copy of the draft model: {error:#}");
            file.to_owned()
        }
    }
}

fn fastest(
    loader: &Loader,
    file: &Path,
    target: &LoadedTarget,
    kernels: Kernels,
) -> Result<PathBuf> {
    let Some(report) = &target.report else {
        return Ok(file.to_owned());
    };
    let copies = Copies {
        of: file,
        identity: identity(file)?,
        folder: loader.store.drafters(),
    };
    let key = format!(
        "{} | {} | lighter copies | {} | {}",
        identity(target.model.path())?,
        copies.identity,
        loader.target_key(target.kernels),
        loader.draft_key(kernels)
    );
    if let Some(budget) = &loader.coarse {
        // A copy that is not there any more takes minutes to make.
        let plan = known::<CopyPlan>(loader.store, &key).filter(|plan| copies.path(*plan).exists());
        return Ok(plan.map_or_else(
            || {
                budget.leave_out(|u| u.forms = true);
                file.to_owned()
            },
            |plan| copies.path(plan),
        ));
    }
    let plan = remember(loader.store, key, || {
        CopyTrial::new(loader, target, kernels, report.cost(), &copies).winner()
    })?;
    copies.get(plan)
}
