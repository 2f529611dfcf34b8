//! A head against plain calls of llama.cpp, made as llama-server's `draft-mtp` makes them.

use card_core::forward::{Forward, HiddenRow, KvOp, Logits, Model, Row};
use card_core::types::{SequenceId, Token};

use super::context::LlamaContext;
use super::context_options::ContextOptions;
use super::cores::{Cores, on_own_thread};
use super::model::{LlamaModel, LoadOptions};
use crate::sys::batch::Batch;
use crate::sys::cache_type::CacheTypes;
use crate::sys::context::{Context, ContextSettings, Decoded, ModelPart};
use crate::tiny::zoo::{self, Architecture, TOKENS};

const SEQUENCE: SequenceId = SequenceId(1);
/// Tokens that a draft has.
const DRAFTED: usize = 3;
/// Rows of a forward.
const ROWS: u32 = 64;

fn load(architecture: &Architecture, head: bool) -> LlamaModel {
    let file = zoo::with_head(architecture, 1).unwrap();
    let options = LoadOptions {
        head,
        ..LoadOptions::default()
    };
    let model = LlamaModel::load(&file, &options, &mut |_| {}).unwrap();
    let _ = std::fs::remove_file(file);
    model
}

fn prompt() -> Vec<Token> {
    (0..20).map(|i| (i * 37 + 11) % (TOKENS - 1) + 1).collect()
}

fn options(role: &'static str) -> ContextOptions {
    ContextOptions {
        role,
        context: 128,
        sequences: 1,
        spare_cells: 64,
        rows: ROWS,
        in_order: false,
        cores: Cores::one_lane(1),
    }
}

fn favourite(logits: &[f32]) -> Token {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(token, _)| token as Token)
}

/// The logits of a draft and the token that follows from each.
type Draft = Vec<(Vec<f32>, Token)>;

/// A context of llama.cpp and its batch, as they are.
struct Plain {
    context: Context,
    batch: Batch,
}

impl Plain {
    fn new(model: &LlamaModel, part: ModelPart) -> Self {
        let settings = ContextSettings {
            part,
            cells: 256,
            rows: ROWS,
            ids: 4,
            snapshots: 0,
            threads: 1,
            cache: CacheTypes::default(),
        };
        let mut context = Context::new(model.handle(), &settings).unwrap();
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
fn by_plain_calls(model: &LlamaModel, prompt: &[Token]) -> (Token, Draft) {
    let mut target = Plain::new(model, ModelPart::Trunk);
    target.decode(0, prompt, &[], true);
    let first = favourite(target.context.logits(prompt.len() - 1));
    let state = |i: usize| target.context.head_state(i).unwrap().to_vec();
    let mut states = vec![vec![0.0; target.context.hidden_width()]];
    states.extend((0..prompt.len()).map(state));

    let mut head = Plain::new(model, ModelPart::Head);
    head.decode(0, prompt, &states[..prompt.len()], false);
    let (mut token, mut state) = (first, states[prompt.len()].clone());
    let mut draft = Draft::new();
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
fn by_contexts(model: &LlamaModel, prompt: &[Token]) -> (Token, Draft) {
    let mut target = LlamaContext::new(model, &options("target")).unwrap();
    let states = target.keep_states().unwrap();
    let mut head = LlamaContext::of_head(model, &options("head"), states).unwrap();
    assert!(target.keeps_hidden() && !head.keeps_hidden());
    let read = Forward::chain(SEQUENCE, 0, prompt, 0);
    target.forward(&read).unwrap();
    let first = favourite(target.row(prompt.len() - 1));
    let kept: Vec<HiddenRow> = (0..prompt.len())
        .map(|row| HiddenRow {
            sequence: SEQUENCE,
            position: row as u32,
            row,
        })
        .collect();
    target.keep_hidden(&kept);

    let mut text = prompt.to_vec();
    text.push(first);
    let mut forward = Forward::chain(SEQUENCE, 0, &text, 0);
    for row in &mut forward.rows[..prompt.len()] {
        row.logits = false;
    }
    head.forward(&forward).unwrap();
    let logits = head.row(prompt.len()).to_vec();
    let mut token = favourite(&logits);
    let mut draft = vec![(logits, token)];
    head.apply(KvOp::Commit {
        sequence: SEQUENCE,
        tip: text.len() as u64,
        keep_descendants: false,
    })
    .unwrap();
    for step in 1..DRAFTED {
        let cell = 1000 + step as u64;
        let row = Row {
            sequence: SEQUENCE,
            token,
            position: (prompt.len() + step) as u32,
            cell,
            parent: (step > 1).then_some(cell - 1),
            logits: true,
        };
        let rows = vec![row];
        head.forward(&Forward { rows, pad_to: 0 }).unwrap();
        let logits = head.row(0).to_vec();
        token = favourite(&logits);
        draft.push((logits, token));
    }
    (first, draft)
}

#[test]
fn a_head_proposes_what_plain_calls_of_llama_cpp_propose() {
    for architecture in zoo::heads() {
        let what = architecture.name();
        let model = load(architecture, true);
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
            let pairs = plain.0.iter().zip(&own.0);
            let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-3, "{what}, step {step}: {apart}");
            assert_eq!(plain.1, own.1, "{what}, step {step}");
        }
    }
}

#[test]
fn a_target_that_keeps_states_computes_what_it_did() {
    for architecture in zoo::heads() {
        let what = architecture.name();
        let prompt = prompt();
        let logits = |keeps: bool| {
            let model = load(architecture, keeps);
            on_own_thread(|| {
                let mut target = LlamaContext::new(&model, &options("target")).unwrap();
                if keeps {
                    target.keep_states().unwrap();
                }
                // The logits of the last token only, as where a prompt is read.
                let mut forward = Forward::chain(SEQUENCE, 0, &prompt, 0);
                for row in &mut forward.rows[..prompt.len() - 1] {
                    row.logits = false;
                }
                target.forward(&forward).unwrap();
                target.row(prompt.len() - 1).to_vec()
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
