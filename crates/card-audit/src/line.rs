//! A line of a log, and the lines of a file.

use std::io::{BufRead, Read};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::anchor::Anchor;
use crate::key::{AuditKey, seal};

/// What each line begins with.
pub(crate) const BEGINNING: &[u8] = b"{\"n\":";
/// A record has at most this many bytes.
pub(crate) const LARGEST: usize = 4 << 20;
/// A line has at most this many bytes: a record, and what stands around it.
const LONGEST: u64 = LARGEST as u64 + 1024;
/// No log has more records; every reader of JSON knows the numbers up to here exactly.
const MOST: u64 = 1 << 53;

/// A line that could be read.
///
/// Invariant: the text of the line is what [`write`] would write for these fields; whether
/// the hash is right is another question, which [`AuditLine::sealed_by`] answers.
#[derive(Debug)]
pub(crate) struct AuditLine {
    /// The number of the record, from 1.
    pub n: u64,
    /// The hash of the line before.
    pub prev: String,
    /// The id of the key that seals the line; `None` where a plain hash does.
    pub key: Option<String>,
    /// The record.
    pub body: Value,
    /// The text that the hash is of: all that stands before the hash in the line.
    covered: String,
    /// The hash that the line ends with.
    pub hash: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineFields {
    n: u64,
    prev: String,
    key: Option<String>,
    body: Box<RawValue>,
    hash: String,
}

impl AuditLine {
    /// Reads a line, without its line break.
    ///
    /// # Errors
    /// If the text is not exactly what a record is written as.
    pub fn parse(text: &[u8]) -> Result<AuditLine, String> {
        let wrong = |e: serde_json::Error| format!("it is no record: {e}");
        let parts: LineFields = serde_json::from_slice(text).map_err(wrong)?;
        if parts.n == 0 || parts.n > MOST {
            return Err(format!("it is no record: there is no number {}", parts.n));
        }
        let covered = covered(parts.n, &parts.prev, parts.key.as_deref(), parts.body.get());
        // There is one way to write a line, so no byte of it can be another.
        let written = whole(&covered, &parts.hash);
        if written.strip_suffix('\n').map(str::as_bytes) != Some(text) {
            return Err("it is no record: it is not written as records are".to_owned());
        }
        Ok(AuditLine {
            n: parts.n,
            prev: parts.prev,
            key: parts.key,
            body: serde_json::from_str(parts.body.get()).map_err(wrong)?,
            covered,
            hash: parts.hash,
        })
    }

    /// The number and the hash of the record.
    pub fn anchor(&self) -> Anchor {
        Anchor {
            n: self.n,
            hash: self.hash.clone(),
        }
    }

    /// Whether the hash is right. Look first whether [`AuditLine::key`] is this key.
    pub fn sealed_by(&self, key: Option<&AuditKey>) -> bool {
        seal(key, &self.covered) == self.hash
    }
}

/// The text of a line with its line break, and its hash.
pub(crate) fn write(n: u64, prev: &str, key: Option<&AuditKey>, body: &str) -> (String, String) {
    let covered = covered(n, prev, key.map(AuditKey::id), body);
    let hash = seal(key, &covered);
    (whole(&covered, &hash), hash)
}

/// The part of a line that the hash is of.
fn covered(n: u64, prev: &str, key: Option<&str>, body: &str) -> String {
    let key = match key {
        Some(id) => format!("\"{id}\""),
        None => "null".to_owned(),
    };
    format!("{{\"n\":{n},\"prev\":\"{prev}\",\"key\":{key},\"body\":{body}")
}

fn whole(covered: &str, hash: &str) -> String {
    format!("{covered},\"hash\":\"{hash}\"}}\n")
}

/// The lines of a file, with no more memory than the longest record takes.
pub(crate) struct Lines<R> {
    reader: R,
    number: usize,
    end: u64,
}

/// A line of a file, not yet read as a record.
pub(crate) struct RawLine {
    /// The bytes without the line break; of a line longer than any record, the first 64.
    pub bytes: Vec<u8>,
    /// The number of the line in its file, from 1.
    pub number: usize,
    /// The offset in the file, in bytes, at which the next line begins.
    pub end: u64,
    /// Whether a line break ends the line.
    pub ended: bool,
    /// Whether the line is longer than any record.
    pub long: bool,
}

impl RawLine {
    /// Reads the line as a record.
    ///
    /// # Errors
    /// If the line is no record, is longer than any, or lacks its end.
    pub fn record(&self) -> Result<AuditLine, String> {
        if self.long {
            return Err("it is no record: it is longer than any".to_owned());
        }
        if !self.ended {
            return Err("it is torn: its end is missing".to_owned());
        }
        AuditLine::parse(&self.bytes)
    }
}

impl<R: BufRead> Lines<R> {
    /// The lines of what is read.
    pub fn new(reader: R) -> Self {
        Lines {
            reader,
            number: 0,
            end: 0,
        }
    }

    /// The next line.
    ///
    /// # Errors
    /// If the reader fails.
    pub fn next_line(&mut self) -> std::io::Result<Option<RawLine>> {
        let mut bytes = Vec::new();
        let mut few = Read::by_ref(&mut self.reader).take(LONGEST + 1);
        let read = few.read_until(b'\n', &mut bytes)? as u64;
        if read == 0 {
            return Ok(None);
        }
        self.end += read;
        self.number += 1;
        let mut ended = bytes.last() == Some(&b'\n');
        let long = !ended && read > LONGEST;
        if ended {
            bytes.pop();
        }
        if long {
            bytes = bytes.iter().take(64).copied().collect();
            ended = self.skip()?;
        }
        Ok(Some(RawLine {
            bytes,
            number: self.number,
            end: self.end,
            ended,
            long,
        }))
    }

    /// Goes to the next line; `false` if there is no line break any more.
    fn skip(&mut self) -> std::io::Result<bool> {
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(false);
            }
            let found = buffer.iter().position(|&b| b == b'\n');
            let used = found.map_or(buffer.len(), |i| i + 1);
            self.reader.consume(used);
            self.end += used as u64;
            if found.is_some() {
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchor::GENESIS;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let (text, hash) = write(7, GENESIS, None, "{\"a\":\"é\\n\"}");
        let line = AuditLine::parse(text.trim_end().as_bytes()).unwrap();
        assert_eq!((line.n, &line.hash), (7, &hash));
        assert!(line.sealed_by(None));
        assert!(text.as_bytes().starts_with(BEGINNING));
        for other in [
            text.replace("\"n\":7", "\"n\": 7"),
            text.replace("\"n\":7", "\"n\":0"),
            text.replace("\"n\":7", "\"n\":9007199254740993"),
            text.replace("\"key\":null,", ""),
            text.replace("\"key\":null", "\"key\":null,\"key\":null"),
            text.replace("\"key\":null", "\"key\":null,\"more\":1"),
            text.replace("\"prev\":\"0", "\"prev\":\"\\u0030"),
            format!(" {text}"),
            text.replace('\n', " \n"),
            text.replace("\"hash\"", "\"Hash\""),
            String::new(),
        ] {
            let read = AuditLine::parse(other.trim_end_matches('\n').as_bytes());
            assert!(read.is_err(), "{other}");
        }
    }

    #[test]
    fn a_line_longer_than_any_record_takes_no_memory() {
        let mut file = b"one\n".to_vec();
        file.extend(std::iter::repeat_n(b'x', LARGEST * 2));
        file.extend(b"\ntwo\nthree");
        let length = file.len() as u64;
        let mut lines = Lines::new(std::io::BufReader::new(&file[..]));
        let mut seen = Vec::new();
        while let Some(text) = lines.next_line().unwrap() {
            assert!(text.bytes.capacity() < 1024);
            assert_eq!(text.long, text.number == 2);
            assert_eq!(text.ended, text.number != 4);
            seen.push(String::from_utf8(text.bytes).unwrap());
            assert!(text.end <= length);
        }
        assert_eq!(seen, ["one", &"x".repeat(64), "two", "three"]);
    }
}
