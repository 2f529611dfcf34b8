//! What a check of a log finds.

use std::fmt;
use std::path::PathBuf;

use crate::anchor::Anchor;

/// What a check found.
///
/// A log is as it was written, and whole, exactly if `problems` is empty.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// The id of the log, if its first record is there.
    pub log: Option<String>,
    /// The number of records that could be read.
    pub records: u64,
    /// The number of the first record.
    pub first: Option<u64>,
    /// The last record. Noted elsewhere, it shows later that all up to there is as it is now.
    pub last: Option<Anchor>,
    /// The number of the record that the head names, if it was found as named.
    pub headed: Option<u64>,
    /// The places where the log itself says that records are missing.
    pub gaps: Vec<Gap>,
    /// What is wrong with the log.
    pub problems: Vec<Problem>,
}

/// Records that could not be written, as the log itself says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The number of the record before the gap.
    pub after: u64,
    /// The number of records that are missing; `None` where nobody could count.
    pub lost: Option<u64>,
    /// The time at which the first was lost, in milliseconds since 1970, if known.
    pub since: Option<u64>,
    /// The time at which the last was lost, in milliseconds since 1970, if known.
    pub until: Option<u64>,
    /// The reason that the log gives.
    pub why: String,
}

/// Something wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file and the line, counted from 1; `None` if the problem is not one line's.
    pub place: Option<(PathBuf, usize)>,
    /// What is wrong, in words.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((file, line)) = &self.place {
            write!(f, "{}, line {line}: ", file.display())?;
        }
        f.write_str(&self.what)
    }
}
