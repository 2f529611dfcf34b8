//! The records of a log, without a check of who wrote them.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use crate::anchor::Anchor;
use crate::error::{AuditError, io};
use crate::line::{AuditLine, Lines};
use crate::scan::in_order;

/// A line of which only the record matters; those of older versions have one too.
#[derive(Deserialize)]
struct Any {
    body: Value,
}

/// The records of a request, or of all.
///
/// # Errors
/// If a file cannot be read or a line is no record.
pub fn read(files: &[PathBuf], request: Option<&str>) -> Result<Vec<Value>, AuditError> {
    let mut found = Vec::new();
    visit(files, &mut |body: Value| {
        if request.is_none_or(|id| body["request"] == id) {
            found.push(body);
        }
    })?;
    Ok(found)
}

/// Shows each record. Half a line at the end, which a running server may just be writing, is
/// passed over.
///
/// # Errors
/// If a file cannot be read or a line is no record.
pub fn visit(files: &[PathBuf], see: &mut dyn FnMut(Value)) -> Result<(), AuditError> {
    for path in in_order(files)? {
        let file = File::open(&path).map_err(io(&path))?;
        let mut lines = Lines::new(BufReader::new(file));
        while let Some(text) = lines.next_line().map_err(io(&path))? {
            if !text.ended {
                continue;
            }
            let broken = |why: String| AuditError::Broken {
                path: path.display().to_string(),
                line: text.number,
                why,
            };
            if text.long {
                return Err(broken("it is longer than any record".to_owned()));
            }
            let line: Any = serde_json::from_slice(&text.bytes)
                .map_err(|e| broken(format!("it is no record: {e}")))?;
            see(line.body);
        }
    }
    Ok(())
}

/// The last record of a log, to be noted elsewhere. `None` if there is no record.
///
/// # Errors
/// If a file cannot be read.
pub fn head(files: &[PathBuf]) -> Result<Option<Anchor>, AuditError> {
    let mut last: Option<AuditLine> = None;
    for path in in_order(files)?.iter().rev() {
        let file = File::open(path).map_err(io(path))?;
        let mut lines = Lines::new(BufReader::new(file));
        while let Some(text) = lines.next_line().map_err(io(path))? {
            if let Ok(line) = text.record() {
                last = Some(line);
            }
        }
        if last.is_some() {
            break;
        }
    }
    Ok(last.map(|line| line.anchor()))
}
