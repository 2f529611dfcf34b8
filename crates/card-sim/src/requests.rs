//! The requests of a simulation: when they arrive, and what was written for them.

use std::time::Duration;

use card_core::sampler::Sampling;
use card_core::types::Token;

use crate::language::{self, VOCAB};
use crate::outcome::Served;
use crate::scenario::{LoadSpec, Scenario};

/// All requests. Each is named by its number.
pub(crate) struct Requests {
    asked: Vec<Asked>,
    /// Arrivals to come: (when, request), the next one last.
    coming: Vec<(Duration, usize)>,
    /// Requests that found no target up.
    stranded: Vec<usize>,
}

/// One request.
struct Asked {
    prompt: Vec<Token>,
    params: Sampling,
    arrived: Duration,
    /// When its first token was written.
    first: Option<Duration>,
    /// When its last token was written.
    done: Option<Duration>,
    /// The answer so far, on whatever target it was written.
    written: Vec<Token>,
}

/// What is left to generate of a request.
pub(crate) struct Remainder {
    /// The prompt, and what was written on a target that crashed.
    pub(crate) prompt: Vec<Token>,
    pub(crate) params: Sampling,
    /// Tokens that are still to be written.
    pub(crate) tokens: u32,
}

impl Requests {
    /// Draws the requests of a load: random prompts, and arrivals of a Poisson process.
    pub(crate) fn draw(load: &LoadSpec, rng: &mut fastrand::Rng) -> Self {
        let mut at = Duration::ZERO;
        let mut asked = Vec::with_capacity(load.requests);
        let mut coming = Vec::new();
        for i in 0..load.requests {
            if load.per_second > 0.0 {
                at += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / load.per_second);
            }
            asked.push(Asked {
                prompt: (0..load.prompt_tokens)
                    .map(|_| rng.u32(..VOCAB as u32))
                    .collect(),
                // Checked when the scenario was.
                params: load.sampling(rng.u64(..)).unwrap_or_default(),
                arrived: at,
                first: None,
                done: None,
                written: Vec::new(),
            });
            coming.push((at, i));
        }
        coming.reverse();
        Requests {
            asked,
            coming,
            stranded: Vec::new(),
        }
    }

    /// Every prompt, and how its answer is sampled.
    pub(crate) fn asked(&self) -> impl Iterator<Item = (&[Token], &Sampling)> {
        self.asked.iter().map(|a| (&a.prompt[..], &a.params))
    }

    /// When the next one arrives.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.coming.last().map(|c| c.0)
    }

    /// The next one that has arrived.
    pub(crate) fn arrived(&mut self, now: Duration) -> Option<usize> {
        self.coming.pop_if(|c| c.0 <= now).map(|c| c.1)
    }

    /// No target is up for this request.
    pub(crate) fn strand(&mut self, request: usize) {
        self.stranded.push(request);
    }

    /// The requests that found no target up.
    pub(crate) fn take_stranded(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.stranded)
    }

    /// There is room for this request: what is left of it. Without a rate of arrival a request
    /// arrives when there is room.
    pub(crate) fn admit(&mut self, request: usize, load: &LoadSpec, now: Duration) -> Remainder {
        let asked = &mut self.asked[request];
        if load.per_second <= 0.0 && asked.first.is_none() {
            asked.arrived = now;
        }
        Remainder {
            prompt: asked.prompt.iter().chain(&asked.written).copied().collect(),
            params: asked.params.clone(),
            tokens: load.output_tokens - asked.written.len() as u32,
        }
    }

    /// These tokens of the answer were written.
    pub(crate) fn wrote(&mut self, request: usize, tokens: &[Token], now: Duration) {
        let asked = &mut self.asked[request];
        asked.first.get_or_insert(now);
        asked.written.extend(tokens);
    }

    /// The answer is complete.
    pub(crate) fn done(&mut self, request: usize, now: Duration) {
        self.asked[request].done = Some(now);
    }

    /// Whether every answer is complete.
    pub(crate) fn all_done(&self) -> bool {
        self.asked.iter().all(|a| a.done.is_some())
    }

    /// What came of each, compared with what plain decoding writes.
    pub(crate) fn served(&self, scenario: &Scenario) -> Vec<Served> {
        let tokens = scenario.load.output_tokens;
        let served = self.asked.iter().map(|a| {
            let plain = language::plain(scenario.seed, &a.prompt, tokens, &a.params);
            Served {
                arrived: a.arrived,
                first: a.first.unwrap_or_default(),
                done: a.done.unwrap_or_default(),
                tokens: a.written.len(),
                exact: a.written == plain,
            }
        });
        served.collect()
    }
}
