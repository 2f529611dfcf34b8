//! Starting before everything is measured: how long measurements may take then, and what they left
//! out.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

/// What a start did not measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unmeasured {
    /// The target was timed coarsely.
    pub target: bool,
    /// The draft model was timed coarsely.
    pub draft: bool,
    /// Lanes of their own were not tried.
    pub lanes: bool,
    /// Kernels, draft copies or drafters were not compared.
    pub forms: bool,
}

impl Unmeasured {
    /// Whether pauses can be used for what is left.
    pub fn has_chores(self) -> bool {
        self.target || self.draft || self.lanes
    }
}

/// The time that a start has for measurements.
#[derive(Debug)]
pub struct CoarseBudget {
    left: Cell<Duration>,
    spent: Cell<Duration>,
    unmeasured: RefCell<Unmeasured>,
}

impl CoarseBudget {
    /// For all models of a start together. Contexts are made in this time too.
    pub const MOST: Duration = Duration::from_millis(1900);

    /// The whole time.
    pub fn whole() -> Self {
        CoarseBudget {
            left: Cell::new(CoarseBudget::MOST),
            spent: Cell::default(),
            unmeasured: RefCell::default(),
        }
    }

    /// Does a measurement, which is told how long it may take: a share of the time that is left,
    /// from the start `began` of its preparation on.
    pub fn spend<T>(&self, share: f64, measure: impl FnOnce(MeasurementDeadline) -> T) -> T {
        let began = Instant::now();
        let measured = measure(MeasurementDeadline {
            began,
            most: self.left.get().mul_f64(share),
        });
        let took = began.elapsed();
        self.spent.set(self.spent.get() + took);
        self.left.set(self.left.get().saturating_sub(took));
        measured
    }

    /// Notes what was left out.
    pub fn leave_out(&self, what: impl FnOnce(&mut Unmeasured)) {
        what(&mut self.unmeasured.borrow_mut());
    }

    /// What was left out so far.
    pub fn unmeasured(&self) -> Unmeasured {
        *self.unmeasured.borrow()
    }

    /// Time that measurements took so far.
    pub fn spent(&self) -> Duration {
        self.spent.get()
    }
}

/// When a measurement shall be over.
#[derive(Clone, Copy, Debug)]
pub struct MeasurementDeadline {
    began: Instant,
    most: Duration,
}

impl MeasurementDeadline {
    /// Time until then.
    pub fn left(self) -> Duration {
        self.most.saturating_sub(self.began.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_measurements_together_have_one_time() {
        let budget = CoarseBudget::whole();
        let first = budget.spend(0.5, MeasurementDeadline::left);
        assert!(first <= CoarseBudget::MOST / 2 && !first.is_zero());
        budget.left.set(Duration::ZERO);
        assert!(budget.spend(1.0, MeasurementDeadline::left).is_zero());
        assert!(budget.spent() < CoarseBudget::MOST);
    }

    #[test]
    fn what_was_left_out_is_known_at_the_end() {
        let budget = CoarseBudget::whole();
        assert_eq!(budget.unmeasured(), Unmeasured::default());
        budget.leave_out(|u| u.forms = true);
        assert!(!budget.unmeasured().has_chores());
        budget.leave_out(|u| u.draft = true);
        assert!(budget.unmeasured().forms && budget.unmeasured().has_chores());
    }
}
