//! What a user sees at the terminal, in files and in pipes: colours, errors, conversations.
//!
//! Needs the small model: `cargo run --release -p card -- pull smol`.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn card(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_card"));
    command.args(arguments).stdin(Stdio::null());
    command.env("CARD_NO_MEMORY", "true");
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CARD_LOG"] {
        command.env_remove(variable);
    }
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A plain answer of one token, with everything that is logged on the way.
fn talkative() -> Command {
    card(&[
        "generate", "-v", "-m", "smol", "--mode", "plain", "-p", "One,", "-n", "1",
    ])
}

#[test]
fn files_get_no_colour_codes_unless_they_are_asked_for() {
    let missing = || card(&["generate", "-m", "nowhere.gguf", "-p", "x"]);
    for mut command in [talkative(), missing()] {
        let plain = said(&command.output().unwrap());
        assert!(!plain.is_empty() && !plain.contains('\x1b'), "{plain:?}");
        let forced = said(&command.env("CLICOLOR_FORCE", "1").output().unwrap());
        assert!(forced.contains("\x1b["), "{forced:?}");
        // Who wants none gets none.
        let none = said(&command.env("NO_COLOR", "1").output().unwrap());
        assert!(!none.contains('\x1b'), "{none:?}");
    }
}

#[test]
fn a_cause_is_said_once() {
    for arguments in [
        &["generate", "-m", "nowhere.gguf", "-p", "x"][..],
        &["draft", "-m", "./nowhere"],
        &["explain", "nowhere.jsonl", "-r", "chat-1"],
        &["bench", "-m", "smol", "nowhere.jsonl"],
        &["report", "nowhere.json", "--price-per-hour", "1"],
    ] {
        let output = card(arguments).output().unwrap();
        let said = said(&output);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(said.matches("os error 2").count() <= 1, "{said}");
        assert!(said.matches("error:").count() <= 1, "{said}");
    }
}

/// What a conversation of these lines prints: the answers, and the remarks.
fn conversation(lines: &str) -> (String, String) {
    let mut command = card(&["chat", "-m", "smol", "--mode", "plain", "-n", "4"]);
    // A terminal of which nothing is known gets its prompt on standard output.
    command.env("TERM", "xterm").stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let answers = String::from_utf8(output.stdout.clone()).unwrap();
    (answers, said(&output))
}

#[test]
fn a_turn_ends_with_one_line_and_stats_say_the_rest() {
    let (answers, brief) = conversation("Good morning.\nGood night.\n");
    assert_eq!(brief.matches("tokens/s").count(), 2, "{brief}");
    assert_eq!(brief.matches("/stats says more").count(), 1, "{brief}");
    assert!(!brief.contains("target lane worked"), "{brief}");
    assert!(!answers.contains("tokens/s") && !answers.contains('\x1b'));
    let (_, all) = conversation("/stats\nGood morning.\n/stats\n/quit\n");
    assert!(all.contains("nothing was answered yet"), "{all}");
    assert!(all.contains("target lane worked"), "{all}");
}

#[test]
fn a_command_that_there_is_not_is_no_message() {
    let (answers, said) = conversation("/foo bar\n/help\n/reset\n");
    assert!(said.contains("there is no command /foo"), "{said}");
    // At the start, after /foo, and when asked.
    assert_eq!(said.matches("/stats  figures").count(), 3, "{said}");
    assert!(said.contains("a new conversation begins"), "{said}");
    assert_eq!(answers, "");
}

#[test]
fn the_policy_explains_itself_on_lines_of_its_own() {
    let numbers = "1, 2, 3, 1, 2, 3, 1, 2, 3,";
    let of = |more: &[&str]| {
        let mut command = card(&["generate", "-m", "smol", "--mode", "card", "-p", numbers]);
        let output = command.args(["-n", "12"]).args(more).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        output
    };
    let (with, without) = (of(&["--explain-policy"]), of(&[]));
    assert_eq!(with.stdout, without.stdout);
    let told = said(&with);
    let lines: Vec<&str> = told.lines().filter(|l| l.starts_with("round ")).collect();
    assert!(!lines.is_empty(), "{told}");
    assert!(lines.iter().all(|l| l.contains("; wrote \"")), "{told}");
}
