//! What came of a simulation.

use std::time::Duration;

use card_core::scheduler::Round;

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
}

impl Outcome {
    /// Counts what a round did for one sequence.
    pub(crate) fn count(&mut self, round: &Round) {
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
