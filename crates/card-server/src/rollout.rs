//! A staged rollout: a share of the requests speculates, the others decode plainly, and the
//! two are compared in the metrics. Now and then, when nobody waits, a speculated answer is
//! decoded once more plainly, to see that it is the same.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use card_core::types::Token;
use card_engine::{Engine, Event, Generate};

use crate::admission::Admission;
use crate::metrics::{ArmSample, RolloutMetrics};

/// Longest answer that is decoded again.
const MOST_TOKENS: usize = 512;
/// Speculated answers for one that is decoded again, at most.
const EVERY: u64 = 4;

/// Which requests speculate, and how both kinds did.
pub(crate) struct Rollout {
    /// Share of requests that speculate; `None` for all, with no comparison.
    share: Option<f64>,
    /// Requests so far.
    requests: AtomicU64,
    /// What became of the answers of both arms.
    arms: RolloutMetrics,
}

/// What is kept of a speculated request to decode it once more, plainly.
pub(crate) struct Recheck {
    /// The request, to be decoded plainly.
    generate: Generate,
    /// What was written while it speculated.
    written: Vec<Token>,
}

/// How a generation went, for its arm.
pub(crate) struct Timing {
    /// Whether it decodes plainly.
    plain: bool,
    /// When the first byte of its request came.
    came: Instant,
    /// When the first token was written.
    first: Option<Instant>,
    /// When the last token so far was written.
    last: Option<Instant>,
    /// Tokens so far.
    tokens: usize,
}

impl Timing {
    /// The timing of a generation whose request came at `came`.
    pub(crate) fn new(plain: bool, came: Instant) -> Self {
        Timing {
            plain,
            came,
            first: None,
            last: None,
            tokens: 0,
        }
    }

    /// So many tokens were written.
    pub(crate) fn wrote(&mut self, tokens: usize) {
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.tokens += tokens;
    }
}

impl Rollout {
    /// A rollout to this share of the requests; `None` for all of them.
    pub(crate) fn new(share: Option<f64>, arms: RolloutMetrics) -> Self {
        Rollout {
            share,
            requests: AtomicU64::new(0),
            arms,
        }
    }

    /// Whether the next request decodes plainly. Of any n requests the share speculates, give
    /// or take one.
    pub(crate) fn next_is_plain(&self) -> bool {
        let Some(share) = self.share else {
            return false;
        };
        let n = self.requests.fetch_add(1, Ordering::Relaxed) as f64;
        (n * share).floor() == ((n + 1.0) * share).floor()
    }

    /// What to keep of a request that may be decoded again.
    pub(crate) fn remember(&self, generate: &Generate) -> Option<Recheck> {
        let wanted = self.share.is_some() && !generate.plain && generate.constraint.is_none();
        wanted.then(|| Recheck {
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
    pub(crate) fn ended(&self, timing: &Timing) {
        if self.share.is_none() {
            return;
        }
        if let (Some(first), Some(last)) = (timing.first, timing.last) {
            self.arms.count(&ArmSample {
                plain: timing.plain,
                tokens: timing.tokens,
                to_first: first.saturating_duration_since(timing.came),
                decoding: last - first,
            });
        }
    }

    /// Decodes an answer again if nobody is kept waiting by it, and counts whether it is the
    /// same. Gives up as soon as somebody waits.
    pub(crate) fn check(&self, recheck: Recheck, engine: &Engine, admission: &Admission) {
        let Recheck {
            mut generate,
            written,
        } = recheck;
        let turn = self.arms.speculated() % EVERY == 1;
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
        self.arms.count_check(plain == written);
    }
}

impl Recheck {
    /// These tokens were written.
    pub(crate) fn wrote(&mut self, tokens: &[Token]) {
        self.written.extend(tokens);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prometheus::Registry;

    use super::*;

    fn rollout(share: Option<f64>) -> Rollout {
        Rollout::new(share, RolloutMetrics::new(&Registry::new()).unwrap())
    }

    #[test]
    fn the_share_that_was_asked_for_speculates() {
        for (share, expected) in [(0.05, 5), (0.5, 50), (1.0, 100), (0.0, 0)] {
            let rollout = rollout(Some(share));
            let speculate = (0..100).filter(|_| !rollout.next_is_plain()).count();
            assert_eq!(speculate, expected);
        }
        assert!(!rollout(None).next_is_plain());
    }
}
