//! Vectors of texts and scores of documents, on a server that makes them and writes no text.

use std::io::Read;
use std::time::{Duration, Instant};

use card_server::VectorKind;
use card_server::testing::TestSetup;
use serde_json::{Value, json};

use crate::client::{CHAT, COMPLETIONS, Client, Reply, request, setup};
use crate::common::{ANNA, BERT, hello, two_keys};

const EMBEDDINGS: &str = "/v1/embeddings";

fn of(kind: VectorKind) -> TestSetup {
    TestSetup {
        vectors: Some(kind),
        context: 64,
        ..setup()
    }
}

/// The numbers of a list.
fn numbers(list: &Value) -> Vec<f64> {
    let list = list.as_array().unwrap_or_else(|| panic!("{list}"));
    list.iter().map(|x| x.as_f64().unwrap()).collect()
}

/// The vector of each text of an answer in OpenAI's form.
fn told(reply: &Reply) -> Vec<Vec<f64>> {
    assert_eq!(reply.status, 200, "{reply:?}");
    let data = reply.json()["data"].clone();
    let each = data.as_array().unwrap().iter();
    each.map(|entry| numbers(&entry["embedding"])).collect()
}

fn length(vector: &[f64]) -> f64 {
    vector.iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[tokio::test]
async fn texts_and_tokens_become_vectors_of_length_one() {
    let client = Client::start(&of(VectorKind::OfText));
    let body = json!({ "model": "m", "input": ["abc", [97, 98, 99], [97, "bc"]] });
    let reply = client.post(EMBEDDINGS, &body).await;
    let vectors = told(&reply);
    assert_eq!(vectors.len(), 3);
    assert!((length(&vectors[0]) - 1.0).abs() < 1e-6);
    assert_eq!((&vectors[1], &vectors[2]), (&vectors[0], &vectors[0]));
    let body = reply.json();
    assert_eq!(body["object"], "list");
    assert_eq!(body["model"], "synthetic");
    assert_eq!(body["data"][2]["index"], 2);
    assert_eq!(
        body["usage"],
        json!({ "prompt_tokens": 9, "total_tokens": 9 })
    );
    for input in [
        json!("abc"),
        json!({ "prompt_string": "abc" }),
        json!({ "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "bc" }] }),
    ] {
        let one = client.post(EMBEDDINGS, &json!({ "input": input })).await;
        assert_eq!(told(&one), vectors[..1]);
    }
    client.serves_vectors().await;
}

#[tokio::test]
async fn a_vector_comes_as_bytes_or_as_it_is_where_that_is_asked_for() {
    let client = Client::start(&of(VectorKind::OfText));
    let plain = client.post(EMBEDDINGS, &json!({ "input": "ab" })).await;
    let bytes = json!({ "input": "ab", "encoding_format": "base64" });
    let coded = client.post(EMBEDDINGS, &bytes).await.json();
    assert_eq!(coded["data"][0]["encoding_format"], "base64");
    let text = coded["data"][0]["embedding"].as_str().unwrap();
    // Four numbers of four bytes.
    assert_eq!(text.len(), 24);
    let first = told(&plain)[0][0] as f32;
    let read = first_number(text);
    assert!((first - read).abs() < 1e-6, "{first} {read}");
    let raw = json!({ "input": "ab", "embd_normalize": -1 });
    let raw = client.post(EMBEDDINGS, &raw).await;
    assert_eq!(told(&raw), [[195.0, 1.0, 2.0, 98.0]]);
}

/// The first number of bytes in base64.
fn first_number(text: &str) -> f32 {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = text.chars().take(6).fold(0_u64, |bits, letter| {
        bits << 6 | LETTERS.find(letter).unwrap() as u64
    });
    // Six letters are 36 bits, of which the first 32 are the number.
    f32::from_le_bytes(((bits >> 4) as u32).to_be_bytes())
}

#[tokio::test]
async fn llama_server_s_paths_answer_in_its_form() {
    let client = Client::start(&of(VectorKind::OfTokens));
    for (path, field) in [
        ("/embeddings", "input"),
        ("/embedding", "content"),
        ("/embedding", "input"),
    ] {
        let reply = client.post(path, &json!({ field: "abc" })).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let body = reply.json();
        assert_eq!(body[0]["index"], 0);
        let vectors = body[0]["embedding"].as_array().unwrap();
        assert_eq!(vectors.len(), 3);
        // Vectors of tokens are not normalised.
        assert_eq!(numbers(&vectors[1]), [98.0, 1.0, 1.0, 98.0]);
    }
    // OpenAI's form has a place for one vector of each text.
    let reply = client.post(EMBEDDINGS, &json!({ "input": "abc" })).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
}

#[tokio::test]
async fn ollama_s_paths_answer_in_its_form() {
    let client = Client::start(&of(VectorKind::OfText));
    let body = json!({ "model": "m", "input": ["a", "bc"] });
    let reply = client.post("/api/embed", &body).await.json();
    assert_eq!(
        (&reply["model"], &reply["prompt_eval_count"]),
        (&json!("m"), &json!(3))
    );
    let vectors: Vec<Vec<f64>> = reply["embeddings"]
        .as_array()
        .unwrap()
        .iter()
        .map(numbers)
        .collect();
    assert_eq!(vectors.len(), 2);
    assert!((length(&vectors[1]) - 1.0).abs() < 1e-6);
    let old = client
        .post("/api/embeddings", &json!({ "model": "m", "prompt": "bc" }))
        .await;
    assert_eq!(numbers(&old.json()["embedding"]), vectors[1]);
    // What is too long is cut off, unless that may not be, however long it is.
    for long in ["a".repeat(65), "a".to_owned() + &"é".repeat(50_000)] {
        let cut = client
            .post("/api/embed", &json!({ "input": long }))
            .await
            .json();
        assert_eq!(cut["prompt_eval_count"], 64);
        let whole = json!({ "input": long, "truncate": false });
        assert_eq!(client.post("/api/embed", &whole).await.status, 400);
    }
}

#[tokio::test]
async fn documents_are_ordered_by_their_scores() {
    let client = Client::start(&of(VectorKind::Score));
    let documents = json!(["xyz", "abc", "axx"]);
    let body = json!({ "query": "abc", "documents": documents, "top_n": 2 });
    for path in ["/rerank", "/v1/rerank", "/reranking", "/v1/reranking"] {
        let reply = client.post(path, &body).await.json();
        let results = reply["results"].as_array().unwrap();
        let order: Vec<&Value> = results.iter().map(|r| &r["index"]).collect();
        assert_eq!(order, [&json!(1), &json!(2)], "{path}");
        assert_eq!(results[0]["relevance_score"], 3.0);
        assert_eq!(reply["usage"]["total_tokens"], 21);
    }
    let list = json!({ "query": "abc", "texts": documents, "return_text": true });
    let reply = client.post("/rerank", &list).await.json();
    assert_eq!(reply.as_array().unwrap().len(), 3);
    assert_eq!(
        (&reply[0]["text"], &reply[0]["score"]),
        (&json!("abc"), &json!(3.0))
    );
    let wrong = json!({ "query": "abc", "documents": [] });
    assert_eq!(client.post("/rerank", &wrong).await.status, 400);
}

#[tokio::test]
async fn a_question_is_not_read_a_thousand_times_if_it_is_long() {
    let mut setup = of(VectorKind::Score);
    setup.context = 20_000;
    let client = Client::start(&setup);
    let ask = |documents: usize| {
        let question = "q".repeat(17 << 10);
        json!({ "query": question, "documents": vec!["a"; documents] })
    };
    let reply = client.post("/rerank", &ask(1024)).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert_eq!(reply.json()["error"]["param"], "query");
    assert_eq!(client.post("/rerank", &ask(16)).await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_done_says_what_to_do() {
    let client = Client::start(&of(VectorKind::OfText));
    let error = |reply: Reply, status: u16| {
        assert_eq!(reply.status, status, "{reply:?}");
        reply.json()["error"].clone()
    };
    let long = client
        .post(EMBEDDINGS, &json!({ "input": "a".repeat(65) }))
        .await;
    let long = error(long, 400);
    assert!(
        long["message"].as_str().unwrap().contains("too large"),
        "{long}"
    );
    assert_eq!(
        (&long["n_prompt_tokens"], &long["n_ctx"]),
        (&json!(65), &json!(64))
    );
    let longer = client
        .post("/embedding", &json!({ "input": "a".repeat(9999) }))
        .await;
    assert_eq!(error(longer, 400)["type"], "exceed_context_size_error");
    for (body, field) in [
        (json!({ "input": [] }), "input"),
        (json!({ "input": "" }), "input"),
        (json!({ "input": true }), "input"),
        (json!({ "input": [999] }), "input"),
        (json!({ "input": "a", "dimensions": 3 }), "dimensions"),
        (
            json!({ "input": "a", "encoding_format": 1 }),
            "encoding_format",
        ),
    ] {
        let refused = error(client.post(EMBEDDINGS, &body).await, 400);
        assert_eq!(refused["type"], "invalid_request_error", "{body}");
        assert_eq!(refused["param"], field, "{body}");
    }
    let fits = json!({ "input": "a", "dimensions": 4 });
    assert_eq!(client.post(EMBEDDINGS, &fits).await.status, 200);
    let none = client
        .post("/rerank", &json!({ "query": "a", "documents": ["b"] }))
        .await;
    assert!(
        error(none, 501)["message"]
            .as_str()
            .unwrap()
            .contains("--reranking")
    );
    // Such a server writes no text.
    for (path, body) in [
        (CHAT, hello()),
        (COMPLETIONS, json!({ "prompt": "a" })),
        ("/completion", json!({ "prompt": "a" })),
        ("/api/generate", json!({ "prompt": "a" })),
        (
            "/v1/messages",
            json!({ "max_tokens": 1, "messages": hello()["messages"] }),
        ),
    ] {
        let reply = client.post(path, &body).await;
        assert_eq!(reply.status, 501, "{path}: {reply:?}");
        assert!(reply.text.contains("--embeddings"), "{path}: {reply:?}");
    }
}

#[tokio::test]
async fn vectors_are_shorter_where_the_model_was_trained_for_it() {
    let mut setup = of(VectorKind::OfText);
    setup.config.llama_server.shortens_vectors = true;
    let client = Client::start(&setup);
    let raw = json!({ "input": "abc", "embd_normalize": -1 });
    let raw = numbers(&client.post("/embedding", &raw).await.json()[0]["embedding"][0]);
    assert_eq!(raw.len(), 4);
    let body = |dimensions: usize| json!({ "input": "abc", "dimensions": dimensions });
    for dimensions in 1..=4 {
        let begin = &raw[..dimensions];
        let wanted: Vec<f64> = begin.iter().map(|x| x / length(begin)).collect();
        let openai = told(&client.post(EMBEDDINGS, &body(dimensions)).await);
        let native = client.post("/embedding", &body(dimensions)).await.json();
        let native = numbers(&native[0]["embedding"][0]);
        let ollama = client.post("/api/embed", &body(dimensions)).await.json();
        let ollama = numbers(&ollama["embeddings"][0]);
        for vector in [&openai[0], &native, &ollama] {
            assert_eq!(vector.len(), dimensions);
            let same = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-6;
            assert!(
                vector.iter().zip(&wanted).all(same),
                "{vector:?} {wanted:?}"
            );
        }
    }
    for path in [EMBEDDINGS, "/embedding", "/api/embed"] {
        let reply = client.post(path, &body(5)).await;
        assert_eq!(reply.status, 400, "{path}: {reply:?}");
        assert!(reply.text.contains("dimensions"), "{path}: {reply:?}");
    }
    // Where nobody says that it was, the field is refused with what to do.
    let usual = Client::start(&of(VectorKind::OfText));
    let reply = usual.post(EMBEDDINGS, &body(3)).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(reply.text.contains("--matryoshka"), "{reply:?}");
    setup.vectors = Some(VectorKind::OfTokens);
    let tokens = Client::start(&setup);
    let reply = tokens.post("/embedding", &body(3)).await;
    assert_eq!(reply.status, 400, "{reply:?}");
}

#[tokio::test]
async fn a_server_that_writes_text_makes_no_vectors() {
    let client = Client::start(&setup());
    for path in [EMBEDDINGS, "/embeddings", "/embedding", "/rerank"] {
        let reply = client.post(path, &json!({ "input": "a" })).await;
        assert_eq!(reply.status, 501, "{path}: {reply:?}");
        assert!(reply.text.contains("--embeddings"), "{path}: {reply:?}");
    }
}

#[tokio::test]
async fn vectors_want_a_key_and_are_counted() {
    let mut setup = two_keys();
    setup.vectors = Some(VectorKind::OfText);
    let client = Client::start(&setup);
    let body = json!({ "input": ["abc", "d"] });
    assert_eq!(client.post(EMBEDDINGS, &body).await.status, 401);
    let own = told(&client.post_as(ANNA, EMBEDDINGS, &body).await);
    assert_eq!(told(&client.post_as(BERT, EMBEDDINGS, &body).await), own);
    let headers = [("authorization", ANNA)];
    let metrics = client.ask("GET", "/metrics", &headers, "").await.text;
    for line in [
        "llamacpp:prompt_tokens_total 8",
        "llamacpp:n_decode_total 4",
        "llamacpp:tokens_predicted_total 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn a_large_answer_waits_until_another_one_is_taken() {
    let client = Client::start(&TestSetup {
        vectors: Some(VectorKind::OfTokens),
        ..setup()
    });
    // As many vectors as an answer may have; two such answers do not fit at a time.
    let large = json!({ "input": vec!["a".repeat(4096); 256] });
    let bytes = request(
        "POST",
        "/embedding",
        &["Host: localhost"],
        &large.to_string(),
    );
    let mut untaken = client.open(&bytes);
    untaken
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut head = [0; 12];
    untaken.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    // The next one waits for room. Small answers are not held up, and when the reader has left
    // there is room again.
    let small = json!({ "input": "a" });
    let others = async {
        for _ in 0..20 {
            assert_eq!(client.post("/embedding", &small).await.status, 200);
        }
        drop(untaken);
    };
    let (waited, ()) = tokio::join!(client.post("/embedding", &large), others);
    assert_eq!(waited.status, 200, "{}", waited.status);
}

#[tokio::test]
async fn a_text_does_not_wait_for_a_long_list_of_others() {
    let client = Client::start(&TestSetup {
        // The list takes ten seconds alone, in the only slot there is.
        forward: Duration::from_millis(5),
        parallel: 1,
        ..of(VectorKind::OfText)
    });
    let list = json!({ "input": vec!["abc"; 2000] }).to_string();
    let bytes = request("POST", EMBEDDINGS, &["Host: localhost"], &list);
    let mut long = client.open(&bytes);
    client
        .until("the list at work", |health| health["running"] == 1)
        .await;
    let short = client.post(EMBEDDINGS, &json!({ "input": "abc" })).await;
    assert_eq!(told(&short).len(), 1);
    long.set_nonblocking(true).unwrap();
    let nothing = long.read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn who_leaves_is_not_worked_for_any_more() {
    let client = Client::start(&TestSetup {
        // The list takes far longer than its place is waited for.
        forward: Duration::from_millis(50),
        parallel: 1,
        queue: 0,
        ..of(VectorKind::OfText)
    });
    let list = json!({ "input": vec!["abc"; 2000] }).to_string();
    let bytes = request("POST", EMBEDDINGS, &["Host: localhost"], &list);
    let long = client.open(&bytes);
    client
        .until("the list at work", |health| health["running"] == 1)
        .await;
    let short = json!({ "input": "abc" });
    assert_eq!(client.post(EMBEDDINGS, &short).await.status, 429);
    drop(long);
    let end = Instant::now() + Duration::from_secs(20);
    let mut reply = client.post(EMBEDDINGS, &short).await;
    while reply.status == 429 {
        assert!(Instant::now() < end, "the place never came back");
        reply = client.post(EMBEDDINGS, &short).await;
    }
    assert_eq!(told(&reply).len(), 1);
}

impl Client {
    /// Sees that the server still answers.
    async fn serves_vectors(&self) {
        let reply = self.post(EMBEDDINGS, &json!({ "input": "a" })).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}
