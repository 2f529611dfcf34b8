//! When drafters on lanes of their own shall take no step.
//!
//! Lanes that share something, a GPU or a memory bus, slow each other down. A drafter that
//! works all the time then costs the target time whether its drafts are used or not. The gate
//! is one with hysteresis: it closes when an account of tokens is empty and opens when the
//! account is full. A round with drafters at work pays in what it brought against the round
//! without them (plain decoding alone, or with what the target's head and the model-free sources
//! proposed), and takes out what it lost. While the gate is closed, a small share of the tokens
//! that are written goes to the account, and when it is full the drafters get another trial. What drafters can cost is bounded by that share, and by the full account at first.

use crate::cost::CostCurve;

/// Tokens on the account at most, and at the beginning: a drafter that slows the target by a
/// tenth and brings nothing is given forty tokens.
const MOST: f64 = 4.0;
/// The most tokens that one round takes from the account: a machine that paused says nothing
/// about drafters.
const MOST_LOST: f64 = 2.0;

/// A hysteresis gate for drafters. The account lies between 0 and [`MOST`]; the gate changes
/// its state only at one of these two ends.
#[derive(Clone, Debug)]
pub(super) struct DrafterGate {
    /// Milliseconds of a target forward by rows in the other state: without drafters while the
    /// gate is open, beside working drafters while it is closed.
    other: CostCurve,
    closed: bool,
    account: f64,
}

impl DrafterGate {
    /// An open gate; `alone` is what the target's forwards take without drafters.
    pub(super) fn new(alone: CostCurve) -> Self {
        DrafterGate {
            other: alone,
            closed: false,
            account: MOST,
        }
    }

    /// Whether drafters shall take no step.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Expected milliseconds of a target forward of `rows` in the state that does not hold now.
    pub(super) fn other_ms(&self, rows: u32) -> f64 {
        self.other.ms(rows)
    }

    /// What the target's forwards take in the state that does not hold now.
    pub(super) fn other_mut(&mut self) -> &mut CostCurve {
        &mut self.other
    }

    /// Settles a round. `gain` is what the drafters brought in it, in tokens against the round
    /// without them (0 while the gate is closed), and `earned` the tokens that may go to
    /// trials because of it. The gate closes only if what was learned over many rounds says too
    /// that the drafters `lose`. `target` is the cost curve of the state that holds; when the
    /// gate changes its state, it is exchanged for that of the other one.
    pub(super) fn settle(&mut self, gain: f64, earned: f64, lose: bool, target: &mut CostCurve) {
        let net = gain.max(-MOST_LOST) + earned;
        self.account = (self.account + net).clamp(0.0, MOST);
        let change = if self.closed {
            self.account >= MOST
        } else {
            self.account <= 0.0 && lose
        };
        if change {
            self.closed = !self.closed;
            std::mem::swap(target, &mut self.other);
            target.go_on_from(&self.other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Mode;
    use super::super::state::Policy;
    use super::super::testing::policy;
    use super::*;
    use crate::protocol::Lanes;

    #[test]
    fn closes_when_the_account_is_empty_and_opens_when_it_is_full() {
        let mut target = CostCurve::from_points([(1, 12.0)]);
        let mut gate = DrafterGate::new(CostCurve::from_points([(1, 10.0)]));
        let mut rounds = |gate: &mut DrafterGate, gain: f64, earned: f64| {
            let before = gate.is_closed();
            let mut rounds = 0;
            while gate.is_closed() == before {
                gate.settle(gain, earned, true, &mut target);
                rounds += 1;
                assert!(rounds < 1000, "the gate never changes");
            }
            (rounds, target.ms(1))
        };
        // No round costs more than two tokens, so a full account lasts for two.
        assert_eq!(rounds(&mut gate, -50.0, 0.0), (2, 10.0));
        assert_eq!(gate.other_ms(1), 12.0);
        // A quarter of a token a round: sixteen rounds until the next trial.
        assert_eq!(rounds(&mut gate, 0.0, 0.25), (16, 12.0));
        assert!(!gate.is_closed());
    }

    #[test]
    fn what_was_measured_beside_drafters_is_no_cost_of_a_target_without_them() {
        let mut p = policy(Mode::Auto, &[(1, 12.0)], &[]);
        p.config.lanes = Lanes::Disjoint;
        let mut p = p.slowed_from(CostCurve::from_points([(1, 10.0)]));
        let settle = |p: &mut Policy, gain: f64, earned: f64| {
            let gate = p.gate.as_mut().unwrap();
            gate.settle(gain, earned, true, &mut p.target);
        };
        settle(&mut p, -2.0, 0.0);
        settle(&mut p, -2.0, 0.0);
        assert!(p.drafters_gated());
        p.give_costs(&[(1, 20.0)], &[]);
        assert_eq!(p.target_cost().ms(1), 10.0);
        settle(&mut p, 0.0, MOST);
        assert!(!p.drafters_gated());
        assert_eq!(p.target_cost().ms(1), 20.0);
        p.give_costs(&[(1, 30.0)], &[]);
        assert_eq!(p.target_cost().ms(1), 30.0);
    }

    #[test]
    fn stays_open_while_drafters_pay_in_the_long_run() {
        let mut target = CostCurve::from_points([(1, 12.0)]);
        let mut gate = DrafterGate::new(CostCurve::from_points([(1, 10.0)]));
        for _ in 0..100 {
            gate.settle(-1.0, 0.0, false, &mut target);
        }
        assert!(!gate.is_closed());
    }
}
