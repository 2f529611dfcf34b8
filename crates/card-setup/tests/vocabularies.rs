//! A draft model of another vocabulary beside a real target: the text is plain decoding's, and
//! some of what is translated is right.
//!
//! `cargo test --release -p card-setup --test vocabularies -- --ignored --nocapture`, after
//! `card pull smol` and `card pull qwen-coder`.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use card_core::policy::Mode;
use card_core::sampler::SamplingParams;
use card_core::types::{Source, Token};
use card_engine::{Engine, Event, Generate};
use card_setup::models::catalogue::Catalogue;
use card_setup::models::store::Store;
use card_setup::{RunConfig, Settings, Setup};

const TARGET: &str = "qwen2.5-coder-1.5b.gguf";
const DRAFT: &str = "smollm2-135m.gguf";
const TOKENS: u32 = 64;
const PROMPTS: [&str; 4] = [
    "Write a Python function that checks whether a string is a palindrome.",
    "List the planets of the solar system in order.",
    "fn main() {\n    let numbers = vec![3, 1, 2];\n",
    "日本の首都はどこですか？",
];

fn model(name: &str) -> PathBuf {
    let file = Store::open().unwrap().models().join(name);
    assert!(
        file.exists(),
        "{} is missing: `card pull` it",
        file.display()
    );
    file
}

/// What was written, and how many candidates of the draft model were right.
struct Text {
    tokens: Vec<Token>,
    drafted: usize,
}

fn generate(engine: &Engine, setup: &Setup, prompt: &str, params: &SamplingParams) -> Text {
    let stream = engine.generate(Generate {
        prompt: setup.vocab.tokenize(prompt, false).unwrap(),
        params: params.clone(),
        max_tokens: TOKENS,
        stop_tokens: setup.vocab.end_tokens(),
        ..Generate::default()
    });
    let stream = stream.unwrap();
    let mut text = Text {
        tokens: Vec::new(),
        drafted: 0,
    };
    while let Some(event) = stream.next() {
        match event {
            Event::Tokens(tokens) => text.tokens.extend(tokens),
            Event::Round(round) => {
                let accepted = round.accepted.iter();
                text.drafted += accepted.filter(|s| s.contains(Source::Draft)).count();
            }
            Event::Finished(_) => break,
            Event::Failed(failure) => panic!("{failure}"),
        }
    }
    text
}

#[test]
#[ignore = "needs both models, and minutes"]
fn a_draft_model_of_another_vocabulary_changes_no_text_and_is_right_now_and_then() {
    let settings = Settings {
        model: model(TARGET).display().to_string(),
        draft: Some(model(DRAFT).display().to_string()),
        no_memory: true,
        ctx: Some(1024),
        ..Settings::default()
    };
    let setup = Setup::load(&settings, &Catalogue::load(None).unwrap()).unwrap();
    let draft = setup.draft.as_ref().unwrap();
    assert!(draft.is_translated());
    println!("{}", draft.told().unwrap());
    let engine = |mode, lookup| {
        let run = RunConfig {
            mode,
            lookup,
            trace: true,
            ..setup.run()
        };
        setup.engine(&run).unwrap()
    };
    let samplings = [
        SamplingParams::default(),
        SamplingParams {
            temperature: 0.8,
            top_p: 0.95,
            seed: 42,
            ..SamplingParams::default()
        },
    ];
    let all = |engine: &Engine| -> Vec<Text> {
        let mut texts = Vec::new();
        for params in &samplings {
            for prompt in PROMPTS {
                texts.push(generate(engine, &setup, prompt, params));
            }
        }
        texts
    };
    let plain = engine(Mode::Plain, false);
    let expected = all(&plain);
    drop(plain);
    for mode in [Mode::DraftThenVerify, Mode::Card, Mode::Auto] {
        let running = engine(mode, false);
        let found = all(&running);
        drop(running);
        for (i, (a, b)) in expected.iter().zip(&found).enumerate() {
            assert_eq!(a.tokens, b.tokens, "{mode:?}, text {i}");
        }
        let drafted: usize = found.iter().map(|t| t.drafted).sum();
        println!("{mode:?}: {drafted} translated candidates were accepted");
        // `auto` may find that it does not pay.
        if mode == Mode::DraftThenVerify {
            assert!(drafted > 0, "nothing that was translated was right");
        }
    }
}
