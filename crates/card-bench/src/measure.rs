//! One generation of an engine, measured.

use std::time::{Duration, Instant};

use card_core::scheduler::Round;
use card_core::types::{SourceSet, Token};
use card_engine::{Engine, Event, Failure, Generate};

use crate::counts::TokenCounts;
use crate::sample::{BenchTask, Rules, Sample};

/// Generates once and measures it.
///
/// # Errors
/// If the engine cannot generate or stops.
pub fn generate(engine: &Engine, task: &BenchTask, rules: &Rules) -> Result<Sample, Failure> {
    let mut sample = Sample::default();
    let before = engine.lane_times();
    let energy = joules();
    let mut arrivals = Arrivals::from(Instant::now());
    let stream = engine.generate(Generate {
        prompt: task.prompt.clone(),
        params: rules.params.clone(),
        max_tokens: rules.max_tokens,
        stop_tokens: rules.stop_tokens.clone(),
        prediction: task.prediction.clone().into(),
        ..Generate::default()
    })?;
    // The accepted candidates of the round whose tokens come next.
    let mut accepted: Vec<SourceSet> = Vec::new();
    while let Some(event) = stream.next() {
        match event {
            Event::Tokens(tokens) => {
                let from = std::mem::take(&mut accepted);
                sample
                    .counts
                    .add(&TokenCounts::of_round(tokens.len(), &from));
                arrivals.note(tokens, &mut sample);
            }
            Event::Round(round) => {
                note_round(&round, &mut sample);
                accepted = round.accepted;
            }
            Event::Finished(_) => break,
            Event::Failed(failure) => return Err(failure),
        }
    }
    sample.decode_ms = ms(arrivals.start.elapsed()) - sample.first_ms;
    let after = engine.lane_times();
    sample.target_ms = ms(after.target.saturating_sub(before.target));
    sample.draft_ms = ms(after.draft.saturating_sub(before.draft));
    sample.draft_forwards = after.draft_forwards - before.draft_forwards;
    sample.overhead_ms = ms(after.overhead.saturating_sub(before.overhead));
    sample.joules = joules().zip(energy).map(|(b, a)| b - a);
    Ok(sample)
}

/// The times at which tokens arrive.
struct Arrivals {
    start: Instant,
    /// The arrival before; `None` before the first.
    last: Option<Instant>,
}

impl Arrivals {
    fn from(start: Instant) -> Self {
        Arrivals { start, last: None }
    }

    fn note(&mut self, tokens: Vec<Token>, sample: &mut Sample) {
        let now = Instant::now();
        match self.last {
            None => sample.first_ms = ms(now - self.start),
            Some(last) => {
                sample.decoded += tokens.len();
                sample.gaps_ms.push(ms(now - last));
                // Tokens that come along with the first one are not waited for.
                sample.gaps_ms.extend(tokens.iter().skip(1).map(|_| 0.0));
            }
        }
        self.last = Some(now);
        sample.tokens.extend(tokens);
    }
}

fn note_round(round: &Round, sample: &mut Sample) {
    sample.margins.extend(round.near_ties.iter().copied());
    sample.cache_bytes = sample.cache_bytes.max(round.cached_bytes);
    if round.prefill {
        return;
    }
    sample.rounds += 1;
    sample.shortfall.note(round);
    sample.offered += round.offered;
    sample.hits += usize::from(round.hit == Some(true));
    sample.misses += usize::from(round.hit == Some(false));
    sample.forwards.push((round.rows as u32, ms(round.forward)));
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The processor's energy counter (Intel and AMD, where the system lets us read it).
fn joules() -> Option<f64> {
    let text = std::fs::read_to_string("/sys/class/powercap/intel-rapl:0/energy_uj").ok()?;
    Some(text.trim().parse::<f64>().ok()? / 1e6)
}
