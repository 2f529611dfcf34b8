//! `card audit`: checks and lists audit logs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use card_audit as audit;
use card_audit::{AuditKey, Check, VerifyReport};
use card_core::words::counted;
use serde_json::Value;

use crate::args::{AuditCommand, VerifyArgs};

/// `card audit`.
pub fn run(command: &AuditCommand) -> Result<ExitCode> {
    match command {
        AuditCommand::Verify(args) => verify(args),
        AuditCommand::Head { files } => {
            let files = audit::files(files)?;
            let Some(head) = audit::head(&files)? else {
                bail!("there is no record in the log");
            };
            println!("{head}");
            eprintln!(
                "keep it where nobody who can write the log can change it; \
                 `card audit verify FILE --anchor N:HASH` compares"
            );
            Ok(ExitCode::SUCCESS)
        }
        AuditCommand::List { files } => {
            print!("{}", list(&audit::files(files)?)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn verify(args: &VerifyArgs) -> Result<ExitCode> {
    let check = Check {
        key: args
            .key_file
            .as_deref()
            .map(AuditKey::from_file)
            .transpose()?,
        anchors: args.anchor.clone(),
        from_oldest: args.from_oldest,
        without_head: args.without_head,
    };
    let report = audit::verify(&audit::files(&args.files)?, &check)?;
    print!("{}", found(&report, &check));
    for problem in &report.problems {
        eprintln!("{}", plain(&problem.to_string()));
    }
    Ok(if report.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What a log is, in words.
fn found(report: &VerifyReport, check: &Check) -> String {
    let mut text = String::new();
    for gap in &report.gaps {
        let lost = match gap.lost {
            Some(1) => "1 record was lost".to_owned(),
            Some(lost) => format!("{lost} records were lost"),
            None => "records may have been lost".to_owned(),
        };
        let until = gap.until.unwrap_or_default();
        let since = gap.since.unwrap_or(until);
        let _ = writeln!(
            text,
            "gap after record {}: {lost} between {since} and {until} (ms since 1970): {}",
            gap.after,
            plain(&gap.why)
        );
    }
    if !report.problems.is_empty() {
        let count = counted(report.problems.len(), "problem");
        let _ = writeln!(text, "{}, {count}", counted(report.records, "record"));
        return text;
    }
    let _ = writeln!(
        text,
        "{}, each follows the one before",
        counted(report.records, "record")
    );
    let _ = match &check.key {
        Some(key) => writeln!(
            text,
            "sealed with the key {}: only who has it can have written them",
            key.id()
        ),
        None => writeln!(
            text,
            "without a key: this finds accidents; whoever can write the log can write it anew"
        ),
    };
    if let Some(last) = &report.last {
        let after = match report.headed {
            Some(headed) if headed < last.n => {
                format!(" (the head names record {headed}: a cut after it would not show)")
            }
            _ => String::new(),
        };
        let _ = writeln!(text, "last: {last}{after}");
    }
    if check.anchors.is_empty() {
        text.push_str(
            "no anchor: an older copy of the whole log would pass (see `card audit head`)\n",
        );
    }
    text
}

/// What a log says of a request.
#[derive(Default)]
struct AuditedRequest {
    who: String,
    begin: String,
    end: String,
}

/// The requests of a log, and what was refused.
#[derive(Default)]
struct AuditList {
    requests: BTreeMap<String, AuditedRequest>,
    /// Refusals that belong to no request, by who was refused and why.
    refused: BTreeMap<(String, String), u64>,
}

impl AuditList {
    fn add(&mut self, record: &Value) {
        let text = |name: &str| plain(record[name].as_str().unwrap_or_default());
        let who = match text("who") {
            name if name.is_empty() => text("peer"),
            name => name,
        };
        let id = text("request");
        let kind = record["kind"].as_str().unwrap_or_default();
        if kind == "refused" {
            self.add_refusal(record, who, id);
            return;
        }
        // The log's own records are about no request.
        if id.is_empty() {
            return;
        }
        let request = self.requests.entry(id).or_default();
        if !who.is_empty() {
            request.who = who;
        }
        let number = |name: &str, noun: &str| counted(record[name].as_u64().unwrap_or(0), noun);
        match kind {
            "begin" => request.begin = number("prompt_tokens", "prompt token"),
            "end" => {
                let ms = record["ms"].as_f64().unwrap_or_default();
                request.end = format!(
                    "{} in {}, {:.1} s, {}",
                    number("tokens", "token"),
                    number("rounds", "round"),
                    ms / 1e3,
                    text("finish")
                );
            }
            _ => {}
        }
    }

    fn add_refusal(&mut self, record: &Value, who: String, id: String) {
        if let Some(statuses) = record["statuses"].as_object() {
            // Of callers that nobody knows, together.
            for (status, count) in statuses {
                let key = ("a stranger".into(), plain(status));
                *self.refused.entry(key).or_default() += count.as_u64().unwrap_or_default();
            }
            return;
        }
        let reason = plain(record["reason"].as_str().unwrap_or_default());
        let reason = format!("{} {reason}", record["status"]);
        if id.is_empty() {
            *self.refused.entry((who, reason)).or_default() += 1;
        } else {
            let request = self.requests.entry(id).or_default();
            request.who = who;
            request.end = format!("refused: {reason}");
        }
    }
}

/// The requests of a log, a line each, and how many were refused.
fn list(files: &[PathBuf]) -> Result<String> {
    let mut list = AuditList::default();
    audit::visit(files, &mut |record: Value| list.add(&record))?;
    let mut text = String::new();
    for (id, AuditedRequest { who, begin, end }) in list.requests {
        let _ = writeln!(text, "{id:20} {who:16} {begin:22} {end}");
    }
    for ((who, reason), count) in list.refused {
        let _ = writeln!(text, "{:20} {who:16} {count} refused: {reason}", "-");
    }
    Ok(text)
}

/// A text without what would steer a terminal.
fn plain(text: &str) -> String {
    let shown = text.chars().map(|c| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use card_audit::{Audit, AuditConfig};
    use serde_json::json;

    use super::*;

    fn log(folder: &Path, records: &[Value]) -> Vec<PathBuf> {
        let path = folder.join("audit.jsonl");
        let config = AuditConfig {
            path: path.clone(),
            text: true,
            rotate_bytes: 1 << 20,
            key: None,
        };
        let audit = Audit::open(config, || panic!("lost")).unwrap();
        for record in records {
            assert!(audit.add(record.clone()));
        }
        vec![path]
    }

    #[test]
    fn each_request_is_listed_with_who_asked_and_how_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let records = [
            json!({ "kind": "begin", "request": "a", "who": "ann", "peer": "10.0.0.1", "prompt_tokens": 7 }),
            json!({ "kind": "round", "request": "a" }),
            json!({ "kind": "end", "request": "a", "tokens": 3, "rounds": 2, "ms": 1500.0, "finish": "stop" }),
            json!({ "kind": "begin", "request": "b", "peer": "10.0.0.2", "prompt_tokens": 1 }),
            json!({ "kind": "refused", "request": "c", "who": "cy", "status": 429, "reason": "queue" }),
            json!({ "kind": "refused", "peer": "10.0.0.9", "status": 401, "reason": "key" }),
            json!({ "kind": "refused", "peer": "10.0.0.9", "status": 401, "reason": "key" }),
            json!({ "kind": "refused", "who": "\u{1b}[2Jevil\n", "status": 401, "reason": "key" }),
        ];
        let text = list(&log(folder.path(), &records)).unwrap();
        let lines: Vec<String> = text
            .lines()
            .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "a ann 7 prompt tokens 3 tokens in 2 rounds, 1.5 s, stop",
                "b 10.0.0.2 1 prompt token",
                "c cy refused: 429 queue",
                "- 10.0.0.9 2 refused: 401 key",
                "- \u{fffd}[2Jevil\u{fffd} 1 refused: 401 key",
            ]
        );
    }

    #[test]
    fn what_is_found_says_what_it_proves() {
        let folder = tempfile::tempdir().unwrap();
        let files = log(
            folder.path(),
            &[json!({ "kind": "gap", "lost": 4, "why": "full" })],
        );
        let check = Check::default();
        let report = audit::verify(&files, &check).unwrap();
        let text = found(&report, &check);
        for part in [
            "gap after record 2: 4 records were lost",
            "4 records, each follows the one before",
            "without a key",
            "last: 4:",
            "no anchor",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
