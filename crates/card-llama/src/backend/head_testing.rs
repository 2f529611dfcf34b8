//! What the tests of heads have in common: a prompt, contexts, and drafts by the contexts that an
//! engine has.

use std::ops::Range;

use card_core::forward::{Forward, HiddenRow, KvOp, Logits, Model, Row};
use card_core::types::{SequenceId, Token};

use super::context::LlamaContext;
use super::context_options::ContextOptions;
use super::cores::{Cores, on_own_thread};
use super::model::LlamaModel;
use crate::sys::cache_type::CacheTypes;
use crate::sys::context::{ContextSettings, ModelPart};
use crate::tiny::zoo::TOKENS;

pub(super) const SEQUENCE: SequenceId = SequenceId(1);
/// Tokens that a draft has.
pub(super) const DRAFTED: usize = 3;
/// Rows of a forward.
const ROWS: u32 = 64;

/// The logits of a draft and the token that follows from each.
pub(super) type HeadDraft = Vec<(Vec<f32>, Token)>;

pub(super) fn prompt() -> Vec<Token> {
    (0..20).map(|i| (i * 37 + 11) % (TOKENS - 1) + 1).collect()
}

pub(super) fn options(role: &'static str) -> ContextOptions {
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

/// A context of llama.cpp's own.
pub(super) fn settings(part: ModelPart) -> ContextSettings {
    ContextSettings {
        part,
        cells: 256,
        rows: ROWS,
        ids: 4,
        snapshots: 0,
        threads: 1,
        cache: CacheTypes::default(),
    }
}

pub(super) fn favourite(logits: &[f32]) -> Token {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(token, _)| token as Token)
}

/// How far the logits are apart that are farthest apart; equal ones may be infinite.
pub(super) fn apart(a: &[f32], b: &[f32]) -> f32 {
    let pairs = a.iter().zip(b).filter(|(a, b)| a != b);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Rows of a forward that begins at the first of these positions of a text, as a target keeps their
/// states.
pub(super) fn hidden_rows(sequence: SequenceId, positions: Range<usize>) -> Vec<HiddenRow> {
    let begins = positions.start;
    let row = |position: usize| HiddenRow {
        sequence,
        position: position as u32,
        row: position - begins,
    };
    positions.map(row).collect()
}

/// A part of a text from the position `at` on; the logits of its last token only are wanted, as where
/// a prompt is read.
pub(super) fn reading(sequence: SequenceId, at: usize, text: &[Token]) -> Forward {
    let mut forward = Forward::chain(sequence, at, text, 0);
    for row in &mut forward.rows[..text.len() - 1] {
        row.logits = false;
    }
    forward
}

/// The text is so many tokens long, and no draft is kept.
pub(super) fn committed(tokens: usize) -> KvOp {
    KvOp::Commit {
        sequence: SEQUENCE,
        tip: tokens as u64,
        keep_descendants: false,
    }
}

/// Has a head read a part of a text; the logits behind it.
pub(super) fn read_by(of_head: &mut LlamaContext, at: usize, text: &[Token]) -> Vec<f32> {
    of_head.forward(&reading(SEQUENCE, at, text)).unwrap();
    let logits = of_head.row(text.len() - 1).to_vec();
    of_head.apply(committed(at + text.len())).unwrap();
    logits
}

/// A draft of a head that reads a text, token by token.
pub(super) fn draft_by(of_head: &mut LlamaContext, text: &[Token]) -> HeadDraft {
    let logits = read_by(of_head, 0, text);
    let mut token = favourite(&logits);
    let mut draft = vec![(logits, token)];
    for step in 1..DRAFTED {
        let cell = 1000 + step as u64;
        let row = Row {
            sequence: SEQUENCE,
            token,
            position: (text.len() - 1 + step) as u32,
            cell,
            parent: (step > 1).then_some(cell - 1),
            logits: true,
        };
        let rows = vec![row];
        of_head.forward(&Forward { rows, pad_to: 0 }).unwrap();
        let logits = of_head.row(0).to_vec();
        token = favourite(&logits);
        draft.push((logits, token));
    }
    draft
}

/// What a target says behind the prompt, after `prepare` changed its context.
pub(super) fn target_says(
    model: &LlamaModel,
    prepare: impl FnOnce(&mut LlamaContext) + Send,
) -> Vec<f32> {
    let prompt = prompt();
    on_own_thread(|| {
        let mut target = LlamaContext::new(model, &options("target")).unwrap();
        prepare(&mut target);
        target.forward(&reading(SEQUENCE, 0, &prompt)).unwrap();
        target.row(prompt.len() - 1).to_vec()
    })
}
