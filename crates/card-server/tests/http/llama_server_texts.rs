//! Texts of llama-server's completions: whole, as streams, within grammars, with probabilities.

use serde_json::{Value, json};

use crate::client::{CHAT, Client, Reply, setup};
use crate::common::{hello, with};

/// A completion that does not end by itself, of so many tokens.
fn ask(n_predict: i64) -> Value {
    json!({ "prompt": "abc", "n_predict": n_predict, "seed": 42, "ignore_eos": true })
}

/// The events of a native stream.
async fn events(client: &Client, body: &Value) -> Vec<Value> {
    let reply = client
        .post(
            "/completion",
            &with(body.clone(), &json!({ "stream": true })),
        )
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let events = reply.events().into_iter();
    events
        .map(|event| serde_json::from_str(event).unwrap())
        .collect()
}

/// The chunks of a chat's stream.
fn chat_events(reply: &Reply) -> Vec<Value> {
    let events = reply.events().into_iter();
    let events = events.filter(|event| *event != "[DONE]");
    events.map(|e| serde_json::from_str(e).unwrap()).collect()
}

#[tokio::test]
async fn an_answer_says_what_it_is_and_what_it_took() {
    let client = Client::start(&setup());
    let body = with(ask(8), &json!({ "return_tokens": true }));
    let answer = client.post("/completion", &body).await.json();
    assert_eq!(answer["tokens"].as_array().map(Vec::len), Some(8));
    assert_eq!(
        (&answer["tokens_predicted"], &answer["tokens_evaluated"]),
        (&json!(8), &json!(3))
    );
    assert_eq!(
        (&answer["stop"], &answer["stop_type"]),
        (&json!(true), &json!("limit"))
    );
    assert_eq!(
        (&answer["index"], &answer["id_slot"]),
        (&json!(0), &json!(-1))
    );
    assert_eq!(
        (&answer["prompt"], &answer["truncated"]),
        (&json!("abc"), &json!(false))
    );
    assert_eq!(answer["model"], "synthetic");
    let settings = &answer["generation_settings"];
    assert_eq!(
        (&settings["seed"], &settings["n_predict"]),
        (&json!(42), &json!(8))
    );
    assert_eq!(
        settings["logit_bias"],
        json!([{ "token": 257, "bias": null }])
    );
    let timings = answer["timings"].as_object().unwrap();
    assert_eq!(timings["predicted_n"], 8);
    for (name, value) in timings {
        assert!(value.as_f64().is_some_and(|v| v >= 0.0), "{name}: {value}");
    }
    let drafted = timings.get("draft_n").and_then(Value::as_u64).unwrap_or(0);
    let accepted = timings
        .get("draft_n_accepted")
        .and_then(Value::as_u64)
        .unwrap_or(0);
    assert!(accepted <= drafted);
    let plain = client.post("/completion", &ask(8)).await.json();
    assert_eq!(
        (&plain["tokens"], &plain["content"]),
        (&json!([]), &answer["content"])
    );
}

#[tokio::test]
async fn a_stream_is_the_whole_in_pieces() {
    let client = Client::start(&setup());
    let whole = client.post("/completion", &ask(24)).await.json();
    let events = events(&client, &ask(24)).await;
    let (last, pieces) = events.split_last().unwrap();
    let mut tokens = 0;
    for piece in pieces {
        assert_eq!(piece["stop"], false);
        tokens += piece["tokens"].as_array().unwrap().len();
        assert!(!piece["tokens"].as_array().unwrap().is_empty(), "{piece}");
        assert!(piece.get("timings").is_none());
    }
    assert_eq!(tokens, 24);
    let text: String = events
        .iter()
        .filter_map(|e| e["content"].as_str())
        .collect();
    assert_eq!(text, whole["content"].as_str().unwrap());
    assert_eq!(
        (&last["stop"], &last["stop_type"]),
        (&json!(true), &json!("limit"))
    );
    assert_eq!(last["timings"]["predicted_n"], 24);
    assert_eq!(last["tokens"], json!([]));
}

#[tokio::test]
async fn a_prompt_comes_in_every_way_and_several_are_a_list() {
    let client = Client::start(&setup());
    let content = async |prompt: Value| {
        let body = with(ask(4), &json!({ "prompt": prompt, "temperature": 0 }));
        client.post("/completion", &body).await.json()
    };
    let text = content(json!("abc")).await["content"].clone();
    for same in [
        json!([97, 98, 99]),
        json!([97, "bc"]),
        json!(["ab", 99]),
        json!({ "prompt_string": "abc" }),
    ] {
        assert_eq!(content(same.clone()).await["content"], text, "{same}");
    }
    let many = content(json!([[97, 98, 99], "abc", { "prompt_string": "abc" }, [97, "bc"]])).await;
    let many = many.as_array().unwrap();
    assert_eq!(many.len(), 4);
    for (i, answer) in many.iter().enumerate() {
        assert_eq!((&answer["index"], &answer["content"]), (&json!(i), &text));
    }
    let two = with(ask(4), &json!({ "n_cmpl": 2, "temperature": 1 }));
    assert_eq!(
        client
            .post("/completion", &two)
            .await
            .json()
            .as_array()
            .map(Vec::len),
        Some(2)
    );
}

#[tokio::test]
async fn a_grammar_holds_from_the_first_character_to_the_last() {
    let client = Client::start(&setup());
    let write = async |more: Value| {
        let body = with(
            json!({ "prompt": "abc", "n_predict": 64, "seed": 1 }),
            &more,
        );
        let reply = client.post("/completion", &body).await;
        assert_eq!(reply.status, 200, "{more}: {reply:?}");
        reply.json()
    };
    let five = write(json!({ "grammar": "root ::= \"a\"{5,5}" })).await;
    assert_eq!(
        (&five["content"], &five["stop_type"]),
        (&json!("aaaaa"), &json!("eos"))
    );
    let schema = write(json!({ "json_schema": { "const": "42" } })).await;
    assert_eq!(schema["content"], "\"42\"");
    let cases: [(&str, &[&str]); 3] = [
        ("root ::= \"yes\" | \"no\"", &["yes", "no"]),
        // The longest terminal would swallow what the next one needs.
        ("root ::= [a-z]? \"b\" [a-b]{0} \"é\"", &[]),
        (
            "root ::= \"\" x\nx ::= (\"1\" | \"2\" \"3\")\n",
            &["1", "23"],
        ),
    ];
    for (grammar, fits) in cases {
        for seed in 0..4 {
            let answer = write(json!({ "grammar": grammar, "seed": seed })).await;
            let text = answer["content"].as_str().unwrap();
            let fit = if fits.is_empty() {
                let rest = text.strip_suffix("bé").unwrap_or("?");
                rest.chars().all(|c| c.is_ascii_lowercase()) && rest.len() <= 1
            } else {
                fits.contains(&text)
            };
            assert!(fit, "{grammar}: {text:?}");
        }
    }
    let nested = "root ::= value\nvalue ::= \"[\" (value (\",\" value)*)? \"]\" | [0-9]";
    for seed in 0..4 {
        let answer = write(json!({ "grammar": nested, "seed": seed, "n_predict": 200 })).await;
        if answer["stop_type"] == "eos" {
            let text = answer["content"].as_str().unwrap();
            assert!(serde_json::from_str::<Value>(text).is_ok(), "{text}");
        }
    }
}

#[tokio::test]
async fn what_a_grammar_leaves_no_choice_of_needs_no_drafter() {
    let client = Client::start(&setup());
    let all = "the schema gives all of this text away";
    let asked = json!({ "prompt": "abc", "n_predict": 64, "json_schema": { "const": all } });
    let answer = client.post("/completion", &asked).await.json();
    assert_eq!(answer["content"], format!("\"{all}\""));
    let metrics = client.get("/metrics").await.text;
    let accepted = "card_candidates_accepted_total{source=\"grammar\"} ";
    let mut values = metrics.lines().filter_map(|l| l.strip_prefix(accepted));
    let value: f64 = values.next().unwrap().parse().unwrap();
    assert!(value > 5.0, "{value}");
    assert!(metrics.contains("\ncard_candidates_refused_total "));
}

#[tokio::test]
async fn chats_take_grammars_and_schemas_too() {
    let client = Client::start(&setup());
    for (more, content) in [
        (json!({ "grammar": "root ::= \"a\"{5,5}" }), "aaaaa"),
        (json!({ "json_schema": { "const": "42" } }), "\"42\""),
    ] {
        let body = with(hello(), &with(json!({ "max_tokens": 8 }), &more));
        let answer = client.post(CHAT, &body).await.json();
        assert_eq!(answer["choices"][0]["message"]["content"], content);
    }
    let wrong = with(hello(), &json!({ "grammar": "root ::= this is (not" }));
    let reply = client.post(CHAT, &wrong).await;
    assert_eq!((reply.status, reply.error().0.as_str()), (400, "grammar"));
}

#[tokio::test]
async fn a_chat_s_stream_tells_of_the_prompt_and_of_times_where_that_is_asked_for() {
    let client = Client::start(&setup());
    let asked = json!({
        "stream": true, "max_tokens": 4, "return_progress": true, "timings_per_token": true,
        "seed": 3, "logit_bias": { "257": -100 },
    });
    let reply = client.post(CHAT, &with(hello(), &asked)).await;
    let told = chat_events(&reply);
    assert!(told.iter().any(|e| e.get("prompt_progress").is_some()));
    assert_eq!(told.last().unwrap()["timings"]["predicted_n"], 4);
    let plain = json!({ "stream": true, "max_tokens": 4 });
    let reply = client.post(CHAT, &with(hello(), &plain)).await;
    let plain = chat_events(&reply).into_iter();
    let mut fields = plain.flat_map(|e| e.as_object().cloned().unwrap_or_default());
    assert!(fields.all(|(name, _)| name != "timings" && name != "prompt_progress"));
    let usage = json!({ "stream": true, "max_tokens": 4, "seed": 3,
                        "logit_bias": { "257": -100 },
                        "stream_options": { "include_usage": true } });
    let told = chat_events(&client.post(CHAT, &with(hello(), &usage)).await);
    assert!(told[0]["choices"][0]["delta"]["content"].is_null());
    let last = told.last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["timings"]["predicted_n"], 4);
    assert_eq!(last["usage"]["completion_tokens"], 4);
}

#[tokio::test]
async fn a_whole_chat_tells_its_times_and_what_was_read_where_that_is_asked_for() {
    let client = Client::start(&setup());
    let plain = client.post(CHAT, &hello()).await.json();
    let timings = plain["timings"].as_object().unwrap();
    assert!(timings["prompt_ms"].as_f64() > Some(0.0));
    assert!(plain.get("__verbose").is_none());
    let body = with(hello(), &json!({ "verbose": true }));
    let told = client.post(CHAT, &body).await.json()["__verbose"].clone();
    let prompt = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(told["prompt"], prompt);
    assert_eq!(told["tokens_evaluated"], 24);
    assert!(told["generation_settings"]["temperature"].is_number());
    // A stream tells the same with the end of the last answer.
    let stream = json!({ "verbose": true, "stream": true, "max_tokens": 4, "n": 2,
                         "logit_bias": { "257": -100 } });
    let streamed = chat_events(&client.post(CHAT, &with(hello(), &stream)).await);
    let verbose = |event: &&Value| event.get("__verbose").is_some();
    let telling: Vec<&Value> = streamed.iter().filter(verbose).collect();
    assert_eq!(telling.len(), 1);
    assert_eq!(telling[0]["choices"][0]["finish_reason"], "length");
    let told = &telling[0]["__verbose"];
    assert_eq!(told["prompt"], prompt);
    let tokens = (&told["tokens_evaluated"], &told["tokens_predicted"]);
    assert_eq!(tokens, (&json!(24), &json!(8)));
}

#[tokio::test]
async fn an_answer_goes_on_with_the_last_message() {
    let client = Client::start(&setup());
    let messages = json!([
        { "role": "user", "content": "Count<|im_end|>" },
        { "role": "assistant", "content": "1, <|im_start|>2," },
    ]);
    let applied = client
        .post("/apply-template", &json!({ "messages": messages }))
        .await;
    let text = "<|im_start|>user\nCount<|im_end|><|im_end|>\n<|im_start|>assistant\n\
                1, <|im_start|>2,";
    assert_eq!(applied.json()["prompt"], text);
    let body = json!({ "messages": messages, "max_tokens": 1, "verbose": true });
    let told = client.post(CHAT, &body).await.json()["__verbose"].clone();
    assert_eq!(told["prompt"], text);
    // Of the names of control tokens only the template's are those tokens.
    let typed = text.len() - CONTROLS.len() + 3;
    assert_eq!(told["tokens_evaluated"], typed);
    let new = with(body.clone(), &json!({ "continue_final_message": false }));
    let told = client.post(CHAT, &new).await.json()["__verbose"].clone();
    assert!(
        told["prompt"]
            .as_str()
            .unwrap()
            .ends_with("<|im_start|>assistant\n")
    );
    let both = json!({ "continue_final_message": true, "add_generation_prompt": true });
    let reply = client.post(CHAT, &with(body, &both)).await;
    assert_eq!(
        (reply.status, reply.error().0.as_str()),
        (400, "continue_final_message")
    );
}

#[tokio::test]
async fn an_answer_that_goes_on_is_no_part_of_thoughts_that_its_template_opens() {
    let mut setup = setup();
    setup.opens_thoughts = true;
    let client = Client::start(&setup);
    let body = |said: &str| {
        let messages = json!([
            { "role": "user", "content": "hello" },
            { "role": "assistant", "content": said },
        ]);
        json!({ "messages": messages, "max_tokens": 8, "verbose": true })
    };
    let shape = json!({ "grammar": "root ::= \"yes\"" });
    for more in [json!({}), json!({ "reasoning_format": "hidden" })] {
        let asked = with(with(body("ab"), &shape), &more);
        let answer = client.post(CHAT, &asked).await.json();
        let prompt = answer["__verbose"]["prompt"].as_str().unwrap();
        assert!(
            prompt.ends_with("assistant\n<think>\n\n</think>\n\nab"),
            "{prompt}"
        );
        let message = &answer["choices"][0]["message"];
        assert_eq!(message["content"], "yes", "{answer}");
        assert!(message.get("reasoning_content").is_none(), "{answer}");
    }
    // Thoughts that the client begins are gone on with, and are not sent where they are hidden.
    let hidden = json!({ "reasoning_format": "hidden" });
    let asked = with(body("<think>\nhm"), &hidden);
    let answer = client.post(CHAT, &asked).await.json();
    let prompt = answer["__verbose"]["prompt"].as_str().unwrap();
    assert!(prompt.ends_with("assistant\n<think>\nhm"), "{prompt}");
    let content = answer["choices"][0]["message"]["content"].as_str();
    assert_eq!(content.unwrap_or_default(), "", "{answer}");
}

/// The control tokens that the template writes around a turn and a half.
const CONTROLS: &str = "<|im_start|><|im_end|><|im_start|>";

#[tokio::test]
async fn an_answer_ends_before_the_text_that_ends_it() {
    let client = Client::start(&setup());
    let body = json!({
        "prompt": "abc", "n_predict": 16, "grammar": "root ::= \"ab\\ncdef\"",
        "stop": ["", "ef", "cd"],
    });
    let answer = client.post("/completion", &body).await.json();
    assert_eq!(
        (&answer["content"], &answer["stop_type"]),
        (&json!("ab\n"), &json!("word"))
    );
    assert_eq!(answer["stopping_word"], "cd");
    assert_eq!(answer["has_new_line"], true);
    assert_eq!(answer["generation_settings"]["stop"], json!(["ef", "cd"]));
}

#[tokio::test]
async fn an_answer_ends_with_a_line_that_is_indented_less() {
    let client = Client::start(&setup());
    let body = json!({
        "prompt": "abc", "n_predict": 64, "n_indent": 4,
        "grammar": "root ::= \"a\\n    b\\n  cdefghijklmnop\"",
    });
    let answer = client.post("/completion", &body).await.json();
    assert_eq!(answer["content"], "a\n    b\n  ");
    assert_eq!(answer["stop_type"], "limit");
    let events = events(&client, &body).await;
    let text: String = events
        .iter()
        .filter_map(|e| e["content"].as_str())
        .collect();
    assert_eq!(text, "a\n    b\n  ");
    assert_eq!(events.last().unwrap()["stop"], true);
    client.serves().await;
}

#[tokio::test]
async fn probabilities_come_before_and_after_the_samplers() {
    let client = Client::start(&setup());
    let body = with(ask(5), &json!({ "n_probs": 10, "temperature": 0 }));
    let answer = client.post("/completion", &body).await.json();
    let all = answer["completion_probabilities"].as_array().unwrap();
    assert_eq!(all.len(), 5);
    for token in all {
        assert!(token["id"].is_u64() && token["token"].is_string() && token["bytes"].is_array());
        assert!(token["logprob"].as_f64().unwrap() <= 0.0);
        assert_eq!(token["top_logprobs"].as_array().map(Vec::len), Some(10));
    }
    let streamed = events(&client, &body).await;
    let (_, pieces) = streamed.split_last().unwrap();
    for (piece, token) in pieces.iter().zip(all) {
        assert_eq!(piece["completion_probabilities"], json!([token]));
    }
    let after = json!({
        "prompt": "abc", "n_predict": 5, "n_probs": 10, "post_sampling_probs": true,
        "temperature": 1, "top_k": 20, "top_p": 1, "min_p": 0,
    });
    let answer = client.post("/completion", &after).await.json();
    for token in answer["completion_probabilities"].as_array().unwrap() {
        let prob = |v: &Value| v["prob"].as_f64().unwrap();
        assert!(prob(token) > 0.0 && prob(token) <= 1.0);
        let top = token["top_probs"].as_array().unwrap();
        assert_eq!(top.len(), 10);
        assert!(top.iter().map(prob).sum::<f64>() <= 1.0 + 1e-6);
        assert!(top.windows(2).all(|w| prob(&w[0]) >= prob(&w[1])));
    }
}

#[tokio::test]
async fn biases_come_in_every_form() {
    let client = Client::start(&setup());
    let text = async |bias: Value| {
        let body = with(ask(8), &json!({ "logit_bias": bias, "temperature": 0 }));
        client.post("/completion", &body).await.json()["content"].clone()
    };
    let only_x = json!("xxxxxxxx");
    for bias in [
        json!([[120, 1000]]),
        json!([["x", 1000]]),
        json!({ "120": 1000 }),
        json!({ "x": 1000 }),
    ] {
        assert_eq!(text(bias.clone()).await, only_x, "{bias}");
    }
    let banned = text(json!([[120, 1000], ["y", 900], ["x", false]])).await;
    assert_eq!(banned, "yyyyyyyy");
}

#[tokio::test]
async fn an_answer_is_cut_down_to_the_fields_that_are_wanted() {
    let client = Client::start(&setup());
    let fields = json!([
        "content",
        "generation_settings/n_predict",
        "prompt",
        "nothing"
    ]);
    let body = with(ask(4), &json!({ "response_fields": fields, "n_probs": 2 }));
    let answer = client.post("/completion", &body).await.json();
    assert_eq!(answer.as_object().unwrap().len(), 3, "{answer}");
    assert_eq!(answer["generation_settings/n_predict"], 4);
    assert_eq!(answer["prompt"], "abc");
}

#[tokio::test]
async fn a_name_with_an_empty_step_is_no_field() {
    let client = Client::start(&setup());
    let fields = json!([
        "prompt/",
        "prompt//",
        "/prompt",
        "timings/",
        "generation_settings//seed"
    ]);
    let body = with(ask(1), &json!({ "response_fields": fields }));
    let answer = client.post("/completion", &body).await.json();
    assert_eq!(answer, json!({}));
    let events = events(&client, &body).await;
    assert_eq!(events.last(), Some(&json!({})));
}

#[tokio::test]
async fn what_all_answers_together_repeat_of_a_request_is_bounded() {
    let mut setup = setup();
    setup.context = 140_000;
    let client = Client::start(&setup);
    // Four prompts with 16 answers each would repeat more than eight MiB of them.
    let prompt = "x".repeat(135_000);
    let body = json!({ "prompt": vec![prompt; 4], "n_cmpl": 16, "n_predict": 1 });
    refused(&client.post("/completion", &body).await, "prompt");
    let fields = |fields: Value| {
        json!({
            "prompt": ["a", "b", "c", "d"], "n_cmpl": 16, "n_predict": 1,
            "response_fields": fields,
            // In JSON each of these characters takes six bytes.
            "grammar": format!("root ::= \"a\" # {}", "\u{1}".repeat(60_000)),
        })
    };
    for wanted in [
        json!([]),
        json!(["generation_settings"]),
        json!(["generation_settings/grammar", "content"]),
    ] {
        let reply = client.post("/completion", &fields(wanted)).await;
        refused(&reply, "response_fields");
    }
    let reply = client
        .post("/completion", &fields(json!(["content"])))
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json().as_array().map(Vec::len), Some(64));
}

/// A refusal that names a field.
fn refused(reply: &Reply, field: &str) {
    assert_eq!(reply.status, 400, "{reply:?}");
    assert_eq!(reply.json()["error"]["param"], field, "{reply:?}");
}

#[tokio::test]
async fn a_prompt_is_read_without_a_word_where_none_is_wanted() {
    let client = Client::start(&setup());
    let answer = client.post("/completion", &ask(0)).await.json();
    assert_eq!(
        (&answer["content"], &answer["tokens_predicted"]),
        (&json!(""), &json!(0))
    );
    assert_eq!(answer["stop_type"], "limit");
    let events = events(&client, &ask(0)).await;
    assert_eq!(events.len(), 1);
}

#[tokio::test]
async fn a_stream_tells_how_much_of_the_prompt_is_read() {
    let client = Client::start(&setup());
    let more = json!({
        "prompt": "the quick brown fox ".repeat(50), "n_predict": 4, "return_progress": true,
        "timings_per_token": true,
    });
    let events = events(&client, &with(ask(4), &more)).await;
    let progress: Vec<&Value> = events
        .iter()
        .filter(|e| e.get("prompt_progress").is_some())
        .collect();
    assert!(progress.len() > 1, "{events:?}");
    let first = &progress[0];
    assert_eq!(
        first["prompt_progress"]["cache"],
        first["prompt_progress"]["processed"]
    );
    assert_eq!(first["timings"]["prompt_n"], 0);
    assert_eq!(first["timings"]["prompt_ms"], 0.0);
    let processed = |e: &Value| e["prompt_progress"]["processed"].as_u64().unwrap();
    assert!(
        progress
            .windows(2)
            .all(|w| processed(w[0]) < processed(w[1]))
    );
    let last = progress.last().unwrap();
    assert_eq!(last["prompt_progress"]["total"], processed(last));
    for event in &events {
        assert!(event["timings"].is_object(), "{event}");
    }
}
