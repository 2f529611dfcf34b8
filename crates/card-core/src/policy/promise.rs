//! What a pair of models promises before it runs: expected tokens per millisecond, from the two
//! cost curves and the probability that a draft is right.

use crate::cost::CostCurve;
use crate::protocol::Lanes;

/// The share of corrections after which the work of the drafter survives. After the other ones
/// the target waits for two draft steps.
const HITS: f64 = 0.8;
/// The longest chain that is considered, in tokens.
const LONGEST: u32 = 16;

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
    let step = draft.ms(1);
    let rate = move |k: u32| {
        let tokens: f64 = (0..=k).map(|j| top.powi(j as i32)).sum();
        let verify = target.ms(1 + k);
        let ms = match lanes {
            Lanes::Shared => f64::from(k) * step + verify,
            Lanes::Disjoint if k == 0 => verify,
            Lanes::Disjoint => verify.max(f64::from(k) * step) + (1.0 - HITS) * 2.0 * step,
        };
        (tokens / ms, k)
    };
    (0..=LONGEST).map(rate)
}
