//! A hub that refuses, lies, or means harm.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::server::{COMMIT, HubServer, Reply, Request, content, described, repository, sum};
use crate::{Home, incomplete, said};

#[test]
fn a_gated_repository_says_how_to_get_in() {
    let home = Home::new();
    let hub = HubServer::start(|request| {
        if request.authorization.as_deref() == Some("Bearer hf_good") {
            return repository(&[("toy-Q4_K_M.gguf", b"GGUF gated")])(request);
        }
        Reply::status(403).with("x-error-code", "GatedRepo")
    });
    let refused = home.pull(&hub);
    refused.fails("is gated");
    refused.fails(&format!("{}/me/toy-GGUF", hub.url));
    refused.fails("HF_TOKEN");
    let with = |token: &str| {
        let mut command = home.command(&hub.url, &["pull", "hf:me/toy-GGUF"]);
        command.env("HF_TOKEN", token);
        said(command)
    };
    with("hf_other").fails("the token that is set now has no access");
    with("not a token").fails("no header carries");
    // The token of a login is in a file.
    fs::create_dir_all(home.path("hf")).unwrap();
    fs::write(home.path("hf/token"), "hf_good\n").unwrap();
    home.pull(&hub).works();
}

#[test]
fn a_token_that_the_hub_does_not_know_is_told() {
    let home = Home::new();
    let hub = HubServer::start(|_| Reply::status(401));
    let mut command = home.command(&hub.url, &["pull", "hf:me/toy-GGUF"]);
    command.env("HF_TOKEN", "hf_old");
    let refused = said(command);
    refused.fails("does not accept the token");
    assert!(!refused.err.contains("hf_old"), "{}", refused.err);
}

#[test]
fn a_repository_that_is_not_there_has_near_names() {
    let home = Home::new();
    let hub = HubServer::start(|request| {
        if request.path.starts_with("/api/models?search=") {
            return Reply::json(&json!([
                { "id": "me/toys-GGUF" },
                { "id": "../evil" },
                { "id": "you/toy-GGUF" },
            ]));
        }
        Reply::status(404)
    });
    let refused = home.pull(&hub);
    refused.fails("the hub has no repository me/toy-GGUF; it has me/toys-GGUF, you/toy-GGUF");
    assert!(!refused.err.contains("evil"), "{}", refused.err);
}

#[test]
fn names_of_files_lead_nowhere_else() {
    let home = Home::new();
    let evil = [
        "../../../../evil-Q4_K_M.gguf",
        "/tmp/evil-Q4_K_M.gguf",
        "a/../../evil-Q4_K_M.gguf",
        "a\\..\\evil-Q4_K_M.gguf",
        "\u{1b}[2Jevil-Q4_K_M.gguf",
        ".evil-Q4_K_M.gguf",
    ];
    let files: Vec<(&str, usize, String)> = evil.iter().map(|p| (*p, 4, sum(b"GGUF"))).collect();
    let listed = described(&files);
    let hub = HubServer::start(move |request| {
        if request.path.starts_with("/api/") {
            return Reply::json(&listed);
        }
        Reply::status(200).with_body(b"GGUF".to_vec())
    });
    let pulled = home.pull(&hub);
    pulled.fails("no GGUF model");
    assert!(!pulled.err.contains("\u{1b}[2J"), "{:?}", pulled.err);
    assert!(hub.asked_for_files().is_empty());
}

#[test]
fn another_host_gets_no_token() {
    let (home, model) = (Home::new(), content(10_000));
    let sent = model.clone();
    let other = HubServer::start(move |request| Reply::file(request, &sent));
    let (to, whole) = (
        other.url.clone(),
        repository(&[("toy-Q4_K_M.gguf", &model)]),
    );
    let hub = HubServer::start(move |request| {
        if request.path.contains("/resolve/") {
            return Reply::status(302).with("location", format!("{to}/blob?signed=1"));
        }
        whole(request)
    });
    let mut command = home.command(&hub.url, &["pull", "hf:me/toy-GGUF"]);
    command.env("HF_TOKEN", "hf_secret");
    said(command).works();
    let own = hub.asked();
    assert!(!own.is_empty());
    for request in own {
        assert_eq!(request.authorization.as_deref(), Some("Bearer hf_secret"));
    }
    let others = other.asked();
    assert_eq!(others.len(), 1);
    assert_eq!(others[0].authorization, None);
    assert_eq!(fs::read(home.blob(&model)).unwrap(), model);
}

#[test]
fn answers_that_are_none_are_refused() {
    let home = Home::new();
    for (reply, why) in [
        (
            Reply::status(200).with_body(b"<html>".to_vec()),
            "not as expected",
        ),
        (
            Reply::json(&json!({ "sha": "../..", "siblings": [] })),
            "names no commit",
        ),
        (
            Reply::json(&json!({ "sha": COMMIT, "siblings": "none" })),
            "not as expected",
        ),
        (
            Reply::status(302).with("location", "/api/models/round"),
            "from address to address",
        ),
        (
            Reply::status(302).with("location", "file:///etc/passwd"),
            "not encrypted",
        ),
        (Reply::status(302), "leads nowhere"),
        (Reply::status(418), "answers 418"),
        (Reply::status(500), "answers 500 for now"),
    ] {
        let hub = HubServer::start(move |_| reply.clone());
        home.pull(&hub).fails(why);
    }
    home.card("nonsense", &["pull", "hf:me/toy-GGUF"])
        .fails("HF_ENDPOINT is set");
    home.card("http://127.0.0.1:1", &["pull", "hf:me/toy-GGUF"])
        .fails("cannot reach the hub");
    home.card("http://127.0.0.1:1", &["pull", "hf:../toy"])
        .fails("names no model of a hub");
}

#[test]
fn a_file_without_a_sum_is_asked_for_one() {
    let (home, model) = (Home::new(), content(2_000));
    let listed = json!({ "sha": COMMIT, "siblings": [{ "rfilename": "toy-Q4_K_M.gguf" }] });
    let sent = model.clone();
    let hub = HubServer::start(move |request| {
        if request.path.starts_with("/api/") {
            return Reply::json(&listed);
        }
        if request.method == "HEAD" {
            return Reply::status(302)
                .with("location", "http://127.0.0.1:1/far")
                .with("x-linked-etag", format!("\"{}\"", sum(&sent)))
                .with("x-linked-size", sent.len().to_string());
        }
        Reply::file(request, &sent)
    });
    home.pull(&hub).works();
    assert_eq!(fs::read(home.blob(&model)).unwrap(), model);
    let home = Home::new();
    let listed = json!({ "sha": COMMIT, "siblings": [{ "rfilename": "toy-Q4_K_M.gguf" }] });
    let hub = HubServer::start(move |request| {
        if request.path.starts_with("/api/") {
            return Reply::json(&listed);
        }
        Reply::status(200)
            .with("etag", "\"0123\"")
            .with_body(b"GGUF".to_vec())
    });
    home.pull(&hub).fails("names no SHA-256");
}

#[test]
fn what_is_not_the_file_is_deleted() {
    let (home, model) = (Home::new(), content(50_000));
    let listed = described(&[("toy-Q4_K_M.gguf", model.len(), sum(&model))]);
    let hub = HubServer::start(move |request| {
        if request.path.starts_with("/api/") {
            return Reply::json(&listed);
        }
        Reply::status(200).with_body(vec![1; 50_000])
    });
    home.pull(&hub).fails("it was deleted");
    assert!(!home.blob(&model).exists() && !incomplete(&home.blob(&model)).exists());
    assert!(!home.snapshot("toy-Q4_K_M.gguf").exists());
}

#[test]
fn what_is_longer_than_the_file_is_not_taken() {
    let home = Home::new();
    let model = content(1_000);
    let listed = described(&[("toy-Q4_K_M.gguf", model.len(), sum(&model))]);
    let hub = HubServer::start(move |request| {
        if request.path.starts_with("/api/") {
            return Reply::json(&listed);
        }
        Reply::status(200).with_body(vec![1; 50_000_000])
    });
    home.pull(&hub).fails("more than the 1000 bytes");
    assert!(!incomplete(&home.blob(&model)).exists());
}

#[test]
fn what_does_not_fit_is_not_begun() {
    let home = Home::new();
    let listed = described(&[("toy-Q4_K_M.gguf", 1 << 60, "a".repeat(64))]);
    let hub = HubServer::start(move |_| Reply::json(&listed));
    let pulled = home.pull(&hub);
    pulled.fails("not enough disk space");
    pulled.fails("HF_HUB_CACHE");
    assert!(hub.asked_for_files().is_empty());
}

#[test]
fn a_hub_that_has_too_much_to_do_is_asked_again_when_it_asks_for_it() {
    let (home, model) = (Home::new(), content(5_000));
    let whole = repository(&[("toy-Q4_K_M.gguf", &model)]);
    let (lists, files) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let hub = HubServer::start(move |request| {
        let asked = if request.path.starts_with("/api/") {
            &lists
        } else {
            &files
        };
        if asked.fetch_add(1, Ordering::SeqCst) < 2 {
            return Reply::status(429).with("retry-after", "0");
        }
        whole(request)
    });
    home.pull(&hub).works();
    assert_eq!(fs::read(home.blob(&model)).unwrap(), model);
    // Nobody waits an hour for it without knowing.
    let home = Home::new();
    let hub = HubServer::start(|_| Reply::status(503).with("retry-after", "3600"));
    home.pull(&hub).fails("try again in 3600 s");
    assert_eq!(hub.asked().len(), 1);
}

#[test]
fn a_refusal_is_told_for_what_it_is() {
    let (home, model) = (Home::new(), content(5_000));
    let refused = |reply: Reply| {
        let whole = repository(&[("toy-Q4_K_M.gguf", &model)]);
        let hub = HubServer::start(move |request| {
            if request.path.contains("/resolve/") {
                return reply.clone();
            }
            whole(request)
        });
        home.pull(&hub)
    };
    let other = HubServer::start(|_| Reply::status(403));
    let to = format!("{}/blob?signed=1", other.url);
    let elsewhere = refused(Reply::status(302).with("location", to));
    elsewhere.fails("to which the hub leads");
    assert!(!elsewhere.err.contains("gated"), "{}", elsewhere.err);
    let gone = Reply::status(404).with("x-error-code", "EntryNotFound");
    refused(gone).fails("me/toy-GGUF has no file of that name");
    let words = "Enable access to gated repositories in the token's settings";
    let forbidden = refused(Reply::status(403).with("x-error-message", words));
    forbidden.fails(words);
    forbidden.fails("HF_TOKEN");
}

#[test]
fn a_hub_without_the_part_that_is_missing_is_begun_with_anew() {
    let model = content(50_000);
    let wrong = Reply::status(206)
        .with("content-range", "bytes 7-9/50000")
        .with_body(vec![1; 3]);
    for refusal in [Reply::status(416), wrong] {
        let home = Home::new();
        let whole = repository(&[("toy-Q4_K_M.gguf", &model)]);
        let hub = HubServer::start(move |request| {
            if request.range.is_some() {
                return refusal.clone();
            }
            whole(request)
        });
        let part = incomplete(&home.blob(&model));
        fs::create_dir_all(part.parent().unwrap()).unwrap();
        fs::write(&part, &model[..20_000]).unwrap();
        home.pull(&hub).works();
        assert_eq!(fs::read(home.blob(&model)).unwrap(), model);
        let asked: Vec<usize> = hub.asked_for_files().iter().map(Request::start).collect();
        assert_eq!(asked, [20_000, 0]);
    }
}
