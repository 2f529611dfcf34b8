//! What forwards really took, by their rows: the measurement that costs nothing, and the check on
//! all others.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use card_core::cost::CostCurve;
use card_core::forward::Forward;
use card_core::words::counted;

/// Forwards of each number of rows that are remembered.
const RING: usize = 32;
/// The largest forwards that are remembered: those that decode.
const MOST_ROWS: usize = 32;
/// A forward whose rows are further into a text than this takes longer, since attention does. It is
/// not compared with what was measured in a short context.
const NEAR: u32 = 1024;
/// Forwards of one number of rows that are enough to say something against a measurement.
const ENOUGH: usize = 16;
/// How many times more or less than measured they have to take.
const OFF: f64 = 4.0 / 3.0;

/// What the latest forwards of a model took. Only those that decode in a short context count.
#[derive(Clone, Debug, Default)]
pub struct ForwardTimes {
    /// Milliseconds by rows, oldest first.
    rings: BTreeMap<u32, VecDeque<f64>>,
}

/// A measured cost that real forwards contradict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostDeviation {
    /// Rows of the forwards.
    pub rows: u32,
    /// Milliseconds that were measured before.
    pub measured: f64,
    /// Milliseconds that forwards take, as a median.
    pub taken: f64,
}

impl std::fmt::Display for CostDeviation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let CostDeviation {
            rows,
            measured,
            taken,
        } = self;
        write!(
            f,
            "forwards with {} take {taken:.1} ms, where {measured:.1} ms was measured",
            counted(*rows, "row")
        )
    }
}

impl ForwardTimes {
    /// A forward took so long. Returns its rows if it counts.
    pub(crate) fn record(&mut self, forward: &Forward, time: Duration) -> Option<u32> {
        let rows = forward.rows.len().max(forward.pad_to);
        let near = forward.rows.iter().all(|row| row.position < NEAR);
        if rows == 0 || rows > MOST_ROWS || !near {
            return None;
        }
        let rows = rows as u32;
        let ring = self.rings.entry(rows).or_default();
        if ring.len() == RING {
            ring.pop_front();
        }
        ring.push_back(time.as_secs_f64() * 1e3);
        Some(rows)
    }

    /// (rows, median milliseconds), of every number of rows that came at least so often.
    pub fn medians(&self, least: usize) -> Vec<(u32, f64)> {
        let often = self.rings.iter().filter(|(_, ring)| ring.len() >= least);
        let medians = often.filter_map(|(&rows, ring)| Some((rows, median(ring.iter())?)));
        medians.collect()
    }

    /// How the latest forwards of so many rows contradict what was `measured`; `None` if they do
    /// not, if there were too few, or if none of that size was measured.
    pub(crate) fn contradicts(&self, rows: u32, measured: &CostCurve) -> Option<CostDeviation> {
        let ring = self.rings.get(&rows).filter(|r| r.len() >= ENOUGH)?;
        let (_, measured) = measured.points().find(|p| p.0 == rows)?;
        let taken = median(ring.iter().rev().take(ENOUGH))?;
        let off = taken > OFF * measured || measured > OFF * taken;
        off.then_some(CostDeviation {
            rows,
            measured,
            taken,
        })
    }
}

fn median<'a>(times: impl Iterator<Item = &'a f64>) -> Option<f64> {
    let mut times: Vec<f64> = times.copied().collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use card_core::types::SequenceId;

    use super::*;

    fn forward(rows: usize, at: usize) -> Forward {
        Forward::chain(SequenceId(1), at, &vec![1; rows], 0)
    }

    fn seen(rows: usize, times: &[f64]) -> ForwardTimes {
        let mut all = ForwardTimes::default();
        for &ms in times {
            all.record(&forward(rows, 0), Duration::from_secs_f64(ms / 1e3));
        }
        all
    }

    #[test]
    fn only_what_decodes_in_a_short_context_counts() {
        let mut times = ForwardTimes::default();
        let ms = Duration::from_millis(10);
        assert_eq!(times.record(&forward(4, 10), ms), Some(4));
        assert_eq!(times.record(&forward(1, 5000), ms), None);
        assert_eq!(times.record(&forward(256, 0), ms), None);
        let padded = Forward {
            pad_to: 6,
            ..forward(1, 0)
        };
        assert_eq!(times.record(&padded, ms), Some(6));
        assert_eq!(times.medians(1), [(4, 10.0), (6, 10.0)]);
        assert!(times.medians(2).is_empty());
    }

    #[test]
    fn a_measurement_off_by_a_third_is_contradicted_by_sixteen_forwards() {
        let measured = CostCurve::from_points([(1, 30.0), (8, 40.0)]);
        let told =
            |rows: usize, times: &[f64]| seen(rows, times).contradicts(rows as u32, &measured);
        assert_eq!(told(1, &[45.0; 15]), None, "too few");
        let off = told(1, &[45.0; 16]).unwrap();
        assert_eq!((off.rows, off.measured, off.taken), (1, 30.0, 45.0));
        assert!(off.to_string().contains("with 1 row take 45.0 ms"), "{off}");
        assert_eq!(told(1, &[39.0; 16]), None);
        assert_eq!(told(1, &[31.0; 16]), None);
        assert!(told(8, &[20.0; 16]).is_some(), "faster is off as well");
        // A size that was not measured, only interpolated.
        assert_eq!(told(4, &[500.0; 16]), None);
        // A machine that pauses now and then.
        let mut pauses = [30.0; 16];
        pauses[..7].fill(3000.0);
        assert_eq!(told(1, &pauses), None);
    }

    #[test]
    fn old_forwards_are_forgotten() {
        let mut times = vec![100.0; 60];
        times.extend([10.0; RING]);
        assert_eq!(seen(2, &times).medians(RING), [(2, 10.0)]);
        let measured = CostCurve::from_points([(2, 100.0)]);
        // The latest decide, though older ones are remembered.
        times.truncate(60);
        times.extend([10.0; ENOUGH]);
        assert!(seen(2, &times).contradicts(2, &measured).is_some());
    }
}
