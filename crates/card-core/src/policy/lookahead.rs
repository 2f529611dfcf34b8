//! What further draft steps are worth against launching the target's forward now.
//!
//! The comparison looks several steps ahead, because cost curves have jumps: a single candidate
//! may not pay where four of them do. A draft is expected to be right with the calibrated
//! probability of a drafter's best child, so the j-th further step adds a candidate of
//! probability aʲ below the node it starts from.

use super::config::LOOKAHEAD;
use super::situation::{Candidate, Coverage, DraftOption, Situation, expected_tokens};
use super::state::Policy;
use super::trace::Foresight;
use crate::protocol::Outlook;
use crate::types::SequenceId;

/// The best number of further draft steps, and what it is worth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookahead {
    /// Expected tokens less time priced at λ, compared with launching now.
    pub(super) value: f64,
    pub(super) foresight: Foresight,
}

impl Policy {
    /// The best number of draft steps from `option` on. The first step takes `first_ms`
    /// milliseconds.
    pub(super) fn look_ahead(
        &self,
        situation: &Situation,
        option: &DraftOption,
        first_ms: f64,
    ) -> Lookahead {
        self.look_ahead_by(situation, option, first_ms, &|rows| self.launch_ms(rows))
    }

    /// The same where a forward of the target that decodes so many rows takes `target_ms`.
    pub(super) fn look_ahead_by(
        &self,
        situation: &Situation,
        option: &DraftOption,
        first_ms: f64,
        target_ms: &dyn Fn(u32) -> f64,
    ) -> Lookahead {
        let base = situation.base;
        let rate = self.rate(base);
        let Outlook {
            source,
            reach,
            sequence,
            ..
        } = *option.outlook;
        let step_ms = self.further_step_ms(source);
        let forward_ms = |n: usize| target_ms(base.rows + n as u32);
        let (n, value_now) = self.best_size_by(base, situation.candidates, 0, target_ms);
        let tokens_now = expected_tokens(&situation.candidates[..n]);
        let forward_ms_now = forward_ms(n);
        let mut candidates = situation.candidates.to_vec();
        let mut best = Lookahead {
            value: f64::NEG_INFINITY,
            foresight: Foresight::default(),
        };
        // A candidate is of use only if a token after it is still wanted, and it can join.
        let ahead = option.outlook.path.len() as u32;
        let wanted = situation.tokens_left.saturating_sub(ahead + 1);
        let room = wanted.min(self.longest.saturating_sub(ahead));
        let mut draft_ms = first_ms;
        let mut chance = 1.0;
        for steps in 1..=LOOKAHEAD.min(room) {
            chance *= option.top;
            let known = option.covered.get(steps as usize - 1);
            let draft = NextDraft {
                sequence,
                reach,
                chance,
            };
            add_draft(&mut candidates, draft, known.copied().unwrap_or_default());
            let (n, value) = self.best_size_by(base, &candidates, 0, target_ms);
            let value = value - rate * draft_ms - value_now;
            if value > best.value {
                best = Lookahead {
                    value,
                    foresight: Foresight {
                        steps,
                        tokens: expected_tokens(&candidates[..n]) - tokens_now,
                        ms: draft_ms + forward_ms(n) - forward_ms_now,
                    },
                };
            }
            draft_ms += step_ms;
        }
        best
    }
}

/// A draft that a further step would bring.
#[derive(Clone, Copy)]
struct NextDraft {
    sequence: SequenceId,
    /// Probability that the target gets to the node where the drafter goes on.
    reach: f32,
    /// Probability of the draft, given that.
    chance: f32,
}

/// Adds a draft. Of its level, `known` is covered already: a draft adds a candidate, or makes one
/// that is there surer.
fn add_draft(candidates: &mut Vec<Candidate>, draft: NextDraft, known: Coverage) {
    let NextDraft {
        sequence,
        reach,
        chance,
    } = draft;
    let new = (chance - known.any).max(0.0);
    if new <= 0.0 {
        return;
    }
    let covered = candidates
        .iter()
        .position(|c| c.reach <= reach * known.best);
    let replaced = covered.filter(|_| known.best > 0.0);
    let marginal_value = replaced.map_or(1.0, |place| candidates.remove(place).marginal_value);
    let reach = reach * (known.best + new);
    let place = candidates.partition_point(|c| c.reach >= reach);
    candidates.insert(
        place,
        Candidate {
            sequence,
            reach,
            marginal_value,
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(reach: f32, chance: f32) -> NextDraft {
        NextDraft {
            sequence: SequenceId(1),
            reach,
            chance,
        }
    }

    fn reaches(candidates: &[Candidate]) -> Vec<f32> {
        candidates.iter().map(|c| c.reach).collect()
    }

    #[test]
    fn a_draft_is_a_new_candidate_where_nothing_is_known() {
        let mut candidates = Vec::new();
        add_draft(&mut candidates, draft(0.5, 0.5), Coverage::default());
        add_draft(&mut candidates, draft(1.0, 0.5), Coverage::default());
        assert_eq!(reaches(&candidates), [0.5, 0.25]);
    }

    #[test]
    fn a_draft_makes_a_known_candidate_surer_and_keeps_its_value() {
        let mut candidates = vec![Candidate {
            sequence: SequenceId(1),
            reach: 0.25,
            marginal_value: 0.5,
        }];
        let known = Coverage {
            best: 0.25,
            any: 0.25,
        };
        // The drafter is no surer than what is known, then it is.
        add_draft(&mut candidates, draft(1.0, 0.25), known);
        assert_eq!(reaches(&candidates), [0.25]);
        add_draft(&mut candidates, draft(1.0, 0.75), known);
        assert_eq!(reaches(&candidates), [0.75]);
        assert_eq!(candidates[0].marginal_value, 0.5);
    }
}
