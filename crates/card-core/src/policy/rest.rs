//! When drafters on lanes of their own shall rest.
//!
//! Lanes that share something, a GPU or a memory bus, slow each other down. A drafter that
//! works all the time then costs the target time whether its drafts are used or not. So
//! there is an account in tokens: a round with drafters at work pays in what it brought
//! against plain decoding alone, and takes out what it lost. Once that is used up they rest,
//! and earn another trial with a small share of the tokens written meanwhile. What they can
//! cost is bounded by that share, and by the account at first.

use crate::cost::CostCurve;

/// Tokens on the account, at most and at first: a drafter that slows the target by a tenth
/// and brings nothing is given forty tokens.
const MOST: f64 = 4.0;
/// A round takes no more than this from it: a machine that paused says nothing of drafters.
const MOST_LOST: f64 = 2.0;

/// The account, and what forwards take in the state the drafters are not in.
#[derive(Clone, Debug)]
pub struct Rest {
    /// Milliseconds of a target forward: alone while drafters work, beside them while they
    /// rest.
    pub other: CostCurve,
    rests: bool,
    account: f64,
}

impl Rest {
    /// Drafters work at first; `alone` is what the target's forwards take without.
    pub fn new(alone: CostCurve) -> Self {
        Rest {
            other: alone,
            rests: false,
            account: MOST,
        }
    }

    /// Whether they rest.
    pub fn rests(&self) -> bool {
        self.rests
    }

    /// After a round: `gain` is what they brought in it, in tokens against plain decoding
    /// alone (nothing while they rest), `earned` what may go to trials of it. They are sent to
    /// rest only if what was learned says too that they `lose`. `target` is what forwards take
    /// now, and after a change what they take then.
    pub fn settle(&mut self, gain: f64, earned: f64, lose: bool, target: &mut CostCurve) {
        let net = gain.max(-MOST_LOST) + earned;
        self.account = (self.account + net).clamp(0.0, MOST);
        let change = match self.rests {
            true => self.account >= MOST,
            false => self.account <= 0.0 && lose,
        };
        if change {
            self.rests = !self.rests;
            std::mem::swap(target, &mut self.other);
        }
    }
}
