//! Contestants on the same prompts, one after the other, so that a slow minute of the
//! machine hits all of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use card_core::sampler::SamplingParams;
use card_core::sources::{Chain, Prediction, TextIndex};
use card_core::types::{SOURCES, Source, Token};
use card_engine::{Engine, Event, Failure, Generate};

use crate::peer::{Peer, PeerError};

/// A prompt, ready to be generated from.
#[derive(Clone, Debug)]
pub struct Task {
    /// Results are grouped by it.
    pub category: String,
    /// The user's message, for peers.
    pub text: String,
    /// The same in the model's chat template, as tokens.
    pub prompt: Vec<Token>,
    /// The text that is expected; empty for none.
    pub prediction: Vec<Token>,
}

/// What is compared.
pub enum Runner {
    /// One of ours.
    Engine(Box<Engine>),
    /// Somebody else's server.
    Peer(Peer),
}

/// A contestant.
pub struct Contestant {
    /// Its name in the report.
    pub name: String,
    /// Whether it only decodes plainly: what the others are compared with.
    pub plain: bool,
    /// What runs it.
    pub runner: Runner,
}

/// How to generate.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How to sample.
    pub params: SamplingParams,
    /// Most tokens of an answer.
    pub max_tokens: u32,
    /// Tokens that end one.
    pub stop_tokens: Vec<Token>,
}

/// One generation, measured.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Milliseconds until the first token.
    pub first_ms: f64,
    /// Milliseconds from then on.
    pub decode_ms: f64,
    /// Tokens that came in that time.
    pub decoded: usize,
    /// Milliseconds between the arrival of one token and the next.
    pub gaps_ms: Vec<f64>,
    /// The tokens; empty for a peer.
    pub tokens: Vec<Token>,
    /// Rounds that decoded.
    pub rounds: usize,
    /// Candidates verified.
    pub offered: usize,
    /// Candidates accepted.
    pub accepted: usize,
    /// Candidates accepted, by source; one that several proposed counts for each.
    pub by_source: [usize; SOURCES],
    /// Corrections that were cached.
    pub hits: usize,
    /// Corrections that were not.
    pub misses: usize,
    /// Most bytes of candidates.
    pub cache_bytes: usize,
    /// Milliseconds the target worked.
    pub target_ms: f64,
    /// Milliseconds the drafter worked.
    pub draft_ms: f64,
    /// Its forwards.
    pub draft_forwards: u64,
    /// Milliseconds the engine took on the target's thread.
    pub overhead_ms: f64,
    /// Joules the processor's package took, where the system tells.
    pub joules: Option<f64>,
    /// Margin of each decision in logits, by index in the sequence.
    pub margins: BTreeMap<u32, f32>,
    /// (rows, milliseconds) of each target forward that decoded.
    pub forwards: Vec<(u32, f64)>,
}

impl Sample {
    /// Milliseconds per token after the first.
    pub fn ms_per_token(&self) -> f64 {
        self.decode_ms / self.decoded.max(1) as f64
    }

    /// Milliseconds per token of the whole answer.
    pub fn answer_ms_per_token(&self) -> f64 {
        (self.first_ms + self.decode_ms) / (self.decoded + 1) as f64
    }
}

/// Why a contest ended.
#[derive(Debug, thiserror::Error)]
pub enum ContestError {
    /// One of our engines failed.
    #[error("{contestant}: {failure}")]
    Engine {
        /// Who.
        contestant: String,
        /// Why.
        failure: Failure,
    },
    /// A peer failed.
    #[error("{contestant}: {error}")]
    Peer {
        /// Who.
        contestant: String,
        /// Why.
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
    tasks: &[Task],
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

fn one(contestant: &Contestant, task: &Task, rules: &Rules) -> Result<Sample, ContestError> {
    match &contestant.runner {
        Runner::Engine(engine) => {
            generate(engine, task, rules).map_err(|failure| ContestError::Engine {
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

/// Generates once and measures it.
///
/// # Errors
/// If the engine cannot generate or stops.
pub fn generate(engine: &Engine, task: &Task, rules: &Rules) -> Result<Sample, Failure> {
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let mut sample = Sample::default();
    let before = engine.lane_times();
    let energy = joules();
    let start = Instant::now();
    let stream = engine.generate(Generate {
        prompt: task.prompt.clone(),
        params: rules.params.clone(),
        max_tokens: rules.max_tokens,
        stop_tokens: rules.stop_tokens.clone(),
        prediction: task.prediction.clone().into(),
        ..Generate::default()
    })?;
    let mut last: Option<Instant> = None;
    while let Some(event) = stream.next() {
        match event {
            Event::Tokens(tokens) => {
                let now = Instant::now();
                match last {
                    None => sample.first_ms = ms(now - start),
                    Some(last) => {
                        sample.decoded += tokens.len();
                        sample.gaps_ms.push(ms(now - last));
                        // What came along with the first one was not waited for.
                        sample.gaps_ms.extend(tokens.iter().skip(1).map(|_| 0.0));
                    }
                }
                last = Some(now);
                sample.tokens.extend(tokens);
            }
            Event::Round(round) => {
                sample.margins.extend(round.near_ties.iter().copied());
                sample.cache_bytes = sample.cache_bytes.max(round.cached_bytes);
                if round.prefill {
                    continue;
                }
                sample.rounds += 1;
                sample.offered += round.offered;
                sample.accepted += round.accepted.len();
                sample.hits += usize::from(round.hit == Some(true));
                sample.misses += usize::from(round.hit == Some(false));
                sample.forwards.push((round.rows as u32, ms(round.forward)));
                for source in round.accepted.iter().flat_map(|s| s.iter()) {
                    sample.by_source[source.index()] += 1;
                }
            }
            Event::Finished(_) => break,
            Event::Failed(failure) => return Err(failure),
        }
    }
    sample.decode_ms = ms(start.elapsed()) - sample.first_ms;
    let after = engine.lane_times();
    sample.target_ms = ms(after.target.saturating_sub(before.target));
    sample.draft_ms = ms(after.draft.saturating_sub(before.draft));
    sample.draft_forwards = after.draft_forwards - before.draft_forwards;
    sample.overhead_ms = ms(after.overhead.saturating_sub(before.overhead));
    sample.joules = joules().zip(energy).map(|(b, a)| b - a);
    Ok(sample)
}

/// The processor's energy counter (Intel and AMD, where the system lets us read it).
fn joules() -> Option<f64> {
    let text = std::fs::read_to_string("/sys/class/powercap/intel-rapl:0/energy_uj").ok()?;
    Some(text.trim().parse::<f64>().ok()? / 1e6)
}

/// What text at hand proposes for the places of `text` from each index on. Where two sources
/// propose something, the one that is right for longer.
pub fn at_hand(task: &Task, text: &[Token]) -> Vec<(Source, Chain)> {
    let mut own = TextIndex::new(&task.prompt);
    let mut predicted = Prediction::new(&task.prediction);
    let mut so_far = task.prompt.clone();
    let mut proposed = Vec::with_capacity(text.len());
    for (i, &token) in text.iter().enumerate() {
        let (mut repeated, mut expected) = (Chain::new(), Chain::new());
        own.continue_itself(&mut repeated);
        predicted.propose(&so_far, usize::from(i > 0), &mut expected);
        let rest = &text[i..];
        let longer = right(&expected, rest) >= right(&repeated, rest);
        proposed.push(if longer && !expected.is_empty() {
            (Source::Prediction, expected)
        } else {
            (Source::Suffix, repeated)
        });
        own.extend(&[token]);
        so_far.push(token);
    }
    proposed
}

/// How many tokens of a chain are those of `text`.
pub fn right(chain: &Chain, text: &[Token]) -> usize {
    let pairs = chain.iter().zip(text);
    pairs.take_while(|(c, t)| c.0 == **t).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_at_hand_is_repetition_and_prediction() {
        let task = Task {
            category: String::new(),
            text: String::new(),
            prompt: vec![1, 2, 3, 4, 5],
            prediction: vec![7, 8, 9],
        };
        let lengths = |text: &[Token]| -> Vec<usize> {
            let proposed = at_hand(&task, text);
            let each = proposed.iter().enumerate();
            each.map(|(i, (_, chain))| right(chain, &text[i..]))
                .collect()
        };
        assert_eq!(lengths(&[2, 3, 4, 5]), [0, 0, 2, 1]);
        assert_eq!(lengths(&[7, 8, 9]), [3, 2, 1]);
        assert_eq!(at_hand(&task, &[7, 8])[1].0, Source::Prediction);
    }
}
