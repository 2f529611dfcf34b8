//! A mean that forgets old values.

/// The mean of the values so far, as long as they are few; beyond ten of them an exponential moving
/// average, so that it follows what changes. 0 before the first value.
///
/// Invariant: the mean lies between the least and the greatest of the values that were added (0
/// before the first).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct MovingAverage {
    value: f64,
    count: u32,
}

impl MovingAverage {
    /// The weight of a new value, once there are ten.
    pub(crate) const GAIN: f64 = 0.1;

    /// Adds a value. Returns its weight.
    pub(crate) fn add(&mut self, value: f64) -> f64 {
        self.count = self.count.saturating_add(1);
        let gain = (1.0 / f64::from(self.count)).max(Self::GAIN);
        self.value += gain * (value - self.value);
        gain
    }

    /// The mean.
    pub(crate) fn value(self) -> f64 {
        self.value
    }

    /// Values that were added.
    pub(crate) fn count(self) -> u32 {
        self.count
    }

    /// The values so far weigh no more than `most` values from now on, so that new ones count
    /// sooner.
    pub(crate) fn weigh_at_most(&mut self, most: u32) {
        self.count = self.count.min(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = f64>) -> MovingAverage {
        let mut average = MovingAverage::default();
        for value in values {
            average.add(value);
        }
        average
    }

    #[test]
    fn it_is_the_mean_of_few_values_and_forgets_the_old_of_many() {
        assert_eq!((of([]).value(), of([]).count()), (0.0, 0));
        let few = of([1.0, 2.0, 6.0]);
        assert!((few.value() - 3.0).abs() < 1e-12 && few.count() == 3);
        // The eleventh value and each later one take a tenth.
        let mut many = of([4.0; 10]);
        assert_eq!(many.add(14.0), MovingAverage::GAIN);
        assert!((many.value() - 5.0).abs() < 1e-12);
        let long = of([4.0; 100].into_iter().chain([9.0; 100]));
        assert!((long.value() - 9.0).abs() < 1e-3);
    }

    #[test]
    fn what_counts_little_is_soon_replaced() {
        let mut average = of([4.0; 50]);
        average.weigh_at_most(2);
        assert_eq!((average.value(), average.count()), (4.0, 2));
        average.add(7.0);
        assert!((average.value() - 5.0).abs() < 1e-12);
        average.weigh_at_most(9);
        assert_eq!(average.count(), 3);
    }
}
