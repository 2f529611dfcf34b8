//! Drafters, and parts of a target, on other machines, as users start them: several
//! processes on this one.
//!
//! Needs the small model: `cargo run --release -p card -- pull smol`.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const MODEL: &str = "smollm2-135m";

/// A `card` process and what it says; killed when dropped.
struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    fn start(arguments: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_card"));
        command.args(arguments).env("CARD_NO_MEMORY", "true");
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Process { child, lines }
    }

    /// What follows `before` in the first line that has it, up to a blank.
    fn says(&self, before: &str) -> String {
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).expect(before);
            if let Some((_, rest)) = line.split_once(before) {
                return rest.split(' ').next().unwrap_or_default().to_owned();
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn generate(arguments: &[&str]) -> String {
    let output = try_generate(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

fn try_generate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_card"));
    command.args([
        "generate",
        "-q",
        "-p",
        "The sea is",
        "-n",
        "48",
        "-m",
        MODEL,
    ]);
    command.args(arguments).env("CARD_NO_MEMORY", "true");
    command.output().unwrap()
}

#[test]
fn a_drafter_that_listens_changes_nothing_but_speed() {
    let drafter = Process::start(&["draft", "-m", MODEL, "--listen", "127.0.0.1:0"]);
    let url = format!("http://{}", drafter.says("targets that dial "));
    let remote = ["--mode", "card", "--exactness", "exact", "--drafter", &url];
    assert_eq!(generate(&remote), generate(&["--mode", "plain"]));
    // Nobody is there: the target goes on alone.
    drop(drafter);
    assert_eq!(generate(&remote), generate(&["--mode", "plain"]));
}

fn ask(url: &str) -> (u16, Value) {
    let body = json!({ "messages": [{ "role": "user", "content": "Write a story about a dog." }],
        "temperature": 0, "max_tokens": 24 });
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let mut answer = agent
        .post(format!("{url}/v1/chat/completions"))
        .send(body.to_string())
        .unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    (
        answer.status().as_u16(),
        serde_json::from_str(&text).unwrap(),
    )
}

#[test]
fn an_edge_device_drafts_and_the_cloud_decides() {
    let cloud = Process::start(&[
        "serve",
        "-m",
        MODEL,
        "--port",
        "0",
        "--no-page",
        "--mode",
        "card",
        "--exactness",
        "exact",
        "--accept-drafters",
        "127.0.0.1:0",
        "--link-token",
        "secret",
    ]);
    let link = format!("http://{}", cloud.says("accepting drafters at "));
    let upstream = format!("http{}", cloud.says(" at http"));
    let upstream = upstream.trim_end_matches("/v1");
    let edge = Process::start(&[
        "edge",
        "-m",
        MODEL,
        "--listen",
        "127.0.0.1:0",
        "--upstream",
        upstream,
        "--attach",
        &link,
        "--link-token",
        "secret",
    ]);
    let local = edge.says("http://");
    let local = format!("http://{}", local.trim_end_matches("/v1"));
    edge.says("drafting for ");
    let (status, direct) = ask(upstream);
    assert_eq!(status, 200, "{direct}");
    let (_, through) = ask(&local);
    assert_eq!(
        through["choices"][0]["message"],
        direct["choices"][0]["message"]
    );
    // The cloud is gone: the client is told, in the shape it knows.
    drop(cloud);
    let (status, error) = ask(&local);
    assert_eq!(status, 502);
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("cannot be reached")
    );
}

/// A file with that in it, which is gone when it is dropped.
fn file(text: &str) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    (file, path)
}

/// Ends with an error that says so, before any model is loaded.
fn refused(arguments: &[&str], environment: &[(&str, &str)], why: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_card"));
    command.args(arguments).env("CARD_NO_MEMORY", "true");
    command.envs(environment.iter().copied());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{arguments:?} {environment:?}");
    assert!(said.contains(why), "{arguments:?} {environment:?}: {said}");
}

#[test]
fn what_would_leave_a_link_open_is_refused_with_the_remedy() {
    let draft = |more: &[&'static str]| {
        let mut arguments = vec!["draft", "-m", MODEL, "--listen", "0.0.0.0:0"];
        arguments.extend(more);
        arguments
    };
    refused(&draft(&[]), &[], "could connect; set --link-token");
    refused(&draft(&["--link-ca", "/nowhere"]), &[], "--link-cert");
    refused(&draft(&["--link-token", ""]), &[], "--link-token");
    refused(&draft(&[]), &[("CARD_LINK_TOKEN", "")], "--link-token");
    refused(&draft(&[]), &[("CARD_LINK_TOKEN", " ")], "--link-token");
    let (_blank, blank) = file(" \n");
    let blank = blank.as_str();
    let serve = |more: &[&str]| {
        let mut arguments = vec!["serve", "-m", MODEL, "--port", "0", "--accept-drafters"];
        arguments.extend(more);
        arguments
            .iter()
            .map(|a| (*a).to_owned())
            .collect::<Vec<_>>()
    };
    for (more, why) in [
        (vec!["0.0.0.0:0"], "could connect; set --link-token"),
        (vec!["0.0.0.0:0", "--link-ca", "/nowhere"], "--link-cert"),
        (vec!["127.0.0.1:0", "--link-secrets", blank], "no secret"),
        (vec!["127.0.0.1:0", "--link-token-file", blank], "empty"),
        (
            vec!["127.0.0.1:0", "--link-everyone", "all"],
            "--link-everyone",
        ),
    ] {
        let arguments = serve(&more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        refused(&arguments, &[], why);
    }
    let edge = ["edge", "-m", MODEL, "--upstream", "http://127.0.0.1:9"];
    let mut lent = edge.to_vec();
    lent.extend(["--listen", "0.0.0.0:0", "--upstream-key", "mine"]);
    refused(&lent, &[], "would use your --upstream-key");
    refused(&edge, &[("CARD_UPSTREAM_KEY", "")], "--upstream-key");
    let mut everybody = edge.to_vec();
    everybody.extend(["--scope", ""]);
    refused(&everybody, &[], "everybody's text");
    let plain = [
        "draft",
        "-m",
        MODEL,
        "--scope",
        "two words",
        "--attach",
        "http://127.0.0.1:9",
    ];
    refused(&plain, &[], "a scope has");
}

#[test]
fn a_drafter_gets_the_text_its_secret_belongs_to_and_strangers_are_told() {
    let (_secrets, secrets) = file("laptop of-laptop\n* of-all\n");
    let guarded = Process::start(&[
        "serve",
        "-m",
        MODEL,
        "--port",
        "0",
        "--accept-drafters",
        "127.0.0.1:0",
        "--link-secrets",
        &secrets,
    ]);
    let link = format!("http://{}", guarded.says("accepting drafters at "));
    let attach = |more: &[&str]| {
        let mut arguments = vec!["draft", "-m", MODEL, "--attach", &link];
        arguments.extend(more);
        Process::start(&arguments)
    };
    attach(&[]).says("the token is missing or wrong");
    let (_own, own) = file("of-laptop\n");
    attach(&["--link-token-file", &own]).says("gets everybody's text");
    let other = ["--link-token-file", &own, "--scope", "phone"];
    attach(&other).says("does not belong to scope");
    let right = ["--link-token-file", &own, "--scope", "laptop"];
    attach(&right).says("drafting for ");
    attach(&["--link-token", "of-all"]).says("drafting for ");
}

#[cfg(unix)]
#[test]
fn a_drafter_that_is_ended_says_so_and_ends_well() {
    let mut drafter = Process::start(&["draft", "-v", "-m", MODEL, "--listen", "127.0.0.1:0"]);
    let url = format!("http://{}", drafter.says("targets that dial "));
    let remote = ["--mode", "card", "--drafter", &url];
    let text = std::thread::scope(|scope| {
        let running = scope.spawn(|| generate(&remote));
        // In the middle of its work.
        drafter.says("drafting for a target");
        let id = drafter.child.id().to_string();
        let kill = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(kill.success());
        drafter.says("targets go on by themselves");
        running.join().unwrap()
    });
    assert!(text.len() > 40, "{text}");
    assert_eq!(drafter.child.wait().unwrap().code(), Some(0));
}

/// A worker for a part of a target, on a port that was free.
fn worker() -> (Process, String) {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let worker = Process::start(&["rpc-worker", "--listen", &address, "--threads", "1"]);
    worker.says("computing for ");
    (worker, address)
}

#[test]
fn a_target_on_two_workers_writes_what_plain_decoding_there_does() {
    let (_first, a) = worker();
    let (second, b) = worker();
    let workers = format!("{a},{b}");
    let with = |more: &[&'static str]| {
        let mut arguments = vec!["--rpc", workers.as_str()];
        arguments.extend(more);
        arguments
    };
    let plain = generate(&with(&["--mode", "plain"]));
    assert!(plain.len() > 40, "{plain}");
    for mode in ["card", "auto"] {
        let speculated = generate(&with(&[
            "--draft",
            MODEL,
            "--mode",
            mode,
            "--exactness",
            "exact",
        ]));
        assert_eq!(speculated, plain, "{mode}");
    }
    // A part here, a part there.
    let layers = with(&["--mode", "plain", "--gpu-layers", "12"]);
    assert!(generate(&layers).len() > 40);
    drop(second);
    let refused = try_generate(&with(&["--mode", "plain"]));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    assert!(said.contains(&format!("the RPC worker {b}: ")), "{said}");
}

#[test]
fn a_worker_that_dies_under_a_server_is_named_as_the_reason() {
    let (worker, address) = worker();
    let server = Process::start(&[
        "serve",
        "-m",
        MODEL,
        "--mode",
        "plain",
        "--port",
        "0",
        "--no-page",
        "--rpc",
        &address,
    ]);
    let url = format!("http{}", server.says(" at http"));
    let url = url.trim_end_matches("/v1");
    assert_eq!(ask(url).0, 200);
    // It serves one target at a time.
    let second = try_generate(&["--mode", "plain", "--rpc", &address]);
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("one target at a time"), "{said}");
    drop(worker);
    let body = json!({ "prompt": "The sea", "max_tokens": 4 }).to_string();
    let _ = ureq::post(format!("{url}/v1/completions")).send(body);
    server.says("a worker of --rpc is gone");
}

#[test]
fn a_worker_is_not_left_open_to_the_network() {
    let open = Process::start(&["rpc-worker", "--listen", "0.0.0.0:0"]);
    open.says("add --trusted-network");
}
