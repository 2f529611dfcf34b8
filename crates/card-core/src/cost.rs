//! What a forward costs: measured points, since real curves jump where kernels change.

use std::collections::BTreeMap;
use std::time::Duration;

/// Milliseconds of one forward against its number of rows, learned from measurements.
///
/// Between measured points it interpolates; beyond the last it prolongs the last slope.
#[derive(Clone, Debug, Default)]
pub struct CostCurve {
    points: BTreeMap<u32, Point>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    ms: f64,
    seen: u32,
}

/// Weight of a new measurement once a point is settled.
const GAIN: f64 = 0.1;

impl CostCurve {
    /// A curve through given `(rows, milliseconds)` points.
    pub fn from_points(points: impl IntoIterator<Item = (u32, f64)>) -> Self {
        CostCurve {
            points: points
                .into_iter()
                .map(|(rows, ms)| (rows, Point { ms, seen: 4 }))
                .collect(),
        }
    }

    /// Whether nothing was measured yet.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Measured `(rows, milliseconds)` points.
    pub fn points(&self) -> impl Iterator<Item = (u32, f64)> + '_ {
        self.points.iter().map(|(&rows, p)| (rows, p.ms))
    }

    /// Learns that a forward of `rows` took `elapsed`. Outliers (a machine that paused)
    /// are cut to three times the estimate.
    pub fn observe(&mut self, rows: u32, elapsed: Duration) {
        let ms = elapsed.as_secs_f64() * 1e3;
        let point = self.points.entry(rows).or_insert(Point { ms, seen: 0 });
        let ms = if point.seen >= 2 {
            ms.min(3.0 * point.ms)
        } else {
            ms
        };
        point.seen += 1;
        let gain = (1.0 / f64::from(point.seen)).max(GAIN);
        point.ms += gain * (ms - point.ms);
    }

    /// Expected milliseconds of a forward of `rows`. Without any measurement every row
    /// costs one unit, so that a schedule can be made before the first forward.
    pub fn ms(&self, rows: u32) -> f64 {
        let rows = rows.max(1);
        let below = self.points.range(..=rows).next_back();
        let above = self.points.range(rows..).next();
        match (below, above) {
            (Some((&a, p)), Some((&b, q))) => {
                if a == b {
                    return p.ms;
                }
                let t = f64::from(rows - a) / f64::from(b - a);
                p.ms + t * (q.ms - p.ms)
            }
            (Some((&a, p)), None) => {
                let slope = match self.points.range(..a).next_back() {
                    Some((&z, o)) => ((p.ms - o.ms) / f64::from(a - z)).max(0.0),
                    None => p.ms * 0.3,
                };
                p.ms + slope * f64::from(rows - a)
            }
            (None, Some((_, q))) => q.ms,
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
}
