//! Figures that need no model: what a rollout pays, and what devices would do that are not here.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use predicates::prelude::*;
use predicates::str::contains;

#[test]
fn a_report_says_what_a_rollout_pays() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = folder.path().join("metrics.txt");
    let text = "card_rollout_answers_total{arm=\"speculative\"} 80\n\
        card_rollout_tokens_total{arm=\"speculative\"} 4000\n\
        card_rollout_tokens_total{arm=\"plain\"} 1000\n\
        card_rollout_decode_seconds_total{arm=\"speculative\"} 200\n\
        card_rollout_decode_seconds_total{arm=\"plain\"} 100\n";
    std::fs::write(&metrics, text).unwrap();
    let page = folder.path().join("report.html");
    let report = |extra: &[&std::ffi::OsStr]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_card"));
        command.arg("report").arg(&metrics);
        command.args(["--price-per-hour", "3.6"]).args(extra);
        command.assert()
    };
    report(&[])
        .success()
        .stdout(contains("**2.00 times** as fast"));
    report(&[
        "--lang".as_ref(),
        "ja".as_ref(),
        "-o".as_ref(),
        page.as_os_str(),
    ])
    .success();
    assert!(std::fs::read_to_string(page).unwrap().contains("<table>"));
    std::fs::write(&metrics, "nothing\n").unwrap();
    report(&[])
        .failure()
        .stderr(contains("no answers were counted yet"));
}

#[test]
fn a_simulation_says_where_a_schedule_loses_time() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("small.toml");
    let scenario = "title = \"small\"\n\
        [target]\nforward_ms = [[1, 49.0], [32, 49.5]]\n\
        [[drafters]]\nforward_ms = [[1, 7.0], [16, 7.0]]\nagreement = 0.7\n\
        [bursts]\neasy = 0.95\nhard = 0.45\neasy_tokens = 5.0\nhard_tokens = 4.0\n\
        [load]\nrequests = 2\nprompt_tokens = 16\noutput_tokens = 40\n";
    fs::write(&file, scenario).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_card"));
    let told = command.arg("sim").arg(&file).arg("--why");
    let told = told.assert().success();
    told.stdout(contains("in runs, drawn at random").and(contains("why auto:")))
        .stdout(contains("of the blind bound").and(contains("% of the time")));
    let mut command = Command::new(env!("CARGO_BIN_EXE_card"));
    let refused = command.args(["sim", "fleet", "--why"]).assert().failure();
    refused.stderr(contains("load.parallel"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_card"));
    let vary = ["--vary", "rate"];
    let refused = command.arg("sim").args(vary).assert().failure();
    refused.stderr(contains("load.per_second"));
}

#[test]
fn a_simulation_says_that_it_is_one() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_card"));
    let shown = command.args(["sim", "published-70b-1b"]).assert().success();
    shown
        .stdout(contains("simulated: 70B target"))
        .stdout(contains("τ: tokens for each forward").and(contains("idle: share of the time")));
    let mut command = Command::new(env!("CARGO_BIN_EXE_card"));
    let refused = command.args(["sim", "nowhere"]).assert().failure();
    refused.stderr(contains("built in are: published-70b-1b"));
}
