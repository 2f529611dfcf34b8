//! What may join a stem, where the model cannot take back any row ([`Rollback`]).
//!
//! A decision that was too close is made again by a forward of its own, so the row it was made
//! from must be decoded again. That row is the first one of its forward if no candidate before it
//! was accepted, and then the state from before the forward is needed. Under
//! [`Rollback::Checkpoint`] it is there. Under [`Rollback::Bounded`] it is there unless the last
//! commit left rows out. So where decisions are made again, a bounded commit that leaves rows out
//! leaves out one row more than it has to. The next forward then begins with at least two
//! committed tokens, and the first of them can stay whatever is decided behind the second one.

use super::config::SchedulerConfig;
use crate::forward::Rollback;

/// What the commits of a sequence have to keep to.
#[derive(Clone, Copy, Debug)]
pub(super) struct StemRules {
    rollback: Rollback,
    /// Close decisions are made again ([`Shapes::redecide_below`]).
    ///
    /// [`Shapes::redecide_below`]: super::config::Shapes::redecide_below
    redecides: bool,
}

impl StemRules {
    /// The rules of a scheduler with these settings.
    pub(super) fn of(config: &SchedulerConfig) -> Self {
        StemRules {
            rollback: config.limits.rollback,
            redecides: config.shapes.redecide_below.is_some(),
        }
    }

    /// Whether candidates must be one chain.
    pub(super) fn chain_only(self) -> bool {
        !self.rollback.is_free()
    }

    /// Candidates that a sequence with so many tokens to decode may have in a forward.
    ///
    /// Under [`Rollback::Checkpoint`] several such tokens were part of a forward that was taken
    /// back. They take no candidates with them, so they stay whatever is decided: a sequence is
    /// never taken back twice in a row without a token in between.
    pub(super) fn most_candidates(self, pending: usize) -> usize {
        match self.rollback {
            Rollback::Free => usize::MAX,
            Rollback::Checkpoint if pending > 1 => 0,
            Rollback::Checkpoint => usize::MAX,
            Rollback::Bounded { rows } => {
                (rows as usize).saturating_sub(usize::from(self.redecides))
            }
        }
    }

    /// How many of the first `wanted` rows join the stem, of a part of a forward that has `rows`.
    /// `deferred` says whether the last decision is to be made again. The tokens of rows that do
    /// not join are decoded again, with what comes next.
    pub(super) fn joining(self, wanted: usize, rows: usize, deferred: bool) -> usize {
        match self.rollback {
            Rollback::Free => wanted,
            _ if wanted == rows => rows,
            Rollback::Checkpoint => 0,
            Rollback::Bounded { .. } if self.redecides && !deferred => wanted.saturating_sub(1),
            Rollback::Bounded { .. } => wanted,
        }
    }

    /// Whether a stem is rolled back after so many of the `rows` of a part joined it, when it was
    /// or was not `before`: the model holds no state of the stem by itself then, and no other
    /// sequence can begin with it.
    pub(super) fn rolled_back(self, joined: usize, rows: usize, before: bool) -> bool {
        match (self.rollback, joined) {
            (Rollback::Free | Rollback::Checkpoint, _) => false,
            (Rollback::Bounded { .. }, 0) => before,
            (Rollback::Bounded { .. }, joined) => joined < rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(rollback: Rollback, redecides: bool) -> StemRules {
        StemRules {
            rollback,
            redecides,
        }
    }

    const BOUNDED: Rollback = Rollback::Bounded { rows: 4 };

    #[test]
    fn a_checkpoint_keeps_all_rows_or_none() {
        for redecides in [false, true] {
            let rules = rules(Rollback::Checkpoint, redecides);
            assert_eq!(rules.joining(5, 5, false), 5);
            assert_eq!(rules.joining(4, 5, false), 0);
            assert_eq!(rules.joining(0, 1, true), 0);
            assert!(!rules.rolled_back(0, 5, false));
            assert_eq!(rules.most_candidates(1), usize::MAX);
            assert_eq!(rules.most_candidates(2), 0);
        }
    }

    #[test]
    fn a_bounded_model_takes_back_no_more_rows_than_it_can() {
        for redecides in [false, true] {
            let rules = rules(BOUNDED, redecides);
            let most = rules.most_candidates(1);
            for chain in 1..3 {
                let rows = chain + most;
                for wanted in chain..=rows {
                    let joined = rules.joining(wanted, rows, false);
                    // Nothing joins only if the state from before is there.
                    assert!(joined > 0 || (chain == 1 && redecides));
                    assert!(joined == 0 || rows - joined <= 4, "{joined} of {rows}");
                    assert_eq!(
                        rules.rolled_back(joined, rows, false),
                        (1..rows).contains(&joined)
                    );
                }
                if redecides {
                    // A close decision behind the last committed token.
                    let joined = rules.joining(chain - 1, rows, true);
                    assert!(joined == 0 || rows - joined <= 4);
                }
            }
        }
    }

    #[test]
    fn after_a_rollback_a_close_decision_can_be_made_again() {
        let rules = rules(BOUNDED, true);
        // One of three candidates is right: of the four rows two could join.
        let joined = rules.joining(2, 4, false);
        assert_eq!(joined, 1);
        // The right candidate and the token behind it are decoded again, with two candidates. A
        // close decision behind them leaves the first one in the stem.
        assert_eq!(rules.joining(1, 4, true), 1);
    }

    #[test]
    fn a_free_model_takes_back_what_it_is_asked_to() {
        let rules = rules(Rollback::Free, true);
        assert_eq!(rules.joining(2, 9, false), 2);
        assert_eq!(rules.most_candidates(7), usize::MAX);
        assert!(!rules.rolled_back(2, 9, true) && !rules.chain_only());
    }
}
