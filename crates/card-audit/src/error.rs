//! Why a log cannot be written or read.

use std::path::Path;

/// Why a log cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be used.
    #[error("the audit log {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A line cannot be read.
    #[error("{path}, line {line}: {why}; `card audit verify` lists all such lines")]
    Broken {
        /// The file.
        path: String,
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong with the line.
        why: String,
    },
    /// The file is something else.
    #[error(
        "{path} is no audit log of this version of card, and is left as it is; \
         move it away, or name another file"
    )]
    Foreign {
        /// The file.
        path: String,
    },
    /// The file is a symbolic link, a folder or a device.
    #[error(
        "the audit log {path} is no regular file, and links are not followed; \
         name the file itself"
    )]
    NoFile {
        /// The file.
        path: String,
    },
    /// Another process writes the log.
    #[error(
        "the audit log {path} is being written by another process; \
         stop that one, or give each server a file of its own"
    )]
    Locked {
        /// The file.
        path: String,
    },
    /// The key cannot be used.
    #[error(
        "the key of the audit log, {path}: {why}; make one with: openssl rand -hex 32 > {path}"
    )]
    Key {
        /// The key's file.
        path: String,
        /// Why not.
        why: String,
    },
    /// The log was written with another key, with none, or without the one that is given.
    #[error(
        "the audit log {path} was written {was}, and would now be written {now}; \
         go on as before, or move it away with all files whose names begin with it"
    )]
    OtherKey {
        /// The file.
        path: String,
        /// How the log was sealed, in words.
        was: String,
        /// How the log would be sealed now, in words.
        now: String,
    },
}

/// Says which file an error is about.
pub(crate) fn io(path: &Path) -> impl Fn(std::io::Error) -> AuditError + '_ {
    move |source| AuditError::Io {
        path: path.display().to_string(),
        source,
    }
}
