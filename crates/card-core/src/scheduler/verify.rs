//! Verification: the target's sampler decides position by position, down the candidates as far
//! as they agree.
//!
//! With noise that depends on the position only, "verify" needs no rejection sampling: the
//! token at each position is what plain decoding would write there, and a candidate is accepted
//! if it is that token (the exact-match form of speculative decoding, arXiv 2211.17192, over the
//! tree of SpecInfer, arXiv 2305.09781, §4). So the output depends on the target, the settings
//! and the seed only: candidates decide how soon a token is known, not which.
//!
//! A [`VerifyWalk`] needs no scheduler: a tree, logits and rules give a [`Verdict`], and nothing is
//! changed but the state of the grammar.

use super::output::Finish;
use super::tree::VerifyTree;
use crate::constraint::Constraint;
use crate::forward::Logits;
use crate::sampler::{Logprob, Sampler, Sampling};
use crate::types::Token;

/// How a sequence decides.
pub(super) struct DecisionRules<'a> {
    pub(super) params: &'a Sampling,
    /// Tokens that end the sequence.
    pub(super) stop_tokens: &'a [Token],
    /// Length at which the sequence ends.
    pub(super) end: usize,
    /// Length at which the context is full.
    pub(super) context: usize,
    /// Decisions of a margin below this are reported.
    pub(super) near_tie: f32,
    /// Decisions of a margin below this are left to a forward of their own; `None` where this
    /// forward is one, or where none is left.
    pub(super) redecide_below: Option<f32>,
    /// Most probable tokens to report with each token, if any probability is.
    pub(super) logprobs: Option<usize>,
}

/// A walk down the candidates of one sequence.
pub(super) struct VerifyWalk<'a> {
    pub(super) tree: &'a VerifyTree,
    pub(super) logits: &'a dyn Logits,
    pub(super) rules: DecisionRules<'a>,
    pub(super) sampler: &'a mut Sampler,
    pub(super) constraint: Option<&'a mut (dyn Constraint + 'static)>,
}

/// What the target decided.
///
/// Invariants: `written <= tokens.len() <= written + 1`; `accepted.len() <= written`; the
/// accepted nodes are a path of the tree, and node i of it has token i.
#[derive(Debug, PartialEq)]
pub(super) struct Verdict {
    /// Tokens that were decided on, a token that ends the sequence included.
    pub(super) tokens: Vec<Token>,
    /// How many of them join the text: all but a token that ends the sequence.
    written: usize,
    /// Indices of the accepted nodes.
    pub(super) accepted: Vec<usize>,
    /// How many of these, from the first on, lie row by row behind the root.
    in_order: usize,
    /// Log probabilities of the tokens, if they are reported.
    pub(super) logprobs: Vec<Logprob>,
    /// Decisions closer than the near-tie bound: index in the sequence, margin in logits.
    pub(super) near_ties: Vec<(u32, f32)>,
    /// Why the walk ended.
    pub(super) end: WalkEnd,
}

/// Why a walk ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum WalkEnd {
    /// No candidate agrees with the last token.
    Left,
    /// The next decision is too close, and left to a forward of its own.
    Deferred,
    /// The sequence ends.
    Finished(Finish),
    /// The grammar failed, for this reason.
    Failed(String),
}

impl VerifyWalk<'_> {
    /// Decides what follows `text`, which is the same afterwards.
    pub(super) fn run(mut self, text: &mut Vec<Token>) -> Verdict {
        let start = text.len();
        let mut verdict = Verdict {
            tokens: Vec::new(),
            written: 0,
            accepted: Vec::new(),
            in_order: 0,
            logprobs: Vec::new(),
            near_ties: Vec::new(),
            end: WalkEnd::Left,
        };
        let root_row = self.tree.root_row;
        let mut row = root_row;
        loop {
            if let Some(end) = self.decide(row, text, &mut verdict) {
                verdict.end = end;
                break;
            }
            let at = verdict.accepted.last().copied();
            let token = text.last().copied().unwrap_or_default();
            let Some(child) = self.tree.child(at, token) else {
                break;
            };
            row = self.tree.nodes[child].row;
            verdict.accepted.push(child);
            verdict.in_order += usize::from(row == root_row + verdict.in_order + 1);
        }
        verdict.written = text.len() - start;
        text.truncate(start);
        verdict
    }

    /// Decides the next token from the logits of `row`; adds it to `text` and `verdict`. Says
    /// why the walk ends here, if it does.
    fn decide(
        &mut self,
        row: usize,
        text: &mut Vec<Token>,
        verdict: &mut Verdict,
    ) -> Option<WalkEnd> {
        let rules = &self.rules;
        let position = text.len() as u32;
        let allowed = match self.constraint.as_mut().map(|c| c.allowed()).transpose() {
            Ok(allowed) => allowed,
            Err(why) => return Some(WalkEnd::Failed(why)),
        };
        let here = self.logits.row(row);
        let choice = self
            .sampler
            .choose(rules.params, here, allowed, text, position);
        if choice.margin < rules.near_tie {
            verdict.near_ties.push((position, choice.margin));
        }
        if rules.redecide_below.is_some_and(|b| choice.margin < b) {
            return Some(WalkEnd::Deferred);
        }
        verdict.tokens.push(choice.token);
        if let Some(top) = rules.logprobs {
            verdict.logprobs.push(Logprob::of(here, choice.token, top));
        }
        if rules.stop_tokens.contains(&choice.token) {
            return Some(WalkEnd::Finished(Finish::Stop));
        }
        text.push(choice.token);
        if let Some(constraint) = &mut self.constraint
            && let Err(why) = constraint.wrote(choice.token)
        {
            return Some(WalkEnd::Failed(why));
        }
        if text.len() >= rules.end {
            return Some(WalkEnd::Finished(Finish::Length));
        }
        (text.len() >= rules.context).then_some(WalkEnd::Finished(Finish::ContextFull))
    }
}

impl Verdict {
    /// The tokens that join the text.
    pub(super) fn written(&self) -> &[Token] {
        &self.tokens[..self.written]
    }

    /// Accepted nodes whose tokens join the text.
    pub(super) fn in_text(&self) -> usize {
        self.written.min(self.accepted.len())
    }

    /// Whether a decision was left to a forward of its own.
    pub(super) fn is_deferred(&self) -> bool {
        self.end == WalkEnd::Deferred
    }

    /// Rows that can join the stem, of a part that decoded `chain` committed tokens; what the
    /// model cannot take back one by one is left out of them
    /// ([`StemRules::joining`](super::stem_rules::StemRules::joining)).
    ///
    /// The best path's rows lie side by side and join the stem. Those of a side branch do not,
    /// and joining them would change the order of attention's sums, so their tokens are decoded
    /// again, with what comes next (docs/exactness.md). So is the row of a deferred decision.
    pub(super) fn stem_rows(&self, chain: usize) -> usize {
        let rows = chain + self.in_order.min(self.in_text());
        if self.is_deferred() {
            rows.min(chain + self.written - 1)
        } else {
            rows
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::CandidateCache;
    use crate::scheduler::tree::VerifyNode;

    /// Logits by row; each row prefers one token, by so much.
    struct RowLogits(Vec<Vec<f32>>);

    impl Logits for RowLogits {
        fn row(&self, i: usize) -> &[f32] {
            &self.0[i]
        }
    }

    fn prefer(rows: &[(Token, f32)]) -> RowLogits {
        let logits = |&(token, margin): &(Token, f32)| {
            let mut logits = vec![0.0; 10];
            logits[token as usize] = margin;
            logits
        };
        RowLogits(rows.iter().map(logits).collect())
    }

    /// Candidates as (token, parent), in the order of their rows behind the root's row 0.
    fn tree(nodes: &[(Token, Option<usize>)]) -> VerifyTree {
        // The walk looks at no cache: any name will do.
        let node = CandidateCache::new(0, 0).root();
        let nodes = nodes
            .iter()
            .zip(1..)
            .map(|(&(token, parent), row)| VerifyNode {
                node,
                token,
                parent,
                row,
                expanded: false,
            });
        VerifyTree {
            root_row: 0,
            root_expanded: false,
            nodes: nodes.collect(),
        }
    }

    const TEXT: [Token; 2] = [7, 8];

    fn walk(
        tree: &VerifyTree,
        logits: &RowLogits,
        change: impl FnOnce(&mut DecisionRules),
    ) -> Verdict {
        let params = Sampling::default();
        let mut rules = DecisionRules {
            params: &params,
            stop_tokens: &[9],
            end: 100,
            context: 100,
            near_tie: 0.5,
            redecide_below: None,
            logprobs: None,
        };
        change(&mut rules);
        let mut text = TEXT.to_vec();
        let verdict = VerifyWalk {
            tree,
            logits,
            rules,
            sampler: &mut Sampler::default(),
            constraint: None,
        }
        .run(&mut text);
        assert_eq!(text, TEXT, "the text is as before");
        verdict
    }

    #[test]
    fn candidates_are_accepted_as_far_as_they_agree() {
        let tree = tree(&[(1, None), (2, Some(0)), (3, Some(1))]);
        let verdict = walk(
            &tree,
            &prefer(&[(1, 5.0), (2, 5.0), (4, 5.0), (5, 5.0)]),
            |_| (),
        );
        assert_eq!(verdict.tokens, [1, 2, 4]);
        assert_eq!(verdict.written(), [1, 2, 4]);
        assert_eq!(verdict.accepted, [0, 1]);
        assert_eq!(verdict.end, WalkEnd::Left);
        assert_eq!(verdict.stem_rows(1), 3, "the last token is not decoded yet");
    }

    #[test]
    fn a_side_branch_is_decoded_again() {
        // Token 4 is the second child: its row does not lie behind the root's.
        let tree = tree(&[(1, None), (2, Some(0)), (4, None), (5, Some(2))]);
        let logits = prefer(&[(4, 5.0), (0, 5.0), (0, 5.0), (5, 5.0), (6, 5.0)]);
        let verdict = walk(&tree, &logits, |_| ());
        assert_eq!(verdict.tokens, [4, 5, 6]);
        assert_eq!(verdict.accepted, [2, 3]);
        assert_eq!(verdict.stem_rows(1), 1);
    }

    #[test]
    fn a_token_that_ends_the_sequence_does_not_join_the_text() {
        let tree = tree(&[(1, None), (9, Some(0))]);
        let verdict = walk(&tree, &prefer(&[(1, 5.0), (9, 5.0), (2, 5.0)]), |_| ());
        assert_eq!(verdict.end, WalkEnd::Finished(Finish::Stop));
        assert_eq!(verdict.tokens, [1, 9]);
        assert_eq!(verdict.written(), [1]);
        assert_eq!(verdict.in_text(), 1);
    }

    #[test]
    fn the_length_that_was_asked_for_comes_before_a_full_context() {
        let logits = prefer(&[(1, 5.0), (2, 5.0)]);
        let tree = tree(&[(1, None)]);
        let end = |end, context| {
            walk(&tree, &logits, |rules| {
                rules.end = end;
                rules.context = context;
            })
            .end
        };
        assert_eq!(end(3, 3), WalkEnd::Finished(Finish::Length));
        assert_eq!(end(4, 3), WalkEnd::Finished(Finish::ContextFull));
        assert_eq!(end(4, 4), WalkEnd::Finished(Finish::Length));
        assert_eq!(end(5, 5), WalkEnd::Left);
    }

    #[test]
    fn a_close_decision_is_left_to_a_forward_of_its_own() {
        let tree = tree(&[(1, None), (2, Some(0))]);
        let logits = prefer(&[(1, 5.0), (2, 0.25), (3, 5.0)]);
        let reported = walk(&tree, &logits, |_| ());
        assert_eq!(reported.near_ties, [(3, 0.25)]);
        assert_eq!(reported.tokens, [1, 2, 3]);
        let deferred = walk(&tree, &logits, |rules| rules.redecide_below = Some(0.5));
        assert!(deferred.is_deferred());
        assert_eq!(deferred.tokens, [1]);
        assert_eq!(deferred.accepted, [0]);
        // The accepted token is decoded again, by the forward that decides what follows it.
        assert_eq!(deferred.stem_rows(1), 1);
        assert_eq!(reported.stem_rows(1), 3);
    }

    #[test]
    fn a_grammar_that_fails_ends_the_walk() {
        struct Refuses;
        impl Constraint for Refuses {
            fn allowed(&mut self) -> Result<&[u32], String> {
                Ok(&[u32::MAX])
            }
            fn wrote(&mut self, token: Token) -> Result<(), String> {
                if token == 2 {
                    Err("not 2".into())
                } else {
                    Ok(())
                }
            }
        }
        let (tree, logits) = (tree(&[(1, None)]), prefer(&[(1, 5.0), (2, 5.0)]));
        let params = Sampling::default();
        let rules = DecisionRules {
            params: &params,
            stop_tokens: &[],
            end: 100,
            context: 100,
            near_tie: 0.0,
            redecide_below: None,
            logprobs: Some(1),
        };
        let verdict = VerifyWalk {
            tree: &tree,
            logits: &logits,
            rules,
            sampler: &mut Sampler::default(),
            constraint: Some(&mut Refuses),
        }
        .run(&mut TEXT.to_vec());
        assert_eq!(verdict.end, WalkEnd::Failed("not 2".into()));
        assert_eq!(verdict.written(), [1, 2], "what was written is told");
        assert_eq!(verdict.logprobs.len(), 2);
    }
}
