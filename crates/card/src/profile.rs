//! Self-test results, kept per machine, model and build.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use card_core::policy::Lanes;
use card_engine::placement::{self, Placement};
use card_engine::selftest::{self, HEADS, Report};
use card_llama::{Cores, LlamaContext, LlamaError, LlamaModel, on_own_thread, system_info};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use card_setup::models::store::Store;
use card_setup::progress;

/// What the self-test found.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The findings.
    pub report: Report,
}

/// Any text will do that is neither one word over and over nor rare words only.
const PASSAGE: &str = "To find the largest number in a list, look at each element once and \
    remember the best one so far. In Python: def largest(xs): best = xs[0]; for x in xs: best = \
    max(best, x); return best. The loop runs n times, so its cost grows linearly.";
/// Findings of another format are not used.
const FORMAT: &str = "findings 4";
/// Positions compared: enough that a class of kernels shows.
const POSITIONS: usize = 40;

/// What a self-test looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// What forwards cost.
    Costs,
    /// Which of them give the same logits, too: in long contexts, among others, and for
    /// prompts that are read in pieces.
    Everything,
}

/// The profile of a model, from the cache or by a self-test now, in a context made for it.
pub fn get(
    store: &Store,
    model: &LlamaModel,
    context: impl FnOnce() -> Result<LlamaContext, LlamaError>,
    setup: &str,
    look: Look,
) -> Result<Profile> {
    let key = format!("{} | {setup} {look:?}", identity(model.path())?);
    let report = remember(store, key, || measure(model, &mut context()?, look))?;
    Ok(Profile { report })
}

/// What both models cost at work at the same time, on (target, draft) threads and the
/// devices that `setup` names, from the cache or measured now.
pub fn together(
    store: &Store,
    (target, draft): (&LlamaModel, &LlamaModel),
    (target_threads, draft_threads): (usize, usize),
    setup: &str,
    context: &dyn Fn(&LlamaModel, &'static str, &Cores) -> Result<LlamaContext, LlamaError>,
) -> Result<Placement> {
    let key = format!(
        "{} | {} | together {target_threads}+{draft_threads}, {setup}",
        identity(target.path())?,
        identity(draft.path())?
    );
    remember(store, key, || {
        let bar = progress::spinner("measuring both models at work together (once)");
        let (cores, draft_cores) = Cores::two_lanes(target_threads, draft_threads);
        let mut target_context = context(target, "target", &cores)?;
        let mut draft_context = context(draft, "draft", &draft_cores)?;
        let passage = target.vocab().tokenize(PASSAGE, false)?;
        let measured = placement::together(&mut target_context, &mut draft_context, &passage);
        bar.finish_and_clear();
        let (target, draft) = measured.context("measuring the lanes failed")?;
        Ok(Placement {
            lanes: Lanes::Disjoint,
            target_threads,
            draft_threads,
            target,
            draft,
        })
    })
}

/// What the findings about a model depend on: the file, this build and this machine.
pub fn identity(file: &Path) -> Result<String> {
    // A file that is not there is told as when it is loaded.
    let meta = fs::metadata(file).map_err(|source| LlamaError::Open {
        path: file.display().to_string(),
        source,
    })?;
    let modified = meta.modified().ok();
    let modified = modified.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    Ok(format!(
        "card {} {FORMAT} | {} | {} bytes {:?} | {}",
        env!("CARGO_PKG_VERSION"),
        fs::canonicalize(file)?.display(),
        meta.len(),
        modified.map(|d| d.as_secs()),
        system_info(),
    ))
}

/// A finding with what it depends on.
#[derive(Serialize, Deserialize)]
struct Finding<T> {
    key: String,
    report: T,
}

/// What was found out for `key` before; else finds it out and keeps it.
pub fn remember<T: Serialize + DeserializeOwned>(
    store: &Store,
    key: String,
    find_out: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let file = store.profiles().join(format!("{}.json", short_name(&key)));
    let known = fs::read(&file).ok();
    let known = known.and_then(|bytes| serde_json::from_slice::<Finding<T>>(&bytes).ok());
    if let Some(found) = known.filter(|f| f.key == key) {
        return Ok(found.report);
    }
    let finding = Finding {
        report: find_out()?,
        key,
    };
    // A result that cannot be kept is measured again next time; that is no failure.
    let kept = fs::create_dir_all(store.profiles())
        .and_then(|()| fs::write(&file, serde_json::to_vec_pretty(&finding)?));
    if let Err(error) = kept {
        tracing::warn!(
            "cannot keep the self-test result in {}: {error}",
            file.display()
        );
    }
    Ok(finding.report)
}

/// A file name for a key.
pub fn short_name(key: &str) -> String {
    let digest = Sha256::digest(key);
    digest[..12].iter().map(|b| format!("{b:02x}")).collect()
}

fn measure(model: &LlamaModel, context: &mut LlamaContext, look: Look) -> Result<Report> {
    let mut passage = model.vocab().tokenize(PASSAGE, false)?;
    passage.truncate(POSITIONS);
    let bar = progress::bar(1, "  {msg:32} {bar:24} {percent:>3} % {eta:>4}");
    bar.set_message("measuring this model here (once)");
    let mut progress = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let report = on_own_thread(|| match look {
        Look::Costs => selftest::costs(context, &passage, &mut progress),
        Look::Everything => selftest::run(context, &passage, &HEADS, &mut progress),
    })
    .context("the self-test failed");
    bar.finish_and_clear();
    report
}
