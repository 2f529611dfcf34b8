//! Reading ahead: where the text repeats itself, one step drafts several tokens.
//!
//! A draft model adds one level to the tree with each step, so its time for a step bounds how fast
//! the target can be, however right the drafts are. Where the text went on in some way before, the
//! drafter guesses that it goes on so again, and decodes the guessed chain in the same forward, behind
//! its best node. Where the model would have drafted these tokens itself, all their levels are there
//! at once; where not, a guess is a row that was wasted. So the draft model is drafted for, as it
//! drafts for the target (the vertical cascade of CS Drafting, arXiv 2312.11462, §3). Rows that are
//! cheap are the condition, which is for the cost curve to say: a guess is a node like others, with
//! the reach that guesses turned out to deserve.

use std::collections::BTreeMap;

use super::config::DrafterConfig;
use super::sequence::DraftSequence;
use crate::acceptance::Acceptance;
use crate::cache::{CandidateCache, NodeId};
use crate::sources::Chain;
use crate::types::{SequenceId, Source, Token};

/// Guesses behind a node at the most.
const MOST_GUESSES: usize = 16;
/// Tokens of the text that a match is looked for with.
const RECENT: usize = 32;
/// Probability of a guess that the model does not propose.
const REFUTED: f32 = 0.001;

/// Puts guesses behind the best node that was not looked past, of each sequence of a drafter that
/// reads ahead. `nodes` and `chain` are room to work in.
pub(super) fn guess(
    sequences: &mut BTreeMap<SequenceId, DraftSequence>,
    config: &DrafterConfig,
    acceptance: &Acceptance,
    nodes: &mut Vec<NodeId>,
    chain: &mut Chain,
) {
    for draft in sequences.values_mut() {
        // Guesses may break the rules of a grammar, which the model's own proposals do not.
        if !draft.rooted || !draft.is_wanted(config) || draft.scouted.is_some() {
            continue;
        }
        let Some(index) = &draft.index else { continue };
        let depth = draft.depth_limit(config);
        draft.replica.frontier(1, depth, config.min_reach, nodes);
        let Some(&node) = nodes.first() else { continue };
        let known = draft.tokens.len().saturating_sub(RECENT);
        let mut recent: Vec<Token> = draft.tokens[known..].to_vec();
        recent.extend(draft.replica.path(node));
        index.continue_other(&recent, chain);
        let mut at = node;
        for &(token, prob) in chain.iter().take(MOST_GUESSES) {
            let (source, counts) = (Source::PromptLookup, &draft.counts);
            let cond = acceptance.expect_in(counts, source, prob, 0);
            let added = draft.replica.insert(at, token, prob, cond, 0, source);
            let Some(next) = added else { break };
            at = next;
        }
    }
}

/// The model (`source`) has said what may follow `node`: guesses that are not among it are as good as
/// wrong.
pub(super) fn refute(replica: &mut CandidateCache, node: NodeId, source: Source) {
    let unsaid = |&id: &NodeId| {
        let found = replica.get(id);
        found.is_some_and(|c| !c.sources.contains(source))
    };
    let wrong: Vec<NodeId> = replica.children(node).filter(unsaid).collect();
    for id in wrong {
        replica.set_cond(id, REFUTED);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::super::Drafter;
    use crate::cost::CostCurve;
    use crate::forward::{Forward, Limits, Logits, Rollback};
    use crate::protocol::{DraftInput, DraftPlan, Drafted, Lanes};
    use crate::sampler::Sampling;
    use crate::types::{SequenceId, Source, Tenant, Token};

    const VOCAB: usize = 12;
    const SEQUENCE: SequenceId = SequenceId(1);

    /// A model whose favourite next token depends on the last one only.
    struct Habit {
        next: fn(Token) -> Token,
        logits: Vec<Vec<f32>>,
    }

    impl Logits for Habit {
        fn row(&self, i: usize) -> &[f32] {
            &self.logits[i]
        }
    }

    impl Habit {
        fn decode(&mut self, forward: &Forward) {
            let rows = forward.rows.iter().map(|row| {
                let mut logits = vec![0.0; VOCAB];
                logits[(self.next)(row.token) as usize] = 20.0;
                logits
            });
            self.logits = rows.collect();
        }
    }

    /// A drafter that was told of a text which counts to nine three times.
    fn drafter(lanes: Lanes) -> Drafter {
        let limits = Limits {
            context: 200,
            cells: 800,
            rows: 64,
            leaves: 16,
            rollback: Rollback::Free,
        };
        let plan = DraftPlan {
            chain: None,
            branch: 4,
            max_depth: 24,
            cache_bytes: 1 << 16,
            prefix_slots: 1,
            lanes,
        };
        let flat = CostCurve::from_points([(1, 7.0), (64, 7.0)]);
        let mut drafter = Drafter::new(plan.config(Source::Draft, limits, VOCAB), flat);
        drafter.handle(DraftInput::Open {
            sequence: SEQUENCE,
            tenant: Tenant::SHARED,
            tokens: (0..30).map(|i| i % 10).collect(),
            params: Sampling::default(),
            end: 150,
            grammar: None,
        });
        drafter
    }

    /// One step: the tokens of its rows, and what came of it.
    fn step(drafter: &mut Drafter, habit: &mut Habit) -> (Vec<Token>, Drafted) {
        let forward = drafter.poll(Duration::ZERO).unwrap();
        for (i, row) in forward.rows.iter().enumerate() {
            // A row follows the stem, a cell of an earlier step, or an earlier row of this one.
            let later = |p| forward.rows[i..].iter().any(|r| r.cell == p);
            assert!(row.parent.is_none_or(|p| p > 0 && !later(p)));
        }
        habit.decode(&forward);
        let drafted = drafter.complete(&forward, habit, Duration::ZERO);
        (forward.rows.iter().map(|r| r.token).collect(), drafted)
    }

    fn deepest(drafted: &Drafted) -> usize {
        let depths = drafted.expansions.iter().map(|e| e.path.len());
        depths.max().unwrap_or(0)
    }

    #[test]
    fn where_the_text_repeats_itself_a_step_adds_many_levels() {
        let mut counts = Habit {
            next: |t| (t + 1) % 10,
            logits: Vec::new(),
        };
        let mut own = drafter(Lanes::Disjoint);
        step(&mut own, &mut counts);
        let (tokens, drafted) = step(&mut own, &mut counts);
        assert_eq!(tokens[..5], [0, 1, 2, 3, 4]);
        assert!(deepest(&drafted) >= 10, "{}", deepest(&drafted));
        // What it read ahead is kept when the target writes it.
        own.handle(DraftInput::Commit {
            sequence: SEQUENCE,
            from: 30,
            tokens: vec![0, 1, 2, 3],
        });
        let (tokens, _) = step(&mut own, &mut counts);
        assert_ne!(tokens[0], 3, "nothing is decoded twice");
    }

    #[test]
    fn a_guess_that_the_model_does_not_share_is_dropped() {
        let mut strays = Habit {
            next: |t| if t == 9 { 0 } else { 5 },
            logits: Vec::new(),
        };
        let mut own = drafter(Lanes::Disjoint);
        step(&mut own, &mut strays);
        let (tokens, _) = step(&mut own, &mut strays);
        assert_eq!(tokens[..2], [0, 1], "the text went on so before");
        let (tokens, _) = step(&mut own, &mut strays);
        assert_eq!(tokens, [5]);
    }

    #[test]
    fn a_drafter_that_the_target_waits_for_does_not_guess() {
        let mut counts = Habit {
            next: |t| (t + 1) % 10,
            logits: Vec::new(),
        };
        let mut shared = drafter(Lanes::Shared);
        shared.handle(DraftInput::Commit {
            sequence: SEQUENCE,
            from: 30,
            tokens: vec![0],
        });
        step(&mut shared, &mut counts);
        let (_, drafted) = step(&mut shared, &mut counts);
        assert_eq!(deepest(&drafted), 1);
    }
}
