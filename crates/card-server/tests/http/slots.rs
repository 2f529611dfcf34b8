//! Slots: what they hold is saved, restored and forgotten.

use card_server::testing::TestSetup;
use serde_json::{Value, json};

use crate::client::{Client, setup};
use crate::common::{ANNA, BERT, two_keys, with};

/// A text that the prefix cache keeps, and another one that begins like it.
const FRANCE: &str = "What is the capital of France?";
const GERMANY: &str = "What is the capital of Germany?";

fn saving(mut setup: TestSetup, folder: &std::path::Path) -> TestSetup {
    setup.config.llama_server.slot_save_path = Some(folder.to_owned());
    setup
}

fn prompt(text: &str, slot: usize) -> Value {
    json!({ "prompt": text, "id_slot": slot, "n_predict": 8, "temperature": 0,
            "ignore_eos": true })
}

fn number(answer: &Value, name: &str) -> u64 {
    let found = answer[name].as_u64();
    found.unwrap_or_else(|| panic!("{name} of {answer}"))
}

#[tokio::test]
async fn a_slot_is_saved_and_restored_after_the_server_was_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let setup = saving(setup(), folder.path());
    let file = json!({ "filename": "slot1.bin" });
    // The prompt and the answer; the last token was not read.
    let tokens = FRANCE.len() as u64 + 7;
    {
        let client = Client::start(&setup);
        let stream = with(prompt(FRANCE, 1), &json!({ "stream": true }));
        assert_eq!(client.post("/completion", &stream).await.status, 200);
        let saved = client.post("/slots/1?action=save", &file).await.json();
        assert_eq!(
            (number(&saved, "id_slot"), number(&saved, "n_saved")),
            (1, tokens)
        );
        let written = std::fs::read(folder.path().join("slot1.bin")).unwrap();
        assert_eq!(number(&saved, "n_written"), written.len() as u64);
        assert!(saved["timings"]["save_ms"].is_number());
    }
    let client = Client::start(&setup);
    let restored = client.post("/slots/0?action=restore", &file).await.json();
    assert_eq!(number(&restored, "n_restored"), tokens, "{restored}");
    // What was restored need not be read again.
    let answer = client.post("/completion", &prompt(GERMANY, 0)).await.json();
    let common = "What is the capital of ".len() as u64;
    assert_eq!(number(&answer["timings"], "cache_n"), common);
    let again = json!({ "filename": "again.bin" });
    let saved = client.post("/slots/0?action=save", &again).await.json();
    assert_eq!(number(&saved, "n_saved"), GERMANY.len() as u64 + 7);
}

#[tokio::test]
async fn a_slot_that_was_erased_is_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let client = Client::start(&saving(setup(), folder.path()));
    let ask = async || {
        let answer = client.post("/completion", &prompt(FRANCE, 1)).await.json();
        number(&answer["timings"], "cache_n")
    };
    assert_eq!(ask().await, 0);
    assert!(ask().await > 0);
    let erased = client
        .post("/slots/1?action=erase", &json!({}))
        .await
        .json();
    assert_eq!(number(&erased, "n_erased"), FRANCE.len() as u64 + 7);
    assert_eq!(ask().await, 0);
    // A slot that nothing was in.
    let erased = client
        .post("/slots/2?action=erase", &json!({}))
        .await
        .json();
    assert_eq!(number(&erased, "n_erased"), 0);
}

#[tokio::test]
async fn what_is_no_slot_or_no_file_of_one_says_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("text.bin"), "not a slot").unwrap();
    std::fs::write(folder.path().join("large.bin"), vec![0; 1 << 20]).unwrap();
    let client = Client::start(&saving(setup(), folder.path()));
    let file = |name: &str| json!({ "filename": name });
    for (path, body, field) in [
        ("/slots/9?action=save", file("a"), "id_slot"),
        ("/slots/x?action=save", file("a"), "id_slot"),
        ("/slots/0?action=x", file("a"), "action"),
        ("/slots/0", file("a"), "action"),
        ("/slots/0?action=save", file("a"), "id_slot"),
        ("/slots/0?action=save", file("../a"), "filename"),
        ("/slots/0?action=restore", file("missing"), "filename"),
        ("/slots/0?action=restore", file("text.bin"), "filename"),
        ("/slots/0?action=restore", file("large.bin"), "filename"),
        ("/slots/0?action=restore", json!({}), "filename"),
    ] {
        let reply = client.post(path, &body).await;
        assert_eq!(reply.status, 400, "{path} {body}: {reply:?}");
        assert_eq!(reply.json()["error"]["param"], field, "{path} {body}");
    }
    let none = client.post("/slots/9?action=save", &file("a")).await.json();
    let message = none["error"]["message"].as_str().unwrap();
    assert!(message.contains("counted from 0"), "{message}");
    client.serves().await;
}

#[tokio::test]
async fn a_key_has_slots_and_files_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let client = Client::start(&saving(two_keys(), folder.path()));
    let file = json!({ "filename": "mine.bin" });
    let asked = client
        .post_as(ANNA, "/completion", &prompt(FRANCE, 1))
        .await;
    assert_eq!(asked.status, 200);
    let save = "/slots/1?action=save";
    assert_eq!(client.post(save, &file).await.status, 401);
    assert_eq!(client.post_as(BERT, save, &file).await.status, 400);
    assert_eq!(client.post_as(ANNA, save, &file).await.status, 200);
    let restore = "/slots/0?action=restore";
    assert_eq!(client.post_as(BERT, restore, &file).await.status, 400);
    assert_eq!(client.post_as(ANNA, restore, &file).await.status, 200);
    assert!(!folder.path().join("mine.bin").exists());
}
