//! Lossless whatever the model keeps of a text: on a tiny model of each architecture that llama.cpp
//! knows and that writes token by token, every mode with every drafter writes what plain decoding
//! writes.
//!
//! A sample with every kind of memory takes a minute. All of them take some minutes:
//!
//! ```text
//! cargo test --release -p card-engine --test zoo -- --ignored --nocapture every_architecture
//! ```
//!
//! One of them, with all that is printed on the way:
//!
//! ```text
//! CARD_ZOO_LABEL=qwen35 cargo test --release -p card-engine --test zoo -- --ignored --nocapture \
//!   one_architecture
//! ```

#![allow(clippy::unwrap_used)]

mod child;
mod compare;
#[path = "../support/spoilt.rs"]
mod spoilt;

use std::collections::HashSet;

use card_llama::tiny::zoo::{self, Architecture, Memory};

use compare::{Report, TextVerdict};

/// The tests that run in a process of their own.
const ONE: &str = "one_architecture";
const ONE_HEAD: &str = "one_head";
const ONE_HEAD_FILE: &str = "one_head_file";

/// Every kind of memory, and architectures with something of their own: experts, convolutions,
/// delta nets, states that llama.cpp can take back some tokens of and states that it cannot.
const SAMPLE: [&str; 14] = [
    "llama",
    "gemma3",
    "gpt-oss",
    "deepseek32",
    "dots3note",
    "deepseek4",
    "mamba2",
    "rwkv6",
    "rwkv7",
    "qwen35",
    "nemotron_h",
    "jamba",
    "lfm2",
    "qwen4exp",
];

/// Targets of heads in files of their own: with attention, with windows and experts, with states, and
/// one whose width the head does not share.
const HEAD_TARGETS: [&str; 4] = ["llama", "gpt-oss", "qwen35", "gemma4"];

#[test]
fn every_kind_of_memory_writes_what_plain_decoding_writes() {
    let sample: Vec<&Architecture> = SAMPLE.map(|label| zoo::find(label).unwrap()).to_vec();
    let kinds: HashSet<Memory> = sample.iter().filter_map(|a| a.memory().ok()).collect();
    assert_eq!(kinds.len(), Memory::ALL.len(), "the sample has {kinds:?}");
    check(ONE, &sample, true);
}

#[test]
fn every_head_leaves_the_text_as_plain_decoding_writes_it() {
    let heads: Vec<&Architecture> = zoo::heads().collect();
    assert!(!heads.is_empty());
    check(ONE_HEAD, &heads, true);
}

#[test]
fn heads_in_files_of_their_own_leave_the_text_as_plain_decoding_writes_it() {
    let targets = HEAD_TARGETS.map(|label| zoo::find(label).unwrap()).to_vec();
    let known: Vec<&Architecture> = zoo::head_targets().collect();
    assert!(targets.iter().all(|target| known.contains(target)));
    check(ONE_HEAD_FILE, &targets, true);
}

#[test]
#[ignore = "takes minutes"]
fn every_architecture() {
    let (made, others): (Vec<_>, Vec<_>) = zoo::architectures()
        .iter()
        .partition(|a| a.memory().is_ok());
    println!("Architectures without a model:");
    for other in others {
        let why = other.memory().unwrap_err();
        println!("| {:<18} | {why} |", other.name());
    }
    check(ONE, &made, false);
}

/// Compares one architecture, and says what was found to whoever started this process.
#[test]
#[ignore = "is started by the others"]
fn one_architecture() {
    let Ok(label) = std::env::var(child::LABEL) else {
        println!("{} names no architecture", child::LABEL);
        return;
    };
    let short = std::env::var_os(child::SHORT).is_some();
    let architecture = zoo::find(&label).unwrap_or_else(|| panic!("there is no {label:?}"));
    child::tell(&compare::compare(architecture, short));
}

/// Compares the head of one architecture, and says what was found to whoever started this process.
#[test]
#[ignore = "is started by the others"]
fn one_head() {
    let Ok(label) = std::env::var(child::LABEL) else {
        println!("{} names no architecture", child::LABEL);
        return;
    };
    let architecture = zoo::find(&label).unwrap_or_else(|| panic!("there is no {label:?}"));
    child::tell(&compare::compare_heads(architecture));
}

/// Compares a head in a file of its own for one architecture, and says what was found to whoever
/// started this process.
#[test]
#[ignore = "is started by the others"]
fn one_head_file() {
    let Ok(label) = std::env::var(child::LABEL) else {
        println!("{} names no architecture", child::LABEL);
        return;
    };
    let architecture = zoo::find(&label).unwrap_or_else(|| panic!("there is no {label:?}"));
    child::tell(&compare::compare_head_files(architecture));
}

/// Compares these by the test of this name, prints a table, and fails unless all of them pass.
fn check(test: &str, architectures: &[&Architecture], short: bool) {
    println!(
        "| {:<22} | {:<15} | {:<9} | result |",
        "architecture", "memory", "exact by"
    );
    println!("|{:-<24}|{:-<17}|{:-<11}|--------|", "", "", "");
    let mut failed = Vec::new();
    for architecture in architectures {
        let label = architecture.label();
        let memory = architecture.memory().unwrap();
        let found = child::ask(test, label, short);
        let means = found.as_ref().map_or("", |report| report.means.as_str());
        let result = match found.as_ref().map_err(Clone::clone).and_then(summary) {
            Ok(result) => result,
            Err(why) => {
                failed.push(label);
                format!("FAILED: {why}")
            }
        };
        println!("| {label:<22} | {memory:<15} | {means:<9} | {result} |");
    }
    let all = architectures.len();
    println!(
        "{} of {all} write what plain decoding writes",
        all - failed.len()
    );
    assert!(
        failed.is_empty(),
        "{} of {all} fail: {failed:?}",
        failed.len()
    );
}

/// What a report says, in a line.
///
/// # Errors
/// Says what is wrong with it.
fn summary(report: &Report) -> Result<String, String> {
    let faults: Vec<String> = report.runs.iter().filter_map(|run| run.fault()).collect();
    if !faults.is_empty() {
        return Err(faults.join("; "));
    }
    let runs = report.runs.len();
    let is_tie = |verdict: &TextVerdict| matches!(verdict, TextVerdict::NearTie { .. });
    let ties = report.runs.iter().filter(|r| is_tie(&r.verdict)).count();
    let offered: usize = report.runs.iter().map(|run| run.offered).sum();
    let accepted: usize = report.runs.iter().map(|run| run.accepted).sum();
    let tied = match ties {
        0 => String::new(),
        n => format!(", {n} up to a near-tie"),
    };
    Ok(format!(
        "{runs} of {runs} the same{tied}; {accepted} of {offered} candidates accepted"
    ))
}
