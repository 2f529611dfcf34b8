//! A head against plain calls of llama.cpp, made as llama-server's `draft-mtp` makes them.

use card_core::forward::{Forward, Logits, Model};
use card_core::types::Token;

use super::context::LlamaContext;
use super::cores::on_own_thread;
use super::head_testing::{
    DRAFTED, HeadDraft, SEQUENCE, apart, draft_by, favourite, hidden_rows, options, prompt,
    settings, target_says,
};
use super::model::{LlamaModel, LoadOptions};
use crate::sys::batch::Batch;
use crate::sys::context::{Context, Decoded, ModelPart};
use crate::tiny::zoo::{self, Architecture};

fn load(architecture: &Architecture, head: bool) -> LlamaModel {
    load_with(architecture, head, 1)
}

/// A model whose head has so many layers.
fn load_with(architecture: &Architecture, head: bool, layers: u32) -> LlamaModel {
    let file = zoo::with_head_of(architecture, 1, layers).unwrap();
    let options = LoadOptions {
        head,
        ..LoadOptions::default()
    };
    let model = LlamaModel::load(&file, &options, &mut |_| {}).unwrap();
    let _ = std::fs::remove_file(file);
    model
}

/// A context of llama.cpp and its batch, as they are.
struct Plain {
    context: Context,
    batch: Batch,
}

impl Plain {
    fn new(model: &LlamaModel, part: ModelPart) -> Self {
        let mut context = Context::new(model.handle(), &settings(part)).unwrap();
        context.give_head_states(part == ModelPart::Head).unwrap();
        let batch = context.batch(false).unwrap();
        Plain { context, batch }
    }

    /// Decodes tokens from `at` on, with these states beside them if it is a head.
    fn decode(&mut self, at: usize, tokens: &[Token], states: &[Vec<f32>], logits: bool) {
        self.batch.clear();
        for (i, &token) in tokens.iter().enumerate() {
            let wanted = logits && i + 1 == tokens.len();
            self.batch.push(token, (at + i) as u32, &[0], wanted);
            if let Some(state) = states.get(i) {
                self.batch.state_mut(i).copy_from_slice(state);
            }
        }
        let decoded = self.context.decode(&self.batch, None).unwrap();
        assert_eq!(decoded, Decoded::Whole);
    }
}

/// What llama-server does: the target reads the prompt, the head reads it one token behind, each
/// token with the state before it; and a draft is prolonged with the head's own states.
fn by_plain_calls(model: &LlamaModel, prompt: &[Token]) -> (Token, HeadDraft) {
    let mut target = Plain::new(model, ModelPart::Trunk);
    target.decode(0, prompt, &[], true);
    let first = favourite(target.context.logits(prompt.len() - 1));
    let state = |i: usize| target.context.head_state(i).unwrap().to_vec();
    let mut states = vec![vec![0.0; target.context.hidden_width()]];
    states.extend((0..prompt.len()).map(state));

    let mut head = Plain::new(model, ModelPart::Head);
    head.decode(0, prompt, &states[..prompt.len()], false);
    let (mut token, mut state) = (first, states[prompt.len()].clone());
    let mut draft = HeadDraft::new();
    for step in 0..DRAFTED {
        head.decode(prompt.len() + step, &[token], &[state], true);
        let logits = head.context.logits(0).to_vec();
        token = favourite(&logits);
        state = head.context.head_state(0).unwrap().to_vec();
        draft.push((logits, token));
    }
    (first, draft)
}

/// The same by the contexts that an engine has.
fn by_contexts(model: &LlamaModel, prompt: &[Token]) -> (Token, HeadDraft) {
    let mut target = LlamaContext::new(model, &options("target")).unwrap();
    let states = target.keep_states().unwrap();
    let mut head = LlamaContext::of_head(model, &options("head"), states).unwrap();
    assert!(target.keeps_hidden() && !head.keeps_hidden());
    let read = Forward::chain(SEQUENCE, 0, prompt, 0);
    target.forward(&read).unwrap();
    let first = favourite(target.row(prompt.len() - 1));
    target.keep_hidden(&hidden_rows(SEQUENCE, 0..prompt.len()));

    let mut text = prompt.to_vec();
    text.push(first);
    (first, draft_by(&mut head, &text))
}

#[test]
fn a_head_proposes_what_plain_calls_of_llama_cpp_propose() {
    // Of a head of several layers the first drafts every token.
    let several = zoo::find("hy_v3").map(|architecture| (architecture, 2));
    let all = zoo::heads().map(|architecture| (architecture, 1));
    for (architecture, layers) in all.chain(several) {
        let what = format!("{}, {layers} layers", architecture.name());
        let model = load_with(architecture, true, layers);
        assert!(model.has_head(), "{what}");
        let prompt = prompt();
        let (plain, own) = on_own_thread(|| {
            (
                by_plain_calls(&model, &prompt),
                by_contexts(&model, &prompt),
            )
        });
        assert_eq!(plain.0, own.0, "{what}: the target");
        assert_eq!(plain.1.len(), DRAFTED);
        for (step, (plain, own)) in plain.1.iter().zip(&own.1).enumerate() {
            let apart = apart(&plain.0, &own.0);
            assert!(apart < 1e-3, "{what}, step {step}: {apart}");
            assert_eq!(plain.1, own.1, "{what}, step {step}");
        }
    }
}

#[test]
fn a_target_that_keeps_states_computes_what_it_did() {
    for architecture in zoo::heads() {
        let what = architecture.name();
        let logits = |keeps: bool| {
            let model = load(architecture, keeps);
            target_says(&model, |target| {
                if keeps {
                    target.keep_states().unwrap();
                }
            })
        };
        assert_eq!(logits(false), logits(true), "{what}");
    }
}

#[test]
fn a_model_that_was_loaded_without_its_head_makes_no_context_of_it() {
    let architecture = zoo::heads().next().unwrap();
    let with = load(architecture, true);
    let without = load(architecture, false);
    assert!(!without.has_head());
    let states = on_own_thread(|| {
        let mut target = LlamaContext::new(&with, &options("target")).unwrap();
        target.keep_states().unwrap()
    });
    let error = LlamaContext::of_head(&without, &options("head"), states);
    let error = error.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("without a head"), "{error}");
}
