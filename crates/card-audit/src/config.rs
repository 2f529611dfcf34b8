//! Settings of an audit log.

use std::path::PathBuf;

use crate::key::AuditKey;

/// Settings of an audit log.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// The path of the log, `FILE`.
    pub path: PathBuf,
    /// Whether text and tokens are written. Where this is false, records have only structure,
    /// sources and times.
    pub text: bool,
    /// The size in bytes from which on a file is set aside as `FILE.1`, `FILE.2`, …
    pub rotate_bytes: u64,
    /// The key that seals the records. Without a key, whoever can write the file can change
    /// it so that nothing shows.
    pub key: Option<AuditKey>,
}
