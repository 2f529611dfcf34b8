//! What is printed about a generation when it has ended.

use std::time::Duration;

use card_core::scheduler::Round;
use card_core::types::Source;
use card_engine::LaneTimes;
use card_engine::selftest::Exactness;
use card_setup::Holds;

/// Counts over one generation.
#[derive(Debug, Default)]
pub struct Summary {
    pub prompt_tokens: usize,
    pub tokens: usize,
    pub rounds: usize,
    hits: usize,
    misses: usize,
    offered: usize,
    accepted: [usize; Source::ALL.len()],
    accepted_in_all: usize,
    deferred: usize,
    refused: usize,
    near_ties: Vec<(u32, f32)>,
    pub first_token: Option<Duration>,
    pub total: Duration,
    decode: Duration,
    decode_tokens: usize,
}

impl Summary {
    /// Nothing yet, for a prompt of so many tokens.
    pub fn of_prompt(prompt_tokens: usize) -> Self {
        Summary {
            prompt_tokens,
            ..Summary::default()
        }
    }

    /// Counts a round.
    pub fn add(&mut self, round: &Round) {
        self.near_ties.extend(&round.near_ties);
        if round.prefill {
            return;
        }
        self.rounds += 1;
        self.decode += round.elapsed;
        self.decode_tokens += round.tokens.len();
        self.offered += round.offered;
        self.deferred += usize::from(round.deferred);
        self.refused += round.refused;
        match round.hit {
            Some(true) => self.hits += 1,
            Some(false) => self.misses += 1,
            None => {}
        }
        for sources in &round.accepted {
            self.accepted_in_all += 1;
            for source in sources.iter() {
                self.accepted[source.index()] += 1;
            }
        }
    }

    /// The summary in a few lines, with what the lanes had done before and what by now, and
    /// what holds of the text.
    pub fn print(&self, since: LaneTimes, lanes: LaneTimes, holds: &Holds) {
        let drafting = lanes.draft_forwards > since.draft_forwards;
        let speculating = self.offered > 0 || drafting;
        let rate = self.decode_tokens as f64 / self.decode.as_secs_f64().max(1e-9);
        eprintln!(
            "{} tokens, {rate:.2} tokens/s; first token after {:.0} ms ({} prompt tokens)",
            self.tokens,
            self.first_token.map_or(0.0, ms),
            self.prompt_tokens
        );
        if speculating && self.rounds > 0 {
            self.print_speculation();
        }
        self.print_lanes(since, lanes, drafting);
        eprintln!("{holds}");
        self.print_near_ties(holds, speculating);
    }

    /// How much came of the candidates.
    fn print_speculation(&self) {
        let decisions = (self.hits + self.misses).max(1);
        eprintln!(
            "mean accepted length {:.2} over {} rounds; hit rate {:.0} %; verified {} candidates",
            self.decode_tokens as f64 / self.rounds as f64,
            self.rounds,
            100.0 * self.hits as f64 / decisions as f64,
            self.offered
        );
        let by_source: Vec<String> = Source::ALL
            .into_iter()
            .filter(|s| self.accepted[s.index()] > 0)
            .map(|s| format!("{} {}", s.name(), self.accepted[s.index()]))
            .collect();
        let by_source = if by_source.is_empty() {
            String::new()
        } else {
            format!(" (by source: {})", by_source.join(", "))
        };
        eprintln!(
            "accepted {} of {}{by_source}",
            self.accepted_in_all, self.offered
        );
        if self.refused > 0 {
            eprintln!(
                "{} proposals were left out: the grammar refuses them",
                self.refused
            );
        }
    }

    /// How busy the lanes were.
    fn print_lanes(&self, since: LaneTimes, lanes: LaneTimes, drafting: bool) {
        let work = |now: Duration, before: Duration| {
            100.0 * (now.saturating_sub(before)).as_secs_f64() / self.total.as_secs_f64().max(1e-9)
        };
        let target = work(lanes.target, since.target);
        let draft = work(lanes.draft, since.draft);
        let overhead = lanes.overhead.saturating_sub(since.overhead);
        let forwards = (lanes.forwards - since.forwards).max(1);
        let drafter = if drafting {
            format!(", drafter worked {draft:.0} %")
        } else {
            String::new()
        };
        eprintln!(
            "target lane worked {target:.0} %{drafter}; engine {:.3} ms per forward",
            ms(overhead) / forwards as f64
        );
    }

    fn print_near_ties(&self, holds: &Holds, speculating: bool) {
        if self.deferred > 0 {
            eprintln!(
                "{} near-ties were decided again by a forward of their own",
                self.deferred
            );
        } else if holds.level == Exactness::Fast && !self.near_ties.is_empty() && speculating {
            let closest = self.near_ties.iter().map(|t| t.1).fold(f32::MAX, f32::min);
            eprintln!(
                "{} near-ties (closest margin {closest:.4}); --exactness exact decides them as \
                 plain decoding does",
                self.near_ties.len()
            );
        }
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
