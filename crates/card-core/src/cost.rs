//! What a forward costs: measured points, since real curves jump where kernels change.

use std::collections::BTreeMap;
use std::time::Duration;

/// Milliseconds of one forward against its number of rows, learned from measurements.
///
/// Between measured points it interpolates; beyond the last it prolongs the last slope.
/// Points that were given at the start are believed until forwards of that size are seen;
/// if those that are seen take longer than they should, so will the others.
#[derive(Clone, Debug)]
pub struct CostCurve {
    points: BTreeMap<u32, Point>,
    /// How much longer forwards take than was given at the start.
    drift: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Point {
    /// As given at the start.
    given: Option<f64>,
    /// Mean of what was seen, forgetting the old.
    seen_ms: f64,
    seen: u32,
}

/// Weight of a new measurement once a point is settled.
const GAIN: f64 = 0.1;
/// Measurements of a size that are enough to say something of smaller ones.
const SOUND: u32 = 3;
/// What was given counts like so many measurements.
const GIVEN: f64 = 1.0;

impl Default for CostCurve {
    fn default() -> Self {
        CostCurve {
            points: BTreeMap::new(),
            drift: 1.0,
        }
    }
}

impl CostCurve {
    /// A curve through given `(rows, milliseconds)` points.
    pub fn from_points(points: impl IntoIterator<Item = (u32, f64)>) -> Self {
        let given = |ms| Point {
            given: Some(ms),
            ..Point::default()
        };
        let points = points.into_iter();
        CostCurve {
            points: points.map(|(rows, ms)| (rows, given(ms))).collect(),
            drift: 1.0,
        }
    }

    /// Whether nothing was measured yet.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Known `(rows, milliseconds)` points.
    pub fn points(&self) -> impl Iterator<Item = (u32, f64)> + '_ {
        self.points.iter().map(|(&rows, p)| (rows, self.value(p)))
    }

    fn value(&self, point: &Point) -> f64 {
        let Some(given) = point.given else {
            return point.seen_ms;
        };
        let seen = f64::from(point.seen);
        (GIVEN * given * self.drift + seen * point.seen_ms) / (GIVEN + seen)
    }

    /// Learns that a forward of `rows` took `elapsed`. Outliers (a machine that paused)
    /// are cut to twice the estimate.
    pub fn observe(&mut self, rows: u32, elapsed: Duration) {
        let ms = elapsed.as_secs_f64() * 1e3;
        let known = self.points.get(&rows).map(|p| self.value(p));
        let ms = known.map_or(ms, |known| ms.min(2.0 * known));
        let point = self.points.entry(rows).or_default();
        point.seen = point.seen.saturating_add(1);
        let gain = (1.0 / f64::from(point.seen)).max(GAIN);
        point.seen_ms += gain * (ms - point.seen_ms);
        if let Some(given) = point.given.filter(|g| *g > 0.0) {
            self.drift += GAIN * (ms / given - self.drift);
        }
    }

    /// Expected milliseconds of a forward of `rows`. Without any measurement every row
    /// costs one unit, so that a schedule can be made before the first forward.
    pub fn ms(&self, rows: u32) -> f64 {
        let rows = rows.max(1);
        // No more than what larger ones were seen to take: a size that is seldom seen may
        // have been measured on a machine that was busy then.
        let larger = self.points.range(rows..).filter(|(_, p)| p.seen >= SOUND);
        let most = larger.map(|(_, p)| self.value(p));
        most.fold(self.between(rows), f64::min)
    }

    fn between(&self, rows: u32) -> f64 {
        let below = self.points.range(..=rows).next_back();
        let above = self.points.range(rows..).next();
        match (below, above) {
            (Some((&a, p)), Some((&b, q))) => {
                if a == b {
                    return self.value(p);
                }
                let t = f64::from(rows - a) / f64::from(b - a);
                self.value(p) + t * (self.value(q) - self.value(p))
            }
            (Some((&a, p)), None) => {
                let slope = match self.points.range(..a).next_back() {
                    Some((&z, o)) => ((self.value(p) - self.value(o)) / f64::from(a - z)).max(0.0),
                    None => self.value(p) * 0.3,
                };
                self.value(p) + slope * f64::from(rows - a)
            }
            (None, Some((_, q))) => self.value(q),
            (None, None) => f64::from(rows),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolates_and_prolongs() {
        let c = CostCurve::from_points([(1, 10.0), (4, 40.0), (8, 40.0)]);
        assert_eq!(c.ms(1), 10.0);
        assert_eq!(c.ms(2), 20.0);
        assert_eq!(c.ms(6), 40.0);
        assert_eq!(c.ms(16), 40.0);
    }

    #[test]
    fn learns_and_ignores_a_pause() {
        let mut c = CostCurve::default();
        for _ in 0..20 {
            c.observe(2, Duration::from_millis(10));
        }
        c.observe(2, Duration::from_secs(60));
        assert!(c.ms(2) < 13.0);
    }

    #[test]
    fn a_small_forward_takes_no_longer_than_a_large_one() {
        let mut c = CostCurve::from_points([(1, 10.0), (8, 40.0)]);
        // A busy time in which only small ones were measured.
        for _ in 0..30 {
            c.observe(1, Duration::from_millis(100));
        }
        assert!(c.ms(1) > 90.0);
        // It is over, and only large ones are.
        for _ in 0..30 {
            c.observe(8, Duration::from_millis(40));
        }
        assert!(c.ms(1) < 50.0, "{}", c.ms(1));
    }

    #[test]
    fn a_machine_that_became_slower_is_slower_at_every_size() {
        let mut c = CostCurve::from_points([(1, 10.0), (8, 40.0)]);
        for _ in 0..60 {
            c.observe(1, Duration::from_millis(20));
        }
        assert!((c.ms(1) - 20.0).abs() < 1.0);
        assert!((c.ms(8) - 80.0).abs() < 4.0, "{}", c.ms(8));
    }
}
