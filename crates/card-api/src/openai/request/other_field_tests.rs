//! The known fields that are not done: the page, the parser and llama-server's own list agree.

#![allow(clippy::unwrap_used)]

use super::chat::Chat;
use super::common::Common;
use super::completion::Completion;
use super::others::{OfChat, OfCompletion, OfResponse};
use super::parse_completion;
use super::responses::Response;
use super::tests::{chat, refusal};
use crate::llama_server::KNOWN_FIELDS;
use crate::reading::refused::OtherFields;

/// The lines of a table of docs/serving-fields.md: field and what becomes of it.
fn page(heading: &str) -> Vec<(String, String)> {
    let page = include_str!("../../../../../docs/serving-fields.md");
    let from = page.find(heading).unwrap_or_else(|| panic!("{heading}"));
    let section = &page[from + heading.len()..];
    let section = section.split("\n## ").next().unwrap();
    let lines = section.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|');
        let field = cells.next()?.trim().trim_end_matches('`');
        Some((field.to_owned(), cells.next()?.trim().to_owned()))
    });
    lines.collect()
}

#[test]
fn the_page_of_fields_says_what_the_parser_does() {
    fn check<T: OtherFields>(heading: &str, done: &[&[&str]]) {
        let named = |names: Vec<&str>, state: &str| -> Vec<(String, String)> {
            let pair = |name: &str| (name.to_owned(), state.to_owned());
            names.into_iter().map(pair).collect()
        };
        let refused = T::REFUSED.iter().copied().flatten().map(|f| f.name);
        let ignored = T::WITHOUT_EFFECT.iter().copied().flatten().map(|f| f.0);
        let mut wanted = named(done.concat(), "done");
        wanted.extend(named(refused.collect(), "refused"));
        wanted.extend(named(ignored.collect(), "without effect"));
        let mut found = page(heading);
        wanted.sort();
        found.sort();
        assert_eq!(found, wanted, "{heading}");
        let mut names: Vec<&String> = wanted.iter().map(|w| &w.0).collect();
        names.dedup();
        assert_eq!(names.len(), wanted.len(), "{heading}: a field stands twice");
    }
    check::<OfChat>("## /v1/chat/completions", &[Common::NAMES, Chat::NAMES]);
    check::<OfCompletion>("## /v1/completions", &[Common::NAMES, Completion::NAMES]);
    check::<OfResponse>("## /v1/responses", &[Common::NAMES, Response::NAMES]);
}

#[test]
fn every_field_that_llama_server_knows_is_done_or_refused_or_without_effect() {
    fn check<T: OtherFields>(path: &str, done: &[&[&str]]) {
        // Other names of fields that are done.
        let mut known = vec!["n_predict", "repeat_penalty"];
        known.extend(done.concat());
        known.extend(T::REFUSED.iter().copied().flatten().map(|f| f.name));
        known.extend(T::WITHOUT_EFFECT.iter().copied().flatten().map(|f| f.0));
        let theirs = KNOWN_FIELDS.split(' ');
        let left: Vec<&str> = theirs.filter(|name| !known.contains(name)).collect();
        assert!(left.is_empty(), "{path}: {left:?}");
    }
    check::<OfChat>("chat", &[Common::NAMES, Chat::NAMES]);
    check::<OfCompletion>("completion", &[Common::NAMES, Completion::NAMES]);
    check::<OfResponse>("response", &[Common::NAMES, Response::NAMES]);
}

#[test]
fn what_is_known_and_not_done_is_refused_by_name() {
    for extra in [
        r#""guided_choice":["a"]"#,
        r#""best_of":2"#,
        r#""ignore_eos":true"#,
        r#""stop_token_ids":[1]"#,
        r#""mirostat":2"#,
        r#""typical_p":0.5"#,
        r#""min_tokens":3"#,
        r#""use_beam_search":true"#,
        r#""prompt_logprobs":0"#,
        r#""n_indent":4"#,
        r#""n_cmpl":2"#,
        r#""adaptive_target":0.5"#,
        r#""grammar_triggers":[{"type":1,"value":"a"}]"#,
        r#""reasoning_format":"none""#,
        r#""reasoning_budget_message":"enough""#,
        r#""return_token_ids":true"#,
        r#""stop_regex":"a+""#,
        r#""image_data":[{"id":1,"data":""}]"#,
        r#""extra_body":{"guided_choice":["a"]}"#,
        r#""options":{"temperature":0}"#,
        r#""options":{"num_ctx":8192,"temperature":0}"#,
    ] {
        let name = extra.split('"').nth(1).unwrap();
        let (param, message) = refusal(chat(&format!(",{extra}")));
        assert_eq!(param, name, "{message}");
        assert!(message.contains(name), "{message}");
        let body = format!(r#"{{"prompt":"a",{extra}}}"#);
        assert_eq!(refusal(parse_completion(body.as_bytes())).0, name);
    }
    let budget = parse_completion(br#"{"prompt":"a","thinking_budget":7}"#);
    assert_eq!(refusal(budget).0, "thinking_budget");
    // What asks for nothing is let through.
    let neutral = r#","grammar":null,"best_of":1,"mirostat":0,"ignore_eos":false,"lora":[],
        "modalities":["text"],"typical_p":1.0,"add_generation_prompt":true,"audio":null,
        "reasoning_format":"auto","include_reasoning":true,"add_special_tokens":false,"n_indent":0,
        "options":{"num_ctx":8192,"num_gpu":99},
        "speculative.n_max":16,"adaptive_target":-1,"grammar_triggers":[],"n_cmpl":1"#;
    assert!(chat(neutral).is_ok());
    for (extra, field) in [
        (
            r#","continue_final_message":true"#,
            "continue_final_message",
        ),
        (
            r#","continue_final_message":true,"add_generation_prompt":true"#,
            "continue_final_message",
        ),
        (r#","chat_template_kwargs":[1]"#, "chat_template_kwargs"),
        (
            r#","chat_template_kwargs":{"messages":[]}"#,
            "chat_template_kwargs",
        ),
        (r#","grammar":"root ::= (""#, "grammar"),
        (r#","grammar":"root ::= \"a\"","json_schema":{}"#, "grammar"),
        (r#","modalities":["text","audio"]"#, "modalities"),
        (r#","add_special_tokens":true"#, "add_special_tokens"),
        (r#","prompt":"a""#, "prompt"),
        (r#","suffix":"a""#, "suffix"),
        (r#","system":"be terse""#, "system"),
        (r#","max_output_tokens":1"#, "max_output_tokens"),
        (r#","think":"a lot""#, "think"),
        (r#","echo":true"#, "echo"),
        (
            r#","structured_outputs":{"regex":"a"}"#,
            "structured_outputs.regex",
        ),
        (r#","guided_json":"{}""#, "guided_json"),
        (
            r#","json_schema":{},"response_format":{"type":"json_object"}"#,
            "json_schema",
        ),
        (r#","speculation":{"max_rows":-1}"#, "speculation.max_rows"),
        (r#","speculation":"fast""#, "speculation"),
    ] {
        assert_eq!(refusal(chat(extra)).0, field, "{extra}");
    }
}
