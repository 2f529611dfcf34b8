//! Whether a log is as it was written, and whole.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::anchor::{Anchor, GENESIS};
use crate::disk::beside;
use crate::error::{AuditError, io};
use crate::head::LogHead;
use crate::key::{AuditKey, named};
use crate::line::{AuditLine, Lines, RawLine};
use crate::report::{Gap, Problem, VerifyReport};
use crate::scan::in_order;

/// What is asked of a log.
#[derive(Clone, Debug, Default)]
pub struct Check {
    /// The key it must be sealed with; `None` for a log without a key.
    pub key: Option<AuditKey>,
    /// Records that must be in it as they were noted elsewhere.
    pub anchors: Vec<Anchor>,
    /// The log may begin with the oldest record there is: older files were removed on purpose.
    pub from_oldest: bool,
    /// The log may end anywhere: no head is looked for.
    pub without_head: bool,
}

/// After so many problems the rest of the log is not read.
const MOST: usize = 1000;

/// Checks a log. The order of the files does not matter; see [`crate::files`] for those of a
/// log.
///
/// # Errors
/// If a file cannot be read. What is wrong with the log is in the report.
pub fn verify(files: &[PathBuf], check: &Check) -> Result<VerifyReport, AuditError> {
    let files = in_order(files)?;
    let mut verifier = Verifier {
        check,
        head: None,
        report: VerifyReport::default(),
        skipped: false,
        other_key: None,
        anchored: vec![false; check.anchors.len()],
    };
    // Before the records, so that those that are written meanwhile do no harm.
    if !check.without_head
        && let Some(path) = files.last()
    {
        verifier.read_head(path)?;
    }
    for path in &files {
        let file = File::open(path).map_err(io(path))?;
        let mut lines = Lines::new(BufReader::new(file));
        while let Some(text) = lines.next_line().map_err(io(path))? {
            verifier.line(path, &text);
            if verifier.report.problems.len() >= MOST {
                verifier.problem(None, format!("{MOST} problems; the rest was not read"));
                return Ok(verifier.report);
            }
        }
    }
    verifier.end();
    Ok(verifier.report)
}

fn records(n: u64) -> String {
    match n {
        1 => "1 record".to_owned(),
        _ => format!("{n} records"),
    }
}

struct Verifier<'a> {
    check: &'a Check,
    head: Option<LogHead>,
    report: VerifyReport,
    /// Whether the line before could not be read, so that what follows it is unknown.
    skipped: bool,
    /// The key that the line before is sealed with, if it is not the one that is asked for.
    other_key: Option<Option<String>>,
    /// Whether each anchor of the check was found, in the same order.
    anchored: Vec<bool>,
}

impl Verifier<'_> {
    fn problem(&mut self, place: Option<(&Path, usize)>, what: String) {
        self.report.problems.push(Problem {
            place: place.map(|(path, line)| (path.to_path_buf(), line)),
            what,
        });
    }

    fn read_head(&mut self, path: &Path) -> Result<(), AuditError> {
        match LogHead::read(path, self.check.key.as_ref()).map_err(io(path))? {
            Some(Ok(head)) => self.head = Some(head),
            Some(Err(why)) => self.problem(None, why),
            None => {
                let name = beside(path, "head");
                self.problem(
                    None,
                    format!(
                        "{} is missing, so a cut at the end would not show; \
                         say --without-head if these files are a part of a log",
                        name.display()
                    ),
                );
            }
        }
        Ok(())
    }

    fn line(&mut self, path: &Path, text: &RawLine) {
        let place = (path, text.number);
        match text.record() {
            Ok(line) => {
                self.follows(place, &line);
                self.sealed(place, &line);
                self.noted(place, &line);
                self.says(place, &line.body);
                self.report.records += 1;
                self.report.first = self.report.first.or(Some(line.n));
                self.report.last = Some(line.anchor());
                self.skipped = false;
            }
            Err(why) => {
                self.problem(Some(place), why);
                self.skipped = true;
            }
        }
    }

    /// Whether a line is where it belongs.
    fn follows(&mut self, place: (&Path, usize), line: &AuditLine) {
        let Some(last) = self.report.last.clone() else {
            self.begins(place, line);
            return;
        };
        if line.n <= last.n {
            let what = format!(
                "record {} stands after record {}: it was moved, or stands twice",
                line.n, last.n
            );
            self.problem(Some(place), what);
        } else if self.skipped {
            // The line before has its own problem, and says nothing about this one.
        } else if line.n > last.n + 1 {
            let what = format!(
                "{} missing between {} and {}",
                records(line.n - last.n - 1),
                last.n,
                line.n
            );
            self.problem(Some(place), what);
        } else if line.prev != last.hash {
            let what = "it does not follow the line before".to_owned();
            self.problem(Some(place), what);
        }
    }

    /// Whether a line is the first of a log.
    fn begins(&mut self, place: (&Path, usize), line: &AuditLine) {
        if line.n > 1 {
            if !self.check.from_oldest {
                let what = format!(
                    "{} missing before record {}; give the older files too, \
                     or say --from-oldest if they were removed on purpose",
                    records(line.n - 1),
                    line.n
                );
                self.problem(Some(place), what);
            }
            return;
        }
        let is_first = line.body["kind"] == "log" && line.prev == GENESIS;
        let id = line.body["log"].as_str().filter(|_| is_first);
        self.report.log = id.map(str::to_owned);
        if id.is_none() {
            let what = "it is not how a log begins".to_owned();
            self.problem(Some(place), what);
        }
    }

    fn sealed(&mut self, place: (&Path, usize), line: &AuditLine) {
        let key = self.check.key.as_ref();
        if line.key.as_deref() == key.map(AuditKey::id) {
            self.other_key = None;
            if !line.sealed_by(key) {
                let what = "it was changed: the hash does not match".to_owned();
                self.problem(Some(place), what);
            }
        } else if self.other_key.as_ref() != Some(&line.key) {
            self.other_key = Some(line.key.clone());
            let remedy = match (&line.key, key) {
                (Some(_), None) => "give that key (--key-file FILE)",
                (Some(_), Some(_)) => "give that key",
                (None, _) => "anyone could have written it",
            };
            let what = format!(
                "this record, and those after it, are sealed {}: {remedy}",
                named(line.key.as_deref())
            );
            self.problem(Some(place), what);
        }
    }

    /// Whether a line is what the head and the anchors say.
    fn noted(&mut self, place: (&Path, usize), line: &AuditLine) {
        let headed = self.head.as_ref().filter(|h| h.n == line.n);
        let mut wrong = Vec::new();
        match headed.map(|h| h.last == line.hash) {
            Some(true) => self.report.headed = Some(line.n),
            Some(false) => wrong.push("it is not the record that the head names".to_owned()),
            None => {}
        }
        for (anchor, found) in self.check.anchors.iter().zip(&mut self.anchored) {
            if anchor.n == line.n {
                *found = true;
                if anchor.hash != line.hash {
                    wrong.push(format!("it is not the record of the anchor {}", anchor.n));
                }
            }
        }
        for what in wrong {
            self.problem(Some(place), what);
        }
    }

    /// What the log says about itself.
    fn says(&mut self, place: (&Path, usize), body: &Value) {
        let why = body["why"].as_str().unwrap_or_default();
        if body["kind"] == "gap" {
            self.report.gaps.push(Gap {
                after: self.report.last.as_ref().map_or(0, |l| l.n),
                lost: body["lost"].as_u64(),
                since: body["since"].as_u64(),
                until: body["until"].as_u64(),
                why: why.to_owned(),
            });
        } else if body["kind"] == "cut" {
            let what = match body["lost"].as_u64() {
                Some(lost) => format!("cut: {} missing before it: {why}", records(lost)),
                None => format!("cut: records may be missing before it: {why}"),
            };
            self.problem(Some(place), what);
        }
    }

    /// Whether the log goes as far as is known from elsewhere.
    fn end(&mut self) {
        let last = self.report.last.as_ref().map_or(0, |l| l.n);
        let first = self.report.first.unwrap_or(0);
        if self.report.records == 0 {
            self.problem(None, "there is no record in these files".to_owned());
        }
        if let Some(head) = self.head.take() {
            if head.n > last {
                let what = format!(
                    "cut: {} missing after record {last}; the head names record {}",
                    records(head.n - last),
                    head.n
                );
                self.problem(None, what);
            }
            if self.report.log.as_ref().is_some_and(|id| *id != head.log) {
                self.problem(None, "the head is that of another log".to_owned());
            }
        }
        for (anchor, found) in self.check.anchors.iter().zip(self.anchored.clone()) {
            if found {
                continue;
            }
            let what = if anchor.n > last {
                format!(
                    "cut: {} missing after record {last}; there is an anchor {}",
                    records(anchor.n - last),
                    anchor.n
                )
            } else if anchor.n < first {
                format!("the anchor {} is older than these files", anchor.n)
            } else {
                format!(
                    "there is no record {}, of which there is an anchor",
                    anchor.n
                )
            };
            self.problem(None, what);
        }
    }
}
