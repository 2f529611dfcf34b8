//! The target's head: a drafter that is always on the target's lane.
//!
//! Whether a head takes a step is decided as for a draft model that shares the lane
//! (`draft_or_launch`), with a cost curve of its own. Nothing is known of the curve at first unless
//! it was measured ([`Policy::with_head`]); each step of the head that is reported adds to it.

use super::state::Policy;
use crate::cost::CostCurve;

impl Policy {
    /// Says what forwards of the target's head take: milliseconds by rows. Without, the curve is
    /// learned from the steps that the head takes.
    #[must_use]
    pub fn with_head(mut self, cost: CostCurve) -> Self {
        self.head = cost;
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::config::Mode;
    use super::super::observe::Observation;
    use super::super::situation::{DraftOption, Situation};
    use super::super::testing::{TOP, empty, outlook, policy};
    use super::*;
    use crate::protocol::Outlook;
    use crate::types::{Rows, Source};

    const TARGET: [(u32, f64); 2] = [(1, 10.0), (8, 12.0)];

    fn asked(policy: &Policy, situation: &Situation, sources: &[Source]) -> Option<Source> {
        let outlooks: Vec<Outlook> = sources
            .iter()
            .map(|&source| Outlook {
                source,
                ..outlook(1)
            })
            .collect();
        let options: Vec<DraftOption> = outlooks
            .iter()
            .map(|outlook| DraftOption {
                outlook,
                covered: &[],
                top: TOP,
            })
            .collect();
        policy.draft_first(situation, &options).source
    }

    #[test]
    fn a_head_drafts_by_its_own_costs() {
        let dear = [(1, 30.0)];
        let with = |head: f64| {
            let head = CostCurve::from_points([(1, head)]);
            policy(Mode::Auto, &TARGET, &dear).with_head(head)
        };
        assert_eq!(
            asked(&with(0.5), &empty(100), &[Source::Head]),
            Some(Source::Head)
        );
        assert_eq!(asked(&with(30.0), &empty(100), &[Source::Head]), None);
        // The draft model's costs are not the head's, nor the other way round.
        assert_eq!(asked(&with(0.5), &empty(100), &[Source::Draft]), None);
        let both = [Source::Draft, Source::Head];
        assert_eq!(
            asked(&with(0.5), &empty(100), &both),
            Some(Source::Head),
            "of both the one that pays"
        );
    }

    #[test]
    fn what_a_head_costs_is_learned_from_its_steps() {
        let mut p = policy(Mode::Auto, &TARGET, &[(1, 1.0)]);
        for _ in 0..30 {
            p.observe(Observation::Draft {
                source: Source::Head,
                rows: Rows::clamped(1),
                elapsed: Duration::from_millis(40),
            });
        }
        assert!(p.draft_cost(Source::Head).ms(1) > 30.0);
        assert_eq!(p.draft_cost(Source::Draft).ms(1), 1.0);
        assert_eq!(asked(&p, &empty(100), &[Source::Head]), None);
    }
}
