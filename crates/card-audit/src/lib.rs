//! The audit log: who asked, what was proposed, what the target wrote, and when.
//!
//! A log is a file of JSON lines, `FILE`; what was set aside for its size is `FILE.1`,
//! `FILE.2`, … A line is `{"n":…,"prev":…,"key":…,"body":…,"hash":…}`: the record's number,
//! which runs through all files; the `hash` of the line before; the id of the key it is
//! sealed with, or null; the record; and the hash of all that stands before it in the line.
//! With a key the hash is HMAC-SHA-256, and only who has the key can write a line that
//! passes. Without, it is SHA-256, and shows accidents only.
//!
//! Beside the log lie `FILE.head`, which names the last record, so that a cut at the end
//! shows; `FILE.lock`, so that one process writes; and `FILE.torn-1`, …: halves of lines
//! that a power cut left.
//!
//! The log writes some records itself: `log` (the first one, with a random id), `open` and
//! `close` (a server started and stopped), `gap` (records were lost: how many, when, why) and
//! `cut` (the log was shorter at a start than its head says).
//!
//! What the log proves and what it does not is in `docs/serving.md`.

#![forbid(unsafe_code)]

mod anchor;
mod clock;
mod config;
mod disk;
mod error;
mod head;
mod key;
mod line;
mod log;
mod losses;
mod read;
mod record;
mod report;
mod scan;
mod torn;
mod verify;
mod writer;

pub use anchor::Anchor;
pub use clock::now_ms;
pub use config::AuditConfig;
pub use disk::files;
pub use error::AuditError;
pub use key::AuditKey;
pub use read::{head, read, visit};
pub use report::{Gap, Problem, VerifyReport};
pub use verify::{Check, verify};
pub use writer::Audit;
