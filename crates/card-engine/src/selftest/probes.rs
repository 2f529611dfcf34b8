//! What may change logits beside the size of a forward: trees, other sequences, prompts that are
//! read in pieces, and padding.

use std::collections::BTreeMap;

use card_core::forward::{Forward, KvCell, KvOp, Model, ModelError};
use card_core::types::{SequenceId, Token};

use super::compare::{agree, compare, fingerprint};
use super::measure::{BODY, Behind, PROMPT, Shape, begin_body, commit, decode, end_body};
use super::report::{SelfTestReport, SizeReport};

/// Sizes at which trees are tried too: half the rows are the passage, half a branch beside it.
pub(super) const TREES: [usize; 3] = [4, 8, 16];
/// Rows of the pieces that the prompt is read in, too.
pub(super) const PIECES: [usize; 3] = [32, 7, 1];
/// Rows of the passage, and of another sequence in the same forward.
pub(super) const OTHERS: [(usize, usize); 2] = [(1, 1), (6, 5)];
/// The sequence that is decoded beside the passage, in the same forwards.
const OTHER: SequenceId = SequenceId(u64::MAX - 4);
/// The cells of that sequence have names from here on, which those of the passage never reach.
const AWAY: KvCell = 1 << 32;

/// Whether a row of a tree's best path gets the logits it gets in a chain of this size, by their
/// fingerprints `chain`. How far it is from the `reference` is noted in the size.
pub(super) fn in_trees(
    model: &mut dyn Model,
    text: Behind<'_>,
    size: &mut SizeReport,
    chain: &[u64],
    reference: &[Vec<f32>],
    step: &mut dyn FnMut(),
) -> Result<bool, ModelError> {
    let mut same = true;
    let mut at = 0;
    decode(model, text, Shape::tree(size.rows), step, &mut |logits| {
        same &= chain.get(at).is_none_or(|&h| h == fingerprint(logits));
        compare(size, &reference[at], logits);
        at += 1;
    })?;
    Ok(same)
}

/// Whether the passage gets the logits it gets `alone` (by their fingerprints) while another
/// sequence has rows in the same forwards, and so cells between its own. Ends with the first
/// that differ.
pub(super) fn among_others(
    model: &mut dyn Model,
    text: Behind<'_>,
    alone: &[u64],
    step: &mut dyn FnMut(),
) -> Result<bool, ModelError> {
    let most = model.limits().rows;
    let keep = text.head.len();
    let theirs: Vec<Token> = text.passage.iter().rev().copied().collect();
    let mut same = true;
    for (own, other) in OTHERS {
        if !same || own + other > most {
            continue;
        }
        begin_body(model, keep)?;
        let (mut at, mut there) = (keep, 0);
        let mut expected = alone.iter();
        for chunk in text.passage.chunks_exact(own) {
            let beside = &theirs[there..(there + other).min(theirs.len())];
            let mut forward = away(Forward::chain(OTHER, there, beside, 0));
            forward.rows.extend(Forward::chain(BODY, at, chunk, 0).rows);
            model.forward(&forward)?;
            at += chunk.len();
            there += beside.len();
            model.apply(commit(BODY, at as KvCell))?;
            if !beside.is_empty() {
                model.apply(commit(OTHER, AWAY + there as KvCell))?;
            }
            step();
            for i in 0..chunk.len() {
                let found = fingerprint(model.row(beside.len() + i));
                same &= expected.next().is_none_or(|&e| e == found);
            }
            if !same {
                break;
            }
        }
        leave_others(model, keep)?;
    }
    Ok(same)
}

/// Ends the passage and the sequence beside it.
pub(super) fn leave_others(model: &mut dyn Model, keep: usize) -> Result<(), ModelError> {
    end_body(model, keep)?;
    model.apply(KvOp::Release { sequence: OTHER })
}

/// The forward with other names of cells, which the cells of the passage never reach.
fn away(mut forward: Forward) -> Forward {
    for row in &mut forward.rows {
        row.cell += AWAY;
        row.parent = row.parent.map(|p| p + AWAY);
    }
    forward
}

/// Whether a prompt behind the head leaves the same logits behind it, in whatever pieces it
/// is read. Ends with the first that differ.
pub(super) fn in_pieces(
    model: &mut dyn Model,
    text: Behind<'_>,
    step: &mut dyn FnMut(),
) -> Result<bool, ModelError> {
    let limits = model.limits();
    let keep = text.head.len();
    let room = (limits.context as usize).saturating_sub(keep);
    let rows = PROMPT.min(limits.rows).min(room);
    let prompt: Vec<Token> = text.passage.iter().copied().cycle().take(rows).collect();
    let mut whole = None;
    for piece in [rows].into_iter().chain(PIECES) {
        if piece > rows {
            continue;
        }
        begin_body(model, keep)?;
        let (mut at, mut last) = (keep, 0);
        for chunk in prompt.chunks(piece.max(1)) {
            let mut forward = Forward::chain(BODY, at, chunk, 0);
            at += chunk.len();
            // Of a prompt only the last token's logits are wanted.
            for (i, row) in forward.rows.iter_mut().enumerate() {
                row.logits = at == keep + rows && i + 1 == chunk.len();
            }
            model.forward(&forward)?;
            last = chunk.len() - 1;
            model.apply(commit(BODY, at as KvCell))?;
            step();
        }
        let found = fingerprint(model.row(last));
        end_body(model, keep)?;
        if *whole.get_or_insert(found) != found {
            return Ok(false);
        }
    }
    Ok(true)
}

/// If keeping to one class needs padding, makes sure that padded forwards have the logits of their
/// class (`passes` are the fingerprints by size); a class that does not pass is split up.
pub(super) fn check_padding(
    model: &mut dyn Model,
    text: Behind<'_>,
    mut report: SelfTestReport,
    passes: &BTreeMap<usize, Vec<u64>>,
) -> Result<SelfTestReport, ModelError> {
    loop {
        let (pad_to, _) = report.bitwise_range();
        if pad_to == 1 {
            return Ok(report);
        }
        let mut hashes = Vec::new();
        let padded = Shape {
            pad_to,
            ..Shape::chain(1)
        };
        decode(model, text, padded, &mut || {}, &mut |logits| {
            hashes.push(fingerprint(logits));
        })?;
        if agree(&hashes, &passes[&pad_to]) {
            return Ok(report);
        }
        for size in &mut report.sizes {
            if size.rows == pad_to {
                size.class = usize::MAX - pad_to;
            }
        }
    }
}
