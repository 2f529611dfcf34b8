//! Audit logs: verified, or the broken line named.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("card-fuzz-audit-{}", std::process::id())));

libfuzzer_sys::fuzz_target!(|log: &[u8]| {
    std::fs::write(&*FILE, log).expect("a folder for temporary files");
    let files = [FILE.clone()];
    let verified = card_audit::verify(&files);
    let read = card_audit::read(&files, None);
    // What was verified can be read.
    assert!(verified.is_err() || read.is_ok());
});
