//! When to verify, how much, and when to draft: DESIGN §5, written out in docs/policy.md.
//!
//! One number ties it together: the rate λ (tokens per millisecond) this engine reaches.
//! Time is worth λ tokens per millisecond, so a candidate joins a forward if its reach
//! exceeds λ times what its row costs, and another draft step is taken if what it can
//! add exceeds λ times what it takes (the marginal form of maximising a ratio, Dinkelbach
//! 1967). λ is never below the rate of plain decoding, so what plain decoding does better
//! is left to it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cost::CostCurve;

/// How the engine schedules. All four are the same loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// One token per forward, no drafter.
    Plain,
    /// Draft a chain of fixed length, verify it, start over.
    DraftThenVerify,
    /// Query-and-correct: verify what is there, draft on meanwhile, always.
    Card,
    /// Whatever is fastest by the measured costs; plain decoding included.
    Auto,
}

/// Where drafter and target run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    /// They take turns on one.
    Shared,
    /// Each has its own.
    Disjoint,
}

/// What the drafter could do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    /// Reach of the best node it has not looked past.
    pub reach: f32,
    /// Rows of its next forward.
    pub rows: u32,
}

/// Fixed settings of a [`Policy`].
#[derive(Clone, Copy, Debug)]
pub struct PolicyConfig {
    /// How to schedule.
    pub mode: Mode,
    /// Where the models run.
    pub lanes: Lanes,
    /// Length of the chain in [`Mode::DraftThenVerify`].
    pub draft_len: u32,
}

/// How far ahead the policy looks for a draft length that pays: cost curves have steps,
/// and it must see past one.
const LOOKAHEAD: u32 = 12;
/// Share of the time that may go to finding out whether speculation pays by now.
const EXPLORE: f64 = 0.02;
/// Tokens a sequence is expected to have left when nothing is known.
const OUTLOOK_TOKENS: f64 = 96.0;
/// A drafter this far behind has to prefill, which is paid back over the whole sequence.
const PREFILL_ROWS: u32 = 24;

/// The schedule, and what it has learned.
#[derive(Clone, Debug)]
pub struct Policy {
    config: PolicyConfig,
    /// Milliseconds of a target forward by rows.
    pub target: CostCurve,
    /// Milliseconds of a draft forward by rows.
    pub draft: CostCurve,
    rate: Rate,
    /// Mean calibrated probability of a draft's best child.
    top: f32,
    hit_rate: f32,
    total_ms: f64,
    explored_ms: f64,
}

/// Tokens per millisecond, forgetting the old.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    tokens: f64,
    ms: f64,
}

impl Rate {
    fn add(&mut self, tokens: f64, ms: f64) {
        const KEEP: f64 = 0.97;
        self.tokens = self.tokens * KEEP + tokens;
        self.ms = self.ms * KEEP + ms;
    }

    fn get(&self) -> f64 {
        if self.ms > 0.0 {
            self.tokens / self.ms
        } else {
            0.0
        }
    }
}

impl Policy {
    /// A policy that starts from these cost curves (empty ones are learned on the way).
    pub fn new(config: PolicyConfig, target: CostCurve, draft: CostCurve) -> Self {
        Policy {
            config,
            target,
            draft,
            rate: Rate::default(),
            top: 0.75,
            hit_rate: 0.7,
            total_ms: 0.0,
            explored_ms: 0.0,
        }
    }

    /// Its settings.
    pub fn config(&self) -> PolicyConfig {
        self.config
    }

    /// Whether it never uses a drafter.
    pub fn is_plain(&self) -> bool {
        self.config.mode == Mode::Plain
    }

    /// Whether only chains are drafted and verified.
    pub fn chain_only(&self) -> bool {
        self.config.mode == Mode::DraftThenVerify
    }

    /// Worth of time: tokens per millisecond with `base` sequences decoding.
    pub fn rate(&self, base: u32) -> f64 {
        let plain = f64::from(base) / self.target.ms(base);
        plain.max(self.rate.get())
    }

    /// Mean calibrated probability that a draft's best child is right.
    pub fn top(&self) -> f32 {
        self.top
    }

    /// How many of the candidates, given by their reach (best first), join a forward that
    /// decodes `base` rows anyway.
    pub fn size(&self, base: u32, reaches: &[f32]) -> usize {
        match self.config.mode {
            Mode::Plain => 0,
            Mode::DraftThenVerify => reaches.len(),
            Mode::Card | Mode::Auto => {
                let least = usize::from(self.config.mode == Mode::Card).min(reaches.len());
                self.best_size(base, reaches, least).0
            }
        }
    }

    /// Size of most worth, at least `least`, and that worth (tokens, time priced at λ).
    fn best_size(&self, base: u32, reaches: &[f32], least: usize) -> (usize, f64) {
        let rate = self.rate(base);
        let worth = |sum: f64, n: usize| sum - rate * self.target.ms(base + n as u32);
        let mut sum: f64 = reaches[..least].iter().map(|r| f64::from(*r)).sum();
        let mut best = (least, worth(sum, least));
        for (i, reach) in reaches.iter().enumerate().skip(least) {
            sum += f64::from(*reach);
            let value = worth(sum, i + 1);
            if value > best.1 {
                best = (i + 1, value);
            }
        }
        best
    }

    /// Whether the drafter should take a step before the target launches, with `reaches`
    /// the candidates that are ready (best first) and `depth` the length of the longest
    /// path among them.
    pub fn draft_first(
        &self,
        base: u32,
        reaches: &[f32],
        depth: u32,
        outlook: Option<Outlook>,
        tokens_left: u32,
    ) -> bool {
        let Some(outlook) = outlook else { return false };
        match self.config.mode {
            Mode::Plain => false,
            Mode::DraftThenVerify => depth < self.config.draft_len,
            Mode::Card | Mode::Auto => {
                if outlook.rows >= PREFILL_ROWS {
                    return self.config.mode == Mode::Card
                        || self.prefill_pays(outlook.rows, tokens_left);
                }
                if self.drafting_pays(base, reaches, outlook) {
                    return true;
                }
                // Nothing at hand and drafting looks bad: CARD drafts one step all the
                // same; auto only now and then, to notice when things change.
                reaches.is_empty()
                    && match self.config.mode {
                        Mode::Card => true,
                        _ => self.may_explore(base, outlook),
                    }
            }
        }
    }

    fn drafting_pays(&self, base: u32, reaches: &[f32], outlook: Outlook) -> bool {
        let rate = self.rate(base);
        let (n, now) = self.best_size(base, reaches, 0);
        let kept: f64 = reaches[..n].iter().map(|r| f64::from(*r)).sum();
        let top = f64::from(self.top);
        let mut gain = 0.0;
        let mut reach = f64::from(outlook.reach);
        let mut cost = self.draft.ms(outlook.rows);
        // On a lane of its own the drafter goes on anyway, and what it finds late is not
        // lost if the next correction is a hit.
        let discount = match self.config.lanes {
            Lanes::Shared => 1.0,
            Lanes::Disjoint => 1.0 - f64::from(self.hit_rate),
        };
        for step in 1..=LOOKAHEAD {
            reach *= top;
            gain += reach * discount;
            let rows = base + n as u32 + step;
            let later = kept + gain - rate * (self.target.ms(rows) + cost);
            if later > now {
                return true;
            }
            cost += self.draft.ms(1);
        }
        false
    }

    /// Whether a drafter that must first decode `rows` tokens earns that back.
    fn prefill_pays(&self, rows: u32, tokens_left: u32) -> bool {
        let plain = 1.0 / self.target.ms(1);
        let top = f64::from(self.top);
        let best = (1..=LOOKAHEAD)
            .map(|k| {
                let tokens: f64 = (0..=k).map(|j| top.powi(j as i32)).sum();
                let draft = match self.config.lanes {
                    Lanes::Shared => f64::from(k) * self.draft.ms(1),
                    Lanes::Disjoint => 0.0,
                };
                tokens / (draft + self.target.ms(1 + k))
            })
            .fold(plain, f64::max);
        let left = f64::from(tokens_left).min(OUTLOOK_TOKENS);
        left / plain - left / best > self.draft.ms(rows)
    }

    /// Whether a draft step that does not look profitable may be tried all the same:
    /// if the best imaginable drafter would pay, and the time budget allows.
    fn may_explore(&self, base: u32, outlook: Outlook) -> bool {
        let cost = self.draft.ms(outlook.rows) + self.target.ms(base + 1) - self.target.ms(base);
        let imaginable = (1..=LOOKAHEAD).any(|k| {
            let time = self.draft.ms(outlook.rows)
                + self.draft.ms(1) * f64::from(k - 1)
                + self.target.ms(base + k)
                - self.target.ms(base);
            f64::from(k) > self.rate(base) * time
        });
        imaginable && self.explored_ms + cost < EXPLORE * self.total_ms
    }

    /// Longest the target should wait for the drafter in [`Mode::DraftThenVerify`] on
    /// lanes of their own, before it goes on with what there is.
    pub fn patience(&self) -> Duration {
        let steps = f64::from(self.config.draft_len + 2);
        let ms = if self.draft.is_empty() {
            10_000.0
        } else {
            (8.0 * steps * self.draft.ms(1)).max(1000.0)
        };
        Duration::from_secs_f64(ms / 1e3)
    }

    /// Learns from a draft step: rows, time, and the calibrated probability of the best
    /// child of each row that was expanded.
    pub fn drafted(&mut self, rows: u32, elapsed: Duration, best: impl IntoIterator<Item = f32>) {
        if rows > 0 {
            self.draft.observe(rows, elapsed);
        }
        for p in best {
            self.top += 0.05 * (p - self.top);
        }
    }

    /// Learns from a round: rows of the forward, its time, time since the round before
    /// ended (drafting and waiting included), tokens committed, whether corrections hit.
    pub fn verified(
        &mut self,
        base: u32,
        rows: u32,
        forward: Duration,
        round: Duration,
        tokens: u32,
        hit: Option<bool>,
    ) {
        self.target.observe(rows, forward);
        let ms = round.as_secs_f64() * 1e3;
        self.rate.add(f64::from(tokens), ms);
        self.total_ms += ms;
        // What this round lost against plain decoding counts as exploration.
        let plain = self.target.ms(base) * f64::from(tokens) / f64::from(base.max(1));
        if ms > plain && self.config.mode == Mode::Auto {
            self.explored_ms += ms - plain;
        } else {
            self.explored_ms = (self.explored_ms - 0.5 * (plain - ms)).max(0.0);
        }
        if let Some(hit) = hit {
            self.hit_rate += 0.05 * (f32::from(hit as u8) - self.hit_rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(mode: Mode, target: &[(u32, f64)], draft: &[(u32, f64)]) -> Policy {
        Policy::new(
            PolicyConfig {
                mode,
                lanes: Lanes::Shared,
                draft_len: 4,
            },
            CostCurve::from_points(target.iter().copied()),
            CostCurve::from_points(draft.iter().copied()),
        )
    }

    const READY: Outlook = Outlook {
        reach: 1.0,
        rows: 1,
    };

    #[test]
    fn verifies_only_rows_that_pay() {
        // A free row is worth taking, one that costs a whole forward is not.
        let flat = policy(Mode::Auto, &[(1, 10.0), (8, 10.1)], &[(1, 1.0)]);
        assert_eq!(flat.size(1, &[0.9, 0.5, 0.2]), 3);
        let steep = policy(Mode::Auto, &[(1, 10.0), (2, 20.0), (4, 40.0)], &[(1, 1.0)]);
        assert_eq!(steep.size(1, &[0.9, 0.5, 0.2]), 0);
        let plain = policy(Mode::Plain, &[(1, 10.0), (8, 10.1)], &[(1, 1.0)]);
        assert_eq!(plain.size(1, &[0.9, 0.5, 0.2]), 0);
    }

    #[test]
    fn sees_past_a_step_in_the_cost_curve() {
        // The second row doubles the cost, fourteen more are free.
        let p = policy(Mode::Auto, &[(1, 10.0), (2, 20.0), (16, 20.0)], &[(1, 0.5)]);
        assert_eq!(p.size(1, &[0.9]), 0);
        assert_eq!(p.size(1, &[0.9, 0.8, 0.7]), 3);
        assert!(p.draft_first(1, &[], 0, Some(READY), 100));
    }

    #[test]
    fn plain_decoding_wins_where_drafts_cost_too_much() {
        let p = policy(Mode::Auto, &[(1, 10.0), (8, 60.0)], &[(1, 8.0)]);
        assert!(!p.draft_first(1, &[], 0, Some(READY), 100));
        let p = policy(Mode::Card, &[(1, 10.0), (8, 60.0)], &[(1, 8.0)]);
        assert!(p.draft_first(1, &[], 0, Some(READY), 100));
    }

    #[test]
    fn a_draft_model_prefills_only_if_enough_is_left() {
        let curve = &[(1, 10.0), (8, 12.0)];
        let p = policy(Mode::Auto, curve, &[(1, 1.0), (500, 100.0)]);
        let prompt = Outlook {
            reach: 1.0,
            rows: 500,
        };
        assert!(p.draft_first(1, &[], 0, Some(prompt), 100));
        assert!(!p.draft_first(1, &[], 0, Some(prompt), 5));
    }
}
