//! Forwards of one shape: a passage is decoded behind a head, and timed.

use std::time::{Duration, Instant};

use card_core::forward::{Forward, KvCell, KvOp, Model, ModelError};
use card_core::types::{SequenceId, Token};

/// Rows of the prompt that is read in one forward.
pub(super) const PROMPT: usize = 128;
/// The sequence of the head; its name is above every one that the engine gives.
pub(super) const STEM: SequenceId = SequenceId(u64::MAX);
/// The passage is decoded in this sequence, which takes the head over from [`STEM`] and gives it
/// back. Where the model cannot take the passage back, it begins with a copy of the head
/// ([`begin_body`]).
pub(super) const BODY: SequenceId = SequenceId(u64::MAX - 1);

/// A passage, and the tokens before it.
#[derive(Clone, Copy)]
pub(super) struct Behind<'a> {
    /// Tokens decoded before the comparison starts.
    pub(super) head: &'a [Token],
    /// The tokens whose logits are compared.
    pub(super) passage: &'a [Token],
}

/// What a forward of the self-test looks like.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Tokens of the passage.
    pub(super) rows: usize,
    /// Tokens of a branch beside them.
    pub(super) branch: usize,
    /// Fewest rows of the forward, as in [`Forward`].
    pub(super) pad_to: usize,
}

impl Shape {
    /// Tokens of the passage only.
    pub(super) fn chain(rows: usize) -> Self {
        Shape {
            rows,
            branch: 0,
            pad_to: 0,
        }
    }

    /// Half the rows are the passage, half a branch beside it.
    pub(super) fn tree(rows: usize) -> Self {
        Shape {
            rows: rows / 2,
            branch: rows - rows / 2,
            pad_to: 0,
        }
    }
}

/// Reads the head into [`STEM`].
pub(super) fn read_head(model: &mut dyn Model, head: &[Token]) -> Result<(), ModelError> {
    let mut at = 0;
    for chunk in head.chunks(model.limits().rows) {
        extend(model, STEM, at, chunk, &[], 0)?;
        at += chunk.len();
    }
    Ok(())
}

/// Decodes `tokens` behind the `at` tokens the sequence has, as one chain that joins the
/// stem; `branch` is decoded beside it and dropped.
fn extend(
    model: &mut dyn Model,
    sequence: SequenceId,
    at: usize,
    tokens: &[Token],
    branch: &[Token],
    pad_to: usize,
) -> Result<Duration, ModelError> {
    let mut forward = Forward::chain(sequence, at, tokens, pad_to);
    let tip = (at + tokens.len()) as u64;
    let beside = Forward::chain(sequence, at, branch, pad_to)
        .rows
        .into_iter();
    forward.rows.extend(beside.map(|mut row| {
        row.cell += tokens.len() as u64;
        row.parent = row.parent.map(|p| p + tokens.len() as u64);
        row
    }));
    let start = Instant::now();
    model.forward(&forward)?;
    let elapsed = start.elapsed();
    model.apply(commit(sequence, tip))?;
    Ok(elapsed)
}

/// [`BODY`] begins with the head, the `keep` tokens of [`STEM`].
pub(super) fn begin_body(model: &mut dyn Model, keep: usize) -> Result<(), ModelError> {
    let keep = keep as u32;
    let (sequence, from) = (BODY, STEM);
    model.apply(if model.limits().rollback.is_free() {
        KvOp::Adopt {
            sequence,
            from,
            keep,
        }
    } else {
        KvOp::Share {
            sequence,
            from,
            keep,
        }
    })
}

/// [`BODY`] is over, and [`STEM`] has the head, its first `keep` tokens, as before.
pub(super) fn end_body(model: &mut dyn Model, keep: usize) -> Result<(), ModelError> {
    model.apply(if model.limits().rollback.is_free() {
        KvOp::Adopt {
            sequence: STEM,
            from: BODY,
            keep: keep as u32,
        }
    } else {
        KvOp::Release { sequence: BODY }
    })
}

/// The tokens up to `tip` join the stem of a sequence; the rest is dropped.
pub(super) fn commit(sequence: SequenceId, tip: KvCell) -> KvOp {
    KvOp::Commit {
        sequence,
        tip,
        keep_descendants: false,
    }
}

/// What forwards of one shape took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Times {
    /// Median milliseconds; 0 if there was none.
    pub(super) median: f64,
    /// The middle half of them, as a share of the median; `None` if there were too few.
    pub(super) spread: Option<f64>,
}

impl Times {
    /// Of forwards that took so many milliseconds each.
    pub(super) fn of(mut times: Vec<f64>) -> Self {
        /// Forwards that quarters can be made of.
        const QUARTERS: usize = 4;
        times.sort_by(f64::total_cmp);
        let count = times.len();
        let Some(&median) = times.get(count / 2) else {
            return Times::default();
        };
        let middle = times[(3 * count / QUARTERS).min(count - 1)] - times[count / QUARTERS];
        let spread = middle / median.max(1e-9);
        Times {
            median,
            spread: (count >= QUARTERS).then_some(spread),
        }
    }
}

/// Decodes the passage behind the head in forwards of one shape; `each` gets the logits of every
/// position. Returns what the forwards took.
pub(super) fn decode(
    model: &mut dyn Model,
    text: Behind<'_>,
    shape: Shape,
    step: &mut dyn FnMut(),
    each: &mut dyn FnMut(&[f32]),
) -> Result<Times, ModelError> {
    /// The median of fewer forwards is no better than the first, which may be a slow one.
    const FEW: usize = 3;
    let (body, keep) = (text.passage, text.head.len());
    begin_body(model, keep)?;
    let mut times = Vec::new();
    let mut at = keep;
    // Any other text will do for the branch.
    let branch: Vec<Token> = body.iter().rev().copied().take(shape.branch).collect();
    let timed = shape.branch == 0;
    if timed
        && body.len() / shape.rows < FEW
        && let Some(chunk) = body.chunks_exact(shape.rows).next()
    {
        // A GPU loads or chooses the kernels for a shape when it comes first.
        extend(model, BODY, at, chunk, &branch, shape.pad_to)?;
        end_body(model, keep)?;
        begin_body(model, keep)?;
    }
    for chunk in body.chunks_exact(shape.rows) {
        let elapsed = extend(model, BODY, at, chunk, &branch, shape.pad_to)?;
        times.push(elapsed.as_secs_f64() * 1e3);
        for i in 0..chunk.len() {
            each(model.row(i));
        }
        step();
        at += chunk.len();
    }
    end_body(model, keep)?;
    Ok(Times::of(times))
}

/// Reads the passage over and over as a prompt: (rows, milliseconds) of the faster of two
/// forwards. `None` if a forward cannot be larger than `tested` rows.
pub(super) fn prefill(
    model: &mut dyn Model,
    passage: &[Token],
    tested: usize,
) -> Result<Option<(usize, f64)>, ModelError> {
    let limits = model.limits();
    let rows = PROMPT.min(limits.rows).min(limits.context as usize);
    if rows <= tested {
        return Ok(None);
    }
    let prompt: Vec<Token> = passage.iter().copied().cycle().take(rows).collect();
    let mut forward = Forward::chain(BODY, 0, &prompt, 0);
    for row in &mut forward.rows[..rows - 1] {
        row.logits = false;
    }
    let mut best = f64::INFINITY;
    for _ in 0..2 {
        let start = Instant::now();
        model.forward(&forward)?;
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
        model.apply(KvOp::Release { sequence: BODY })?;
    }
    Ok(Some((rows, best)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_lie_apart_are_told_from_those_that_do_not() {
        assert_eq!(Times::of(Vec::new()), Times::default());
        let few = Times::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((few.median, few.spread), (2.0, None));
        let mut calm = vec![10.0; 39];
        calm.push(500.0);
        assert_eq!(Times::of(calm).spread, Some(0.0));
        let busy = (0..40).map(|i| if i % 2 == 0 { 10.0 } else { 30.0 });
        let busy = Times::of(busy.collect());
        assert!(busy.spread.is_some_and(|s| s > 0.5), "{busy:?}");
    }
}
