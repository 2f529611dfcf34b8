//! What became of the best children of a drafter.
//!
//! How sure a drafter is of its best child is averaged over many steps, and a drafter may be sure and
//! wrong: many steps were taken in vain before the average had fallen. What the target decided is
//! plain evidence. A few decisions say little of the probability, but they bound it.

/// The share that earlier decisions keep with each new one: about the last twenty count.
const KEEP: f32 = 0.95;
/// The share that decisions of other texts keep where a text begins.
const KEEP_OF_OTHERS: f32 = 0.5;
/// Standard errors up to which a probability may lie above what was seen. A drafter that is as good
/// as it is taken to be is hardly ever bounded by that.
const ERRORS: f32 = 1.5;

/// The last best children of a drafter on which the target decided.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct BestChildren {
    /// Those that were right, by weight.
    right: f32,
    /// All of them, by weight.
    decided: f32,
}

impl BestChildren {
    /// The target wrote a best child, or another token in its place.
    pub(super) fn note(&mut self, right: bool) {
        self.right = KEEP * self.right + f32::from(u8::from(right));
        self.decided = KEEP * self.decided + 1.0;
    }

    /// Another text begins: what was decided in others bounds less there. A drafter that one text
    /// proved wrong is tried again a few texts later, though nothing of it was decided meanwhile.
    pub(super) fn begin_text(&mut self) {
        self.right *= KEEP_OF_OTHERS;
        self.decided *= KEEP_OF_OTHERS;
    }

    /// The highest probability that goes with what was decided: the upper end of Wilson's interval
    /// (1927). 1 before the first decision.
    pub(super) fn most(self) -> f32 {
        let BestChildren { right, decided } = self;
        let square = ERRORS * ERRORS;
        let spread = if decided > 0.0 {
            (right * (decided - right) / decided).max(0.0)
        } else {
            0.0
        };
        let most = right + square / 2.0 + ERRORS * (spread + square / 4.0).sqrt();
        (most / (decided + square)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(outcomes: impl IntoIterator<Item = bool>) -> BestChildren {
        let mut best = BestChildren::default();
        for right in outcomes {
            best.note(right);
        }
        best
    }

    #[test]
    fn few_decisions_bound_little_and_many_bound_much() {
        assert_eq!(of([]).most(), 1.0);
        assert!(of([false]).most() > 0.6);
        assert!(of([false; 5]).most() < 0.4);
        assert!(of([false; 100]).most() < 0.12);
        assert!(of([true; 100]).most() > 0.99);
        // Half of them.
        let half = of((0..100).map(|i| i % 2 == 0)).most();
        assert!((0.55..0.75).contains(&half), "{half}");
    }

    #[test]
    fn a_text_that_proved_a_drafter_wrong_bounds_the_next_texts_less_and_less() {
        let mut best = of([false; 10]);
        let mut bounds = vec![best.most()];
        for _ in 0..4 {
            best.begin_text();
            bounds.push(best.most());
        }
        assert!(bounds[0] < 0.25, "{bounds:?}");
        assert!(bounds.is_sorted(), "{bounds:?}");
        assert!(bounds[4] > 0.7, "{bounds:?}");
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let before = [false; 100].into_iter();
        assert!(of(before.chain([true; 40])).most() > 0.9);
    }
}
