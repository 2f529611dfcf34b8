//! From values to places along an axis.

/// An axis: linear, or logarithmic where values double.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    /// From the first value to the second.
    Linear(f64, f64),
    /// Logarithms to base 2.
    Log {
        /// The smallest value above 0.
        least: f64,
        /// Where the axis begins; left of `least` if there is a place for 0.
        from: f64,
        /// Where the axis ends.
        to: f64,
    },
}

impl Scale {
    /// A linear axis between two values.
    pub(super) fn linear(from: f64, to: f64) -> Self {
        Scale::Linear(from, if to > from { to } else { from + 1.0 })
    }

    /// A logarithmic axis over these values. 0 has no logarithm: it gets a place before the rest.
    pub(super) fn log(values: &[f64]) -> Self {
        let positive = || values.iter().copied().filter(|v| *v > 0.0);
        let (least, most) = (
            positive().fold(f64::MAX, f64::min),
            positive().fold(0.0, f64::max),
        );
        if most <= 0.0 {
            return Scale::linear(0.0, 1.0);
        }
        let zero = values.iter().any(|v| *v <= 0.0);
        let range = (most / least).log2();
        let room = if zero { (range / 6.0).max(1.0) } else { 0.0 };
        Scale::Log {
            least,
            from: least.log2() - room,
            to: most.log2().max(least.log2() + 1e-6),
        }
    }

    /// The place of a value: 0 is where the axis begins, 1 where it ends.
    pub(super) fn at(self, value: f64) -> f64 {
        match self {
            Scale::Linear(from, to) => (value - from) / (to - from),
            Scale::Log { .. } if value <= 0.0 => 0.0,
            Scale::Log { from, to, .. } => (value.log2() - from) / (to - from),
        }
    }

    /// Where the axis is broken: in the middle between 0 and the first value.
    pub(super) fn gap(self) -> Option<f64> {
        match self {
            Scale::Log { least, from, .. } if from < least.log2() => Some(self.at(least) / 2.0),
            _ => None,
        }
    }
}

/// Whether the values rather double than grow by the same amount.
pub(super) fn doubles(values: &[f64]) -> bool {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| *v > 0.0).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.dedup();
    let [first, .., last] = sorted[..] else {
        return false;
    };
    let gaps = || sorted.windows(2).map(|w| w[1] - w[0]);
    let (least, most) = (gaps().fold(f64::MAX, f64::min), gaps().fold(0.0, f64::max));
    sorted.len() > 2 && last >= 8.0 * first && most >= 3.0 * least
}

/// Ticks from 0 to at least `most`, about so many; the last one is where the axis ends.
pub(super) fn linear_ticks(most: f64, about: f64) -> Vec<f64> {
    let most = if most > 0.0 { most } else { 1.0 };
    let raw = most / about;
    let magnitude = 10f64.powf(raw.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|s| s * magnitude);
    let fits = steps.into_iter().find(|s| raw <= s * (1.0 + 1e-9));
    let step = fits.unwrap_or(10.0 * magnitude);
    let count = (most / step - 1e-9).ceil() as usize;
    (0..=count).map(|i| i as f64 * step).collect()
}

/// Ticks of a logarithmic axis: 1, 2, 5, 10, …; powers of ten alone where these are enough; the
/// ends where there is less than two of them between.
pub(super) fn log_ticks(least: f64, most: f64) -> Vec<f64> {
    const ENOUGH: usize = 7;
    let of = |factors: &[f64]| -> Vec<f64> {
        let powers = -6..=9;
        let all = powers.flat_map(|p| factors.iter().map(move |f| f * 10f64.powi(p)));
        all.filter(|t| *t >= least && *t <= most).collect()
    };
    let fine = of(&[1.0, 2.0, 5.0]);
    match fine.len() {
        0 | 1 => vec![least, most],
        n if n <= ENOUGH => fine,
        _ => of(&[1.0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_values_stand_at_equal_distances_and_zero_before_them() {
        let rows = [1.0, 2.0, 4.0, 8.0, 16.0];
        assert!(doubles(&rows));
        let scale = Scale::log(&rows);
        let places = rows.map(|r| scale.at(r));
        assert!(places.windows(2).all(|w| (w[1] - w[0] - 0.25).abs() < 1e-9));
        assert!(scale.gap().is_none());
        let latency = [0.0, 1.0, 5.0, 20.0, 200.0];
        let scale = Scale::log(&latency);
        assert!(doubles(&latency) && scale.at(0.0) == 0.0);
        let gap = scale.gap().unwrap_or(1.0);
        assert!(gap > 0.0 && gap < scale.at(1.0) && scale.at(200.0) == 1.0);
    }

    #[test]
    fn values_that_grow_evenly_stay_linear() {
        for values in [
            &[0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95][..],
            &[1.0, 2.0, 3.0, 4.0],
        ] {
            assert!(!doubles(values));
        }
        assert!(!doubles(&[]) && !doubles(&[1.0, 100.0]));
    }

    #[test]
    fn ticks_are_few_and_reach_the_largest_value() {
        assert_eq!(linear_ticks(5.6, 4.0), [0.0, 2.0, 4.0, 6.0]);
        assert_eq!(linear_ticks(0.0, 4.0).last(), Some(&1.0));
        assert_eq!(log_ticks(9.0, 480.0), [10.0, 20.0, 50.0, 100.0, 200.0]);
        assert_eq!(log_ticks(11.0, 19.0), [11.0, 19.0]);
        assert_eq!(log_ticks(0.5, 2e4), [1.0, 10.0, 100.0, 1e3, 1e4]);
    }
}
