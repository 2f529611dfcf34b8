//! The bounds of one text, all together.

use card_core::protocol::Lanes;

use super::blind::blind;
use super::costs::Costs;
use super::pipelined::pipelined_ms;
use super::record::Record;
use super::seeing::least_ms;

/// Least milliseconds of a text: with perfect information, and on average without.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextBound {
    /// Milliseconds with perfect information.
    pub seeing_ms: f64,
    /// Expected milliseconds of the best schedule that does not know which drafts are right.
    pub blind_ms: f64,
    /// Milliseconds that the latter schedule takes on this very text; `None` on lanes of their
    /// own.
    pub lived_ms: Option<f64>,
}

impl TextBound {
    /// The bounds of a text with these costs.
    pub fn of(record: &Record, costs: &Costs) -> Self {
        let mut seeing_ms = least_ms(record, costs);
        if costs.lanes == Lanes::Disjoint {
            seeing_ms = seeing_ms.max(pipelined_ms(record, costs));
        }
        // What could be expected of a text may be more than what came of it allows.
        let blind = blind(record, costs);
        TextBound {
            seeing_ms,
            blind_ms: blind.expected_ms.max(seeing_ms),
            lived_ms: blind.lived_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use card_core::cost::CostCurve;

    use super::*;

    #[test]
    fn on_lanes_of_their_own_drafts_come_in_their_order() {
        let drafted = [Some(0), None, Some(0), Some(0), Some(0), None];
        let record = Record {
            chances: vec![vec![0.9]; 6],
            drafted: drafted.to_vec(),
            ..Record::default()
        };
        let bound = |lanes| {
            let target = CostCurve::from_points([(1, 70.0), (65, 70.0)]);
            let draft = CostCurve::from_points([(1, 10.0)]);
            TextBound::of(&record, &Costs::new(lanes, target, &draft))
        };
        let apart = bound(Lanes::Disjoint);
        // Two forwards, and three drafts between them.
        assert_eq!(apart.seeing_ms, 2.0 * 70.0 + 3.0 * 10.0);
        assert!(apart.blind_ms >= apart.seeing_ms && apart.lived_ms.is_none());
        let shared = bound(Lanes::Shared);
        assert!(shared.lived_ms.is_some() && shared.seeing_ms >= apart.seeing_ms);
    }
}
