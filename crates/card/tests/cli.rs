//! The command as users meet it: what it prints, and what it says to bad input.
//!
//! Needs the small model: `cargo run --release -p card -- pull smol`.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use assert_cmd::assert::OutputAssertExt;
use predicates::prelude::*;
use predicates::str::contains;

fn card() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_card"));
    // What earlier runs on this machine learned is none of a test's business.
    command.stdin(Stdio::null()).env("CARD_NO_MEMORY", "true");
    command
}

/// `card generate` on the small model.
fn generate(arguments: &[&str]) -> Command {
    let mut command = card();
    command.args(["generate", "-m", "smol"]).args(arguments);
    command
}

fn small_model() -> PathBuf {
    let listed = card().arg("list").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let dir = listed.lines().find_map(|l| l.strip_prefix("kept in "));
    let file = Path::new(dir.unwrap()).join("smollm2-135m.gguf");
    assert!(file.exists(), "run `card pull smol` first");
    file
}

fn refuses(mut command: Command, message: &str) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it should refuse: {said}");
    assert!(said.contains(message), "{message:?} is not in {said:?}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn help_is_worth_reading() {
    let output = card().arg("--help").output().unwrap();
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap());
}

#[test]
fn generates_and_sums_up() {
    generate(&[
        "-p",
        "The capital of France is",
        "-n",
        "12",
        "--mode",
        "card",
    ])
    .assert()
    .success()
    .stdout(contains("Paris"))
    .stderr(contains("tokens/s").and(contains("mean accepted length")))
    .stderr(contains("drafter worked"))
    .stderr(contains("exact: ").and(contains("kernels")));
}

#[test]
fn levels_of_earlier_versions_are_told_what_they_are_called_now() {
    for (before, now) in [
        ("default", "fast"),
        ("strict", "exact"),
        ("bitwise", "exact"),
    ] {
        let why = format!("--exactness {before} is now --exactness {now}");
        refuses(generate(&["-p", "x", "--exactness", before]), &why);
    }
    let unknown = generate(&["-p", "x", "--exactness", "sloppy"]);
    refuses(unknown, "[possible values: exact, fast]");
    refuses(
        generate(&["-p", "x", "--kernels", "mine"]),
        "[possible values: auto, card, ggml]",
    );
}

#[test]
fn the_kernels_that_were_asked_for_are_named() {
    let said = |kernels: &str, exactness: &str| {
        let level = ["--kernels", kernels, "--exactness", exactness];
        let asked = [
            "-p",
            "The capital of France is",
            "-n",
            "4",
            "--mode",
            "card",
        ];
        let output = generate(&[&asked[..], &level[..]].concat())
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let fast = said("ggml", "fast");
    assert!(
        fast.contains("fast: ") && fast.contains("(ggml's kernels)"),
        "{fast}"
    );
    assert!(said("ggml", "exact").contains("(ggml's kernels"));
    // Where they cannot be used, ggml's are, and that is said.
    let own = said("card", "exact");
    let here = own.contains("exact: every shape of forward gives the same logits (own kernels, ");
    assert!(here || own.contains("cannot be used here"), "{own}");
}

#[test]
fn predicted_text_is_verified_and_the_policy_explains_itself() {
    let text = |arguments: &[&str]| {
        let common = ["-p", "Numbers: 1, 2, 3, 4,", "-n", "40", "--no-memory"];
        let output = generate(&common).args(arguments).output().unwrap();
        assert!(output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        (String::from_utf8(output.stdout).unwrap(), said)
    };
    let (plain, _) = text(&["--mode", "plain"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("expected.txt");
    fs::write(&file, &plain).unwrap();
    let expected = ["--mode", "card", "--prediction", file.to_str().unwrap()];
    let (predicted, said) = text(&[&expected[..], &["--explain-policy"]].concat());
    assert_eq!(plain, predicted);
    assert!(said.contains("prediction"), "{said}");
    assert!(said.contains("candidates verified (expected"), "{said}");
    let mut missing = generate(&["-p", "a", "--prediction", "/no/such/file"]);
    missing
        .assert()
        .failure()
        .stderr(contains("predicted text"));
}

#[test]
fn what_was_learned_is_kept_and_a_broken_file_is_left_out() {
    let home = tempfile::tempdir().unwrap();
    let models = small_model().parent().unwrap().to_owned();
    std::os::unix::fs::symlink(models, home.path().join("models")).unwrap();
    let run = |more: &[&str]| {
        let mut command = generate(&["-p", "One, two, three, one, two,", "-n", "16"]);
        command.args(more).env("CARD_HOME", home.path());
        command.env_remove("CARD_NO_MEMORY");
        command.output().unwrap()
    };
    let memory = home.path().join("memory");
    assert!(run(&["--no-memory"]).status.success());
    assert!(!memory.exists());
    let first = run(&[]);
    let files = || fs::read_dir(&memory).unwrap().map(|e| e.unwrap().path());
    assert_eq!(files().count(), 2);
    let second = run(&[]);
    assert_eq!(first.stdout, second.stdout);
    for file in files() {
        fs::write(file, "nonsense").unwrap();
    }
    let third = run(&[]);
    assert_eq!(first.stdout, third.stdout);
    assert!(String::from_utf8_lossy(&third.stderr).contains("is not used"));
}

#[test]
fn every_mode_writes_the_same() {
    let text = |arguments: &[&str]| {
        let common = ["-p", "Once upon a time", "-n", "24", "-q", "--tokens"];
        let output = generate(&common).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{:?}: {said}", output.status);
        String::from_utf8(output.stdout).unwrap()
    };
    for sampling in [
        vec![],
        vec!["--temp", "0.9", "--top-p", "0.9", "--seed", "7"],
    ] {
        let with =
            |mode| text(&[&["--mode", mode, "--exactness", "exact"], &sampling[..]].concat());
        let plain = with("plain");
        assert!(plain.starts_with('['));
        for mode in ["draft-then-verify", "card", "auto"] {
            assert_eq!(plain, with(mode), "{mode} {sampling:?}");
        }
    }
}

#[test]
fn a_self_test_shows_each_kind_of_kernels() {
    let test = |more: &[&str]| {
        let mut command = card();
        command.args(["selftest", "-m", "smol", "--kernels", "ggml"]);
        let output = command.args(more).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let json: serde_json::Value = serde_json::from_str(&test(&["--json"])).unwrap();
    for (found, kernels) in json.as_array().unwrap().iter().zip(["ggml", "ggmlplain"]) {
        assert_eq!(found["kernels"], kernels);
        assert!(found["report"]["prompts"].is_boolean() && found["means"].is_string());
    }
    let said = test(&[]);
    assert_eq!(said.matches("  exact: ").count(), 2, "{said}");
    let lines = said.lines().filter(|l| l.starts_with("  ggml's kernels"));
    assert_eq!(lines.count(), 2, "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("on this machine, with ggml's kernels"),
        "{said}"
    );
}

#[test]
fn the_prompt_comes_from_standard_input_too() {
    let mut command = generate(&["-n", "4", "--mode", "plain", "-q"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"One, two, three,").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && !output.stdout.is_empty());
}

#[test]
fn ends_before_a_stop_string() {
    generate(&[
        "-p",
        "1, 2, 3, 4, 5,",
        "-n",
        "40",
        "--mode",
        "plain",
        "--stop",
        "9",
    ])
    .assert()
    .success()
    .stdout(contains("8").and(contains("9").not()));
}

#[test]
fn shows_the_cache_at_work() {
    generate(&["-p", "The sun rises in the", "-n", "8", "--show-cache"])
        .args(["--mode", "draft-then-verify"])
        .assert()
        .success()
        .stdout(contains("round 1").and(contains("✓")).and(contains("→")));
}

#[test]
fn a_full_context_ends_with_a_word_about_it() {
    generate(&[
        "-p",
        "Count: 1 2 3",
        "--ctx",
        "64",
        "-n",
        "200",
        "--ignore-eos",
    ])
    .assert()
    .success()
    .stderr(contains("the context of 64 tokens is full").and(contains("raise --ctx")));
}

#[test]
fn a_prompt_that_does_not_fit_is_refused() {
    let long = "word ".repeat(100);
    refuses(
        generate(&["-p", &long, "--ctx", "64"]),
        "shorten it, or raise --ctx",
    );
}

#[test]
fn an_empty_prompt_is_refused() {
    refuses(generate(&["-p", " "]), "the prompt is empty");
}

#[test]
fn impossible_sampling_is_refused() {
    let with = |arguments: &[&str]| generate(&[&["-p", "x"], arguments].concat());
    refuses(with(&["--top-p", "0"]), "top-p is 0, but must be above 0");
    for below in [&["--temp=-1"][..], &["--temp", "-1"]] {
        refuses(
            with(below),
            "temperature is -1, but must be between 0 and 100",
        );
    }
    refuses(
        with(&["--seed", "-1"]),
        "a seed is a whole number from 0 on",
    );
    refuses(with(&["-n", "-2"]), "or -1 for no limit");
    refuses(with(&["--min-p", "2"]), "min-p is 2");
    refuses(with(&["--repeat-penalty", "0"]), "repeat-penalty is 0");
    refuses(with(&["--temp", "warm"]), "invalid value 'warm'");
}

#[test]
fn files_that_are_no_models_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refuse = |name: &str, bytes: &[u8], message: &str| {
        let file = dir.path().join(name);
        fs::write(&file, bytes).unwrap();
        let mut command = card();
        command
            .args(["generate", "-p", "x", "--mode", "plain", "-m"])
            .arg(&file);
        refuses(command, message);
    };
    refuse("text.gguf", b"hello there", "does not begin with \"GGUF\"");
    refuse("empty.gguf", b"", "it is empty");
    refuse("page.gguf", b"<!DOCTYPE html>", "looks like a web page");
    refuse("checkpoint.gguf", b"PK\x03\x04....", "ZIP archive");
    refuse(
        "broken.gguf",
        b"GGUF\x03\0\0\0\xff\xff\xff\xff",
        "cannot load",
    );
    let mut model = fs::File::open(small_model()).unwrap();
    let mut part = vec![0; 8 << 20];
    model.read_exact(&mut part).unwrap();
    refuse("half.gguf", &part, "it may be incomplete");
    let mut command = card();
    command.args(["generate", "-p", "x", "-m", "nowhere.gguf"]);
    refuses(command, "Is the path right?");
    let mut command = card();
    command.args(["generate", "-p", "x", "-m", "no-such-model"]);
    refuses(command, "which has qwen-coder");
}

#[test]
fn a_drafter_with_another_vocabulary_is_translated_and_changes_no_token() {
    let of = |more: &[&str]| {
        let mut command = generate(&["-p", "The capital of France is", "-n", "12", "--tokens"]);
        let output = command.args(more).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        (String::from_utf8(output.stdout).unwrap(), said)
    };
    let (plain, _) = of(&["--mode", "plain"]);
    let (drafted, said) = of(&["-v", "--draft", "qwen2.5-coder-0.5b", "--mode", "card"]);
    assert_eq!(plain, drafted);
    assert!(said.contains("has another vocabulary"), "{said}");
}

#[test]
fn unknown_devices_are_refused() {
    refuses(
        generate(&["-p", "x", "--device", "CUDA7"]),
        "there is no device \"CUDA7\"",
    );
}

#[test]
fn an_interrupt_ends_with_what_was_generated() {
    let mut command = generate(&["-p", "Tell a long story.", "-n", "4000", "--ignore-eos"]);
    let mut child = command
        .args(["--mode", "plain"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Text has begun to flow; now the interrupt.
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 1];
    stdout.read_exact(&mut first).unwrap();
    let pid = child.id().to_string();
    Command::new("kill").args(["-INT", &pid]).assert().success();
    let mut text = Vec::new();
    stdout.read_to_end(&mut text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("tokens/s"), "{said}");
    assert!(text.len() < 20_000);
}

#[test]
fn an_interrupt_while_loading_ends_at_once() {
    let mut child = generate(&["-p", "x", "-n", "100000"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    // Whatever it is doing by now, the program starting included.
    std::thread::sleep(Duration::from_millis(30));
    Command::new("kill").args(["-INT", &pid]).assert().success();
    assert!(!child.wait().unwrap().success());
}

#[test]
fn quantizes_and_runs_the_result() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("small-q8.gguf");
    card()
        .args(["quantize", "smollm2-135m"])
        .arg(&out)
        .arg("q8_0")
        .assert()
        .success()
        .stderr(contains("small-q8.gguf"));
    card()
        .args([
            "generate", "--mode", "plain", "-n", "4", "-p", "Hello", "-m",
        ])
        .arg(&out)
        .assert()
        .success();
    // What is there is not overwritten where nobody can be asked.
    let again = |more: &[&str]| {
        let mut command = card();
        command.args(["quantize", "smollm2-135m"]).arg(&out);
        command.args(more);
        command
    };
    let before = fs::read(&out).unwrap();
    refuses(again(&["Q4_0"]), "exists; --force overwrites it");
    assert_eq!(fs::read(&out).unwrap(), before);
    refuses(again(&["Q9_9", "--force"]), "Q9_9 is no weight type");
    again(&["Q4_0", "-y"]).assert().success();
    assert_ne!(fs::read(&out).unwrap(), before);
    let mut command = card();
    command
        .arg("quantize")
        .arg(&out)
        .arg(&out)
        .args(["Q4_0", "-y"]);
    refuses(command, "is the model that is read");
    let mut command = card();
    command.args(["quantize", "smollm2-135m", "/nowhere/x.gguf", "Q8_0"]);
    refuses(command, "cannot write");
}

/// A `card` that waits for a prompt, which ends with its input, with SIGHUP ignored from the
/// start or not.
#[allow(clippy::zombie_processes)] // Where it does not begin, the test fails.
fn waiting(hangup: &str) -> (std::process::Child, std::process::ChildStdin) {
    let mut command = Command::new("env");
    command.arg(hangup).arg(env!("CARGO_BIN_EXE_card"));
    command.arg("generate").stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let end = std::time::Instant::now() + Duration::from_secs(60);
    // Until it catches SIGTERM.
    loop {
        let text = fs::read_to_string(&status).unwrap();
        let mask = text.lines().find_map(|l| l.strip_prefix("SigCgt:"));
        let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
        if mask & (1 << 14) != 0 {
            return (child, stdin);
        }
        assert!(std::time::Instant::now() < end, "it does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_closed_terminal_ends_it_unless_that_was_to_be_ignored() {
    let signal = |child: &std::process::Child, name: &str| {
        let id = child.id().to_string();
        Command::new("kill").args([name, &id]).assert().success();
    };
    let (mut child, _stdin) = waiting("--default-signal=HUP");
    signal(&child, "-HUP");
    assert_eq!(child.wait().unwrap().code(), Some(129));
    let (mut child, _stdin) = waiting("--ignore-signal=HUP");
    signal(&child, "-HUP");
    // What ends it is the second one.
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn what_is_typed_is_kept_for_its_owner_only_and_not_without_memory() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let models = small_model().parent().unwrap().to_owned();
    std::os::unix::fs::symlink(models, home.path().join("models")).unwrap();
    let history = home.path().join("chat-history");
    let talk = |more: &[&str]| {
        let mut command = card();
        command.args(["chat", "-m", "smol", "--mode", "plain", "-n", "2"]);
        command.args(more).env("CARD_HOME", home.path());
        command.env_remove("CARD_NO_MEMORY").stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"Good morning.\n/quit\n").unwrap();
        drop(stdin);
        assert!(child.wait().unwrap().success());
    };
    talk(&["--no-memory"]);
    assert!(!history.exists());
    talk(&[]);
    let mode = fs::metadata(&history).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_server_open_to_a_network_is_refused_unless_that_is_said() {
    for host in ["0.0.0.0", "::", "192.0.2.1", "127.0.0.1,192.0.2.1"] {
        let mut command = card();
        command.args(["serve", "-m", "nowhere.gguf", "--host", host]);
        refuses(command, "--no-key");
    }
    // With a key, or the word, the next thing is to look for the model.
    for more in [["--api-key", "a-good-key"], ["--no-key", "--no-page"]] {
        let mut command = card();
        command.args([
            "serve",
            "-m",
            "nowhere.gguf",
            "--host",
            "0.0.0.0",
            "--port",
            "0",
        ]);
        command.args(more);
        refuses(command, "Is the path right?");
    }
    for (name, value) in [("CARD_API_KEY", ""), ("CARD_METRICS_KEY", "")] {
        let mut command = card();
        command
            .args(["serve", "-m", "nowhere.gguf"])
            .env(name, value);
        refuses(command, "a value is required");
    }
}
