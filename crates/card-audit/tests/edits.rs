//! What is done to the files of a log, and whether it shows.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use card_audit::{
    Anchor, Audit, AuditConfig, AuditError, AuditKey, Check, VerifyReport, files, head, read,
    verify,
};
use serde_json::json;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("card-edits-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn key() -> Option<AuditKey> {
    AuditKey::new(b"a key for tests only")
}

fn config(path: &Path, rotate_bytes: u64, key: Option<AuditKey>) -> AuditConfig {
    AuditConfig {
        path: path.to_path_buf(),
        text: true,
        rotate_bytes,
        key,
    }
}

/// A server writes these records.
fn write(config: &AuditConfig, numbers: std::ops::Range<usize>) {
    let audit = Audit::open(config.clone(), || panic!("lost")).unwrap();
    for n in numbers {
        let record =
            json!({ "kind": "round", "request": format!("r{}", n % 3), "n": n, "text": "\"é\"\n" });
        assert!(audit.add(record));
    }
}

fn all(path: &Path) -> Vec<PathBuf> {
    files(&[path.to_path_buf()]).unwrap()
}

fn report(files: &[PathBuf], key: Option<AuditKey>, anchors: &[&Anchor]) -> VerifyReport {
    let check = Check {
        key,
        anchors: anchors.iter().copied().cloned().collect(),
        ..Check::default()
    };
    verify(files, &check).unwrap()
}

fn assert_good(report: &VerifyReport) {
    assert!(report.problems.is_empty(), "{report:?}");
}

fn said(report: &VerifyReport) -> String {
    report.problems.iter().map(|p| format!("{p}\n")).collect()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}.{suffix}", path.display()))
}

#[test]
fn a_log_holds_together_over_restarts_and_rotation() {
    for key in [None, key()] {
        let folder = folder("whole");
        let path = folder.join("audit.jsonl");
        let config = config(&path, 1500, key.clone());
        write(&config, 0..10);
        write(&config, 10..20);
        let files = all(&path);
        assert!(files.len() > 2, "it was rotated");
        let whole = report(&files, key.clone(), &[]);
        assert_good(&whole);
        assert!(whole.gaps.is_empty());
        // log, then open and close twice.
        assert_eq!((whole.records, whole.first), (25, Some(1)));
        assert_eq!(whole.last, head(&files).unwrap());
        assert_eq!(whole.headed, whole.last.as_ref().map(|l| l.n));
        // The files come in any order.
        let backwards: Vec<PathBuf> = files.iter().rev().cloned().collect();
        assert_eq!(report(&backwards, key, &[]).last, whole.last);
        let found = read(&files, Some("r1")).unwrap();
        let numbers: Vec<_> = found.iter().map(|r| r["n"].as_u64().unwrap()).collect();
        assert_eq!(numbers, [1, 4, 7, 10, 13, 16, 19]);
        fs::remove_dir_all(folder).unwrap();
    }
}

/// Every edit of one kind that can be made to a file, as the texts it leads to.
fn edits(text: &[u8]) -> Vec<(String, Vec<u8>)> {
    let lines: Vec<&[u8]> = text.split_inclusive(|&b| b == b'\n').collect();
    let mut edits = Vec::new();
    for byte in 0..text.len() {
        for bit in 0..8 {
            let mut other = text.to_vec();
            other[byte] ^= 1 << bit;
            edits.push((format!("bit {bit} of byte {byte} flipped"), other));
        }
    }
    for i in 0..lines.len() {
        let mut other = lines.clone();
        other.remove(i);
        edits.push((format!("line {i} removed"), other.concat()));
        for j in 0..lines.len() {
            let mut other = lines.clone();
            other.insert(j, lines[i]);
            edits.push((format!("line {i} again at {j}"), other.concat()));
            if i != j {
                let mut other = lines.clone();
                other.swap(i, j);
                edits.push((format!("lines {i} and {j} swapped"), other.concat()));
            }
        }
    }
    for length in 0..text.len() {
        edits.push((format!("cut at byte {length}"), text[..length].to_vec()));
    }
    edits
}

#[test]
fn any_single_edit_is_found() {
    // By accident is found without a key too.
    for key in [key(), None] {
        let folder = folder("single");
        let path = folder.join("audit.jsonl");
        write(&config(&path, 700, key.clone()), 0..3);
        let files = all(&path);
        assert!(files.len() > 1, "it was rotated");
        assert_good(&report(&files, key.clone(), &[]));
        let mut edited = files.clone();
        edited.push(beside(&path, "head"));
        for file in &edited {
            let text = fs::read(file).unwrap();
            for (what, other) in edits(&text) {
                fs::write(file, &other).unwrap();
                let found = report(&files, key.clone(), &[]);
                assert!(
                    !found.problems.is_empty(),
                    "{}: {what} is not found",
                    file.display()
                );
            }
            fs::write(file, &text).unwrap();
        }
        for gone in 0..files.len() {
            let mut others = files.clone();
            others.remove(gone);
            let found = report(&others, key.clone(), &[]);
            assert!(!found.problems.is_empty(), "without file {gone}");
        }
        fs::remove_file(beside(&path, "head")).unwrap();
        assert!(said(&report(&files, key, &[])).contains("head is missing"));
        fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn an_edit_is_named() {
    let folder = folder("named");
    let path = folder.join("audit.jsonl");
    write(&config(&path, 1 << 20, key()), 0..5);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let after = |text: String| {
        fs::write(&path, text).unwrap();
        said(&report(&all(&path), key(), &[]))
    };
    let changed = after(text.replace("\"n\":3,\"text\"", "\"n\":4,\"text\""));
    assert!(changed.contains("line 6: it was changed"), "{changed}");
    let removed = after([&lines[..3], &lines[4..]].concat().concat());
    let words = "line 4: 1 record missing between 3 and 5";
    assert!(removed.contains(words), "{removed}");
    let cut = after(lines[..6].concat());
    let words = "cut: 2 records missing after record 6";
    assert!(cut.contains(words), "{cut}");
    let begun = after(lines[2..].concat());
    assert!(begun.contains("--from-oldest"), "{begun}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_oldest_file_is_missed_unless_it_is_said() {
    let folder = folder("oldest");
    let path = folder.join("audit.jsonl");
    write(&config(&path, 700, key()), 0..10);
    fs::remove_file(beside(&path, "1")).unwrap();
    let mut check = Check {
        key: key(),
        ..Check::default()
    };
    let missed = verify(&all(&path), &check).unwrap();
    assert!(
        said(&missed).contains("missing before record"),
        "{missed:?}"
    );
    check.from_oldest = true;
    assert_good(&verify(&all(&path), &check).unwrap());
    // Going on, it stays the same log, and no number comes twice.
    write(&config(&path, 700, key()), 10..20);
    assert!(!beside(&path, "1").exists());
    assert_good(&verify(&all(&path), &check).unwrap());
    // A part from the middle has no head of its own.
    let part = [beside(&path, "2"), beside(&path, "3")];
    assert!(!verify(&part, &check).unwrap().problems.is_empty());
    check.without_head = true;
    assert_good(&verify(&part, &check).unwrap());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn another_key_or_none_does_not_pass() {
    let other = || AuditKey::new(b"another key for tests");
    for (with, asked) in [(key(), None), (key(), other()), (None, key())] {
        let folder = folder("keys");
        let path = folder.join("audit.jsonl");
        write(&config(&path, 1 << 20, with.clone()), 0..3);
        assert_good(&report(&all(&path), with, &[]));
        let found = report(&all(&path), asked, &[]);
        assert!(said(&found).contains("sealed with"), "{found:?}");
        // Said once, not for each line.
        assert!(found.problems.len() <= 2, "{found:?}");
        fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn an_anchor_finds_what_the_files_alone_cannot_show() {
    for key in [None, key()] {
        let folder = folder("anchor");
        let path = folder.join("audit.jsonl");
        let config = config(&path, 1 << 20, key.clone());
        write(&config, 0..3);
        let old = [
            fs::read(&path).unwrap(),
            fs::read(beside(&path, "head")).unwrap(),
        ];
        write(&config, 3..6);
        let anchor = head(&all(&path)).unwrap().unwrap();
        assert_good(&report(&all(&path), key.clone(), &[&anchor]));
        // An older copy of the log and of its head.
        fs::write(&path, &old[0]).unwrap();
        fs::write(beside(&path, "head"), &old[1]).unwrap();
        assert_good(&report(&all(&path), key.clone(), &[]));
        let found = said(&report(&all(&path), key.clone(), &[&anchor]));
        assert!(found.contains("cut: "), "{found}");
        // A log that was written anew, by someone who has the key if there is one.
        fs::remove_file(&path).unwrap();
        fs::remove_file(beside(&path, "head")).unwrap();
        write(&config, 0..20);
        assert_good(&report(&all(&path), key.clone(), &[]));
        let found = said(&report(&all(&path), key, &[&anchor]));
        assert!(found.contains("of the anchor"), "{found}");
        fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn a_second_writer_is_told_what_to_do() {
    let folder = folder("second");
    let path = folder.join("audit.jsonl");
    let first = Audit::open(config(&path, 1 << 20, None), || {}).unwrap();
    let error = Audit::open(config(&path, 1 << 20, None), || {})
        .map(|_| ())
        .unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("audit.jsonl") && said.contains("a file of its own"),
        "{said}"
    );
    drop(first);
    assert!(Audit::open(config(&path, 1 << 20, None), || {}).is_ok());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_file_of_something_else_is_not_touched() {
    let old = "{\"body\":{\"a\":1},\"prev\":\"00\",\"hash\":\"00\"}\n";
    let long = "x".repeat(5 << 20);
    for text in [
        "dear diary\n",
        "dear diary",
        "{\"a\":1}\n",
        old,
        "\n",
        &long,
    ] {
        let folder = folder("foreign");
        let path = folder.join("notes.txt");
        fs::write(&path, text).unwrap();
        let opened = Audit::open(config(&path, 1, None), || {});
        assert!(matches!(opened, Err(AuditError::Foreign { .. })));
        drop(opened);
        assert!(fs::read_to_string(&path).unwrap() == text);
        fs::remove_dir_all(folder).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn what_is_made_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder("mode");
    let path = folder.join("audit.jsonl");
    write(&config(&path, 700, None), 0..10);
    let mut file = fs::read(&path).unwrap();
    file.extend(b"{\"n\":");
    fs::write(&path, file).unwrap();
    write(&config(&path, 700, None), 0..10);
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
        names.push(entry.file_name().into_string().unwrap());
    }
    for suffix in ["", ".1", ".2", ".head", ".lock", ".torn-1"] {
        let name = format!("audit.jsonl{suffix}");
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    let folder = folder("links");
    let target = folder.join("target");
    fs::write(&target, "").unwrap();
    for (suffix, refused) in [("", true), (".lock", true), (".head.new", false)] {
        let path = folder.join(format!("audit{}.jsonl", suffix.len()));
        let link = PathBuf::from(format!("{}{suffix}", path.display()));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let opened = Audit::open(config(&path, 1 << 20, None), || {});
        assert_eq!(opened.is_err(), refused, "{suffix}");
        drop(opened);
        assert_eq!(fs::read(&target).unwrap(), b"", "{suffix}");
    }
    // Nor is a folder or a device a log.
    for path in [folder.clone(), PathBuf::from("/dev/null")] {
        let opened = Audit::open(config(&path, 1 << 20, None), || {});
        assert!(matches!(opened, Err(AuditError::NoFile { .. })));
    }
    fs::remove_dir_all(folder).unwrap();
}
