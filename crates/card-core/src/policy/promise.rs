//! What a pair of models promises before it runs: expected tokens per millisecond, from the two
//! cost curves and the probability that a draft is right.

use super::rejection::accepted_before_rejection;
use super::repair::{RejectionCost, Repair};
use crate::cost::CostCurve;
use crate::protocol::Lanes;

/// The share of corrections after which the work of the drafter survives. After the other ones
/// the target waits for two draft steps.
const HITS: f64 = 0.8;
/// The longest chain that is considered, in tokens.
pub(super) const LONGEST: u32 = 16;

/// Tokens per millisecond to expect of the best chain length, if a draft is right with
/// probability `top`; and that length, 0 for plain decoding. The two curves are the
/// milliseconds of the target's and the drafter's forwards.
///
/// ```
/// use card_core::cost::CostCurve;
/// use card_core::policy::promise;
/// use card_core::protocol::Lanes;
///
/// let target = CostCurve::from_points([(1, 10.0), (8, 11.0)]);
/// let draft = CostCurve::from_points([(1, 1.0)]);
/// let (rate, length) = promise(Lanes::Shared, 0.8, &target, &draft);
/// assert!(rate > 0.2 && length > 2);
/// // A drafter that is hardly ever right is not used.
/// assert_eq!(promise(Lanes::Shared, 0.01, &target, &draft), (0.1, 0));
/// ```
pub fn promise(lanes: Lanes, top: f64, target: &CostCurve, draft: &CostCurve) -> (f64, u32) {
    let rates = promises(lanes, top, target, draft);
    rates.fold((0.0, 0), |best, r| if r.0 > best.0 { r } else { best })
}

/// What [`promise`] chooses from: (tokens per millisecond, chain length), from no chain on.
pub fn promises(
    lanes: Lanes,
    top: f64,
    target: &CostCurve,
    draft: &CostCurve,
) -> impl Iterator<Item = (f64, u32)> {
    let rate = move |k: u32| {
        let target_ms = |rows| target.ms(rows);
        let rate = expected_rate(lanes, Repair::Nothing, top, k, target_ms, draft);
        (rate, k)
    };
    (0..=LONGEST).map(rate)
}

/// Tokens per millisecond to expect of chains of `length` drafts, each of which is right with
/// probability `top`, where a forward of the target takes `target_ms` by its rows. With
/// [`Repair::Everything`] a round with a rejection is followed by a forward that decodes what was
/// accepted again, and brings one token; with [`Repair::OneRow`] the next chain is verified with
/// a row more (`rejection`).
pub(super) fn expected_rate(
    lanes: Lanes,
    rejection: impl Into<RejectionCost>,
    top: f64,
    length: u32,
    target_ms: impl Fn(u32) -> f64,
    draft: &CostCurve,
) -> f64 {
    let RejectionCost {
        repair,
        take_back_ms,
    } = rejection.into();
    let (step, k) = (draft.ms(1), f64::from(length));
    let mut tokens: f64 = (0..=length).map(|j| top.powi(j as i32)).sum();
    let verify = target_ms(1 + length);
    let mut ms = match lanes {
        Lanes::Shared => k * step + verify,
        Lanes::Disjoint if length == 0 => verify,
        Lanes::Disjoint => verify.max(k * step) + (1.0 - HITS) * 2.0 * step,
    };
    let last = top.powi(length as i32);
    // Without candidates none is rejected: the last one's probability is 1 then.
    ms += (1.0 - last) * take_back_ms;
    if repair == Repair::OneRow && length > 0 {
        ms += (1.0 - last) * (target_ms(2 + length) - verify).max(0.0);
    }
    if repair == Repair::Everything && length > 0 {
        let accepted = accepted_before_rejection(k, tokens - 1.0, last);
        tokens += 1.0 - last;
        ms += (1.0 - last) * target_ms(2 + accepted.ceil() as u32);
    }
    tokens / ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_cannot_go_back_makes_chains_worth_less_and_none_as_much() {
        let target = CostCurve::from_points([(1, 10.0), (8, 14.0)]);
        let draft = CostCurve::from_points([(1, 1.0)]);
        for lanes in [Lanes::Shared, Lanes::Disjoint] {
            let rate = |repair, top, length| {
                expected_rate(lanes, repair, top, length, |rows| target.ms(rows), &draft)
            };
            for length in 1..6 {
                let free = rate(Repair::Nothing, 0.8, length);
                let checkpoint = rate(Repair::Everything, 0.8, length);
                assert!(checkpoint < free, "{length}: {checkpoint} {free}");
                let bounded = rate(Repair::OneRow, 0.8, length);
                assert!(
                    checkpoint < bounded && bounded < free,
                    "{length}: {bounded}"
                );
                // Nothing is rejected of a drafter that is always right.
                let sure = rate(Repair::Everything, 1.0, length);
                assert_eq!(sure, rate(Repair::Nothing, 1.0, length));
            }
            assert_eq!(rate(Repair::Everything, 0.8, 0), 0.1);
            let dear = RejectionCost {
                repair: Repair::Nothing,
                take_back_ms: 10.0,
            };
            let dear = |top, length| {
                expected_rate(lanes, dear, top, length, |rows| target.ms(rows), &draft)
            };
            assert!(dear(0.8, 4) < rate(Repair::Nothing, 0.8, 4));
            assert_eq!(dear(1.0, 4), rate(Repair::Nothing, 1.0, 4));
            assert_eq!(dear(0.8, 0), 0.1);
        }
    }
}
