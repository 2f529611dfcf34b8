//! A log through full disks, power cuts, cuts by someone and rotations that fail.

use serde_json::json;

use super::*;
use crate::disk::files;
use crate::disk::tests::folder;
use crate::line::LARGEST;
use crate::report::VerifyReport;
use crate::verify::{Check, verify};

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

fn verified(path: &Path) -> VerifyReport {
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
    log.last = Anchor::genesis();
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
