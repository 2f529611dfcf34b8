//! Audit logs: verified, or what is wrong with them named; and no log stops a start.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use card_audit::{Anchor, Audit, AuditConfig, AuditError, Check, verify};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("card-fuzz-audit-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    folder
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    // A log; and, after a byte 0, its head.
    let (log, head) = match input.iter().position(|&b| b == 0) {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &b""[..]),
    };
    let path = FOLDER.join("log");
    for entry in std::fs::read_dir(&*FOLDER).expect("the folder").flatten() {
        let _ = std::fs::remove_file(entry.path());
    }
    std::fs::write(&path, log).expect("room for a file");
    std::fs::write(FOLDER.join("log.head"), head).expect("room for a file");
    let files = [path.clone()];
    let mut check = Check::default();
    if let Ok(text) = std::str::from_utf8(log) {
        check.anchors = text
            .lines()
            .take(1)
            .filter_map(|l| l.parse::<Anchor>().ok())
            .collect();
    }
    let report = verify(&files, &check).expect("the file can be read");
    let read = card_audit::read(&files, None);
    // What was verified can be read.
    assert!(!report.problems.is_empty() || read.is_ok());
    let config = AuditConfig {
        path,
        text: true,
        rotate_bytes: 1 << 20,
        key: None,
    };
    match Audit::open(config, || panic!("lost")) {
        Ok(audit) => {
            assert!(audit.add(serde_json::json!({ "kind": "round" })));
            drop(audit);
            // It goes on behind what was there.
            let after = verify(&files, &check).expect("the file can be read");
            let last = report.last.map_or(0, |l| l.n);
            assert!(last > 1 << 52 || after.last.map_or(0, |l| l.n) > last);
        }
        Err(AuditError::Foreign { .. }) => assert_eq!(report.records, 0),
        Err(AuditError::OtherKey { .. }) => assert!(report.records > 0),
        Err(error) => panic!("{error}"),
    }
});
