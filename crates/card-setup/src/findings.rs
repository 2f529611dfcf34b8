//! What was measured once, kept for the next run: per machine, model and build.

use std::fs;
use std::path::Path;

use anyhow::Result;
use card_llama::{LlamaError, system_info};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::models::store::Store;

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
