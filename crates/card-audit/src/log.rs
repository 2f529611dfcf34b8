//! A log that is being written.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Error, ErrorKind, Result, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::disk::{
    beside, lock, next_rotated, private, regular, rotated, sync_folder, warn_of_readers,
};
use crate::error::{AuditError, io};
use crate::head::{Anchor, Head};
use crate::key::{AuditKey, named};
use crate::line::{BEGINNING, GENESIS, LARGEST, Line, Lines, write};
use crate::losses::{Losses, gap};
use crate::now_ms;
use crate::writer::AuditConfig;

/// A log that goes on from the record that is the last.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    /// Held as long as the log is written.
    _lock: File,
    /// Length of the file.
    bytes: u64,
    /// Whether half a line may stand after that.
    torn: bool,
    rotate_bytes: u64,
    /// The file is set aside when it is this long.
    rotate_at: u64,
    key: Option<AuditKey>,
    /// Which log.
    id: String,
    last: Anchor,
    /// Number of the record that the head names.
    headed: Option<u64>,
    /// The log's own records, which come before any other.
    pending: VecDeque<Value>,
}

/// What a file of a log has in it.
#[derive(Default)]
struct Found {
    last: Option<Line>,
    /// Where the last record ends.
    end: u64,
    length: u64,
    /// The first bytes.
    beginning: Vec<u8>,
}

impl Log {
    /// Opens a log, sets aside what a power cut left of a line, and says in the log what is
    /// missing.
    pub fn open(config: &AuditConfig) -> std::result::Result<Log, AuditError> {
        let path = &config.path;
        let key = config.key.as_ref();
        regular(path)?;
        let held = lock(path)?;
        let mut file = private()
            .create(true)
            .append(true)
            .read(true)
            .open(path)
            .map_err(io(path))?;
        if !file.metadata().map_err(io(path))?.is_file() {
            return Err(AuditError::NoFile {
                path: path.display().to_string(),
            });
        }
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
            if line.key.as_deref() != key.map(AuditKey::id) {
                return Err(AuditError::OtherKey {
                    path: path.display().to_string(),
                    was: named(line.key.as_deref()),
                    now: named(key.map(AuditKey::id)),
                });
            }
            if !line.sealed_by(key) {
                tracing::error!(
                    "the last record of the audit log {} was changed; `card audit verify` says more",
                    path.display()
                );
            }
        }
        let mut torn = None;
        if bytes < length {
            torn = Some(set_aside(path, &mut file, bytes, length).map_err(io(path))?);
        }
        let head = Head::read(path, key).map_err(io(path))?;
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
            last: match &last {
                Some(line) => Anchor {
                    n: line.n,
                    hash: line.hash.clone(),
                },
                None => Anchor {
                    n: 0,
                    hash: GENESIS.to_owned(),
                },
            },
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

    /// What the log says about itself before anything else.
    fn begin(
        &mut self,
        last: Option<&Line>,
        head: Option<std::result::Result<Head, String>>,
        torn: Option<String>,
    ) {
        let now = now_ms();
        let mut own = Vec::new();
        if last.is_none() {
            own.push(json!({ "kind": "log", "log": self.id, "time": now }));
        }
        let cut = self.cut(last.is_some(), head);
        let was = last.map(|l| l.body.clone()).unwrap_or_default();
        let since = was["time"].as_u64();
        if let Some((lost, why)) = &cut {
            tracing::error!("the audit log {} was cut: {why}", self.path.display());
            own.push(json!({ "kind": "cut", "lost": lost, "time": now, "why": why }));
        }
        if let Some(torn) = torn {
            tracing::warn!("the audit log {}: {torn}", self.path.display());
            own.push(gap(None, since, now, &torn));
        } else if last.is_some() && cut.is_none() && was["kind"] != "close" {
            let why = "the server before ended without closing the log";
            own.push(gap(None, since, now, why));
        }
        own.push(json!({
            "kind": "open",
            "log": self.id,
            "version": env!("CARGO_PKG_VERSION"),
            "time": now,
        }));
        self.pending.extend(own);
    }

    /// Whether records are missing that the head knows of: how many, and how that is known.
    fn cut(
        &self,
        goes_on: bool,
        head: Option<std::result::Result<Head, String>>,
    ) -> Option<(Option<u64>, String)> {
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

    /// Writes the log's own records.
    fn tell(&mut self) -> Result<()> {
        while let Some(record) = self.pending.front().cloned() {
            self.write(&record)?;
            self.pending.pop_front();
        }
        Ok(())
    }

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

    /// A file that cannot be set aside grows on: that loses nothing.
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

    /// Writes the head, if there is something new. What the head names is on the disk before
    /// the head is, so that a power cut is not taken for a cut by someone.
    pub fn keep_head(&mut self) -> Result<()> {
        if self.last.n == 0 || self.headed == Some(self.last.n) {
            return Ok(());
        }
        self.file.sync_data()?;
        Head::new(&self.id, &self.last, self.key.as_ref(), now_ms()).write(&self.path)?;
        self.headed = Some(self.last.n);
        Ok(())
    }

    /// Ends the log in order.
    pub fn close(&mut self, losses: &Losses) -> Result<()> {
        self.tell_losses(losses)?;
        self.write(&json!({ "kind": "close", "time": now_ms() }))?;
        self.keep_head()
    }
}

impl Found {
    /// Whether a power cut can have left what is there: nothing, half of a first line, or
    /// room that was not written yet.
    fn may_be_torn(&self) -> bool {
        BEGINNING.starts_with(&self.beginning) || self.beginning.first() == Some(&0)
    }
}

/// Looks through a file.
fn scan(file: &mut File) -> Result<Found> {
    let mut found = Found::default();
    file.seek(SeekFrom::Start(0))?;
    let mut lines = Lines::new(BufReader::new(&*file));
    while let Some(text) = lines.next_line()? {
        if found.length == 0 {
            let end = text.ended.then_some(&b'\n');
            let all = text.bytes.iter().chain(end);
            found.beginning = all.take(BEGINNING.len()).copied().collect();
        }
        found.length = text.end;
        if let Ok(line) = text.record() {
            found.end = text.end;
            found.last = Some(line);
        }
    }
    Ok(found)
}

/// The last record of the files that were set aside.
fn last_of(path: &Path, numbers: &[u64]) -> Result<Option<Line>> {
    for n in numbers.iter().rev() {
        let mut file = File::open(beside(path, &n.to_string()))?;
        let found = scan(&mut file)?;
        if found.last.is_some() {
            return Ok(found.last);
        }
    }
    Ok(None)
}

/// The id of the log, if the file with its first record is still there.
fn first_id(path: &Path, numbers: &[u64]) -> Option<String> {
    let oldest = match numbers.first() {
        Some(n) => beside(path, &n.to_string()),
        None => path.to_path_buf(),
    };
    let mut lines = Lines::new(BufReader::new(File::open(oldest).ok()?));
    let first = lines.next_line().ok()??.record().ok()?;
    let id = first.body["log"].as_str()?;
    (first.n == 1 && first.body["kind"] == "log").then(|| id.to_owned())
}

/// Moves what follows the last record, which ends at `end`, to a file of its own; says what
/// was done.
fn set_aside(path: &Path, file: &mut File, end: u64, length: u64) -> Result<String> {
    let torn = length - end;
    let copied = copy_torn(path, file, end);
    file.set_len(end)?;
    file.sync_data()?;
    Ok(match copied {
        Ok(name) => format!(
            "{torn} bytes after the last whole record were set aside as {}",
            name.display()
        ),
        Err(error) => format!(
            "{torn} bytes after the last whole record were cut off; \
             they could not be set aside: {error}"
        ),
    })
}

fn copy_torn(path: &Path, file: &mut File, from: u64) -> Result<PathBuf> {
    let mut number = 1_u64;
    let (name, mut to) = loop {
        let name = beside(path, &format!("torn-{number}"));
        match private().create_new(true).write(true).open(&name) {
            Ok(to) => break (name, to),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    };
    file.seek(SeekFrom::Start(from))?;
    let copied = std::io::copy(file, &mut to).and_then(|_| to.sync_all());
    if let Err(error) = copied {
        let _ = std::fs::remove_file(&name);
        return Err(error);
    }
    Ok(name)
}

fn random_id() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| Error::other(e.to_string()))?;
    Ok(crate::key::hex(bytes.iter()))
}

/// The text of a record. Of one that is too large, the large parts are left out, so that
/// nobody escapes the log by sending much.
fn fitting(record: &Value) -> Result<String> {
    /// A part is large from this many bytes on.
    const LARGE: usize = 64 << 10;
    let text = record.to_string();
    if text.len() <= LARGEST {
        return Ok(text);
    }
    let mut record = record.clone();
    if let Some(parts) = record.as_object_mut() {
        for part in parts.values_mut() {
            let bytes = part.to_string().len();
            if bytes > LARGE {
                *part = json!({ "omitted_bytes": bytes });
            }
        }
    }
    let text = record.to_string();
    if text.len() > LARGEST {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("a record of {} bytes is too large", text.len()),
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::files;
    use crate::disk::tests::folder;
    use crate::verify::{Check, Report, verify};

    fn config(path: &Path, rotate_bytes: u64) -> AuditConfig {
        AuditConfig {
            path: path.to_path_buf(),
            text: true,
            rotate_bytes,
            key: AuditKey::new(b"a key for tests only"),
        }
    }

    fn check() -> Check {
        Check {
            key: AuditKey::new(b"a key for tests only"),
            ..Check::default()
        }
    }

    fn verified(path: &Path) -> Report {
        let files = files(&[path.to_path_buf()]).unwrap();
        verify(&files, &check()).unwrap()
    }

    /// A file that takes nothing, as a full disk does.
    fn full(path: &Path) -> File {
        File::open(path).unwrap()
    }

    #[test]
    fn what_a_full_disk_takes_not_is_a_gap() {
        let folder = folder("full");
        let path = folder.join("a.log");
        let mut log = Log::open(&config(&path, 1 << 20)).unwrap();
        let losses = Losses::default();
        let record = json!({ "kind": "round" });
        log.append(&record, &losses).unwrap();
        let disk = std::mem::replace(&mut log.file, full(&path));
        for at in [70, 80, 90] {
            assert!(log.append(&record, &losses).is_err());
            losses.count(at);
        }
        log.file = disk;
        log.append(&record, &losses).unwrap();
        log.append(&record, &losses).unwrap();
        log.close(&losses).unwrap();
        let report = verified(&path);
        assert!(report.problems.is_empty(), "{report:?}");
        let gap = &report.gaps[0];
        assert_eq!((report.gaps.len(), gap.lost), (1, Some(3)));
        assert_eq!((gap.since, gap.until), (Some(70), Some(90)));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_full_disk_from_the_start_is_survived() {
        let folder = folder("full-start");
        let path = folder.join("a.log");
        let mut log = Log::open(&config(&path, 1 << 20)).unwrap();
        // As if nothing could be written from the first byte on.
        log.file.set_len(0).unwrap();
        log.bytes = 0;
        log.last = Anchor {
            n: 0,
            hash: GENESIS.to_owned(),
        };
        log.headed = None;
        log.begin(None, None, None);
        let losses = Losses::default();
        let disk = std::mem::replace(&mut log.file, full(&path));
        assert!(log.append(&json!({ "kind": "round" }), &losses).is_err());
        losses.count(5);
        log.file = disk;
        log.append(&json!({ "kind": "round" }), &losses).unwrap();
        log.close(&losses).unwrap();
        let report = verified(&path);
        assert!(report.problems.is_empty(), "{report:?}");
        assert_eq!((report.records, report.gaps.len()), (5, 1));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_rotation_that_fails_loses_nothing() {
        let folder = folder("rotation");
        let path = folder.join("a.log");
        let mut log = Log::open(&config(&path, 300)).unwrap();
        let losses = Losses::default();
        // There is no number after this one.
        let last = beside(&path, &u64::MAX.to_string());
        std::fs::write(&last, "").unwrap();
        for n in 0..10 {
            log.append(&json!({ "kind": "round", "n": n }), &losses)
                .unwrap();
        }
        std::fs::remove_file(&last).unwrap();
        for n in 10..20 {
            log.append(&json!({ "kind": "round", "n": n }), &losses)
                .unwrap();
        }
        log.close(&losses).unwrap();
        assert!(!rotated(&path).unwrap().is_empty(), "it goes on rotating");
        let report = verified(&path);
        assert_eq!((report.problems, report.gaps), (vec![], vec![]));
        // log, open, 20 rounds, close.
        assert_eq!(report.records, 23);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_record_too_large_keeps_who_asked() {
        let text = "x".repeat(LARGEST);
        let body = fitting(&json!({ "kind": "begin", "who": "ann", "prompt": text })).unwrap();
        assert_eq!(
            body,
            format!(
                "{{\"kind\":\"begin\",\"who\":\"ann\",\"prompt\":{{\"omitted_bytes\":{}}}}}",
                LARGEST + 2
            )
        );
        assert!(fitting(&json!([text])).is_err());
    }

    /// A log of some records whose head is that of its start, as after a power cut.
    fn unclosed(path: &Path) -> (usize, Vec<u8>) {
        let mut log = Log::open(&config(path, 1 << 20)).unwrap();
        let start = log.bytes as usize;
        for n in 0..2 {
            let record = json!({ "kind": "round", "n": n, "time": 5 });
            log.append(&record, &Losses::default()).unwrap();
        }
        (start, std::fs::read(path).unwrap())
    }

    #[test]
    fn a_power_cut_at_any_byte_stops_no_start_and_is_a_gap() {
        let folder = folder("power");
        let path = folder.join("a.log");
        let (start, whole) = unclosed(&path);
        let head = std::fs::read(beside(&path, "head")).unwrap();
        let aside = beside(&path, "torn-1");
        // Each byte near the end of a line, and some of those between.
        let near = |n: &usize| whole[n.saturating_sub(2)..whole.len().min(n + 2)].contains(&b'\n');
        for left in (start..=whole.len()).filter(|n| n % 13 == 0 || near(n)) {
            for rest in [&b""[..], b"\0\0\0", b"\0\n\0\n"] {
                let cut = [&whole[..left], rest].concat();
                std::fs::write(&path, &cut).unwrap();
                std::fs::write(beside(&path, "head"), &head).unwrap();
                let _ = std::fs::remove_file(&aside);
                let mut log = Log::open(&config(&path, 1 << 20)).unwrap();
                log.append(&json!({ "kind": "round" }), &Losses::default())
                    .unwrap();
                log.close(&Losses::default()).unwrap();
                let report = verified(&path);
                assert!(report.problems.is_empty(), "{left} bytes left: {report:?}");
                assert_eq!(report.gaps.len(), 1, "{left} bytes left");
                // Nothing that was there is gone.
                let kept = whole[..left].iter().rposition(|&b| b == b'\n').unwrap() + 1;
                let torn = std::fs::read(&aside).unwrap_or_default();
                assert_eq!(torn, &cut[kept..], "{left} bytes left");
            }
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn half_a_first_line_is_set_aside() {
        let folder = folder("first");
        let path = folder.join("a.log");
        let (_, whole) = unclosed(&path);
        let first = whole.iter().position(|&b| b == b'\n').unwrap();
        for left in (0..first).filter(|n| *n < 8 || n % 31 == 0) {
            std::fs::write(&path, &whole[..left]).unwrap();
            let _ = std::fs::remove_file(beside(&path, "head"));
            let mut log = Log::open(&config(&path, 1 << 20)).unwrap();
            log.close(&Losses::default()).unwrap();
            let report = verified(&path);
            assert!(report.problems.is_empty(), "{left} bytes left: {report:?}");
            assert_eq!(report.gaps.len(), usize::from(left > 0));
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_line_longer_than_any_record_stops_no_start() {
        let folder = folder("long");
        let path = folder.join("a.log");
        for end in [&b""[..], b"\n"] {
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_file(beside(&path, "head"));
            let (_, mut whole) = unclosed(&path);
            whole.extend(std::iter::repeat_n(b'x', LARGEST * 3));
            whole.extend(end);
            std::fs::write(&path, &whole).unwrap();
            let mut log = Log::open(&config(&path, 1 << 20)).unwrap();
            log.close(&Losses::default()).unwrap();
            let report = verified(&path);
            assert_eq!((report.problems, report.gaps.len()), (vec![], 1));
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_cut_before_a_start_stays_to_be_seen() {
        let folder = folder("cut");
        let path = folder.join("a.log");
        let mut log = Log::open(&config(&path, 1 << 20)).unwrap();
        for n in 0..5 {
            let record = json!({ "kind": "round", "n": n });
            log.append(&record, &Losses::default()).unwrap();
        }
        log.close(&Losses::default()).unwrap();
        drop(log);
        let whole = std::fs::read_to_string(&path).unwrap();
        let head = std::fs::read(beside(&path, "head")).unwrap();
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        let restarted = |text: &str, head: Option<&[u8]>| {
            std::fs::write(&path, text).unwrap();
            match head {
                Some(head) => std::fs::write(beside(&path, "head"), head).unwrap(),
                None => std::fs::remove_file(beside(&path, "head")).unwrap(),
            }
            let mut log = Log::open(&config(&path, 1 << 20)).unwrap();
            for n in 0..9 {
                let record = json!({ "kind": "round", "n": n });
                log.append(&record, &Losses::default()).unwrap();
            }
            log.close(&Losses::default()).unwrap();
            verified(&path).problems
        };
        let problems = restarted(&whole, Some(&head[..]));
        assert!(problems.is_empty(), "{problems:?}");
        for left in 0..lines.len() {
            let problems = restarted(&lines[..left].concat(), Some(&head[..]));
            assert!(!problems.is_empty(), "{left} lines left");
        }
        assert!(!restarted(&lines[..4].concat(), None).is_empty());
        assert!(!restarted(&lines[..4].concat(), Some(&b"{}\n"[..])).is_empty());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_log_that_was_just_set_aside_goes_on() {
        let folder = folder("just");
        let path = folder.join("a.log");
        let mut log = Log::open(&config(&path, 1 << 20)).unwrap();
        log.close(&Losses::default()).unwrap();
        drop(log);
        // A server that ended between the two steps of a rotation.
        std::fs::rename(&path, beside(&path, "1")).unwrap();
        let mut log = Log::open(&config(&path, 1 << 20)).unwrap();
        log.close(&Losses::default()).unwrap();
        let report = verified(&path);
        assert_eq!((report.problems, report.records), (vec![], 5));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn another_key_is_refused_and_so_is_none() {
        let folder = folder("other");
        let path = folder.join("a.log");
        let mut log = Log::open(&config(&path, 1 << 20)).unwrap();
        log.close(&Losses::default()).unwrap();
        drop(log);
        for key in [None, AuditKey::new(b"another key for tests")] {
            let other = AuditConfig {
                key,
                ..config(&path, 1 << 20)
            };
            let error = Log::open(&other).map(|_| ()).unwrap_err();
            assert!(matches!(error, AuditError::OtherKey { .. }), "{error}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
