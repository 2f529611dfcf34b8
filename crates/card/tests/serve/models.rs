//! How a server starts, and several models under one address.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::server::{Server, json_of, text};

#[test]
fn several_models_under_one_address_are_loaded_when_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("card.toml");
    fs::write(
        &file,
        "[models]\nother = { model = \"smol\", draft = \"none\", context = 512 }\n",
    )
    .unwrap();
    let config = file.to_str().unwrap();
    let server = Server::start(&["--draft", "none", "--config", config]);
    let listed = || json_of(&server.request("GET", "/v1/models", &[], b"").1);
    let models = listed();
    assert_eq!(models["data"][0]["id"], "smol");
    assert_eq!(models["data"][0]["status"]["value"], "loaded");
    assert_eq!(models["data"][1]["id"], "other");
    assert_eq!(models["data"][1]["status"]["value"], "unloaded");
    let default = server.chat(json!({}));
    let other = server.chat(json!({ "model": "other" }));
    assert_eq!(other["model"], "other");
    assert_eq!(text(&other), text(&default), "it is the same target");
    let models = listed();
    assert_eq!(models["data"][1]["status"]["value"], "loaded");
    assert_eq!(models["data"][1]["meta"]["context"], 512);
    let (status, answer) = server.post(
        "/v1/completions",
        &json!({ "model": "nobody", "prompt": "a", "max_tokens": 1 }),
    );
    assert_eq!(status, 404, "{answer}");
    assert_eq!(answer["error"]["code"], "model_not_found");
}

#[test]
fn it_listens_before_its_model_is_loaded() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_card"));
    command.args(["serve", "-m", "smol", "--draft", "none", "--port", "0"]);
    command.env("CARD_NO_MEMORY", "true");
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let said = lines.find_map(|line| line.ok().filter(|l| l.contains("listening on ")));
    let said = said.expect("the server ended");
    let address = said.split("://").nth(1).unwrap().split(';').next().unwrap();
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    let server = Server {
        child,
        address: address.to_owned(),
    };
    let first = server.request("GET", "/health", &[], b"");
    assert!([200, 503].contains(&first.0), "{first:?}");
    if first.0 == 503 {
        assert_eq!(json_of(&first.1)["error"]["message"], "Loading model");
    }
    // The page is there whatever the model does.
    assert_eq!(server.request("GET", "/", &[], b"").0, 200);
    let ready = |s: &Server| s.request("GET", "/health", &[], b"").0 == 200;
    server.until("the model", ready);
}
