//! `card audit` and `card explain`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use card_audit as audit;
use card_server::explain;

use crate::args::{AuditCommand, ExplainArgs};

/// `card audit`.
pub fn run(command: &AuditCommand) -> Result<ExitCode> {
    match command {
        AuditCommand::Verify { files } => {
            let verified = audit::verify(files)?;
            let whole = verified.first.bytes().all(|b| b == b'0');
            println!("{} records, each follows the one before", verified.records);
            if verified.records > 0 && !whole {
                println!(
                    "the first follows {}; an older file comes before it",
                    verified.first
                );
            }
            println!("last hash: {}", verified.last);
            println!("compare it with one you noted elsewhere: a cut at the end shows only there");
        }
        AuditCommand::List { files } => {
            let mut requests: BTreeMap<String, (String, String)> = BTreeMap::new();
            for record in audit::read(files, None)? {
                let id = record["request"].as_str().unwrap_or_default().to_owned();
                let entry = requests.entry(id).or_default();
                match record["kind"].as_str() {
                    Some("begin") => entry.0 = format!("{} prompt tokens", record["prompt_tokens"]),
                    Some("end") => {
                        let ms = record["ms"].as_f64().unwrap_or_default();
                        entry.1 = format!(
                            "{} tokens in {} rounds, {:.1} s, {}",
                            record["tokens"],
                            record["rounds"],
                            ms / 1e3,
                            record["finish"].as_str().unwrap_or_default()
                        );
                    }
                    _ => {}
                }
            }
            for (id, (begin, end)) in requests {
                println!("{id:20} {begin:22} {end}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `card explain`.
pub fn explain(args: &ExplainArgs) -> Result<ExitCode> {
    let id = args.request.rsplit('-').next().unwrap_or_default();
    let mut records = audit::read(&args.files, Some(id))?;
    records.retain(|r| r["choice"] == args.choice);
    ensure!(
        !records.is_empty(),
        "there is no request {id:?} (choice {}) in the log; `card audit list` shows what there is",
        args.choice
    );
    std::fs::write(&args.out, explain::page(&records))
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    eprintln!("written: {}", args.out.display());
    Ok(ExitCode::SUCCESS)
}
