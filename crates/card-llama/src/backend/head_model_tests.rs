//! A head in a file of its own against plain calls of llama.cpp, made as llama-server's
//! `draft-eagle3` makes them.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use card_core::forward::{Forward, Logits, Model};
use card_core::types::Token;

use super::context::LlamaContext;
use super::cores::on_own_thread;
use super::head_model::HeadModel;
use super::head_testing::{
    DRAFTED, HeadDraft, SEQUENCE, apart, draft_by, favourite, hidden_rows, options, prompt,
    read_by, settings, target_says,
};
use super::hidden_store::HiddenStore;
use super::model::{LlamaModel, LoadOptions};
use crate::sys::batch::Batch;
use crate::sys::context::{Context, Decoded, ModelPart};
use crate::tiny::zoo::{self, Architecture, FEW, TOKENS};

/// A file that is removed in the end.
struct TestFile(PathBuf);

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A target with its file, which its heads are compared with when they are loaded.
struct Target {
    model: LlamaModel,
    _file: TestFile,
}

impl Deref for Target {
    type Target = LlamaModel;

    fn deref(&self) -> &LlamaModel {
        &self.model
    }
}

fn target(architecture: &Architecture) -> Target {
    let file = TestFile(zoo::write(architecture, 1).unwrap());
    let model = LlamaModel::load(&file.0, &LoadOptions::default(), &mut |_| {}).unwrap();
    Target { model, _file: file }
}

fn head(architecture: &Architecture, target: &LlamaModel, right: bool) -> HeadModel {
    let file = if right {
        zoo::right_head_file(architecture, 1)
    } else {
        zoo::head_file(architecture, 2)
    };
    let file = TestFile(file.unwrap());
    HeadModel::load(&file.0, target, &LoadOptions::default(), &mut |_| {}).unwrap()
}

/// Decodes tokens from the position `at` on, with these states beside them if there are any.
fn decode(
    (context, batch): (&mut Context, &mut Batch),
    at: usize,
    tokens: &[Token],
    states: &[Vec<f32>],
    logits: bool,
) {
    batch.clear();
    for (i, &token) in tokens.iter().enumerate() {
        batch.push(token, (at + i) as u32, &[0], logits);
        if let Some(state) = states.get(i) {
            batch.state_mut(i).copy_from_slice(state);
        }
    }
    assert_eq!(context.decode(batch, None).unwrap(), Decoded::Whole);
}

/// What llama-server does: the target reads the prompt; the head's encoder makes a state of three
/// layers' inputs behind each token; the head reads each state with the token that comes next, at the
/// position of the state; and a draft is prolonged with the head's own states.
fn by_plain_calls(target: &LlamaModel, head: &HeadModel, prompt: &[Token]) -> (Token, HeadDraft) {
    let length = prompt.len();
    let mut of_target = Context::new(target.handle(), &settings(ModelPart::Trunk)).unwrap();
    of_target.tap(head.layers()).unwrap();
    let mut batch = of_target.batch(false).unwrap();
    decode((&mut of_target, &mut batch), 0, prompt, &[], true);
    let first = favourite(of_target.logits(length - 1));

    let lender = head.lender().unwrap();
    let part = settings(ModelPart::HeadFile);
    let mut of_head = Context::borrowing(head.model().handle(), &part, lender).unwrap();
    of_head.give_head_states(true).unwrap();
    let mut features = of_head.states_batch(head.features()).unwrap();
    let width = head.features();
    for (i, into) in features
        .embeddings_mut(length)
        .chunks_mut(width)
        .enumerate()
    {
        into.copy_from_slice(&of_target.layer_inputs(i).unwrap());
    }
    for i in 0..length {
        features.push(0, i as u32, &[3], true);
    }
    assert_eq!(of_head.encode(&features, None).unwrap(), Decoded::Whole);
    let encoded = |i| of_head.head_state(i).unwrap().to_vec();
    let states: Vec<Vec<f32>> = (0..length).map(encoded).collect();

    let mut batch = of_head.batch(false).unwrap();
    let (shifted, seed) = states.split_at(length - 1);
    decode((&mut of_head, &mut batch), 0, &prompt[1..], shifted, false);
    let (mut token, mut state) = (first, seed[0].clone());
    let mut draft = HeadDraft::new();
    for step in 0..DRAFTED {
        let at = length - 1 + step;
        decode((&mut of_head, &mut batch), at, &[token], &[state], true);
        let logits = of_head.logits(0).to_vec();
        token = favourite(&logits);
        state = of_head.head_state(0).unwrap().to_vec();
        draft.push((logits, token));
    }
    (first, draft)
}

/// A target that has read the prompt and kept the states, and a context of its head.
fn contexts(
    target: &LlamaModel,
    head: &HeadModel,
    prompt: &[Token],
) -> (Token, LlamaContext, LlamaContext) {
    let mut of_target = LlamaContext::new(target, &options("target")).unwrap();
    let states = of_target.keep_layers(head).unwrap();
    let of_head = LlamaContext::of_head_file(head, &options("head"), states).unwrap();
    assert!(of_target.keeps_hidden() && !of_head.keeps_hidden());
    let read = Forward::chain(SEQUENCE, 0, prompt, 0);
    of_target.forward(&read).unwrap();
    let first = favourite(of_target.row(prompt.len() - 1));
    of_target.keep_hidden(&hidden_rows(SEQUENCE, 0..prompt.len()));
    (first, of_target, of_head)
}

/// The same by the contexts that an engine has.
fn by_contexts(target: &LlamaModel, head: &HeadModel, prompt: &[Token]) -> (Token, HeadDraft) {
    let (first, _target, mut of_head) = contexts(target, head, prompt);
    let mut text = prompt.to_vec();
    text.push(first);
    (first, draft_by(&mut of_head, &text))
}

#[test]
fn a_head_proposes_what_plain_calls_of_llama_cpp_propose() {
    assert!(zoo::head_targets().count() > 5);
    for architecture in zoo::head_targets() {
        let what = architecture.name();
        let target = target(architecture);
        let prompt = prompt();
        // One with tokens of its own, and one that borrows the target's embeddings where it is as
        // wide.
        for right in [false, what != "gemma4"] {
            let head = head(architecture, &target, right);
            let (plain, own) = on_own_thread(|| {
                (
                    by_plain_calls(&target, &head, &prompt),
                    by_contexts(&target, &head, &prompt),
                )
            });
            assert_eq!(plain.0, own.0, "{what}: the target");
            assert_eq!(plain.1.len(), DRAFTED);
            for (step, (plain, own)) in plain.1.iter().zip(&own.1).enumerate() {
                let finite = plain.0.iter().filter(|l| l.is_finite()).count();
                let tokens = if right { TOKENS } else { FEW };
                assert_eq!(finite, tokens as usize, "{what}");
                let apart = apart(&plain.0, &own.0);
                assert!(apart < 1e-3, "{what}, step {step}: {apart}");
                assert_eq!(plain.1, own.1, "{what}, step {step}");
            }
        }
    }
}

#[test]
fn a_head_reads_on_where_it_stopped_and_a_text_from_its_second_token() {
    let architecture = zoo::find("llama").unwrap();
    let target = target(architecture);
    let head = head(architecture, &target, false);
    let prompt = prompt();
    on_own_thread(|| {
        let (first, _target, mut at_once) = contexts(&target, &head, &prompt);
        let mut text = prompt.clone();
        text.push(first);
        let expected = read_by(&mut at_once, 0, &text);
        for split in [1, 2, 12] {
            let (_, _target, mut in_two) = contexts(&target, &head, &prompt);
            let before = read_by(&mut in_two, 0, &text[..split]);
            // Nothing can be said from a first token alone.
            assert_eq!(before.is_empty(), split == 1);
            let logits = read_by(&mut in_two, split, &text[split..]);
            let apart = apart(&expected, &logits);
            assert!(apart < 1e-3, "split at {split}: {apart}");
        }
        // Where forwards are only measured, the first token is a row like others.
        let none = HiddenStore::none();
        let mut measured = LlamaContext::of_head_file(&head, &options("head"), none).unwrap();
        let first = Forward::chain(SEQUENCE, 0, &prompt[..1], 0);
        measured.forward(&first).unwrap();
        assert_eq!(measured.row(0).len(), TOKENS as usize);
    });
}

#[test]
fn a_target_whose_layers_are_read_computes_what_it_did() {
    for architecture in zoo::head_targets() {
        let what = architecture.name();
        let target = target(architecture);
        let head = head(architecture, &target, false);
        let logits = |keeps: bool| {
            target_says(&target, |target| {
                if keeps {
                    target.keep_layers(&head).unwrap();
                }
            })
        };
        assert_eq!(logits(false), logits(true), "{what}");
    }
}

#[test]
fn a_head_for_another_target_is_refused_by_name() {
    let (llama, gemma) = (zoo::find("llama").unwrap(), zoo::find("gemma4").unwrap());
    let wide = target(llama);
    let narrow = target(gemma);
    let load = |file: &Path, target: &LlamaModel| {
        let loaded = HeadModel::load(file, target, &LoadOptions::default(), &mut |_| {});
        loaded.map(|_| ()).map_err(|e| e.to_string())
    };
    let file = TestFile(zoo::head_file(llama, 1).unwrap());
    assert_eq!(load(&file.0, &wide), Ok(()));
    let error = load(&file.0, &narrow).unwrap_err();
    assert!(
        error.contains("256 numbers") && error.contains("--draft"),
        "{error}"
    );
    // It is no model by itself.
    let alone = LlamaModel::load(&file.0, &LoadOptions::default(), &mut |_| {});
    let error = alone.map(|_| ()).unwrap_err().to_string();
    assert!(
        error.contains("EAGLE-3") && error.contains("--draft"),
        "{error}"
    );
    let file = TestFile(zoo::write(llama, 1).unwrap());
    let error = load(&file.0, &wide).unwrap_err();
    assert!(error.contains("no head"), "{error}");
    // Nor does a context keep states for a head of another model.
    let head = head(llama, &wide, false);
    let other = target(zoo::find("qwen3").unwrap());
    let error = on_own_thread(|| {
        let mut target = LlamaContext::new(&other, &options("target")).unwrap();
        target.keep_layers(&head).map(|_| ())
    });
    let error = error.unwrap_err().to_string();
    assert!(error.contains("another target"), "{error}");
}
