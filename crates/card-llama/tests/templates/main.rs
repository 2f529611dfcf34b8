//! Chat templates write what Hugging Face's tokenizers make of them.
//!
//! `scripts/make-template-goldens` renders the same with jinja2. Templates of llama.cpp are read
//! where its source is: a folder that `CARD_LLAMA_CPP` names, or the source that was built, if it
//! has them. Without them that test says so and passes.

#![allow(clippy::unwrap_used)]

mod goldens;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use card_llama::{ChatError, ChatTemplate, Conversation};
use goldens::{Golden, TemplateGoldens};
use serde_json::{Map, Value};

/// What the clock of the goldens shows: 2026-02-03 09:05:07.
const NOW: i64 = 1_770_109_507;

fn read(name: &str) -> String {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/templates");
    std::fs::read_to_string(data.join(name)).unwrap()
}

/// The folder of llama.cpp's templates, if it is here.
fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("CARD_LLAMA_CPP").map(PathBuf::from);
    let built = option_env!("CARD_LLAMA_CPP").map(PathBuf::from);
    let folder = named.or(built)?.join("models/templates");
    folder.is_dir().then_some(folder)
}

/// The templates of llama.cpp by the names of their files.
fn templates() -> BTreeMap<String, String> {
    let files = folder().and_then(|folder| folder.read_dir().ok());
    let files = files.into_iter().flatten().flatten().map(|f| f.path());
    let files = files.filter(|path| path.extension().is_some_and(|e| e == "jinja"));
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// What a template writes, or `!` and its words against that, or `?` and what went wrong.
fn written(template: Result<ChatTemplate, ChatError>, conversation: &Conversation) -> String {
    match template.and_then(|t| t.render_conversation(conversation)) {
        Ok(text) => text,
        Err(ChatError::Refused(words)) => format!("!{words}"),
        Err(other) => format!("?{other}"),
    }
}

fn parsed(name: &str, source: &str) -> Result<ChatTemplate, ChatError> {
    ChatTemplate::new(source, name, "<s>".into(), "</s>".into())
}

fn conversation(case: &Value) -> Conversation<'_> {
    Conversation {
        messages: &case["messages"],
        tools: case.get("tools"),
        documents: case.get("documents"),
        kwargs: case.get("kwargs").and_then(Value::as_object),
        add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap_or(true),
        now: Some(NOW),
    }
}

#[test]
fn templates_of_llama_cpp_write_what_they_write_in_python() {
    let templates = templates();
    if templates.is_empty() {
        eprintln!("skipped: CARD_LLAMA_CPP names no folder with models/templates");
        return;
    }
    let goldens = TemplateGoldens::parse(&read("goldens.json"));
    let cases: Vec<Value> = serde_json::from_str(&read("conversations.json")).unwrap();
    let names: Vec<_> = cases.iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(goldens.conversations, names, "make the goldens anew");
    let (mut compared, mut unknown, mut wrong) = (0, Vec::new(), Vec::new());
    for (name, source) in &templates {
        let template = parsed(name, source);
        assert!(template.is_ok(), "{name}: {:?}", template.err());
        let Some(goldens) = goldens.of(name, source) else {
            unknown.push(name);
            continue;
        };
        for (case, golden) in cases.iter().zip(goldens) {
            let text = written(template.clone(), &conversation(case));
            compared += usize::from(!matches!(golden, Golden::Fails));
            if let Err(why) = golden.check(&text) {
                wrong.push(format!("{name}, {}: {why}", case["name"]));
            }
        }
    }
    let report = wrong.join("\n");
    assert!(
        wrong.is_empty(),
        "{} of {compared} differ:\n{report}",
        wrong.len()
    );
    assert!(
        compared > 0,
        "no template is of a known version: make the goldens anew"
    );
    if !unknown.is_empty() {
        eprintln!("not compared, for they are not those of the goldens: {unknown:?}");
    }
    eprintln!("{compared} texts are the same");
}

#[test]
fn templates_of_llama_cpp_can_be_used_from_the_start() {
    // It is written for variables that only its authors' own server has.
    const NEED: &str = "fireworks-ai-llama-3-firefunction-v2.jinja";
    for (name, source) in templates() {
        let checked = parsed(&name, &source).unwrap().check();
        if name == NEED {
            let kwargs = serde_json::json!({ "functions": "[]", "datetime": "now" });
            let template = parsed(&name, &source).unwrap();
            let template = template.with_kwargs(kwargs.as_object().unwrap().clone());
            assert!(template.unwrap().check().is_ok());
        } else {
            assert!(checked.is_ok(), "{:?}", checked.err());
        }
    }
}

#[test]
fn snippets_write_what_they_write_in_python() {
    let snippets: Value = serde_json::from_str(&read("snippets.json")).unwrap();
    let goldens: Map<String, Value> = serde_json::from_str(&read("snippets.goldens.json")).unwrap();
    let context = snippets["context"].as_object().unwrap();
    let messages = Value::Array(Vec::new());
    let mut wrong = Vec::new();
    let all = snippets["snippets"].as_object().unwrap();
    assert_eq!(all.len(), goldens.len(), "make the goldens anew");
    for (name, source) in all {
        let golden = goldens[name].as_str().unwrap();
        let conversation = Conversation {
            kwargs: Some(context),
            now: Some(NOW),
            ..Conversation::new(&messages)
        };
        let text = written(parsed(name, source.as_str().unwrap()), &conversation);
        let same = match golden.as_bytes().first() {
            Some(b'?') => text.starts_with('?'),
            _ => text == golden,
        };
        if !same {
            wrong.push(format!(
                "{name}: {source}\n  python: {golden:?}\n  here:   {text:?}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
