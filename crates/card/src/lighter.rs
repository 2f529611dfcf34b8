//! A lighter copy of the draft model. A draft decides how soon a token is known, never
//! which, so its weights may be rounded further; whether that pays is measured.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use card_core::cost::CostCurve;
use card_core::policy::{self, Lanes};
use card_engine::recall;
use card_llama::{LlamaModel, on_own_thread};
use serde::{Deserialize, Serialize};

use crate::loader::{Loader, Target, llama_context};
use crate::profile::{self, Profile, short_name};
use crate::progress::{self, Weights};

/// The type with the fastest kernels on processors, and few bits.
const KIND: &str = "Q4_0";
/// Files with fewer bits a weight than this have nothing to gain.
const HEAVY: f64 = 4.8;
/// Gain in promised speed below which the file stays as it is.
const GAIN: f64 = 1.03;
/// Share of drafts that are right, for the comparison.
const TOP: f64 = 0.85;
/// Text of several kinds, to see how often two models' first choices are the same.
const PASSAGE: &str = "use std::collections::HashMap;\n\n/// Counts how often each word \
    occurs.\npub fn count(text: &str) -> HashMap<String, usize> {\n    let mut counts = \
    HashMap::new();\n    for word in text.split_whitespace() {\n        *counts.entry(\
    word.to_lowercase()).or_insert(0) += 1;\n    }\n    counts\n}\n\nThe river rises in the \
    hills north of the town and reaches the sea after eighty kilometres. For most of the \
    year it is shallow enough to be crossed on foot, but in spring the melting snow turns \
    it into a torrent, and the old stone bridge is the only way to the other side. If a \
    train travels at 60 km/h for 2.5 hours, it covers 60 * 2.5 = 150 km. \
    次の文を英語に訳してください。駅前の図書館は午前九時に開きます。\n{\"name\": \"Ann\", \
    \"age\": 31, \"city\": \"Oslo\"}\n{\"name\": \"Ben\", \"age\": 28, \"city\": \"Rome\"}\n";

/// What was found out about a pair and the copy.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Finding {
    /// Tokens per millisecond to expect, of the file and of the copy.
    promises: [f64; 2],
}

/// The file to draft with: `path`, or a copy of it with fewer bits a weight if that is
/// faster here.
pub fn choose(loader: &Loader, path: &Path, target: &Target, context: u32) -> PathBuf {
    match compare(loader, path, target, context) {
        Ok(Some(copy)) => copy,
        Ok(None) => path.to_owned(),
        // Nothing is lost but some speed.
        Err(error) => {
            tracing::warn!("no lighter copy of the draft model: {error:#}");
            path.to_owned()
        }
    }
}

fn compare(loader: &Loader, path: &Path, target: &Target, context: u32) -> Result<Option<PathBuf>> {
    let Some(of_target) = &target.profile else {
        return Ok(None);
    };
    let name = profile::identity(path)?;
    let copy = loader.store.drafters();
    let copy = copy.join(format!("{}.gguf", short_name(&format!("{name} {KIND}"))));
    let key = format!(
        "{} | {name} | copy in {KIND} | {}",
        profile::identity(target.model.path())?,
        loader.key(&loader.cores, true)
    );
    let finding = profile::remember(loader.store, key, || {
        let original = loader.load_draft(path, target)?;
        let info = original.info();
        if info.bytes as f64 * 8.0 / info.parameters as f64 <= HEAVY {
            return Ok(Finding {
                promises: [1.0, 0.0],
            });
        }
        make(path, &copy)?;
        let light = loader.load_draft(&copy, target)?;
        let favourites = |model: &LlamaModel, role| -> Result<_> {
            let mut context = llama_context(model, role, context, &loader.cores)?;
            let passage = target.model.vocab().tokenize(PASSAGE, false)?;
            Ok(on_own_thread(|| {
                recall::favourites(&mut context, &passage)
            })?)
        };
        let wanted = favourites(&target.model, "target")?;
        let agreement = |model| -> Result<f64> {
            let theirs = favourites(model, "draft")?;
            let same = wanted.iter().zip(&theirs).filter(|(a, b)| a == b).count();
            Ok(same as f64 / wanted.len().max(1) as f64)
        };
        let (before, after) = (agreement(&original)?, agreement(&light)?);
        // What is found on the passage says how the two compare, not how often drafts of
        // the target's own text are right.
        let top = TOP * (after / before.max(1e-9)).min(1.0);
        let cost = of_target.report.cost();
        let promise = |top, drafts: &Profile| {
            policy::promise(Lanes::Shared, top, &cost, &drafts.report.cost()).0
        };
        let (old, new) = (
            loader.draft_profile(&original, context)?,
            loader.draft_profile(&light, context)?,
        );
        let cost = |p: &Profile| -> CostCurve { p.report.cost() };
        tracing::info!(
            "draft model: {:.1} ms a token, the target's choice {:.0} % of the time; its copy in {KIND}: \
             {:.1} ms, {:.0} %",
            cost(&old).ms(1),
            100.0 * before,
            cost(&new).ms(1),
            100.0 * after
        );
        Ok(Finding {
            promises: [promise(TOP, &old), promise(top, &new)],
        })
    })?;
    let [as_is, light] = finding.promises;
    if light < GAIN * as_is {
        // It was made to be measured.
        let _ = std::fs::remove_file(&copy);
        return Ok(None);
    }
    if !copy.exists() {
        make(path, &copy)?;
    }
    Ok(Some(copy))
}

fn make(path: &Path, copy: &Path) -> Result<()> {
    if let Some(folder) = copy.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let weights = Weights {
        kind: KIND,
        pure: true,
        vocabulary: None,
    };
    progress::quantize(path, copy, weights)
}
