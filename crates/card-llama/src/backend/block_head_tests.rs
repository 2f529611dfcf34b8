//! A block drafter against plain calls of llama.cpp, made as llama-server's `draft-dflash` and
//! `draft-dspark` make them.

use card_core::forward::{Forward, KvOp, Logits, Model, ModelError, Row};
use card_core::types::{SequenceId, Token};

use super::block_head::BlockContext;
use super::context::LlamaContext;
use super::cores::on_own_thread;
use super::head_model::HeadModel;
use super::head_testing::{SEQUENCE, apart, committed, hidden_rows, options, reading, settings};
use super::hidden_store::HiddenStore;
use super::model::{LlamaModel, LoadOptions};
use crate::sys::batch::Batch;
use crate::sys::context::{Context, Decoded, ModelPart};
use crate::tiny::zoo::{self, BLOCK, MASK, TOKENS};

/// A target, and a block drafter for it.
fn load(architecture: &str, markov: bool) -> (LlamaModel, HeadModel) {
    let architecture = zoo::find(architecture).unwrap();
    let target = zoo::write(architecture, 1).unwrap();
    let head = zoo::block_head_file(architecture, 2, markov).unwrap();
    let options = LoadOptions::default();
    let model = LlamaModel::load(&target, &options, &mut |_| {}).unwrap();
    let loaded = HeadModel::load(&head, &model, &options, &mut |_| {}).unwrap();
    for file in [target, head] {
        let _ = std::fs::remove_file(file);
    }
    (model, loaded)
}

fn text() -> Vec<Token> {
    (0..24).map(|i| (i * 37 + 11) % (TOKENS - 2) + 2).collect()
}

/// What llama-server does behind each of these lengths of a text: keys and values are made of the
/// states of all tokens but the last, and a block of the last token and masks is decoded. Returns the
/// logits of the rows that draft.
fn by_plain_calls(
    target: &LlamaModel,
    head: &HeadModel,
    text: &[Token],
    lengths: &[usize],
) -> Vec<Vec<Vec<f32>>> {
    let mut of_target = Context::new(target.handle(), &settings(ModelPart::Trunk)).unwrap();
    of_target.tap(head.layers()).unwrap();
    let mut batch = of_target.batch(false).unwrap();
    for (i, &token) in text.iter().enumerate() {
        batch.push(token, i as u32, &[0], true);
    }
    assert_eq!(of_target.decode(&batch, None).unwrap(), Decoded::Whole);

    let lender = head.lender().unwrap();
    let part = settings(ModelPart::HeadFile);
    let mut of_head = Context::borrowing(head.model().handle(), &part, lender).unwrap();
    of_head.attend_both_ways();
    let mut states = of_head.states_batch(head.features()).unwrap();
    let mut block = Batch::new(BLOCK as usize, 1, 0).unwrap();
    let first = head.file().block.unwrap().first as usize;
    let mut drafts = Vec::new();
    let mut injected = 0;
    for &length in lengths {
        let root = length - 1;
        states.clear();
        let into = states.embeddings_mut(root - injected);
        for (i, into) in into.chunks_mut(head.features()).enumerate() {
            into.copy_from_slice(&of_target.layer_inputs(injected + i).unwrap());
        }
        for i in injected..root {
            states.push(0, i as u32, &[0], false);
        }
        assert_eq!(of_head.decode(&states, None).unwrap(), Decoded::Whole);
        injected = root;
        block.clear();
        for place in 0..BLOCK {
            let token = if place == 0 { text[root] } else { MASK };
            block.push(token, root as u32 + place, &[0], true);
        }
        assert_eq!(of_head.decode(&block, None).unwrap(), Decoded::Whole);
        let rows = first..BLOCK as usize;
        drafts.push(rows.map(|i| of_head.logits(i).to_vec()).collect());
        assert!(of_head.remove(0, root as u32).unwrap());
    }
    drafts
}

/// A row that drafts.
fn drafted(position: usize, cell: u64, parent: Option<u64>) -> Row {
    Row {
        sequence: SEQUENCE,
        token: 3,
        position: position as u32,
        cell,
        parent,
        logits: true,
    }
}

/// Has the head read a text from `at` on, and then all that its block says.
fn draft_of(of_head: &mut BlockContext, at: usize, text: &[Token]) -> Vec<Vec<f32>> {
    let forward = reading(SEQUENCE, at, text);
    let last = text.len() - 1;
    of_head.forward(&forward).unwrap();
    assert!(last == 0 || of_head.row(0).is_empty());
    let mut draft = vec![of_head.row(last).to_vec()];
    let end = at + text.len();
    of_head.apply(committed(end)).unwrap();
    for depth in 0..BLOCK as usize {
        let cell = 1000 * end as u64 + depth as u64;
        let parent = (depth > 0).then_some(cell - 1);
        // Two tokens at the same place have the same logits behind them.
        let rows = vec![
            drafted(end + depth, cell, parent),
            drafted(end + depth, cell + 500, parent),
        ];
        of_head.forward(&Forward { rows, pad_to: 0 }).unwrap();
        assert_eq!(of_head.row(0), of_head.row(1));
        draft.push(of_head.row(0).to_vec());
    }
    draft
}

/// The same by the contexts that an engine has, round after round.
fn by_contexts(
    target: &LlamaModel,
    head: &HeadModel,
    text: &[Token],
    lengths: &[usize],
) -> Vec<Vec<Vec<f32>>> {
    let mut of_target = LlamaContext::new(target, &options("target")).unwrap();
    let states = of_target.keep_layers(head).unwrap();
    let mut of_head = BlockContext::new(head, &options("head"), states).unwrap();
    let (mut decoded, mut read) = (0, 0);
    let mut drafts = Vec::new();
    for &length in lengths {
        // The target decided the last token, and has not decoded it.
        let end = length - 1;
        let forward = Forward::chain(SEQUENCE, decoded, &text[decoded..end], 0);
        of_target.forward(&forward).unwrap();
        of_target.keep_hidden(&hidden_rows(SEQUENCE, decoded..end));
        of_target.apply(committed(end)).unwrap();
        decoded = end;
        of_head.apply(KvOp::Prune { sequence: SEQUENCE }).unwrap();
        drafts.push(draft_of(&mut of_head, read, &text[read..length]));
        read = length;
    }
    drafts
}

#[test]
fn a_block_drafter_proposes_what_plain_calls_of_llama_cpp_propose() {
    let text = text();
    let lengths = [15, 16, 20, 24];
    for (architecture, markov) in [("llama", false), ("llama", true), ("gpt-oss", false)] {
        let what = format!("{architecture}, {markov}");
        let (target, head) = load(architecture, markov);
        let (plain, own) = on_own_thread(|| {
            (
                by_plain_calls(&target, &head, &text, &lengths),
                by_contexts(&target, &head, &text, &lengths),
            )
        });
        assert_eq!((plain.len(), own.len()), (lengths.len(), lengths.len()));
        for (plain, own) in plain.iter().zip(&own) {
            assert_eq!(plain.len() as u32, BLOCK - u32::from(!markov), "{what}");
            for (depth, (plain, own)) in plain.iter().zip(own).enumerate() {
                let apart = apart(plain, own);
                assert_eq!(plain.len(), own.len(), "{what}");
                assert!(apart < 1e-3, "{what}, depth {depth}: {apart}");
            }
            // Behind the block nothing is said.
            assert!(own[plain.len()..].iter().all(Vec::is_empty), "{what}");
        }
    }
}

#[test]
fn texts_that_begin_with_others_and_end_leave_nothing_behind() {
    let (target, head) = load("llama", false);
    let text = text();
    on_own_thread(|| {
        let mut of_target = LlamaContext::new(&target, &options("target")).unwrap();
        let states = of_target.keep_layers(&head).unwrap();
        let mut of_head = BlockContext::new(&head, &options("head"), states.clone()).unwrap();
        let forward = Forward::chain(SEQUENCE, 0, &text, 0);
        of_target.forward(&forward).unwrap();
        let kept = |sequence| hidden_rows(sequence, 0..text.len());
        of_target.keep_hidden(&kept(SEQUENCE));
        let expected = draft_of(&mut of_head, 0, &text);
        // Another one begins with a part of it, and goes on in the same way.
        let other = SequenceId(2);
        for (from, keep, op_shares) in [(SEQUENCE, 12, true), (SEQUENCE, 9, false)] {
            let op = if op_shares {
                KvOp::Share {
                    sequence: other,
                    from,
                    keep,
                }
            } else {
                KvOp::Adopt {
                    sequence: other,
                    from,
                    keep,
                }
            };
            of_head.apply(op).unwrap();
            of_target.keep_hidden(&kept(other));
            let at = keep as usize;
            let forward = reading(other, at, &text[at..]);
            let last = forward.rows.len() - 1;
            of_head.forward(&forward).unwrap();
            let apart = apart(&expected[0], of_head.row(last));
            assert!(apart < 1e-3, "{op:?}: {apart}");
            assert_eq!(of_head.row(last).len(), TOKENS as usize);
            of_head.apply(KvOp::Release { sequence: other }).unwrap();
        }
        // A token whose state nobody knows has nothing behind it.
        let forward = Forward::chain(other, 0, &text[..2], 0);
        of_head.forward(&forward).unwrap();
        assert!(of_head.row(1).is_empty());
        let unknown = of_head.apply(KvOp::Commit {
            sequence: other,
            tip: 99,
            keep_descendants: false,
        });
        assert!(matches!(unknown, Err(ModelError::Failed(_))));
        of_head.reset().unwrap();
        assert!(of_head.forward(&Forward::default()).is_err());

        // Where forwards are only measured, each has a block.
        let none = HiddenStore::none();
        let mut measured = BlockContext::new(&head, &options("head"), none).unwrap();
        for at in [0, 8] {
            let forward = Forward::chain(SEQUENCE, at, &text[at..at + 8], 0);
            measured.forward(&forward).unwrap();
            assert_eq!(measured.row(7).len(), TOKENS as usize);
            measured.apply(committed(at + 8)).unwrap();
        }
    });
}
