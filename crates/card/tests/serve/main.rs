//! `card serve` on the small model, over HTTP, as clients meet it.
//!
//! Needs it: `cargo run --release -p card -- pull smol`.

#![allow(clippy::unwrap_used)]

mod models;
mod server;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use server::{Server, json_of, text};

#[test]
fn answers_as_the_api_says_and_refuses_with_a_reason() {
    let level = ["--exactness", "exact", "--max-request-kib", "64"];
    let server = Server::start(&[&["--draft", "smol"], &level[..]].concat());
    let health = json_of(&server.request("GET", "/health", &[], b"").1);
    assert_eq!(health["exactness"]["level"], "exact");
    let words = health["exactness"]["words"].as_str().unwrap();
    assert!(
        words.starts_with("exact: ") && words.contains("kernels"),
        "{words}"
    );
    let plain = server.chat(json!({}));
    assert_eq!(plain["object"], "chat.completion");
    assert_eq!(plain["choices"][0]["finish_reason"], "length");
    assert_eq!(plain["usage"]["completion_tokens"], 24);
    streams_the_same(&server, &plain);
    does_what_a_request_asks(&server, &plain);
    completes_texts_and_tokens(&server);
    refuses_with_a_reason(&server);
    // A page on another site cannot use a server on this machine under a name of its own.
    let (status, _) = server.request("GET", "/v1/models", &["Host: evil.example"], b"");
    assert_eq!(status, 403);
    assert_eq!(
        text(&server.chat(json!({}))),
        text(&plain),
        "it still serves"
    );
    assert!(server.get("/").contains("<title>CARD</title>"));
}

/// The same, streamed: the pieces add up, and usage comes at the end.
fn streams_the_same(server: &Server, plain: &Value) {
    let body = json!({ "messages": [{ "role": "user", "content": "Write a story about a dog." }], "n": 2,
        "temperature": 0, "max_tokens": 24, "stream": true, "stream_options": { "include_usage": true } });
    let (status, answer) = server.request(
        "POST",
        "/v1/chat/completions",
        &[],
        body.to_string().as_bytes(),
    );
    assert_eq!(status, 200);
    let events: Vec<&str> = answer
        .lines()
        .filter_map(|l| l.strip_prefix("data: "))
        .collect();
    assert_eq!(events.last(), Some(&"[DONE]"));
    let chunks: Vec<Value> = events[..events.len() - 1]
        .iter()
        .map(|e| serde_json::from_str(e).unwrap())
        .collect();
    let pieces = |index: usize| -> String {
        let choices = chunks.iter().filter_map(|c| c["choices"].get(0));
        let mine = choices.filter(|c| c["index"] == index);
        mine.filter_map(|c| c["delta"]["content"].as_str())
            .collect()
    };
    assert_eq!(
        (pieces(0).as_str(), pieces(1).as_str()),
        (text(plain), text(plain))
    );
    assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], 48);
}

/// Stop strings, log probabilities, bias, schemas, predictions, tokens.
fn does_what_a_request_asks(server: &Server, plain: &Value) {
    let stopped = server.chat(json!({ "stop": "the" }));
    assert!(!text(&stopped).contains("the") && stopped["choices"][0]["finish_reason"] == "stop");
    let logged = server.chat(json!({ "logprobs": true, "top_logprobs": 3, "max_tokens": 4 }));
    let logged = logged["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(logged.len(), 4);
    assert!(logged.iter().all(|l| {
        let top = l["top_logprobs"].as_array().unwrap();
        top.len() == 3 && top[0]["logprob"] == l["logprob"] && l["logprob"].as_f64().unwrap() <= 0.0
    }));
    let (_, first) = server.post("/tokenize", &json!({ "content": text(plain) }));
    let first = &first["tokens"][0];
    let banned = server.chat(json!({ "logit_bias": { first.to_string(): -100 } }));
    assert_ne!(text(&banned), text(plain));
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } },
        "required": ["n"], "additionalProperties": false });
    let shaped = server.chat(json!({ "max_tokens": 64,
        "response_format": { "type": "json_schema", "json_schema": { "name": "n", "schema": schema } } }));
    let parsed: Value = serde_json::from_str(text(&shaped)).unwrap();
    assert!(parsed["n"].is_i64(), "{parsed}");
    let predicted =
        server.chat(json!({ "prediction": { "type": "content", "content": text(plain) } }));
    assert_eq!(text(&predicted), text(plain));
    let details = &predicted["usage"]["completion_tokens_details"];
    assert!(
        details["accepted_prediction_tokens"].as_u64().unwrap() > 0,
        "{details}"
    );
    let (_, back) = server.post("/detokenize", &json!({ "tokens": [first] }));
    assert!(text(plain).starts_with(back["content"].as_str().unwrap()));
}

/// Completions of texts and of tokens.
fn completes_texts_and_tokens(server: &Server) {
    let (_, completion) = server.post(
        "/v1/completions",
        &json!({ "prompt": ["1, 2, 3,", "a b"],
        "max_tokens": 3, "echo": true, "logprobs": 1, "temperature": 0 }),
    );
    assert_eq!(completion["choices"].as_array().unwrap().len(), 2);
    assert!(
        completion["choices"][0]["text"]
            .as_str()
            .unwrap()
            .starts_with("1, 2, 3,")
    );
    assert_eq!(
        server
            .post(
                "/v1/completions",
                &json!({ "prompt": [5, 6, 7], "max_tokens": 1 })
            )
            .0,
        200
    );
}

/// What is wrong is refused, each with a message in OpenAI's shape.
fn refuses_with_a_reason(server: &Server) {
    for (method, path, body, status, message) in wrong_requests() {
        let (got, answer) = server.request(method, path, &[], &body);
        assert_eq!(got, status, "{path}: {answer}");
        let error = &json_of(&answer)["error"];
        let said = error["message"].as_str().unwrap();
        assert!(said.contains(message), "{path}: {said}");
        assert!(error["type"].is_string() && error.get("param").is_some());
    }
}

/// Requests that are wrong: method, path, body, and the status and message they get.
type WrongRequest = (&'static str, &'static str, Vec<u8>, u16, &'static str);

fn wrong_requests() -> [WrongRequest; 11] {
    let long = "word ".repeat(9000);
    let chat = |content: &str| json!({ "messages": [{ "role": "user", "content": content }] });
    [
        (
            "POST",
            "/v1/chat/completions",
            b"{\"messages\":".to_vec(),
            400,
            "not JSON",
        ),
        (
            "POST",
            "/v1/chat/completions",
            b"\xff\xfe".to_vec(),
            400,
            "not JSON",
        ),
        (
            "POST",
            "/v1/chat/completions",
            b"{}".to_vec(),
            400,
            "messages",
        ),
        (
            "POST",
            "/v1/chat/completions",
            chat(&long).to_string().into(),
            400,
            "context holds",
        ),
        (
            "POST",
            "/v1/chat/completions",
            vec![b' '; 80 << 10],
            413,
            "larger than",
        ),
        (
            "POST",
            "/v1/completions",
            b"{\"prompt\":\"\"}".to_vec(),
            400,
            "empty",
        ),
        (
            "POST",
            "/v1/completions",
            b"{\"prompt\":[99999999]}".to_vec(),
            400,
            "vocabulary",
        ),
        (
            "POST",
            "/detokenize",
            b"{\"tokens\":[-1]}".to_vec(),
            400,
            "tokens",
        ),
        ("GET", "/v1/chat/completions", vec![], 405, "method"),
        ("GET", "/nothing", vec![], 404, "no such path"),
        ("GET", "/v1/models/gpt-4", vec![], 404, "there is no model"),
    ]
}

#[test]
fn prompts_are_read_once() {
    // Exact, a prompt is read once only where every shape of forward gives the same logits.
    let server = Server::start(&["--draft", "none", "--exactness", "fast"]);
    server.chat(json!({}));
    // A prompt that was read before is not read again, but for its last token.
    let usage = server.chat(json!({}))["usage"].clone();
    let cached = &usage["prompt_tokens_details"]["cached_tokens"];
    assert_eq!(
        cached.as_u64().map(|c| c + 1),
        usage["prompt_tokens"].as_u64()
    );
    // Several answers to a prompt read it once.
    let before = server.metric("card_prompt_tokens_reused_total ");
    let three = server.chat(json!({ "n": 3, "temperature": 1, "messages":
        [{ "role": "user", "content": "Invent a name for a small red boat." }] }));
    let prompt = three["usage"]["prompt_tokens"].as_f64().unwrap();
    let reused = server.metric("card_prompt_tokens_reused_total ") - before;
    assert!(reused >= 2.0 * (prompt - 1.0), "{reused} of {prompt}");
    assert_eq!(three["choices"].as_array().unwrap().len(), 3);
}

#[test]
fn the_same_alone_and_among_others() {
    let level = ["--parallel", "3", "--exactness", "exact"];
    let server = Server::start(&[&["--draft", "smol", "--mode", "card"], &level[..]].concat());
    let ask = |i: usize| {
        let content = ["Name a colour.", "What is 2 + 2?", "Say hello in French."][i % 3];
        let temperature = if i.is_multiple_of(2) { 0.0 } else { 0.9 };
        let answer = server.chat(
            json!({ "messages": [{ "role": "user", "content": content }],
            "temperature": temperature, "seed": i, "max_tokens": 20 + i }),
        );
        text(&answer).to_owned()
    };
    let alone: Vec<String> = (0..9).map(ask).collect();
    let together: Vec<String> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..9).map(|i| scope.spawn(move || ask(i))).collect();
        asked.into_iter().map(|a| a.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
    assert!(server.metric("card_candidates_verified_total{source=\"draft\"}") > 0.0);
}

#[test]
fn a_full_queue_says_when_and_clients_that_leave_make_room() {
    let server = Server::start(&["--draft", "none", "--parallel", "1", "--queue", "1"]);
    let long = json!({ "messages": [{ "role": "user", "content": "Write a long story." }],
        "max_tokens": 3000, "logit_bias": {}, "stream": true })
    .to_string();
    let open = || {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ";
        stream
            .write_all(format!("{head}{}\r\n\r\n{long}", long.len()).as_bytes())
            .unwrap();
        stream
    };
    let first = open();
    server.until("a running generation", |s| s.metric("card_running") == 1.0);
    let second = open();
    server.until("a waiting one", |s| s.metric("card_waiting") == 1.0);
    let (status, answer) = server.request("POST", "/v1/chat/completions", &[], long.as_bytes());
    assert_eq!(status, 429, "{answer}");
    assert!(answer.to_lowercase().contains("retry-after: "), "{answer}");
    drop((first, second));
    server.until("room", |s| {
        s.metric("card_running") == 0.0 && s.metric("card_waiting") == 0.0
    });
    assert!(server.metric("card_cancelled_total") >= 1.0);
    server.chat(json!({ "max_tokens": 2 }));
}

#[test]
fn keys_are_asked_for_and_a_stopped_server_finishes_what_runs() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    fs::write(&keys, "# for the office\nsecret-1\nsecret-2\n").unwrap();
    let keys = ["--api-key-file", keys.to_str().unwrap()];
    let patient = ["--draft", "none", "--drain-timeout", "3600"];
    let mut server = Server::start(&[patient, [keys[0], keys[1], "--queue", "8"]].concat());
    // A page that is open does not hold it up.
    let mut page = TcpStream::connect(&server.address).unwrap();
    let head = "GET /live HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret-2\r\n\r\n";
    page.write_all(head.as_bytes()).unwrap();
    let mut about = [0; 64];
    assert!(page.read(&mut about).unwrap() > 0);
    for (header, expected) in [
        ("X-Nothing: 1", 401),
        ("Authorization: Bearer wrong", 401),
        ("Authorization: Bearer secret-", 401),
        ("Authorization: Basic secret-1", 401),
        ("Authorization: Bearer secret-1", 200),
        ("Authorization: Bearer secret-2", 200),
    ] {
        let (status, answer) = server.request("GET", "/v1/models", &[header], b"");
        assert_eq!(status, expected, "{header}");
        assert!(!answer.contains("secret"), "no key is ever said");
    }
    assert_eq!(server.request("GET", "/health", &[], b"").0, 200);
    assert_eq!(server.request("GET", "/metrics", &[], b"").0, 401);
    let body = json!({ "prompt": "Once upon a time", "max_tokens": 150 }).to_string();
    let key = ["Authorization: Bearer secret-1"];
    let answer = std::thread::scope(|scope| {
        let running =
            scope.spawn(|| server.request("POST", "/v1/completions", &key, body.as_bytes()));
        server.until("a running generation", |s| {
            s.request("GET", "/health", &[], b"")
                .1
                .contains("\"running\":1")
        });
        server.signal("-TERM");
        running.join().unwrap()
    });
    assert_eq!(answer.0, 200, "{}", answer.1);
    let end = Instant::now() + Duration::from_secs(120);
    let status = loop {
        match server.child.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(Instant::now() < end, "it does not end"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(status.success());
}

#[test]
fn the_audit_log_holds_and_explains() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit.jsonl");
    let file = log.to_str().unwrap();
    let mut server = Server::start(&[
        "--draft",
        "smol",
        "--mode",
        "card",
        "--audit",
        file,
        "--audit-text",
    ]);
    let answer = server.chat(json!({}));
    server.signal("-INT");
    assert!(server.child.wait().unwrap().success());
    let card = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_card"))
            .args(arguments)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (whole, said) = card(&["audit", "verify", file]);
    assert!(
        whole && said.contains("each follows the one before"),
        "{said}"
    );
    let page = dir.path().join("page.html");
    let id = answer["id"].as_str().unwrap();
    let (found, said) = card(&["explain", file, "-r", id, "-o", page.to_str().unwrap()]);
    assert!(found, "{said}");
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("\"kind\":\"round\"") && page.contains("\"sources\":[\"draft\"]"));
    let (found, said) = card(&["explain", file, "-r", "nobody"]);
    assert!(!found && said.contains("card audit list"), "{said}");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(
        &log,
        text.replacen("\"accepted\":true", "\"accepted\":false", 1),
    )
    .unwrap();
    let (whole, said) = card(&["audit", "verify", file]);
    assert!(!whole && said.contains("changed"), "{said}");
}

#[test]
fn settings_come_from_flags_then_environment_then_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = |text: &str, arguments: &[&str]| {
        fs::write(dir.path().join("card.toml"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_card"));
        command
            .current_dir(dir.path())
            .args(["serve", "--print-config", "--config", "card.toml"])
            .args(arguments);
        let output = command.env("CARD_QUEUE", "7").output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let said = config(
        "port = 9000\nqueue = 3\nparallel = 2\ncors = [\"https://a\", \"https://b\"]\nno-page = true\napi_key = \"k\"",
        &["--port", "9001"],
    );
    let has = |key: &str, source: &str| {
        said.lines()
            .any(|l| l.starts_with(key) && l.ends_with(&format!("# {source}")))
    };
    assert!(
        has("port = 9001", "flag") && has("queue = 7", "environment"),
        "{said}"
    );
    assert!(
        has("parallel = 2", "file") && has("no-page = true", "file"),
        "{said}"
    );
    assert!(
        has("cors = [\"https://a\", \"https://b\"]", "file"),
        "{said}"
    );
    assert!(
        has("host = \"127.0.0.1\"", "default") && !said.contains("\"k\""),
        "{said}"
    );
    let wrong = config("paralel = 2", &[]);
    assert!(
        wrong.contains("no setting \"paralel\"") && wrong.contains("\"parallel\""),
        "{wrong}"
    );
    let wrong = config("port = \"many\"", &[]);
    assert!(
        wrong.contains("--port") && wrong.contains("many"),
        "{wrong}"
    );
}

#[test]
fn https_with_a_certificate_of_ones_own() {
    use ureq::tls::{Certificate, RootCerts, TlsConfig};
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = file("cert.pem", &made.cert.pem());
    let key = file("key.pem", &made.signing_key.serialize_pem());
    let server = Server::start(&["--draft", "none", "--tls-cert", &cert, "--tls-key", &key]);
    let root = Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let trust = RootCerts::new_with_certs(&[root.to_owned()]);
    let tls = TlsConfig::builder().root_certs(trust).build();
    let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(tls).build().into();
    let port = server.address.rsplit(':').next().unwrap();
    let url = format!("https://localhost:{port}/v1/models");
    let answer = agent
        .get(&url)
        .call()
        .unwrap()
        .body_mut()
        .read_to_string()
        .unwrap();
    assert!(answer.contains("\"smol\""), "{answer}");
    // Who does not know the certificate is not served, and neither is plain HTTP.
    assert!(ureq::get(&url).call().is_err());
    assert_ne!(server.request("GET", "/health", &[], b"").0, 200);
    let mut wrong = Command::new(env!("CARGO_BIN_EXE_card"));
    wrong.args(["serve", "-m", "smol", "--draft", "none", "--port", "0"]);
    wrong.args(["--tls-cert", &key, "--tls-key", &cert]);
    let said = wrong.output().unwrap();
    assert!(!said.status.success());
    assert!(String::from_utf8_lossy(&said.stderr).contains("--tls-cert and --tls-key are PEM"));
}

#[test]
fn traces_go_to_a_collector() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", collector.local_addr().unwrap());
    let (sender, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in collector.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = vec![0; 1 << 16];
            let mut all = Vec::new();
            // Until the span's name is there: the body is protobuf, its strings are plain.
            while !String::from_utf8_lossy(&all).contains("generate") {
                match stream.read(&mut bytes).unwrap() {
                    0 => break,
                    n => all.extend_from_slice(&bytes[..n]),
                }
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            let _ = sender.send(String::from_utf8_lossy(&all).into_owned());
        }
    });
    let mut server = Server::start(&["--draft", "none", "--otlp", &url]);
    let answer = server.chat(json!({ "max_tokens": 2 }));
    server.signal("-TERM");
    assert!(server.child.wait().unwrap().success());
    let sent = heard.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(sent.starts_with("POST /v1/traces"), "{sent}");
    let id = answer["id"]
        .as_str()
        .unwrap()
        .trim_start_matches("chatcmpl-");
    assert!(sent.contains("generate") && sent.contains(id), "{sent}");
}

#[test]
fn a_canary_compares_both_arms_and_checks_that_answers_are_the_same() {
    let server = Server::start(&[
        "--draft",
        "smol",
        "--mode",
        "card",
        "--lanes",
        "shared",
        "--exactness",
        "exact",
        "--canary",
        "50%",
        "--no-page",
    ]);
    let texts: Vec<Value> = (0..6)
        .map(|_| server.chat(json!({}))["choices"].clone())
        .collect();
    assert!(texts.iter().all(|t| *t == texts[0]));
    let arm = |name: &str, arm: &str| {
        let name = format!("card_rollout_{name}{{arm=\"{arm}\"}}");
        server.metric(&name)
    };
    server.until("the last answer", |_| {
        arm("answers_total", "speculative") + arm("answers_total", "plain") == 6.0
    });
    assert_eq!(arm("answers_total", "plain"), 3.0);
    // Nobody waits now: one of the next is decoded again.
    let checked = || server.metric("card_rollout_checked_total");
    for _ in 0..8 {
        server.chat(json!({}));
        // On a busy machine that takes a while, and another request would end it.
        let end = Instant::now() + Duration::from_secs(5);
        while checked() == 0.0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let checked = checked();
    assert!(checked > 0.0);
    assert_eq!(server.metric("card_rollout_same_total"), checked);
}
