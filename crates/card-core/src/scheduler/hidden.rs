//! Which hidden states of a forward the target's head will need.
//!
//! A head reads a committed token together with the hidden state from which the target decided it.
//! Only the scheduler knows which row of a forward that was: the row of the token before, on the
//! path that the target took. A side branch that is decoded again later has its state already, so
//! the head need not wait for that.

use super::batch::BatchPart;
use super::sequence::Sequence;
use super::verify::Verdict;
use crate::forward::{Forward, HiddenRow};

/// The hidden states that are to be kept, if there is a head at all.
#[derive(Debug, Default)]
pub(super) struct HiddenRows {
    /// There is a head.
    wanted: bool,
    /// Rows of the forward that was completed last.
    rows: Vec<HiddenRow>,
}

impl HiddenRows {
    /// Says whether there is a head; at first there is none.
    pub(super) fn want(&mut self, head: bool) {
        self.wanted = head;
    }

    /// Moves what was noted since the last call to `out`.
    pub(super) fn take(&mut self, out: &mut Vec<HiddenRow>) {
        out.append(&mut self.rows);
    }

    /// Notes the rows of one part of a forward behind which a token is committed by now; with a
    /// `verdict` also those of the candidates that it accepted.
    pub(super) fn note(
        &mut self,
        seq: &Sequence,
        part: &BatchPart,
        forward: &Forward,
        verdict: Option<&Verdict>,
    ) {
        if !self.wanted || !seq.speculates() {
            return;
        }
        let chain = part.first..part.first + part.chain;
        let accepted = verdict.map_or(&[][..], |v| &v.accepted[..v.in_text()]);
        let candidates = accepted.iter().map(|&i| part.tree.nodes[i].row);
        let followed = |&row: &usize| {
            let behind = forward.rows[row].position as usize + 1;
            behind < seq.text.tokens.len()
        };
        let rows = chain.chain(candidates).filter(followed);
        self.rows.extend(rows.map(|row| HiddenRow {
            sequence: part.sequence,
            position: forward.rows[row].position,
            row,
        }));
    }
}
