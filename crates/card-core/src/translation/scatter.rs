//! The draft model's logits, moved to the target's vocabulary.

use super::exact::ExactPairs;
use crate::types::Token;

/// Which target tokens get which logits. Invariants: every token is in its vocabulary, and a
/// target token is in `assigned` at most once, and there if it is in `raised`. So one row of
/// logits is written without looking at what the memory held before, and takes no time for the
/// target tokens that nothing stands for.
#[derive(Debug)]
pub(super) struct Scatter {
    /// (draft token, target token), written first.
    assigned: Vec<(Token, Token)>,
    /// (draft token, target token), whose logit counts if it is larger.
    raised: Vec<(Token, Token)>,
}

impl Scatter {
    /// For the tokens that both vocabularies have, and those that stand for others.
    pub(super) fn new(
        target_tokens: usize,
        pairs: &ExactPairs,
        stand_ins: Vec<(Token, Token)>,
    ) -> Self {
        let mut has_logit = vec![false; target_tokens];
        let mut scatter = Scatter {
            assigned: Vec::new(),
            raised: Vec::new(),
        };
        for (draft, target) in pairs.iter().chain(stand_ins) {
            let Some(has_logit) = has_logit.get_mut(target as usize) else {
                continue;
            };
            let list = if *has_logit {
                &mut scatter.raised
            } else {
                &mut scatter.assigned
            };
            list.push((draft, target));
            *has_logit = true;
        }
        scatter
    }

    /// Number of target tokens that get a logit.
    pub(super) fn reached(&self) -> usize {
        self.assigned.len()
    }

    /// Writes the logits of one row into `into`, which has the length of the target's vocabulary
    /// and holds −∞ for every token that nothing stands for. A logit that is no number becomes
    /// −∞.
    pub(super) fn write(&self, logits: &[f32], into: &mut [f32]) {
        let logit = |draft: Token| match logits.get(draft as usize) {
            Some(logit) if !logit.is_nan() => *logit,
            _ => f32::NEG_INFINITY,
        };
        for &(draft, target) in &self.assigned {
            if let Some(value) = into.get_mut(target as usize) {
                *value = logit(draft);
            }
        }
        for &(draft, target) in &self.raised {
            if let Some(value) = into.get_mut(target as usize) {
                *value = value.max(logit(draft));
            }
        }
    }
}

/// Logits of the rows of one forward, in memory that the next forward uses again.
#[derive(Debug)]
pub(super) struct LogitRows {
    /// Length of a row.
    vocab: usize,
    /// The rows, one behind the other. What nothing stands for is −∞ in all of them.
    values: Vec<f32>,
    /// What there is for each row of the forward.
    answers: Vec<Answer>,
    /// Rows of `values` that this forward uses.
    used: usize,
    /// The answer where the draft model has nothing to say.
    silence: Vec<f32>,
}

/// What there is for a row of a forward.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// No logits were asked for.
    NotAsked,
    /// The draft model does not hold the row.
    Silence,
    /// This row of the values.
    At(usize),
}

impl LogitRows {
    /// For a vocabulary of so many tokens.
    pub(super) fn new(vocab: usize) -> Self {
        LogitRows {
            vocab,
            values: Vec::new(),
            answers: Vec::new(),
            used: 0,
            silence: vec![f32::NEG_INFINITY; vocab],
        }
    }

    /// Forgets the last forward; the next one has such rows, by whether logits are asked for.
    pub(super) fn begin(&mut self, rows: impl Iterator<Item = bool>) {
        self.used = 0;
        self.answers.clear();
        self.answers.extend(rows.map(|asked| {
            if asked {
                Answer::Silence
            } else {
                Answer::NotAsked
            }
        }));
    }

    /// Takes the draft model's logits for row `i` of the forward.
    pub(super) fn put(&mut self, i: usize, logits: &[f32], scatter: &Scatter) {
        let Some(answer) = self.answers.get_mut(i) else {
            return;
        };
        let start = self.used * self.vocab;
        let end = start + self.vocab;
        if self.values.len() < end {
            self.values.resize(end, f32::NEG_INFINITY);
        }
        scatter.write(logits, &mut self.values[start..end]);
        *answer = Answer::At(self.used);
        self.used += 1;
    }

    /// The logits of row `i` of the forward; none if none were asked for.
    pub(super) fn row(&self, i: usize) -> &[f32] {
        match self.answers.get(i) {
            None | Some(Answer::NotAsked) => &[],
            Some(Answer::Silence) => &self.silence,
            Some(Answer::At(row)) => {
                let start = row * self.vocab;
                self.values
                    .get(start..start + self.vocab)
                    .unwrap_or_default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::piece_index::PieceIndex;
    use super::super::vocabulary::{Roles, TokenKind, Vocabulary};
    use super::*;

    const NOTHING: f32 = f32::NEG_INFINITY;

    /// The draft tokens 0, 1 and 2 and the target tokens 3, 2 and 1 are "a", "b" and "c"; the
    /// draft tokens 3 and 4 are others.
    fn scatter(stand_ins: Vec<(Token, Token)>) -> Scatter {
        let vocabulary = |tokens: [&'static str; 5]| {
            let tokens = tokens.map(|t| (t, TokenKind::Text));
            Vocabulary::new(tokens, Roles::default()).unwrap()
        };
        let target = vocabulary(["z", "c", "b", "a", "y"]);
        let draft = vocabulary(["a", "b", "c", "v", "w"]);
        let mut pairs = ExactPairs::new(5, 5);
        pairs.pair_texts(&PieceIndex::new(&target), &PieceIndex::new(&draft));
        Scatter::new(5, &pairs, stand_ins)
    }

    #[test]
    fn the_largest_of_several_logits_counts_and_what_is_no_number_is_banned() {
        let scatter = scatter(vec![(3, 3), (4, 4), (3, 4)]);
        assert_eq!(scatter.reached(), 4);
        let mut row = [NOTHING; 5];
        scatter.write(&[1.0, 2.0, f32::NAN, 5.0, 4.0], &mut row);
        assert_eq!(row, [NOTHING, NOTHING, 2.0, 5.0, 5.0]);
        // Nothing is left of the row before.
        scatter.write(&[1.0, 2.0, 3.0, -5.0, f32::NAN], &mut row);
        assert_eq!(row, [NOTHING, 3.0, 2.0, 1.0, -5.0]);
        // A model that gives fewer logits than it should.
        scatter.write(&[1.0], &mut row);
        assert_eq!(row, [NOTHING, NOTHING, NOTHING, 1.0, NOTHING]);
    }

    #[test]
    fn rows_are_told_apart_whatever_the_forward_before_had() {
        let scatter = scatter(Vec::new());
        let mut rows = LogitRows::new(5);
        rows.begin([true, true, false].into_iter());
        rows.put(0, &[1.0, 2.0, 3.0, 4.0, 5.0], &scatter);
        rows.put(1, &[6.0, 7.0, 8.0, 9.0, 9.0], &scatter);
        assert_eq!(rows.row(0), [NOTHING, 3.0, 2.0, 1.0, NOTHING]);
        assert_eq!(rows.row(1), [NOTHING, 8.0, 7.0, 6.0, NOTHING]);
        assert!(rows.row(2).is_empty() && rows.row(3).is_empty());

        rows.begin([true, true].into_iter());
        rows.put(1, &[1.0, 1.0, 1.0, 1.0, 1.0], &scatter);
        assert_eq!(rows.row(0), [NOTHING; 5], "nothing was said of it");
        assert_eq!(rows.row(1), [NOTHING, 1.0, 1.0, 1.0, NOTHING]);
    }
}
