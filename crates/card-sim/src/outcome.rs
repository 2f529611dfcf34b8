//! What came of a simulation.

use std::time::Duration;

use card_core::scheduler::Round;
use card_core::shortfall::Shortfall;

use crate::scenario::LatencyBound;

/// One request that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    /// When it arrived.
    pub arrived: Duration,
    /// When its first token was written.
    pub first: Duration,
    /// When its last token was written.
    pub done: Duration,
    /// Tokens of the answer.
    pub tokens: usize,
    /// Whether the answer is plain decoding's.
    pub exact: bool,
}

impl Served {
    /// Time to first token, waiting included.
    pub fn first_token(&self) -> Duration {
        self.first.saturating_sub(self.arrived)
    }

    /// Whether it was as fast as the bound asks: the first token, and on average each one after it.
    pub fn meets(&self, bound: &LatencyBound) -> bool {
        let per_token = self.speed().map_or(0.0, |speed| 1e3 / speed);
        let first = 1e3 * self.first_token().as_secs_f64();
        first <= bound.first_token_ms && per_token <= bound.token_ms
    }

    /// Tokens per second after the first one; `None` for an answer of one token.
    pub fn speed(&self) -> Option<f64> {
        let time = self.done.saturating_sub(self.first).as_secs_f64();
        (self.tokens > 1 && time > 0.0).then(|| (self.tokens - 1) as f64 / time)
    }
}

/// The result of a simulation. All times are virtual.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Every request, in the order they were asked.
    pub served: Vec<Served>,
    /// Time until the last answer.
    pub time: Duration,
    /// Target forwards that decoded.
    pub rounds: u64,
    /// (sequence, round) pairs among these.
    pub parts: u64,
    /// Tokens that they committed.
    pub committed: u64,
    /// Corrections that were cached.
    pub hits: u64,
    /// Corrections: rounds after which the target went on from a token of its own.
    pub corrections: u64,
    /// Most bytes of candidates of one sequence.
    pub cache_bytes: usize,
    /// Time in forwards, all targets together.
    pub target_busy: Duration,
    /// Time in forwards, all drafters together.
    pub draft_busy: Duration,
    /// Targets.
    pub targets: usize,
    /// Drafters.
    pub drafters: usize,
    /// Faults that happened.
    pub faults: usize,
    /// For each drafter that came back: from the end of its fault to its first draft that
    /// arrived.
    pub recoveries: Vec<Duration>,
    /// What the machines cost for this time.
    pub cost: f64,
    /// Where the time of the rounds went.
    pub shortfall: Shortfall,
}

impl Outcome {
    /// Counts what a round did for one sequence.
    pub(crate) fn count(&mut self, round: &Round) {
        self.shortfall.note(round);
        if !round.prefill {
            self.parts += 1;
            self.committed += round.tokens.len() as u64;
        }
        self.corrections += u64::from(round.hit.is_some());
        self.hits += u64::from(round.hit == Some(true));
        self.cache_bytes = self.cache_bytes.max(round.cached_bytes);
    }

    /// Tokens of all answers.
    pub fn tokens(&self) -> usize {
        self.served.iter().map(|s| s.tokens).sum()
    }

    /// Tokens per second, all requests together.
    pub fn throughput(&self) -> f64 {
        self.tokens() as f64 / self.time.as_secs_f64().max(1e-9)
    }

    /// Goodput: tokens per second of the requests that met the bound.
    pub fn goodput(&self, bound: &LatencyBound) -> f64 {
        let met = self.served.iter().filter(|s| s.meets(bound));
        met.map(|s| s.tokens).sum::<usize>() as f64 / self.time.as_secs_f64().max(1e-9)
    }

    /// Share of the requests that met the bound.
    pub fn met(&self, bound: &LatencyBound) -> f64 {
        let met = self.served.iter().filter(|s| s.meets(bound)).count();
        met as f64 / self.served.len().max(1) as f64
    }

    /// Median of the tokens per second one request sees.
    pub fn speed(&self) -> f64 {
        quantile(self.served.iter().filter_map(Served::speed), 0.5)
    }

    /// Quantile of the time to first token, in seconds.
    pub fn first_token(&self, q: f64) -> f64 {
        quantile(self.served.iter().map(|s| s.first_token().as_secs_f64()), q)
    }

    /// Quantile of the time from arrival to the last token, in seconds.
    pub fn latency(&self, q: f64) -> f64 {
        let all = self.served.iter();
        quantile(
            all.map(|s| s.done.saturating_sub(s.arrived).as_secs_f64()),
            q,
        )
    }

    /// Mean accepted length τ: tokens per target forward and sequence.
    pub fn mean_accepted_length(&self) -> f64 {
        self.committed as f64 / self.parts.max(1) as f64
    }

    /// Share of corrections that were cached.
    pub fn hit_rate(&self) -> f64 {
        self.hits as f64 / self.corrections.max(1) as f64
    }

    /// Share of the time the targets did nothing.
    pub fn target_idle(&self) -> f64 {
        idle(self.target_busy, self.time, self.targets)
    }

    /// Share of the time the drafters did nothing.
    pub fn draft_idle(&self) -> f64 {
        idle(self.draft_busy, self.time, self.drafters)
    }

    /// Whether every answer is plain decoding's.
    pub fn exact(&self) -> bool {
        self.served.iter().all(|s| s.exact)
    }

    /// Cost of a million tokens, in the prices' currency.
    pub fn cost_per_million(&self) -> f64 {
        1e6 * self.cost / self.tokens().max(1) as f64
    }
}

fn idle(busy: Duration, time: Duration, machines: usize) -> f64 {
    let all = time.as_secs_f64() * machines as f64;
    if all > 0.0 {
        (1.0 - busy.as_secs_f64() / all).max(0.0)
    } else {
        0.0
    }
}

/// The `q` quantile, 0 of nothing.
pub fn quantile(values: impl Iterator<Item = f64>, q: f64) -> f64 {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    let at = ((all.len().max(1) - 1) as f64 * q).round() as usize;
    all.get(at).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goodput_counts_the_requests_that_were_fast_enough() {
        let ms = Duration::from_millis;
        let served = |first: u64, done: u64| Served {
            arrived: ms(100),
            first: ms(100 + first),
            done: ms(100 + done),
            tokens: 11,
            exact: true,
        };
        let outcome = Outcome {
            // In time; a late first token; slow afterwards.
            served: vec![served(200, 700), served(900, 1400), served(200, 1300)],
            time: Duration::from_secs(2),
            ..Outcome::default()
        };
        let bound = LatencyBound {
            first_token_ms: 500.0,
            token_ms: 60.0,
        };
        assert!((outcome.goodput(&bound) - 5.5).abs() < 1e-9);
        assert!((outcome.met(&bound) - 1.0 / 3.0).abs() < 1e-9);
        assert!(outcome.goodput(&bound) < outcome.throughput());
    }
}
