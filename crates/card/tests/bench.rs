//! `card bench`, `calibrate` and `export-pairs` on the small model.
//!
//! Needs it: `cargo run --release -p card -- pull smol`.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::{Command, Stdio};

use assert_cmd::assert::OutputAssertExt;
use predicates::prelude::*;
use predicates::str::contains;

fn card(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_card"));
    command.stdin(Stdio::null()).args(arguments);
    command.env("CARD_NO_MEMORY", "true");
    // As its own drafter the small model is always right.
    command.args(["-m", "smol", "--draft", "smol"]);
    command
}

#[test]
fn bench_compares_modes_and_every_text_is_plain_decodings() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let quick = ["--prompts", "1", "--tokens", "24", "--draft-lens", "3"];
    let mut command = card(&["bench", "--category", "edit,code", "-o", out]);
    command
        .args(quick)
        .arg("--why")
        .assert()
        .success()
        .stdout(contains("draft-then-verify 3").and(contains("bound")))
        .stdout(contains("why auto:").and(contains("% of the time")))
        // One prompt of each kind is no headline, and what stands in the table is explained.
        .stdout(contains("too few to say").and(contains("times as fast").not()))
        .stdout(contains("τ: tokens for each forward").and(contains("(1 prompt)")));
    let json = fs::read_to_string(dir.path().join("bench.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    let cells = report["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 2);
    assert!(cells.iter().all(|cell| cell["prompts"] == 1));
    for row in cells.iter().flat_map(|c| c["rows"].as_array().unwrap()) {
        // Its texts are the same at every size of forward, so any difference is a bug.
        assert_eq!(row["same_text"], row["runs"], "{row}");
        // Tokens count once, for all that proposed them.
        let by_source = row["by_source"].as_object().unwrap().values();
        let sum: u64 = by_source.map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(row["accepted"], sum, "{row}");
    }
    // What was drafted is of use to the simulator.
    let recording = dir.path().join("acceptance.jsonl");
    let mut sim = Command::new(env!("CARGO_BIN_EXE_card"));
    sim.args(["sim", "edge-cloud", "--acceptance"])
        .arg(&recording);
    sim.assert()
        .success()
        .stdout(contains("acceptance as recorded").and(contains("auto")));
    let page = fs::read_to_string(dir.path().join("bench.html")).unwrap();
    assert!(page.contains("<svg") && !page.contains("http://www.w3.org/1999/xhtml"));
    let markdown = fs::read_to_string(dir.path().join("bench.md")).unwrap();
    assert!(markdown.contains("| plain |") && !markdown.contains("Emulated"));
}

#[test]
fn bench_takes_the_users_prompts_and_names_bad_lines() {
    let dir = tempfile::tempdir().unwrap();
    let prompts = dir.path().join("mine.jsonl");
    let file = prompts.to_str().unwrap();
    let out = dir.path().join("out");
    let sweep = ["--sweep", "cache", "--tokens", "16"];
    fs::write(&prompts, "{\"question\": \"Name the planets in order.\"}\n").unwrap();
    card(&["bench", file, "-o", out.to_str().unwrap()])
        .args(sweep)
        .assert()
        .success()
        .stdout(contains("mine").and(contains("card, 128 KiB")));
    card(&["bench", file, "-o", out.to_str().unwrap()])
        .args(["--tokens", "4", "--draft-lens", "3"])
        .assert()
        .failure()
        .stderr(contains("raise --tokens"));
    fs::write(&prompts, "{\"question\": \"a\"}\n{\"answer\": 4}\n").unwrap();
    card(&["bench", file])
        .assert()
        .failure()
        .stderr(contains("line 2").and(contains("`question`")));
    card(&["bench", "--category", "poetry"])
        .assert()
        .failure()
        .stderr(contains("there are code, maths"));
    card(&["bench", "--sweep", "draft"])
        .assert()
        .failure()
        .stderr(contains("--drafts"));
    card(&["bench", "--sweep", "latency"])
        .assert()
        .failure()
        .stderr(contains("--emulate"));
}

#[test]
fn a_drafter_over_a_socket_is_compared_with_one_in_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let mut command = card(&["bench", "--sweep", "link", "--category", "code", "-o", out]);
    // Long enough for a drafter that has read the prompt late.
    command.args(["--prompts", "1", "--tokens", "96"]);
    command.assert().success();
    let json = fs::read_to_string(dir.path().join("bench.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    let rows = report["cells"][0]["rows"].as_array().unwrap();
    let socket = rows
        .iter()
        .find(|r| r["name"] == "card, drafter over a socket");
    // Its drafts arrive; as slow as the target, they need not be in time.
    let idle = socket.unwrap()["draft_idle"].as_f64().unwrap();
    assert!(idle < 1.0, "{json}");
}

#[test]
fn emulated_runs_say_so_and_fail_if_they_do_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("device.toml");
    let profile = |ms: f64| {
        format!(
            "title = \"a device\"\nsource = \"made up for this test\"\ndilation = 1.0\n\
             [target]\nforward_ms = [[1, {ms}], [32, {ms}]]\n\
             [draft]\nforward_ms = [[1, {ms}], [4, {ms}]]\n"
        )
    };
    let emulate = || {
        // One thread: two would wait for each other where something else runs on a core.
        let mut command = card(&["generate", "-p", "Once", "-n", "6", "-t", "1"]);
        command.arg("--emulate").arg(&file);
        command
    };
    fs::write(&file, profile(400.0)).unwrap();
    emulate()
        .assert()
        .success()
        .stderr(contains("emulated devices"));
    // Without a dilation it is measured, and said.
    fs::write(&file, profile(400.0).replace("dilation = 1.0\n", "")).unwrap();
    emulate()
        .assert()
        .success()
        .stderr(contains("forwards here need"));
    fs::write(&file, profile(0.001)).unwrap();
    emulate()
        .assert()
        .failure()
        .stderr(contains("too slow for the emulation"));
    fs::write(&file, profile(-1.0)).unwrap();
    emulate()
        .assert()
        .failure()
        .stderr(contains("target.forward_ms must be"));
    card(&["generate", "-p", "Once", "--emulate", "no-such-device"])
        .assert()
        .failure()
        .stderr(contains("a100-70b-1b"));
}

#[test]
fn calibrate_shows_both_ways_to_run() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.html");
    card(&["calibrate", "--html", page.to_str().unwrap()])
        .assert()
        .success()
        .stdout(
            contains("in turns")
                .and(contains("together"))
                .and(contains("best:")),
        );
    assert!(fs::read_to_string(page).unwrap().contains("<svg"));
}

#[test]
fn a_model_that_drafts_for_itself_needs_no_correction() {
    let dir = tempfile::tempdir().unwrap();
    let pairs = dir.path().join("pairs.jsonl");
    let quick = ["--prompts", "1", "--tokens", "16", "-o"];
    card(&["export-pairs"])
        .args(quick)
        .arg(&pairs)
        .assert()
        .success()
        .stderr(contains("was right at"));
    // Its forwards of many rows and of one may differ in a near-tie, no more.
    assert!(fs::read_to_string(pairs).unwrap().lines().count() <= 3);
}

#[test]
fn a_plan_is_a_settings_file_that_the_server_takes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("card.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_card"));
    command.args(["plan", "-m", "smol", "--prompts", "1", "--tokens", "16"]);
    // Another draft model, and another machine, which is not there.
    command.args(["--drafts", "smol", "--drafter", "http://127.0.0.1:9"]);
    command.arg("-o").arg(&file).env("CARD_NO_MEMORY", "true");
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("recommended: "), "{said}");
    assert!(
        said.contains(", smol") && said.contains("drafter at http://127.0.0.1:9"),
        "{said}"
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_card"));
    command
        .args(["serve", "--print-config", "--config"])
        .arg(&file);
    let output = command.output().unwrap();
    let settings = String::from_utf8_lossy(&output.stdout);
    assert!(settings.contains("model = \"smol\""), "{settings}");
}
