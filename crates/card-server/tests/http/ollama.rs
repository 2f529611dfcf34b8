//! Ollama's API, as its clients speak it.

use serde_json::{Value, json};

use crate::client::{Client, Reply, setup};
use crate::common::{two_keys, with};

const CHAT: &str = "/api/chat";
const GENERATE: &str = "/api/generate";

/// A short chat, always the same.
fn chat() -> Value {
    json!({
        "model": "synthetic",
        "messages": [{ "role": "user", "content": "hello" }],
        "options": { "num_predict": 12, "temperature": 0 },
    })
}

/// A short completion, always the same.
fn prompt() -> Value {
    let options = json!({ "num_predict": 12, "temperature": 0 });
    json!({ "model": "synthetic", "prompt": "hello", "options": options })
}

/// What an error says. Checks that it has the form that Ollama's clients expect.
fn error(reply: &Reply) -> String {
    let message = reply.json()["error"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(!message.is_empty(), "{reply:?}");
    message
}

/// The lines of an answer.
fn lines(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-type"), "application/x-ndjson");
    let lines = reply.text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn an_answer_comes_line_by_line_or_whole() {
    let client = Client::start(&setup());
    for (path, body, text) in [
        (CHAT, chat(), "/message/content"),
        (GENERATE, prompt(), "/response"),
        (
            GENERATE,
            with(prompt(), &json!({ "raw": true })),
            "/response",
        ),
        (
            GENERATE,
            with(prompt(), &json!({ "system": "Be brief." })),
            "/response",
        ),
    ] {
        let whole = client
            .post(path, &with(body.clone(), &json!({ "stream": false })))
            .await;
        assert_eq!(whole.header("content-type"), "application/json");
        let whole = whole.json();
        let lines = lines(&client.post(path, &body).await);
        let said: String = lines
            .iter()
            .map(|l| l.pointer(text).unwrap().as_str().unwrap())
            .collect();
        assert_eq!(whole.pointer(text).unwrap(), said.as_str(), "{path}");
        let (last, before) = lines.split_last().unwrap();
        assert!(
            before
                .iter()
                .all(|line| line["done"] == false && line.get("done_reason").is_none())
        );
        for line in [last, &whole] {
            assert_eq!(line["done"], true);
            assert_eq!(line["model"], "synthetic");
            let reason = line["done_reason"].as_str().unwrap();
            assert!(["stop", "length"].contains(&reason), "{line}");
            for count in [
                "total_duration",
                "load_duration",
                "prompt_eval_count",
                "prompt_eval_duration",
                "eval_count",
                "eval_duration",
            ] {
                assert!(line[count].is_u64(), "{count}: {line}");
            }
            assert!(line["created_at"].as_str().unwrap().ends_with('Z'));
        }
        assert_eq!(last["eval_count"], whole["eval_count"]);
        assert_eq!(last["prompt_eval_count"], whole["prompt_eval_count"]);
    }
}

#[tokio::test]
async fn a_format_shapes_the_text() {
    let client = Client::start(&setup());
    let schema = json!({ "enum": ["red"] });
    let options = json!({ "num_predict": 64 });
    let more = json!({ "format": schema, "stream": false, "options": options });
    let answer = client.post(CHAT, &with(chat(), &more)).await.json();
    assert_eq!(answer["message"]["content"], "\"red\"", "{answer}");
    let more = json!({ "format": "json", "options": { "num_predict": 1 }, "stream": false });
    let answer = client.post(GENERATE, &with(prompt(), &more)).await.json();
    assert!(
        answer["response"].as_str().unwrap().starts_with('{'),
        "{answer}"
    );
}

#[tokio::test]
async fn an_answer_goes_on_with_a_last_message_of_the_assistant() {
    let client = Client::start(&setup());
    let messages = json!([
        { "role": "user", "content": "hello" },
        { "role": "assistant", "content": "ab" },
    ]);
    let more = json!({ "messages": messages, "stream": false });
    let answer = client.post(CHAT, &with(chat(), &more)).await.json();
    // A token for each byte and each mark: the turn of the user, and what there is of the other.
    let (user, assistant) = ("user\nhello".len() + 3, "assistant\nab".len() + 1);
    assert_eq!(answer["prompt_eval_count"], user + assistant, "{answer}");
}

#[tokio::test]
async fn an_answer_that_goes_on_is_no_part_of_thoughts_that_its_template_opens() {
    let mut setup = setup();
    setup.opens_thoughts = true;
    let client = Client::start(&setup);
    let messages = json!([
        { "role": "user", "content": "hello" },
        { "role": "assistant", "content": "ab" },
    ]);
    let more = json!({ "messages": messages, "stream": false });
    let answer = client.post(CHAT, &with(chat(), &more)).await.json();
    let (user, assistant) = ("user\nhello".len() + 3, "assistant\nab".len() + 1);
    let closed = "<think>\n\n</think>\n\n".len();
    let prompt = user + assistant + closed;
    assert_eq!(answer["prompt_eval_count"], prompt, "{answer}");
    assert!(answer["message"].get("thinking").is_none(), "{answer}");
}

#[tokio::test]
async fn a_suffix_is_filled_in_before_by_a_model_that_can() {
    let body = with(prompt(), &json!({ "suffix": "cde", "stream": false }));
    let mut fills = setup();
    fills.fills = true;
    let answer = Client::start(&fills).post(GENERATE, &body).await.json();
    // The vocabulary's three tokens, and a token for each byte.
    assert_eq!(answer["prompt_eval_count"], 3 + 8, "{answer}");
    assert!(answer["response"].is_string());
    let reply = Client::start(&setup()).post(GENERATE, &body).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(error(&reply).contains("no tokens to fill in the middle"));
}

#[tokio::test]
async fn thinking_is_switched_off_in_the_template() {
    let client = Client::start(&setup());
    let count = async |more: Value| {
        let body = with(with(chat(), &json!({ "stream": false })), &more);
        client.post(CHAT, &body).await.json()["prompt_eval_count"]
            .as_u64()
            .unwrap()
    };
    let plain = count(json!({})).await;
    assert_eq!(count(json!({ "think": true })).await, plain);
    assert!(count(json!({ "think": false })).await > plain);
}

#[tokio::test]
async fn log_probabilities_come_with_the_tokens() {
    let client = Client::start(&setup());
    let more = json!({ "logprobs": true, "top_logprobs": 2 });
    let lines = lines(&client.post(CHAT, &with(chat(), &more)).await);
    let tokens = lines
        .iter()
        .filter_map(|line| line["logprobs"].as_array())
        .flatten();
    let tokens: Vec<&Value> = tokens.collect();
    assert_eq!(json!(tokens.len()), lines.last().unwrap()["eval_count"]);
    for token in tokens {
        assert!(token["logprob"].as_f64().unwrap() <= 0.0);
        assert_eq!(token["top_logprobs"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn without_a_prompt_the_model_is_there() {
    let client = Client::start(&setup());
    for (path, body) in [
        (GENERATE, json!({ "model": "synthetic" })),
        (
            GENERATE,
            json!({ "model": "synthetic", "prompt": "", "keep_alive": 0 }),
        ),
        (CHAT, json!({ "model": "synthetic", "messages": [] })),
    ] {
        let lines = lines(&client.post(path, &body).await);
        assert_eq!(lines.len(), 1);
        assert_eq!(
            (&lines[0]["done"], &lines[0]["done_reason"]),
            (&json!(true), &json!("load"))
        );
        let whole = client
            .post(path, &with(body, &json!({ "stream": false })))
            .await;
        assert_eq!(whole.header("content-type"), "application/json");
        assert_eq!(whole.json()["done_reason"], "load");
    }
    client.serves().await;
}

#[tokio::test]
async fn the_model_is_listed_and_shown() {
    let client = Client::start(&setup());
    let version = client.get("/api/version").await.json();
    assert!(version["version"].is_string() && version["card"].is_string());
    let tags = client.get("/api/tags").await.json();
    let model = &tags["models"][0];
    assert_eq!(
        (&model["name"], &model["model"]),
        (&json!("synthetic"), &json!("synthetic"))
    );
    assert_eq!(model["digest"].as_str().unwrap().len(), 64);
    let running = client.get("/api/ps").await.json();
    assert_eq!(running["models"][0]["digest"], model["digest"]);
    assert_eq!(running["models"][0]["context_length"], 4096);
    for name in ["synthetic", "synthetic:latest"] {
        let shown = client
            .post("/api/show", &json!({ "model": name }))
            .await
            .json();
        assert_eq!(shown["model_info"]["card.context_length"], 4096);
        assert_eq!(
            shown["capabilities"],
            json!(["completion", "tools", "thinking"])
        );
    }
    let reply = client
        .post("/api/show", &json!({ "name": "another" }))
        .await;
    assert_eq!(reply.status, 404, "{reply:?}");
    assert!(error(&reply).contains("another"));
}

#[tokio::test]
async fn errors_have_ollama_s_form_wherever_they_come_from() {
    let client = Client::start(&two_keys());
    let key = [("authorization", "Bearer secret-of-anna")];
    let ask = async |method: &str, path: &str, body: Value| {
        client.ask(method, path, &key, body.to_string()).await
    };
    let wrong = [
        (
            CHAT,
            json!({ "messages": [{ "role": "user", "content": "a", "images": ["x"] }] }),
            "messages[0].images",
        ),
        (
            CHAT,
            json!({ "options": { "mirostat": 1 } }),
            "options.mirostat",
        ),
        (CHAT, json!({ "unheard_of": 1 }), "unheard_of"),
        (
            GENERATE,
            json!({ "prompt": "a", "template": "t" }),
            "template",
        ),
        (GENERATE, json!({ "prompt": "a", "suffix": "b" }), "suffix"),
        ("/api/show", json!({}), "model"),
    ];
    for (path, body, field) in wrong {
        let reply = ask("POST", path, body).await;
        assert_eq!(reply.status, 400, "{reply:?}");
        let message = error(&reply);
        assert!(message.starts_with(field), "{message}");
    }
    // The model here writes text.
    for (path, body) in [
        ("/api/embed", json!({ "input": "a" })),
        ("/api/embeddings", json!({ "prompt": "a" })),
    ] {
        let reply = ask("POST", path, body).await;
        assert_eq!(reply.status, 501, "{reply:?}");
        assert!(error(&reply).contains("--embeddings"), "{reply:?}");
    }
    for (method, path) in [("POST", "/api/pull"), ("DELETE", "/api/delete")] {
        let reply = ask(method, path, json!({})).await;
        assert_eq!(reply.status, 400, "{reply:?}");
        error(&reply);
    }
    assert_eq!(ask("GET", CHAT, json!({})).await.status, 405);
    for (reply, status) in [
        (client.post(CHAT, &chat()).await, 401),
        (ask("GET", "/api/nothing", json!({})).await, 404),
        (ask("PUT", GENERATE, json!({})).await, 405),
    ] {
        assert_eq!(reply.status, status, "{reply:?}");
        error(&reply);
    }
}

#[tokio::test]
async fn without_a_page_ollama_s_clients_still_see_a_server() {
    let mut setup = setup();
    setup.config.page = false;
    let client = Client::start(&setup);
    let root = client.get("/").await;
    assert_eq!(root.status, 404, "{root:?}");
    assert!(root.error().1.contains("--no-page"), "{root:?}");
    assert_eq!(client.ask("HEAD", "/", &[], "").await.status, 200);
    assert_eq!(client.ask("POST", "/", &[], "{}").await.status, 405);
}

#[tokio::test]
async fn what_was_written_stands_in_the_document() {
    let client = Client::start(&setup());
    let document = client.get("/openapi.json").await.json();
    for (path, schema) in [
        (CHAT, "OllamaChatAnswer"),
        (GENERATE, "OllamaGenerateAnswer"),
    ] {
        let content = &document["paths"][path]["post"]["requestBody"]["content"];
        let example = &content["application/json"]["example"];
        let reply = client.post(path, example).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let schema = &document["components"]["schemas"][schema];
        let known = schema["properties"].as_object().unwrap();
        for field in reply.json().as_object().unwrap().keys() {
            assert!(known.contains_key(field), "{field} of {schema}");
        }
    }
    for path in ["/api/version", "/api/tags", "/api/ps"] {
        assert!(document["paths"][path]["get"].is_object(), "{path}");
    }
}
