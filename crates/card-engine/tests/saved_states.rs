//! Prompts that go on from saved states, on tiny models of every kind that llama.cpp keeps states of:
//! the text is the one that is written when every prompt is read from its beginning.

#![allow(clippy::unwrap_used)]

use card_core::cost::CostCurve;
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::scheduler::SavedStateCounts;
use card_core::types::Token;
use card_engine::emulate::{Emulated, Overruns};
use card_engine::selftest::{self, Means};
use card_engine::{Draft, Engine, Event, Generate, Options};
use card_llama::tiny::zoo::{self, CONTEXT, TOKENS};
use card_llama::{ContextOptions, Cores, LlamaContext, LlamaModel, on_own_thread};

/// Recurrent alone, and hybrid; with states that llama.cpp can take back some tokens of, and without.
const MODELS: [&str; 4] = ["mamba2", "jamba", "qwen35", "nemotron_h"];
/// Tokens with which every prompt begins.
const BASE: usize = 60;
const WRITTEN: u32 = 12;

fn context(model: &LlamaModel) -> LlamaContext {
    let options = ContextOptions {
        role: "target",
        context: CONTEXT,
        sequences: 2,
        spare_cells: 64,
        rows: 64,
        in_order: true,
        cores: Cores::one_lane(2),
    };
    LlamaContext::new(model, &options).unwrap()
}

/// Whether every shape of forward gives the same logits.
fn has_any_shape(model: &LlamaModel) -> bool {
    let passage: Vec<Token> = (0..40).map(|i| (i * 41 + 17) % (TOKENS - 1) + 1).collect();
    let mut context = context(model);
    let heads = &selftest::HEADS[..1];
    let report = on_own_thread(|| selftest::run(&mut context, &passage, heads, &mut |_, _| {}));
    report.unwrap().means() == Means::AnyShape
}

/// What is written behind each of the prompts, one after the other, and what became of states.
fn write(
    model: &LlamaModel,
    mode: Mode,
    prefix_slots: usize,
    state_bytes: usize,
) -> (Vec<Vec<Token>>, SavedStateCounts) {
    // Reading takes its time, so that states are worth being saved.
    let cost = CostCurve::from_points([(1, 0.5), (64, 32.0)]);
    let options = Options {
        mode,
        lanes: Lanes::Shared,
        prefix_slots,
        state_bytes,
        target_cost: cost.clone(),
        ..Options::default()
    };
    let target = Emulated::new(context(model), cost, Overruns::default());
    let none: [Draft; 0] = [];
    let engine = Engine::start(Box::new(target), none, options).unwrap();
    let texts = prompts().map(|prompt| text(&engine, prompt)).to_vec();
    (texts, engine.lane_times().states)
}

fn prompts() -> [Vec<Token>; 5] {
    let base: Vec<Token> = (0..BASE as Token)
        .map(|i| (i * 37 + 11) % (TOKENS - 1) + 1)
        .collect();
    let with = |more: &[Token]| [&base[..], more].concat();
    [
        with(&[1, 2, 3]),
        // The first prompt goes on with another answer than was written.
        with(&[1, 2, 3, 9, 9]),
        // Here prompts part for the first time, and here again.
        with(&[7, 8]),
        with(&[5, 5]),
        with(&[7, 8]),
    ]
}

fn text(engine: &Engine, prompt: Vec<Token>) -> Vec<Token> {
    let request = Generate {
        prompt,
        max_tokens: WRITTEN,
        ..Generate::default()
    };
    let stream = engine.generate(request).unwrap();
    let mut text = Vec::new();
    loop {
        match stream.next() {
            Some(Event::Tokens(tokens)) => text.extend(tokens),
            Some(Event::Round(_)) => {}
            Some(Event::Finished(_)) => return text,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn texts_behind_saved_states_are_those_behind_prompts_that_were_read() {
    for label in MODELS {
        let model = zoo::model(zoo::find(label).unwrap(), 1).unwrap();
        let (expected, nothing) = write(&model, Mode::Plain, 0, 1 << 20);
        assert_eq!(nothing, SavedStateCounts::default(), "{label}");
        let exact = has_any_shape(&model);
        for mode in [Mode::Plain, Mode::Auto] {
            let (texts, states) = write(&model, mode, 2, 64 << 20);
            assert!(states.resumed >= 2, "{label}, {mode:?}: {states:?}");
            assert!(states.saved >= 3 && states.bytes > 0, "{label}: {states:?}");
            // Where the shape of a forward counts, no prompt is reused in `exact`.
            if exact {
                assert_eq!(texts, expected, "{label}, {mode:?}");
            }
        }
        // Without room for a state there is none.
        let (_, states) = write(&model, Mode::Plain, 2, 16);
        assert_eq!((states.saved, states.resumed), (0, 0), "{label}");
    }
}

#[test]
fn a_state_that_is_given_up_is_gone_and_the_text_stays() {
    let model = zoo::model(zoo::find("mamba2").unwrap(), 1).unwrap();
    let (expected, _) = write(&model, Mode::Plain, 0, 0);
    let (_, all) = write(&model, Mode::Plain, 2, 64 << 20);
    let room = all.bytes / all.kept + 1024;
    let (texts, states) = write(&model, Mode::Plain, 2, room);
    assert_eq!(states.kept, 1, "{states:?}");
    assert!(states.forgotten > 0 && states.bytes <= room, "{states:?}");
    if has_any_shape(&model) {
        assert_eq!(texts, expected);
    }
}
