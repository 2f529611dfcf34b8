//! Self-test results, kept per machine, model and build.

use std::fs;

use anyhow::{Context, Result};
use card_engine::selftest::{self, Report};
use card_llama::{LlamaContext, LlamaModel, on_own_thread, system_info};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::models::store::Store;
use crate::progress;

/// What the self-test found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Profile {
    /// Everything the findings depend on.
    pub key: String,
    /// The findings.
    pub report: Report,
}

/// Any text will do that is neither one word over and over nor rare words only.
const PASSAGE: &str = "To find the largest number in a list, look at each element once and \
    remember the best one so far. In Python: def largest(xs): best = xs[0]; for x in xs: best = \
    max(best, x); return best. The loop runs n times, so its cost grows linearly.";
/// Positions compared: enough that a class of kernels shows.
const POSITIONS: usize = 40;

/// The profile of a model, from the cache or by a self-test now.
pub fn get(
    store: &Store,
    model: &LlamaModel,
    context: &mut LlamaContext,
    setup: &str,
    heads: &[usize],
) -> Result<Profile> {
    let meta = fs::metadata(model.path())?;
    let modified = meta.modified().ok();
    let modified = modified.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    let key = format!(
        "card {} | {} | {} bytes {:?} | {setup} {heads:?} | {}",
        env!("CARGO_PKG_VERSION"),
        fs::canonicalize(model.path())?.display(),
        meta.len(),
        modified.map(|d| d.as_secs()),
        system_info(),
    );
    let name: String = Sha256::digest(&key)[..12]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let file = store.profiles().join(format!("{name}.json"));
    let known = fs::read(&file).ok();
    let known = known.and_then(|bytes| serde_json::from_slice::<Profile>(&bytes).ok());
    if let Some(profile) = known.filter(|p| p.key == key) {
        return Ok(profile);
    }
    let report = measure(model, context, heads)?;
    let profile = Profile { key, report };
    // A result that cannot be kept is measured again next time; that is no failure.
    let kept = fs::create_dir_all(store.profiles())
        .and_then(|()| fs::write(&file, serde_json::to_vec_pretty(&profile)?));
    if let Err(error) = kept {
        tracing::warn!(
            "cannot keep the self-test result in {}: {error}",
            file.display()
        );
    }
    Ok(profile)
}

fn measure(model: &LlamaModel, context: &mut LlamaContext, heads: &[usize]) -> Result<Report> {
    let mut passage = model.vocab().tokenize(PASSAGE, false)?;
    passage.truncate(POSITIONS);
    let bar = progress::bar(1, "  {msg:32} {bar:24} {percent:>3} % {eta:>4}");
    bar.set_message("measuring this model here (once)");
    let report = on_own_thread(|| {
        selftest::run(context, &passage, heads, &mut |done, all| {
            bar.set_length(all);
            bar.set_position(done);
        })
    })
    .context("the self-test failed");
    bar.finish_and_clear();
    report
}
