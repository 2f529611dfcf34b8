//! What was measured once, kept for the next run: per machine, model and build.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use card_llama::{LlamaError, system_info};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::models::store::Store;
use crate::quiet::{Quiet, QuietWatch, SystemFiles};

/// Version of the format. Findings of another format are not used.
const FORMAT: &str = "findings 4";

/// What the findings about a model depend on: the file, this build and this machine.
///
/// # Errors
/// If there is no such file.
pub fn identity(file: &Path) -> Result<String> {
    // The error about a missing file is the one that loading it gives.
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

/// A finding with the key that names what it depends on. The name of the file is only a part of
/// the key's hash, so the whole key is compared.
#[derive(Serialize, Deserialize)]
struct Finding<T> {
    key: String,
    report: T,
    /// How quiet the machine was; `None` if that is not known.
    #[serde(default)]
    quiet: Option<Quiet>,
}

/// A finding, of which only this is read.
#[derive(Deserialize)]
struct FindingHead {
    key: String,
    #[serde(default)]
    quiet: Option<Quiet>,
}

fn file_of(store: &Store, key: &str) -> PathBuf {
    store.profiles().join(format!("{}.json", short_name(key)))
}

/// What was found out for `key` before, if anything was.
pub fn known<T: DeserializeOwned>(store: &Store, key: &str) -> Option<T> {
    finding(store, key).map(|found| found.report)
}

fn finding<T: DeserializeOwned>(store: &Store, key: &str) -> Option<Finding<T>> {
    let bytes = fs::read(file_of(store, key)).ok()?;
    let found = serde_json::from_slice::<Finding<T>>(&bytes).ok()?;
    (found.key == key).then_some(found)
}

/// What was found out for `key` before; else calls `find_out` and keeps what it returns.
///
/// # Errors
/// Those of `find_out`.
pub fn remember<T: Serialize + DeserializeOwned>(
    store: &Store,
    key: String,
    find_out: impl FnOnce() -> Result<T>,
) -> Result<T> {
    match known(store, &key) {
        Some(report) => Ok(report),
        None => renew(store, key, find_out),
    }
}

/// Calls `find_out` whatever is known, and keeps what it returns: unless the machine is busy now
/// and was not when the earlier finding was made.
///
/// # Errors
/// Those of `find_out`.
pub fn renew<T: Serialize + DeserializeOwned>(
    store: &Store,
    key: String,
    find_out: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let now = watched(key, find_out)?;
    let earlier = finding::<T>(store, &now.key);
    if earlier.is_none_or(|earlier| replaces(now.quiet, earlier.quiet)) {
        write(store, &now);
    }
    Ok(now.report)
}

/// As [`remember`], but what a busy machine gave is not kept: for what is measured in a moment.
///
/// # Errors
/// Those of `find_out`.
pub fn remember_quiet<T: Serialize + DeserializeOwned>(
    store: &Store,
    key: String,
    find_out: impl FnOnce() -> Result<T>,
) -> Result<T> {
    if let Some(report) = known(store, &key) {
        return Ok(report);
    }
    let now = watched(key, find_out)?;
    if !is_busy(now.quiet) {
        write(store, &now);
    }
    Ok(now.report)
}

/// What `find_out` returns for `key`, with how quiet the machine was meanwhile.
fn watched<T>(key: String, find_out: impl FnOnce() -> Result<T>) -> Result<Finding<T>> {
    let watch = QuietWatch::begin(&SystemFiles);
    Ok(Finding {
        report: find_out()?,
        key,
        quiet: watch.so_far(&SystemFiles),
    })
}

fn is_busy(quiet: Option<Quiet>) -> bool {
    quiet.is_some_and(|q| q.is_busy())
}

/// Whether a finding of such a time is worth more than an earlier one.
fn replaces(now: Option<Quiet>, earlier: Option<Quiet>) -> bool {
    !is_busy(now) || is_busy(earlier)
}

/// Keeps something that was found out otherwise, as [`remember`] does.
pub fn keep<T: Serialize>(store: &Store, key: String, report: T, quiet: Option<Quiet>) {
    write(store, &Finding { key, report, quiet });
}

/// A result that cannot be kept is measured again next time; that is no failure.
fn write<T: Serialize>(store: &Store, finding: &Finding<T>) {
    let file = file_of(store, &finding.key);
    let kept = fs::create_dir_all(store.profiles())
        .and_then(|()| fs::write(&file, serde_json::to_vec_pretty(finding)?));
    if let Err(error) = kept {
        tracing::warn!(
            "cannot keep the self-test result in {}: {error}",
            file.display()
        );
    }
}

/// Forgets what was found out for `key`.
pub fn forget(store: &Store, key: &str) {
    // What is not there is forgotten.
    let _ = fs::remove_file(file_of(store, key));
}

/// Forgets what was found out about a model file, alone and beside others. Returns how many
/// findings that were.
///
/// # Errors
/// If there is no such file.
pub fn forget_about(store: &Store, model: &Path) -> Result<usize> {
    let found = about(store, model)?;
    let removed = found
        .iter()
        .filter(|(file, _)| fs::remove_file(file).is_ok());
    Ok(removed.count())
}

/// How quiet the machine was while a model file was measured, at the worst; `None` if nothing is
/// known of it.
///
/// # Errors
/// If there is no such file.
pub fn noise_about(store: &Store, model: &Path) -> Result<Option<Quiet>> {
    let found = about(store, model)?;
    let quiet = found.into_iter().filter_map(|(_, head)| head.quiet);
    Ok(quiet.reduce(Quiet::worst))
}

/// The findings about a model file.
fn about(store: &Store, model: &Path) -> Result<Vec<(PathBuf, FindingHead)>> {
    // As in [`identity`].
    let part = format!("| {} | ", fs::canonicalize(model)?.display());
    let Ok(files) = fs::read_dir(store.profiles()) else {
        return Ok(Vec::new());
    };
    let read = |file: PathBuf| {
        let head: FindingHead = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
        head.key.contains(&part).then_some((file, head))
    };
    let files = files.flatten().map(|entry| entry.path());
    Ok(files.filter_map(read).collect())
}

/// A file name for a key.
pub fn short_name(key: &str) -> String {
    let digest = Sha256::digest(key);
    digest[..12].iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        (dir, store)
    }

    fn busy() -> Quiet {
        Quiet {
            others: 0.6,
            ..Quiet::default()
        }
    }

    #[test]
    fn what_is_known_is_not_found_out_again_until_it_is_renewed_or_forgotten() {
        let (_dir, store) = store();
        let find = |n: u32| remember(&store, "a key".into(), || Ok(n)).unwrap();
        assert_eq!(known::<u32>(&store, "a key"), None);
        assert_eq!((find(1), find(2)), (1, 1));
        assert_eq!(renew(&store, "a key".into(), || Ok(3)).unwrap(), 3);
        assert!(known::<u32>(&store, "a key").is_some());
        forget(&store, "a key");
        forget(&store, "a key");
        assert_eq!(find(4), 4);
        let failed = remember::<u32>(&store, "other".into(), || anyhow::bail!("no"));
        assert!(failed.is_err() && known::<u32>(&store, "other").is_none());
    }

    #[test]
    fn a_busy_time_does_not_replace_a_quiet_one() {
        let calm = Some(Quiet::default());
        assert!(replaces(calm, calm) && replaces(calm, Some(busy())));
        assert!(replaces(Some(busy()), Some(busy())));
        assert!(!replaces(Some(busy()), calm) && !replaces(Some(busy()), None));
        assert!(replaces(None, calm));
    }

    #[test]
    fn findings_about_a_file_are_found_by_it_and_by_nothing_else() {
        let (dir, store) = store();
        let file = |name: &str| {
            let path = dir.path().join(name);
            fs::write(&path, name).unwrap();
            path
        };
        let (a, b, ab) = (file("a.gguf"), file("b.gguf"), file("a.gguf.b"));
        let key = |paths: &[&PathBuf]| {
            let parts: Vec<_> = paths.iter().map(|p| identity(p).unwrap()).collect();
            parts.join(" | ") + " | a test"
        };
        keep(&store, key(&[&a]), 1, Some(Quiet::default()));
        keep(&store, key(&[&a, &b]), 2, Some(busy()));
        keep(&store, key(&[&ab]), 3, None);
        assert_eq!(noise_about(&store, &a).unwrap(), Some(busy()));
        assert_eq!(noise_about(&store, &ab).unwrap(), None);
        assert_eq!(forget_about(&store, &a).unwrap(), 2);
        assert_eq!(known::<u32>(&store, &key(&[&a, &b])), None);
        assert_eq!(known::<u32>(&store, &key(&[&ab])), Some(3));
        assert_eq!(forget_about(&store, &b).unwrap(), 0);
    }

    #[test]
    fn a_finding_of_an_earlier_version_has_no_noise() {
        let (_dir, store) = store();
        fs::create_dir_all(store.profiles()).unwrap();
        let text = r#"{"key": "old", "report": 7}"#;
        fs::write(file_of(&store, "old"), text).unwrap();
        assert_eq!(known::<u32>(&store, "old"), Some(7));
        assert_eq!(finding::<u32>(&store, "old").unwrap().quiet, None);
    }
}
