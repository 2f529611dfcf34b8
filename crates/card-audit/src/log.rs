//! A log that is being written.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::anchor::Anchor;
use crate::clock::now_ms;
use crate::config::AuditConfig;
use crate::disk::{
    beside, lock, next_rotated, private, regular, rotated, sync_folder, warn_of_readers,
};
use crate::error::{AuditError, io};
use crate::head::LogHead;
use crate::key::{AuditKey, hex, named};
use crate::line::{AuditLine, write};
use crate::losses::Losses;
use crate::record::{self, fitting, gap};
use crate::scan::{first_id, last_of, scan};
use crate::torn::set_aside;

#[cfg(test)]
mod tests;

/// What was read of `FILE.head`: nothing where there is none, or why it cannot be believed.
type FoundHead = Option<std::result::Result<LogHead, String>>;

/// A log that goes on from its last record.
///
/// Invariants:
/// - the first `bytes` bytes of `file` are whole lines, and `last` is the last record of the
///   log (of a rotated file, where `file` has none yet);
/// - while `torn` is false, the file has no byte after them;
/// - the records in `pending` come before any other.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    /// The lock on `FILE.lock`, which is held as long as the log is written.
    _lock: File,
    /// Length in bytes of the lines in `file`.
    bytes: u64,
    /// Whether half a line may stand after those bytes.
    torn: bool,
    /// The size in bytes from which on a file is set aside, as it was configured.
    rotate_bytes: u64,
    /// The size in bytes at which setting `file` aside is tried next.
    rotate_at: u64,
    key: Option<AuditKey>,
    /// The random id of the log.
    id: String,
    last: Anchor,
    /// Number of the record that the head names; `None` before a head was written.
    headed: Option<u64>,
    /// Records about the log itself that are not written yet.
    pending: VecDeque<Value>,
}

impl Log {
    /// Opens a log, sets aside what a power cut left of a line, and says in the log what is
    /// missing.
    pub fn open(config: &AuditConfig) -> std::result::Result<Log, AuditError> {
        let path = &config.path;
        let key = config.key.as_ref();
        regular(path)?;
        let held = lock(path)?;
        let mut file = open_file(path)?;
        warn_of_readers("the audit log", path, &file);
        let found = scan(&mut file).map_err(io(path))?;
        if found.last.is_none() && !found.may_be_torn() {
            return Err(AuditError::Foreign {
                path: path.display().to_string(),
            });
        }
        let (bytes, length) = (found.end, found.length);
        let before = rotated(path).map_err(io(path))?;
        let last = match found.last {
            Some(line) => Some(line),
            None => last_of(path, &before).map_err(io(path))?,
        };
        if let Some(line) = &last {
            check_seal(path, line, key)?;
        }
        let mut torn = None;
        if bytes < length {
            torn = Some(set_aside(path, &mut file, bytes, length).map_err(io(path))?);
        }
        let head = LogHead::read(path, key).map_err(io(path))?;
        let id = match (first_id(path, &before), &head) {
            (Some(id), _) => id,
            (None, Some(Ok(head))) if last.is_some() => head.log.clone(),
            _ => random_id().map_err(io(path))?,
        };
        let mut log = Log {
            path: path.clone(),
            file,
            _lock: held,
            bytes,
            torn: false,
            rotate_bytes: config.rotate_bytes.max(1),
            rotate_at: config.rotate_bytes.max(1),
            key: config.key.clone(),
            id,
            last: last
                .as_ref()
                .map_or_else(Anchor::genesis, AuditLine::anchor),
            headed: None,
            pending: VecDeque::new(),
        };
        log.begin(last.as_ref(), head, torn);
        if let Err(error) = log.tell().and_then(|()| log.keep_head()) {
            tracing::error!(
                "the audit log {} cannot be written now: {error}; serving goes on",
                path.display()
            );
        }
        Ok(log)
    }

    /// Collects what the log says about itself before anything else.
    fn begin(&mut self, last: Option<&AuditLine>, head: FoundHead, torn: Option<String>) {
        let now = now_ms();
        let mut own = Vec::new();
        if last.is_none() {
            own.push(record::first(&self.id, now));
        }
        let cut = self.cut(last.is_some(), head);
        let was = last.map(|l| l.body.clone()).unwrap_or_default();
        let since = was["time"].as_u64();
        if let Some((lost, why)) = &cut {
            tracing::error!("the audit log {} was cut: {why}", self.path.display());
            own.push(record::cut(*lost, now, why));
        }
        if let Some(torn) = torn {
            tracing::warn!("the audit log {}: {torn}", self.path.display());
            own.push(gap(None, since, now, &torn));
        } else if last.is_some() && cut.is_none() && was["kind"] != "close" {
            let why = "the server before ended without closing the log";
            own.push(gap(None, since, now, why));
        }
        own.push(record::opened(&self.id, now));
        self.pending.extend(own);
    }

    /// Whether records are missing that the head knows of: how many, and how that is known.
    fn cut(&self, goes_on: bool, head: FoundHead) -> Option<(Option<u64>, String)> {
        let n = self.last.n;
        match head {
            None if goes_on => {
                let name = beside(&self.path, "head");
                Some((None, format!("{} was missing", name.display())))
            }
            None => None,
            Some(Err(why)) => Some((None, why)),
            Some(Ok(head)) if head.n > n => Some((
                Some(head.n - n),
                format!("its head names record {}, the last one was {n}", head.n),
            )),
            Some(Ok(head)) if head.n == n && head.last != self.last.hash => Some((
                None,
                format!("record {n} was not the one that its head names"),
            )),
            Some(Ok(_)) => None,
        }
    }

    /// Adds a record, after what is to be said of those that were lost.
    pub fn append(&mut self, record: &Value, losses: &Losses) -> Result<()> {
        self.tell_losses(losses)?;
        self.write(record)
    }

    /// Writes the records about the log itself.
    fn tell(&mut self) -> Result<()> {
        while let Some(record) = self.pending.front().cloned() {
            self.write(&record)?;
            self.pending.pop_front();
        }
        Ok(())
    }

    /// Writes the records about the log itself, and one about the records that were lost.
    fn tell_losses(&mut self, losses: &Losses) -> Result<()> {
        self.tell()?;
        let Some(loss) = losses.take() else {
            return Ok(());
        };
        let told = self.write(&loss.record());
        if told.is_err() {
            losses.put(loss);
        }
        told
    }

    fn write(&mut self, record: &Value) -> Result<()> {
        let body = fitting(record)?;
        if self.torn {
            self.file.set_len(self.bytes)?;
            self.torn = false;
        }
        if self.bytes >= self.rotate_at {
            self.rotate_or_go_on();
        }
        let n = self.last.n + 1;
        let (text, hash) = write(n, &self.last.hash, self.key.as_ref(), &body);
        if let Err(error) = self.file.write_all(text.as_bytes()) {
            // Half a line must not stay: the next one would be glued to it.
            self.torn = self.file.set_len(self.bytes).is_err();
            return Err(error);
        }
        self.bytes += text.len() as u64;
        self.last = Anchor { n, hash };
        Ok(())
    }

    /// Sets the file aside. Where that fails the file grows on, so that nothing is lost, and
    /// another eighth of the size later it is tried again.
    fn rotate_or_go_on(&mut self) {
        match self.rotate() {
            Ok(()) => self.rotate_at = self.rotate_bytes,
            Err(error) => {
                let again = (self.rotate_bytes / 8).max(1);
                self.rotate_at = self.bytes.saturating_add(again);
                tracing::error!(
                    "the audit log {} cannot be set aside: {error}; it grows on",
                    self.path.display()
                );
            }
        }
    }

    fn rotate(&mut self) -> Result<()> {
        self.file.sync_data()?;
        let aside = next_rotated(&self.path)?;
        match std::fs::rename(&self.path, &aside) {
            // Where the next file could not be made, this one was set aside before.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        let new = private()
            .create_new(true)
            .append(true)
            .read(true)
            .open(&self.path)?;
        self.file = new;
        self.bytes = 0;
        // Where a folder cannot be synced, its names are as safe as the system makes them.
        let _ = sync_folder(&self.path);
        Ok(())
    }

    /// Writes the head, if there is something new. The record that the head names is on the
    /// disk before the head is, so that a power cut is not taken for a cut by someone.
    pub fn keep_head(&mut self) -> Result<()> {
        if self.last.n == 0 || self.headed == Some(self.last.n) {
            return Ok(());
        }
        self.file.sync_data()?;
        LogHead::new(&self.id, &self.last, self.key.as_ref(), now_ms()).write(&self.path)?;
        self.headed = Some(self.last.n);
        Ok(())
    }

    /// Ends the log in order.
    pub fn close(&mut self, losses: &Losses) -> Result<()> {
        self.tell_losses(losses)?;
        self.write(&record::closed(now_ms()))?;
        self.keep_head()
    }
}

/// Opens the file of a log, which is made if there is none.
fn open_file(path: &Path) -> std::result::Result<File, AuditError> {
    let file = private()
        .create(true)
        .append(true)
        .read(true)
        .open(path)
        .map_err(io(path))?;
    if file.metadata().map_err(io(path))?.is_file() {
        Ok(file)
    } else {
        Err(AuditError::NoFile {
            path: path.display().to_string(),
        })
    }
}

/// Refuses to go on after a record that another key seals, and warns of one that was changed.
fn check_seal(
    path: &Path,
    last: &AuditLine,
    key: Option<&AuditKey>,
) -> std::result::Result<(), AuditError> {
    if last.key.as_deref() != key.map(AuditKey::id) {
        return Err(AuditError::OtherKey {
            path: path.display().to_string(),
            was: named(last.key.as_deref()),
            now: named(key.map(AuditKey::id)),
        });
    }
    if !last.sealed_by(key) {
        tracing::error!(
            "the last record of the audit log {} was changed; `card audit verify` says more",
            path.display()
        );
    }
    Ok(())
}

fn random_id() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| Error::other(e.to_string()))?;
    Ok(hex(bytes.iter()))
}
