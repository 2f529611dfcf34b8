//! The audit log: what was proposed, what the target wrote, and when; a line of JSON each,
//! chained by SHA-256 so that a change, a gap or a cut shows.
//!
//! A line is `{"body":…,"prev":…,"hash":…}` where `hash` is the SHA-256 of `prev` and the
//! exact text of `body`. The first line of a file that was rotated continues the chain of
//! the file before.

#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// What the first line follows.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Records on their way to the disk; beyond that they are lost, and counted.
const BACKLOG: usize = 8192;

/// Settings of an audit log.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// The file.
    pub path: PathBuf,
    /// Whether text and tokens are written; without, only structure, sources and times.
    pub text: bool,
    /// A file this large is set aside as `FILE.1`, `FILE.2`, …
    pub rotate_bytes: u64,
}

/// Writes a log on a thread of its own.
pub struct Audit {
    sender: Option<SyncSender<Value>>,
    thread: Option<JoinHandle<()>>,
    /// See [`AuditConfig::text`].
    pub text: bool,
}

/// Why a log cannot be.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be used.
    #[error("the audit log {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The chain is broken.
    #[error("{path}, line {line}: {why}")]
    Broken {
        /// The file.
        path: String,
        /// Where, from 1.
        line: usize,
        /// How.
        why: String,
    },
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> AuditError + '_ {
    move |source| AuditError::Io {
        path: path.display().to_string(),
        source,
    }
}

impl Audit {
    /// Opens the log, going on with the chain that is there. `lost` is called for each record
    /// that cannot be written later.
    ///
    /// # Errors
    /// If the file cannot be written, or its last line is no line of a log.
    pub fn open(
        config: AuditConfig,
        lost: impl Fn() + Send + 'static,
    ) -> Result<Audit, AuditError> {
        let mut log = Log::open(&config)?;
        let (sender, records) = sync_channel::<Value>(BACKLOG);
        let thread = std::thread::Builder::new().name("card-audit".into());
        let thread = thread.spawn(move || {
            let mut failing = false;
            for record in records {
                let Err(error) = log.append(&record) else {
                    failing = false;
                    continue;
                };
                lost();
                if !failing {
                    failing = true;
                    tracing::error!("the audit log cannot be written: {error}; serving goes on");
                }
            }
        });
        let thread = thread.map_err(io(&config.path))?;
        Ok(Audit {
            sender: Some(sender),
            thread: Some(thread),
            text: config.text,
        })
    }

    /// Adds a record; `false` if there are too many on their way.
    pub fn add(&self, record: Value) -> bool {
        match &self.sender {
            Some(sender) => !matches!(sender.try_send(record), Err(TrySendError::Full(_))),
            None => false,
        }
    }
}

impl Drop for Audit {
    /// What was added is written first.
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_millis() as u64)
}

struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
    rotate_bytes: u64,
    last: String,
}

impl Log {
    fn open(config: &AuditConfig) -> Result<Log, AuditError> {
        let path = config.path.clone();
        let last = match last_line(&path).map_err(io(&path))? {
            None => GENESIS.to_owned(),
            Some(text) => {
                let line: Line = serde_json::from_str(&text).map_err(|e| AuditError::Broken {
                    path: path.display().to_string(),
                    line: 0,
                    why: format!("its last line is no record ({e}); move the file away"),
                })?;
                line.hash
            }
        };
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(io(&path))?;
        let bytes = file.metadata().map_err(io(&path))?.len();
        Ok(Log {
            path,
            file,
            bytes,
            rotate_bytes: config.rotate_bytes.max(1),
            last,
        })
    }

    fn append(&mut self, record: &Value) -> std::io::Result<()> {
        if self.bytes >= self.rotate_bytes {
            self.rotate()?;
        }
        let body = record.to_string();
        let hash = chain(&self.last, &body);
        let line = format!(
            "{{\"body\":{body},\"prev\":\"{}\",\"hash\":\"{hash}\"}}\n",
            self.last
        );
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            // Half a line must not stay: the next one would be glued to it.
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += line.len() as u64;
        self.last = hash;
        Ok(())
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        let aside = |n: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        let free = (1..).map(aside).find(|p| !p.exists());
        if let Some(free) = free {
            std::fs::rename(&self.path, free)?;
        }
        self.file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)?;
        self.bytes = self.file.metadata()?.len();
        Ok(())
    }
}

fn chain(prev: &str, body: &str) -> String {
    let digest = Sha256::new()
        .chain_update(prev)
        .chain_update(body)
        .finalize();
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// The last line of a file, `None` if it is empty or absent.
fn last_line(path: &Path) -> std::io::Result<Option<String>> {
    /// No record is longer.
    const TAIL: u64 = 1 << 22;
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let text = String::from_utf8_lossy(&tail);
    Ok(text
        .lines()
        .last()
        .filter(|l| !l.trim().is_empty())
        .map(str::to_owned))
}

#[derive(Deserialize)]
struct Line {
    body: Box<RawValue>,
    prev: String,
    hash: String,
}

/// What a log that holds together is.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// Lines.
    pub records: usize,
    /// Hash of the last one: note it elsewhere, and a cut at the end shows too.
    pub last: String,
    /// Hash the first line follows; all zeros for the beginning of a log.
    pub first: String,
}

/// Checks the chain through files, oldest first.
///
/// # Errors
/// Says where it breaks.
pub fn verify(files: &[PathBuf]) -> Result<Verified, AuditError> {
    let mut verified = Verified {
        records: 0,
        last: String::new(),
        first: String::new(),
    };
    for path in files {
        each(path, &mut |line, record| {
            if verified.records == 0 {
                verified.first.clone_from(&record.prev);
            } else if record.prev != verified.last {
                return Err(format!("it does not follow the line before (line {line})"));
            }
            if chain(&record.prev, record.body.get()) != record.hash {
                return Err("it was changed: the hash does not match".to_owned());
            }
            verified.last.clone_from(&record.hash);
            verified.records += 1;
            Ok(())
        })?;
    }
    Ok(verified)
}

/// The records of a request, or of all.
///
/// # Errors
/// If a file cannot be read or a line is no record.
pub fn read(files: &[PathBuf], request: Option<&str>) -> Result<Vec<Value>, AuditError> {
    let mut found = Vec::new();
    for path in files {
        each(path, &mut |_, line| {
            let body: Value = serde_json::from_str(line.body.get()).map_err(|e| e.to_string())?;
            if request.is_none_or(|id| body["request"] == id) {
                found.push(body);
            }
            Ok(())
        })?;
    }
    Ok(found)
}

fn each(
    path: &Path,
    visit: &mut dyn FnMut(usize, Line) -> Result<(), String>,
) -> Result<(), AuditError> {
    let file = File::open(path).map_err(io(path))?;
    for (i, text) in BufReader::new(file).lines().enumerate() {
        let text = text.map_err(io(path))?;
        let broken = |why: String| AuditError::Broken {
            path: path.display().to_string(),
            line: i + 1,
            why,
        };
        let line: Line =
            serde_json::from_str(&text).map_err(|e| broken(format!("it is no record: {e}")))?;
        visit(i + 1, line).map_err(broken)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("card-audit-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn write(config: &AuditConfig, from: usize, to: usize) {
        let audit = Audit::open(config.clone(), || panic!("lost")).unwrap();
        for n in from..to {
            assert!(
                audit.add(json!({ "request": format!("r{}", n % 3), "n": n, "text": "\"é\"\n" }))
            );
        }
    }

    #[test]
    fn holds_together_over_restarts_and_rotation_and_shows_tampering() {
        let folder = folder("chain");
        let path = folder.join("audit.jsonl");
        let config = AuditConfig {
            path: path.clone(),
            text: true,
            rotate_bytes: 1500,
        };
        write(&config, 0, 10);
        write(&config, 10, 20);
        let mut files: Vec<PathBuf> = (1..)
            .map(|n| folder.join(format!("audit.jsonl.{n}")))
            .take_while(|p| p.exists())
            .collect();
        assert!(!files.is_empty(), "it was rotated");
        files.push(path.clone());
        let whole = verify(&files).unwrap();
        assert_eq!((whole.records, whole.first.as_str()), (20, GENESIS));
        assert_eq!(read(&files, Some("r1")).unwrap().len(), 7);
        // One character.
        let text = std::fs::read_to_string(&files[0]).unwrap();
        std::fs::write(&files[0], text.replace("\"n\":3", "\"n\":4")).unwrap();
        let error = verify(&files).unwrap_err().to_string();
        assert!(
            error.contains("line 4") && error.contains("changed"),
            "{error}"
        );
        // A line that is gone.
        let lines: Vec<&str> = text.lines().filter(|l| !l.contains("\"n\":2,")).collect();
        std::fs::write(&files[0], lines.join("\n") + "\n").unwrap();
        assert!(
            verify(&files)
                .unwrap_err()
                .to_string()
                .contains("does not follow")
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_of_something_else_is_not_touched() {
        let folder = folder("foreign");
        let path = folder.join("notes.txt");
        std::fs::write(&path, "dear diary\n").unwrap();
        let config = AuditConfig {
            path: path.clone(),
            text: true,
            rotate_bytes: 1,
        };
        assert!(Audit::open(config, || {}).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "dear diary\n");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
