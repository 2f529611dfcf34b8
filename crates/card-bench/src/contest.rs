//! Contestants on the same prompts, one after the other, so that a slow minute of the
//! machine hits all of them.

use card_engine::{Engine, Failure};

use crate::measure;
use crate::peer::{Peer, PeerError};
use crate::sample::{BenchTask, Rules, Sample};

/// What runs a contestant.
pub enum Runner {
    /// An engine of this process.
    Engine(Box<Engine>),
    /// A server of somebody else.
    Peer(Peer),
}

/// A contestant.
pub struct Contestant {
    /// The name of the contestant in the report.
    pub name: String,
    /// Whether the contestant only decodes plainly; all are compared with the fastest of these.
    pub plain: bool,
    /// The engine or server that answers.
    pub runner: Runner,
}

/// Why a contest ended.
#[derive(Debug, thiserror::Error)]
pub enum ContestError {
    /// One of our engines failed.
    #[error("{contestant}: {failure}")]
    Engine {
        /// The name of the contestant.
        contestant: String,
        /// The reason.
        failure: Failure,
    },
    /// A peer failed.
    #[error("{contestant}: {error}")]
    Peer {
        /// The name of the contestant.
        contestant: String,
        /// The reason.
        error: PeerError,
    },
}

/// Samples by task, then by contestant.
pub type Results = Vec<Vec<Sample>>;

/// Runs every contestant on every task, `repeats` times over; the first to go changes from
/// task to task. `step` hears who is at work.
///
/// # Errors
/// If a contestant fails: then the run says nothing.
pub fn run(
    contestants: &[Contestant],
    tasks: &[BenchTask],
    repeats: usize,
    rules: &Rules,
    step: &mut dyn FnMut(&str),
) -> Result<Results, ContestError> {
    let mut results = Vec::new();
    for turn in 0..repeats {
        for (i, task) in tasks.iter().enumerate() {
            let mut samples = vec![Sample::default(); contestants.len()];
            for k in 0..contestants.len() {
                let k = (k + i + turn) % contestants.len();
                step(&contestants[k].name);
                samples[k] = one(&contestants[k], task, rules)?;
            }
            results.push(samples);
        }
    }
    Ok(results)
}

/// The contestant that the others are compared with: of those that decode plainly (on several
/// numbers of threads, say), the one that took the least time per token over all answers. The
/// first of all where none decodes plainly.
pub fn baseline(contestants: &[Contestant], results: &Results) -> usize {
    let plain = contestants.iter().enumerate().filter(|(_, c)| c.plain);
    fastest(plain.map(|(k, _)| k), results).unwrap_or(0)
}

/// Which of some contestants took the least time per token.
fn fastest(of: impl Iterator<Item = usize>, results: &Results) -> Option<usize> {
    let ms_per_token = |k: usize| {
        let samples = results.iter().filter_map(|samples| samples.get(k));
        let (ms, tokens) = samples.fold((0.0_f64, 0_usize), |(ms, tokens), s| {
            (ms + s.decode_ms, tokens + s.decoded)
        });
        ms / tokens.max(1) as f64
    };
    of.min_by(|&a, &b| ms_per_token(a).total_cmp(&ms_per_token(b)))
}

fn one(contestant: &Contestant, task: &BenchTask, rules: &Rules) -> Result<Sample, ContestError> {
    match &contestant.runner {
        Runner::Engine(engine) => {
            measure::generate(engine, task, rules).map_err(|failure| ContestError::Engine {
                contestant: contestant.name.clone(),
                failure,
            })
        }
        Runner::Peer(peer) => peer
            .generate(task, rules)
            .map_err(|error| ContestError::Peer {
                contestant: contestant.name.clone(),
                error,
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_decoding_is_the_better_of_its_thread_counts() {
        let sample = |ms: f64| Sample {
            decode_ms: ms,
            decoded: 10,
            ..Sample::default()
        };
        // The first is disturbed in one answer, the second is slower in each of the others.
        let results = vec![
            vec![sample(100.0), sample(150.0), sample(10.0)],
            vec![sample(900.0), sample(150.0), sample(10.0)],
        ];
        assert_eq!(fastest([0, 1].into_iter(), &results), Some(1));
        assert_eq!(fastest([0].into_iter(), &results), Some(0));
        assert_eq!(fastest([].into_iter(), &results), None);
        assert_eq!(baseline(&[], &results), 0);
    }
}
