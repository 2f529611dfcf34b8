//! A staged rollout: a share of the requests speculates, the others decode plainly, and the
//! two are compared in the metrics. Now and then, when nobody waits, a speculated answer is
//! decoded once more plainly, to see that it is the same.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use card_core::types::Token;
use card_engine::{Engine, Event, Generate};
use prometheus::{CounterVec, IntCounter, IntCounterVec, Opts, Registry};

use crate::admission::Admission;

/// Longest answer that is decoded again.
const MOST_TOKENS: usize = 512;
/// Speculated answers for one that is decoded again, at most.
const EVERY: u64 = 4;

/// Which requests speculate, and how both kinds did.
pub struct Rollout {
    /// Share of requests that speculate; `None` for all, with no comparison.
    share: Option<f64>,
    requests: AtomicU64,
    arms: Arms,
}

struct Arms {
    answers: IntCounterVec,
    tokens: IntCounterVec,
    seconds: CounterVec,
    first_seconds: CounterVec,
    checked: IntCounter,
    same: IntCounter,
}

/// What is kept of a request to decode it again.
pub struct Again {
    generate: Generate,
    written: Vec<Token>,
}

/// How a generation went, for its arm.
pub struct Timing {
    plain: bool,
    came: Instant,
    first: Option<Instant>,
    last: Option<Instant>,
    tokens: usize,
}

impl Timing {
    /// Of a generation whose request came then.
    pub fn new(plain: bool, came: Instant) -> Self {
        Timing {
            plain,
            came,
            first: None,
            last: None,
            tokens: 0,
        }
    }

    /// Tokens came.
    pub fn wrote(&mut self, tokens: usize) {
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.tokens += tokens;
    }
}

impl Rollout {
    /// With a share of requests that speculate.
    ///
    /// # Errors
    /// If a metric of that name is there already.
    pub fn new(share: Option<f64>, registry: &Registry) -> Result<Self, prometheus::Error> {
        let by_arm = |name: &str, help: &str| {
            let metric = IntCounterVec::new(Opts::new(name, help), &["arm"])?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let time_by_arm = |name: &str, help: &str| {
            let metric = CounterVec::new(Opts::new(name, help), &["arm"])?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let count = |name: &str, help: &str| {
            let metric = IntCounter::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        Ok(Rollout {
            share,
            requests: AtomicU64::new(0),
            arms: Arms {
                answers: by_arm(
                    "card_rollout_answers_total",
                    "Answers by arm: speculative, plain",
                )?,
                tokens: by_arm(
                    "card_rollout_tokens_total",
                    "Tokens after the first of each answer, by arm",
                )?,
                seconds: time_by_arm(
                    "card_rollout_decode_seconds_total",
                    "Time from the first to the last token of each answer, by arm",
                )?,
                first_seconds: time_by_arm(
                    "card_rollout_first_token_seconds_total",
                    "Time to first token of each answer, by arm",
                )?,
                checked: count(
                    "card_rollout_checked_total",
                    "Speculated answers that were decoded again, plainly",
                )?,
                same: count(
                    "card_rollout_same_total",
                    "Those that came out the same, token for token",
                )?,
            },
        })
    }

    /// Whether the next request decodes plainly. Of any n requests the share speculates, give
    /// or take one.
    pub fn next_is_plain(&self) -> bool {
        let Some(share) = self.share else {
            return false;
        };
        let n = self.requests.fetch_add(1, Ordering::Relaxed) as f64;
        (n * share).floor() == ((n + 1.0) * share).floor()
    }

    /// What to keep of a request that may be decoded again.
    pub fn remember(&self, generate: &Generate) -> Option<Again> {
        let wanted = self.share.is_some() && !generate.plain && generate.constraint.is_none();
        wanted.then(|| Again {
            generate: Generate {
                prompt: generate.prompt.clone(),
                params: generate.params.clone(),
                stop_tokens: generate.stop_tokens.clone(),
                tenant: generate.tenant,
                plain: true,
                ..Generate::default()
            },
            written: Vec::new(),
        })
    }

    /// A generation ended well.
    pub fn ended(&self, timing: &Timing) {
        if self.share.is_none() {
            return;
        }
        let (Some(first), Some(last)) = (timing.first, timing.last) else {
            return;
        };
        let arm = [if timing.plain { "plain" } else { "speculative" }];
        let arms = &self.arms;
        let seconds = |d: Duration| d.as_secs_f64();
        arms.answers.with_label_values(&arm).inc();
        arms.tokens
            .with_label_values(&arm)
            .inc_by(timing.tokens.saturating_sub(1) as u64);
        arms.seconds
            .with_label_values(&arm)
            .inc_by(seconds(last - first));
        arms.first_seconds
            .with_label_values(&arm)
            .inc_by(seconds(first.saturating_duration_since(timing.came)));
    }

    /// Decodes an answer again if nobody is kept waiting by it, and counts whether it is the
    /// same. Gives up as soon as somebody waits.
    pub fn check(&self, again: Again, engine: &Engine, admission: &Admission) {
        let Again {
            mut generate,
            written,
        } = again;
        let turn = self.arms.answers.with_label_values(&["speculative"]).get() % EVERY == 1;
        let idle = || admission.running() <= 1 && admission.waiting() == 0;
        if !turn || written.is_empty() || written.len() > MOST_TOKENS || !idle() {
            return;
        }
        generate.max_tokens = written.len() as u32;
        let Ok(stream) = engine.generate(generate) else {
            return;
        };
        let mut plain = Vec::new();
        while let Some(event) = stream.next() {
            match event {
                Event::Tokens(tokens) if idle() => plain.extend(tokens),
                Event::Round(_) => {}
                Event::Tokens(_) | Event::Failed(_) => return,
                Event::Finished(_) => break,
            }
        }
        self.arms.checked.inc();
        if plain == written {
            self.arms.same.inc();
        }
    }
}

impl Again {
    /// Tokens came.
    pub fn wrote(&mut self, tokens: &[Token]) {
        self.written.extend(tokens);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_share_that_was_asked_for_speculates() {
        for (share, expected) in [(0.05, 5), (0.5, 50), (1.0, 100), (0.0, 0)] {
            let rollout = Rollout::new(Some(share), &Registry::new()).unwrap();
            let speculate = (0..100).filter(|_| !rollout.next_is_plain()).count();
            assert_eq!(speculate, expected);
        }
        let all = Rollout::new(None, &Registry::new()).unwrap();
        assert!(!all.next_is_plain());
    }
}
