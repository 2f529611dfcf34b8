//! Which cores run what: target and drafter in turns on all cores, or each on cores of its own.
//!
//! What forwards cost either way decides. Forwards of lanes of their own are measured with the
//! other lane busy, since lanes that share a memory bus slow each other down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use card_core::cost::CostCurve;
use card_core::forward::{Forward, KvOp, Model, ModelError};
use card_core::policy;
use card_core::protocol::Lanes;
use card_core::types::{SequenceId, Token};
use card_core::words::counted;
use serde::{Deserialize, Serialize};

/// Rows of the target's forwards that are measured with the drafter at work.
const SIZES: [u32; 6] = [1, 2, 4, 6, 8, 12];
/// Forwards that are measured of each size.
const REPEATS: usize = 3;

/// A way to run the two models, with what it costs.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Placement {
    /// In turns, or at the same time.
    pub lanes: Lanes,
    /// Threads of the target.
    pub target_threads: usize,
    /// Threads of the drafter.
    pub draft_threads: usize,
    /// (rows, milliseconds) of the target.
    pub target: Vec<(u32, f64)>,
    /// (rows, milliseconds) of the drafter.
    pub draft: Vec<(u32, f64)>,
}

impl Placement {
    /// Tokens per millisecond to expect if a draft is right with probability `top`, and the
    /// number of candidates that gives them; 0 is plain decoding.
    pub fn promise(&self, top: f64) -> (f64, u32) {
        let target = CostCurve::from_points(self.target.iter().copied());
        let draft = CostCurve::from_points(self.draft.iter().copied());
        policy::promise(self.lanes, top, &target, &draft)
    }

    /// Adds the costs of forwards larger than those measured with both lanes at work. A larger
    /// forward takes its time `alone`, times the slowdown of the largest measured one.
    pub fn completed(mut self, alone: &Placement) -> Self {
        complete(&mut self.target, &alone.target);
        complete(&mut self.draft, &alone.draft);
        self
    }
}

impl std::fmt::Display for Placement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.lanes {
            Lanes::Shared if self.target_threads == self.draft_threads => {
                write!(f, "in turns, {}", counted(self.target_threads, "thread"))
            }
            Lanes::Shared => write!(
                f,
                "in turns, target {} and drafter {}",
                self.target_threads,
                counted(self.draft_threads, "thread")
            ),
            Lanes::Disjoint => write!(
                f,
                "together, target {} and drafter {}",
                self.target_threads,
                counted(self.draft_threads, "thread")
            ),
        }
    }
}

/// (rows, milliseconds of a forward).
type Points = Vec<(u32, f64)>;

fn complete(together: &mut Points, alone: &[(u32, f64)]) {
    let Some(&(largest, ms)) = together.last() else {
        return;
    };
    let longer = ms / CostCurve::from_points(alone.iter().copied()).ms(largest);
    let more = alone.iter().filter(|p| p.0 > largest);
    together.extend(more.map(|&(rows, ms)| (rows, longer * ms)));
}

/// Measures both models at work at the same time: (rows, milliseconds) of each.
///
/// # Errors
/// If one of them fails.
pub fn together(
    target: &mut (dyn Model + Send),
    draft: &mut (dyn Model + Send),
    passage: &[Token],
) -> Result<(Points, Points), ModelError> {
    let done = AtomicBool::new(false);
    let largest = SIZES.iter().copied().max().unwrap_or(1) as usize;
    if passage.len() < largest {
        let why = format!("measuring lanes needs {largest} tokens");
        return Err(ModelError::Failed(why));
    }
    std::thread::scope(|scope| {
        let drafting = scope.spawn(|| {
            let mut times = Vec::new();
            while !done.load(Ordering::Relaxed) {
                times.push(once(draft, passage, 1)?);
            }
            Ok::<_, ModelError>(median(times))
        });
        let verifying = scope.spawn(|| {
            let mut points = Vec::new();
            for rows in SIZES {
                let times: Result<Vec<_>, _> =
                    (0..REPEATS).map(|_| once(target, passage, rows)).collect();
                points.push((rows, median(times?)));
            }
            Ok::<_, ModelError>(points)
        });
        let points = join(verifying.join());
        done.store(true, Ordering::Relaxed);
        let draft = join(drafting.join());
        Ok((points?, vec![(1, draft?)]))
    })
}

/// Milliseconds of a forward of one token by each of two models, in turns, so that whatever
/// else the machine does meets both alike.
///
/// # Errors
/// If one of them fails.
pub fn in_turns(models: [&mut dyn Model; 2], token: Token) -> Result<[f64; 2], ModelError> {
    const TURNS: usize = 60;
    let [first, second] = models;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        times[0].push(once(first, &[token], 1)?);
        times[1].push(once(second, &[token], 1)?);
    }
    Ok(times.map(median))
}

fn join<T>(joined: std::thread::Result<Result<T, ModelError>>) -> Result<T, ModelError> {
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Milliseconds of one forward of `rows` tokens of the passage.
fn once(model: &mut dyn Model, passage: &[Token], rows: u32) -> Result<f64, ModelError> {
    const SEQUENCE: SequenceId = SequenceId(u64::MAX - 2);
    let forward = Forward::chain(SEQUENCE, 0, &passage[..rows as usize], 0);
    let start = Instant::now();
    model.forward(&forward)?;
    let elapsed: Duration = start.elapsed();
    model.apply(KvOp::Release { sequence: SEQUENCE })?;
    Ok(elapsed.as_secs_f64() * 1e3)
}

/// The median of these numbers, the upper one of two; 0 if there are none.
pub(crate) fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(lanes: Lanes, target: &[(u32, f64)], draft: f64) -> Placement {
        Placement {
            lanes,
            target_threads: 1,
            draft_threads: 1,
            target: target.to_vec(),
            draft: vec![(1, draft)],
        }
    }

    #[test]
    fn devices_of_their_own_win_and_halved_cores_lose() {
        let flat = [(1, 70.0), (32, 70.0)];
        let apart = placement(Lanes::Disjoint, &flat, 10.0).promise(0.9);
        let turns = placement(Lanes::Shared, &flat, 10.0).promise(0.9);
        assert!(apart.0 > 1.3 * turns.0);
        let steep = [(1, 140.0), (4, 300.0), (8, 500.0)];
        let halves = placement(Lanes::Disjoint, &steep, 32.0).promise(0.9);
        let whole = [(1, 70.0), (4, 124.0), (8, 161.0)];
        let turns = placement(Lanes::Shared, &whole, 16.0).promise(0.9);
        assert!(turns.0 > halves.0);
    }

    #[test]
    fn what_was_not_measured_together_is_as_much_slower_as_what_was() {
        let mut alone = placement(Lanes::Shared, &[(1, 10.0), (8, 12.0), (64, 12.0)], 2.0);
        alone.draft = vec![(1, 2.0), (4, 2.5)];
        let mut together = placement(Lanes::Disjoint, &[(1, 11.0), (8, 18.0)], 3.0);
        together = together.completed(&alone);
        assert_eq!(together.target, [(1, 11.0), (8, 18.0), (64, 18.0)]);
        assert_eq!(together.draft, [(1, 3.0), (4, 3.75)]);
        // Nothing is known alone.
        let unknown = placement(Lanes::Shared, &[], 1.0);
        assert_eq!(together.clone().completed(&unknown), together);
    }

    #[test]
    fn plain_decoding_where_nothing_pays() {
        let steep = [(1, 10.0), (2, 20.0), (16, 160.0)];
        assert_eq!(placement(Lanes::Shared, &steep, 5.0).promise(0.8).1, 0);
    }
}
