//! When to verify, how much, and when to draft: DESIGN §5, written out in docs/policy.md.
//!
//! One number ties it together: the rate λ (tokens per millisecond) this engine reaches.
//! Time is worth λ tokens per millisecond, so a candidate joins a forward if its reach
//! exceeds λ times what its row costs, and another draft step is taken if what it can
//! add exceeds λ times what it takes (the marginal form of maximising a ratio, Dinkelbach
//! 1967). λ is never below the rate of plain decoding, so what plain decoding does better
//! is left to it. Where text at hand leads, tokens come faster, so λ is not learned there,
//! and a token is worth less than elsewhere ([`worth`]).

mod rest;
mod worth;

use std::time::Duration;

use rest::Rest;
use serde::{Deserialize, Serialize};

use crate::cost::CostCurve;
use crate::types::{DRAFTERS, Rows, SequenceId, Source, Token};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lanes {
    /// They take turns on one.
    Shared,
    /// Each has its own.
    Disjoint,
}

/// What a drafter could do next.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// Who.
    pub source: Source,
    /// Reach of the best node it has not looked past.
    pub reach: f32,
    /// Rows of its next forward.
    pub rows: u32,
    /// The sequence of that node.
    pub sequence: SequenceId,
    /// Tokens from the last committed one to it; empty for that one itself.
    pub path: Vec<Token>,
}

/// What is there to decide on before a launch.
#[derive(Clone, Copy, Debug)]
pub struct Ready<'a> {
    /// What the forward decodes without any candidate.
    pub base: Base,
    /// The candidates that could join it, of the highest reach first.
    pub offers: &'a [Offer],
    /// Length of the longest path among them.
    pub depth: u32,
    /// Most tokens a sequence may still write.
    pub tokens_left: u32,
    /// Share of them that sources without a model are expected to propose.
    pub free: f64,
    /// Tokens written so far that those did not propose, of the sequence with most of them.
    pub missing: u32,
}

/// A candidate that could be verified.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offer {
    /// Probability that the target walks through it.
    pub reach: f32,
    /// What its token is worth, against one where nothing leads ([`Policy::worths`]).
    pub worth: f32,
}

impl Offer {
    /// What it can be expected to bring, in tokens where nothing leads.
    fn value(&self) -> f64 {
        f64::from(self.reach) * f64::from(self.worth)
    }
}

/// Expected tokens.
fn sum(offers: &[Offer]) -> f64 {
    offers.iter().map(|o| f64::from(o.reach)).sum()
}

/// A step a drafter could take.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Which.
    pub outlook: &'a Outlook,
    /// What other sources already proposed past the node the drafter would look past, by
    /// level.
    pub covered: &'a [Level],
    /// Probability that the drafter's best child is right
    /// ([`Acceptance::top`](crate::acceptance::Acceptance::top)).
    pub top: f32,
}

/// Candidates one, two, … tokens past a node, along the best of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Level {
    /// Probability that the target walks through the best one, once at the node.
    pub best: f32,
    /// Through any of its siblings or itself.
    pub any: f32,
}

/// The numbers behind the last round, for people (`--explain-policy`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Why {
    /// Drafters on lanes of their own rest: they cost more than they bring.
    pub rests: bool,
    /// What a millisecond is worth: tokens.
    pub rate: f64,
    /// Plain decoding's tokens per millisecond, all sequences together.
    pub plain: f64,
    /// Sequences that were decoded.
    pub sequences: u32,
    /// Candidates that were ready.
    pub ready: usize,
    /// Candidates that joined the forward.
    pub taken: usize,
    /// Tokens expected of the forward.
    pub expected: f64,
    /// Milliseconds expected of the forward.
    pub forward_ms: f64,
    /// Draft steps that were taken for it on a shared lane.
    pub drafted: u32,
    /// The best that drafting (or waiting) on promised when it was last asked for.
    pub next: Option<Next>,
}

/// What further draft steps promise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Next {
    /// How many.
    pub steps: u32,
    /// Tokens they are expected to add.
    pub tokens: f64,
    /// Milliseconds they take, in drafting and in a longer verification.
    pub ms: f64,
}

/// What the next forward decodes without any candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// Sequences, each of which gets at least one token.
    pub sequences: u32,
    /// Their rows: the last token of each, and what is to be decoded again.
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
/// Now and then auto decodes a round plainly, to know what that costs by now: every choice is
/// made against it, and a schedule that speculates would not see it change. What that loses
/// stays below this share of the time, so it is seldom where speculation is far ahead.
const REMEASURE: f64 = 0.005;
/// Where little is lost it is not done more often than if a plain round lost this share.
const LEAST_LOSS: f64 = 0.1;
/// Tokens a sequence is expected to have left when nothing is known.
const OUTLOOK_TOKENS: f64 = 96.0;
/// A drafter this far behind has to prefill, which is paid back over the whole sequence.
const PREFILL_ROWS: u32 = 24;
/// Where text at hand proposes something, so many tokens must have come otherwise before a
/// drafter reads the prompt: the first ones of an answer that copies are seldom there.
const EARLY: u32 = 8;
/// Tokens it does not propose come in runs of about so many, at least.
const RUN: f64 = 3.0;
/// Text at hand leads where a token of its is worth less than this.
const LEADS: f32 = 0.9;

/// The schedule, and what it has learned.
#[derive(Clone, Debug)]
pub struct Policy {
    config: PolicyConfig,
    /// Milliseconds of a target forward by rows, with the drafters as they are: at work or at
    /// rest.
    pub target: CostCurve,
    /// Whether they rest; `None` where they do not slow the target down.
    rest: Option<Rest>,
    /// Milliseconds of the draft models' forwards by rows.
    drafts: [CostCurve; DRAFTERS],
    rate: Rate,
    /// The same of rounds in which text at hand did not lead.
    unled: Rate,
    /// Whether it leads in the round at hand.
    led: bool,
    total_ms: f64,
    explored_ms: f64,
    /// Milliseconds since the last round without candidates.
    since_plain: f64,
    why: Why,
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
    pub fn new(config: PolicyConfig, target: CostCurve, drafts: [CostCurve; DRAFTERS]) -> Self {
        Policy {
            config,
            target,
            rest: None,
            drafts,
            rate: Rate::default(),
            unled: Rate::default(),
            led: false,
            total_ms: 0.0,
            explored_ms: 0.0,
            since_plain: f64::INFINITY,
            why: Why::default(),
        }
    }

    /// Drafters on lanes of their own slow the target down: without them its forwards take
    /// what `alone` says. They rest while they cost more than they bring.
    #[must_use]
    pub fn slowed_from(mut self, alone: CostCurve) -> Self {
        let apart = self.config.lanes == Lanes::Disjoint && !alone.is_empty();
        let rest = apart && self.config.mode == Mode::Auto;
        self.rest = rest.then(|| Rest::new(alone));
        self
    }

    /// Whether drafters on lanes of their own shall rest for now.
    pub fn drafters_rest(&self) -> bool {
        self.rest.as_ref().is_some_and(Rest::rests)
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

    /// Worth of time: tokens per millisecond with these sequences decoding, where text at
    /// hand does not lead.
    pub fn rate(&self, base: Base) -> f64 {
        self.plain_rate(base.sequences).max(self.unled.get())
    }

    /// What the tokens of a chain of text at hand are worth in a forward that decodes `base`
    /// anyway: one each, for a token where nothing leads. `chances` are their probabilities,
    /// each given that those before are right, up to the last one that is wanted; a forward
    /// carries `most` of them.
    pub fn worths(&self, base: Base, chances: &[f32], most: usize) -> Vec<f32> {
        let forward = |n: usize| self.target.ms(base.rows + n as u32);
        // Of what it decodes anyway, a sequence's share.
        let others = forward(0) * (1.0 - 1.0 / f64::from(base.sequences.max(1)));
        let most = most.min(chances.len());
        let verify: Vec<f64> = (0..=most).map(|n| forward(n) - others).collect();
        worth::worths(chances, self.rate(base), &verify)
    }

    fn plain_rate(&self, sequences: u32) -> f64 {
        // Alone, if that is faster.
        let other = self.rest.iter().map(|r| r.other.ms(sequences));
        let ms = other.fold(self.target.ms(sequences), f64::min);
        f64::from(sequences.max(1)) / ms
    }

    /// How many of the candidates (of the highest reach first) join a forward that decodes
    /// `base` anyway.
    pub fn size(&mut self, base: Base, offers: &[Offer]) -> usize {
        let size = match self.config.mode {
            Mode::Plain => 0,
            Mode::DraftThenVerify => offers.len(),
            _ if self.remeasures(base) => 0,
            Mode::Card | Mode::Auto => {
                let least = usize::from(self.config.mode == Mode::Card).min(offers.len());
                self.best_size(base, offers, least).0
            }
        };
        self.led = offers.first().is_some_and(|o| o.worth < LEADS);
        self.why.rate = self.rate(base);
        self.why.ready = offers.len();
        self.why.taken = size;
        self.why.expected = f64::from(base.sequences) + sum(&offers[..size]);
        self.why.forward_ms = self.target.ms(base.rows + size as u32);
        size
    }

    /// Whether the next round is a plain one, to measure it.
    fn remeasures(&self, base: Base) -> bool {
        let plain = self.target.ms(base.sequences);
        let rate = self.plain_rate(base.sequences).max(self.rate.get());
        let loss = plain - f64::from(base.sequences) / rate;
        let due = REMEASURE * self.since_plain >= loss.max(LEAST_LOSS * plain);
        self.config.mode == Mode::Auto && due
    }

    /// The numbers behind the round that is launched with `base`; the next one begins anew.
    pub fn take_why(&mut self, base: Base) -> Why {
        Why {
            rests: self.drafters_rest(),
            plain: self.plain_rate(base.sequences),
            sequences: base.sequences,
            ..std::mem::take(&mut self.why)
        }
    }

    /// Size of most worth, at least `least`, and that worth (tokens, time priced at λ).
    fn best_size(&self, base: Base, offers: &[Offer], least: usize) -> (usize, f64) {
        let rate = self.rate(base);
        let worth = |sum: f64, n: usize| sum - rate * self.target.ms(base.rows + n as u32);
        let mut sum: f64 = offers[..least].iter().map(|o| o.value()).sum();
        let mut best = (least, worth(sum, least));
        for (i, offer) in offers.iter().enumerate().skip(least) {
            sum += offer.value();
            let value = worth(sum, i + 1);
            if value > best.1 {
                best = (i + 1, value);
            }
        }
        best
    }

    /// Who should take a draft step on the shared lane before the target launches, if anyone.
    pub fn draft_first(&mut self, ready: &Ready, steps: &[Step]) -> Option<Source> {
        let chosen = match self.config.mode {
            Mode::Plain => None,
            _ if self.remeasures(ready.base) => None,
            Mode::DraftThenVerify => {
                let first = steps
                    .first()
                    .filter(|_| ready.depth < self.config.draft_len);
                first.map(|s| s.outlook.source)
            }
            Mode::Card | Mode::Auto => self.draft_on(ready, steps),
        };
        self.why.drafted += u32::from(chosen.is_some());
        chosen
    }

    fn draft_on(&mut self, ready: &Ready, steps: &[Step]) -> Option<Source> {
        let behind = |s: &&Step| s.outlook.rows >= PREFILL_ROWS;
        let at_work: Vec<&Step> = steps.iter().filter(|s| !behind(s)).collect();
        let mut best: Option<(f64, Next, Source)> = None;
        for step in at_work.iter().copied() {
            let Outlook { source, rows, .. } = *step.outlook;
            // A drafter that is used again has to catch up anyway, and later with more rows;
            // so that is no part of what this round's drafts cost.
            let rows = match rows > 1 && self.catching_up_pays(ready, step, &at_work) {
                true => 1,
                false => rows,
            };
            let first = self.draft_cost(source).ms(rows);
            let (value, next) = self.steps_worth(ready, step, first);
            if best.is_none_or(|b| value > b.0) {
                best = Some((value, next, source));
            }
        }
        self.why.next = best.map(|b| b.1);
        if let Some((_, _, source)) = best.filter(|b| b.0 > 0.0) {
            return Some(source);
        }
        // A drafter that has to read the prompt first must be better than those that did.
        let late = steps.iter().filter(behind).find(|s| {
            let needed = self.config.mode == Mode::Card && at_work.is_empty();
            let early = !s.covered.is_empty() && ready.missing < EARLY;
            needed || !early && self.catching_up_pays(ready, s, &at_work)
        });
        if let Some(step) = late {
            return Some(step.outlook.source);
        }
        // Nothing at hand and drafting looks bad: CARD drafts one step all the same; auto
        // only now and then, to notice when things change.
        let idle = ready.offers.is_empty();
        let tried = at_work.into_iter().find(|s| {
            let Outlook { source, rows, .. } = *s.outlook;
            self.config.mode == Mode::Card || self.may_explore(ready.base, source, rows)
        });
        tried.filter(|_| idle).map(|s| s.outlook.source)
    }

    /// Whether the target should wait for drafts that come from another lane: until then it
    /// is idle, while drafting goes on either way, so what waiting adds is what the next
    /// step puts behind the best open candidate, which `step` looks past. `answer` are the
    /// milliseconds after which the drafter's word on the last commit is due, if that is
    /// what is waited for and known.
    pub fn wait_first(&mut self, ready: &Ready, step: &Step, answer: Option<f64>) -> bool {
        let speculates = matches!(self.config.mode, Mode::Card | Mode::Auto);
        let cost = self.draft_cost(step.outlook.source);
        if !speculates || cost.is_empty() || self.remeasures(ready.base) {
            return false;
        }
        let first = answer.unwrap_or_else(|| cost.ms(1));
        let (value, next) = self.steps_worth(ready, step, first);
        self.why.next = Some(next);
        value > 0.0
    }

    fn draft_cost(&self, source: Source) -> &CostCurve {
        &self.drafts[source.drafter().unwrap_or(0)]
    }

    /// What the best number of draft steps is worth against launching now (tokens, time
    /// priced at λ). The first is `step` and takes `cost` milliseconds.
    fn steps_worth(&self, ready: &Ready, step: &Step, mut cost: f64) -> (f64, Next) {
        let base = ready.base;
        let rate = self.rate(base);
        let Outlook { source, reach, .. } = *step.outlook;
        let draft = self.draft_cost(source);
        let expected =
            |offers: &[Offer], n: usize| (sum(&offers[..n]), self.target.ms(base.rows + n as u32));
        let (n, now) = self.best_size(base, ready.offers, 0);
        let (kept, before) = expected(ready.offers, n);
        let mut offers = ready.offers.to_vec();
        let mut walked = 1.0;
        let mut best = (f64::NEG_INFINITY, Next::default());
        let room = ready
            .tokens_left
            .saturating_sub(step.outlook.path.len() as u32 + 1);
        for steps in 1..=LOOKAHEAD.min(room) {
            walked *= step.top;
            // A draft adds a candidate, or makes one that is there surer.
            let known = step.covered.get(steps as usize - 1);
            let known = known.copied().unwrap_or_default();
            let new = (walked - known.any).max(0.0);
            if new > 0.0 {
                let surer = offers.iter().position(|o| o.reach <= reach * known.best);
                let replaced = surer.filter(|_| known.best > 0.0);
                let worth = replaced.map_or(1.0, |place| offers.remove(place).worth);
                let reach = reach * (known.best + new);
                let place = offers.partition_point(|o| o.reach >= reach);
                offers.insert(place, Offer { reach, worth });
            }
            let (n, value) = self.best_size(base, &offers, 0);
            let value = value - rate * cost - now;
            if value > best.0 {
                let (tokens, forward) = expected(&offers, n);
                let next = Next {
                    steps,
                    tokens: tokens - kept,
                    ms: cost + forward - before,
                };
                best = (value, next);
            }
            cost += draft.ms(1);
        }
        best
    }

    /// Tokens per millisecond that this drafter alone can be expected to bring about.
    fn promise_of(&self, step: &Step) -> f64 {
        let draft = self.draft_cost(step.outlook.source);
        promise(self.config.lanes, step.top.into(), &self.target, draft).0
    }

    /// Whether a drafter that is far behind earns back what catching up takes, compared with
    /// what there is without it: plain decoding, the drafters at work, and what this round's
    /// candidates promise. The rate reached so far says nothing of that: this drafter may be
    /// what brought it about, in the sequences before.
    fn catching_up_pays(&self, ready: &Ready, late: &Step, at_work: &[&Step]) -> bool {
        let (n, _) = self.best_size(ready.base, ready.offers, 0);
        let kept = sum(&ready.offers[..n]);
        let now =
            (f64::from(ready.base.sequences) + kept) / self.target.ms(ready.base.rows + n as u32);
        let Outlook { source, rows, .. } = *late.outlook;
        let others = at_work.iter().filter(|s| s.outlook.source != source);
        let others = others.map(|s| self.promise_of(s));
        let plain = self.plain_rate(ready.base.sequences);
        let without = others.fold(now.max(plain), f64::max);
        let with = self.promise_of(late).max(without);
        let left = f64::from(ready.tokens_left).min(OUTLOOK_TOKENS);
        let run = match late.covered.is_empty() {
            true => RUN.min(left),
            false => 0.0,
        };
        let left = run + (left - run) * (1.0 - ready.free);
        left / without - left / with > self.draft_cost(source).ms(rows)
    }

    /// Whether a draft step that does not look profitable may be tried all the same:
    /// if the best imaginable drafter would pay, and the time budget allows.
    fn may_explore(&self, base: Base, source: Source, rows: u32) -> bool {
        let draft = self.draft_cost(source);
        let cost = draft.ms(rows) + self.target.ms(base.rows + 1) - self.target.ms(base.rows);
        let imaginable = (1..=LOOKAHEAD).any(|k| {
            let time =
                draft.ms(rows) + draft.ms(1) * f64::from(k - 1) + self.target.ms(base.rows + k)
                    - self.target.ms(base.rows);
            f64::from(k) > self.rate(base) * time
        });
        imaginable && self.explored_ms + cost < EXPLORE * self.total_ms
    }

    /// Longest the target ever waits for a drafter, whatever that says of itself.
    pub const PATIENCE: Duration = Duration::from_secs(5);

    /// Longest the target should wait for the drafter in [`Mode::DraftThenVerify`] on
    /// lanes of their own, before it goes on with what there is; at most
    /// [`Policy::PATIENCE`].
    pub fn patience(&self) -> Duration {
        let steps = f64::from(self.config.draft_len) + 2.0;
        let cost = self.draft_cost(Source::Draft);
        let most = Policy::PATIENCE.as_secs_f64() * 1e3;
        let ms = if cost.is_empty() {
            most
        } else {
            (8.0 * steps * cost.ms(1)).clamp(1000.0, most)
        };
        Duration::from_secs_f64(ms / 1e3)
    }

    /// Learns from a draft step: who, rows, time.
    pub fn drafted(&mut self, source: Source, rows: Rows, elapsed: Duration) {
        if let Some(i) = source.drafter() {
            self.drafts[i].observe(rows.get(), elapsed);
        }
    }

    /// Learns from a round: rows of the forward, its time, time since the round before
    /// ended (drafting and waiting included), tokens committed.
    pub fn verified(
        &mut self,
        base: Base,
        rows: u32,
        forward: Duration,
        round: Duration,
        tokens: u32,
    ) {
        self.target.observe(rows, forward);
        let ms = round.as_secs_f64() * 1e3;
        self.since_plain = match rows > base.rows {
            true => self.since_plain + ms,
            false => 0.0,
        };
        self.rate.add(f64::from(tokens), ms);
        let at_work = !self.led && !self.drafters_rest();
        if at_work {
            self.unled.add(f64::from(tokens), ms);
        }
        self.total_ms += ms;
        let plain_rate = self.plain_rate(base.sequences);
        let plain = f64::from(tokens) / plain_rate;
        if let Some(rest) = &mut self.rest {
            let gain = if at_work {
                (plain - ms) * plain_rate
            } else {
                0.0
            };
            let lose = self.unled.get() < plain_rate;
            rest.settle(gain, EXPLORE * f64::from(tokens), lose, &mut self.target);
        }
        // What this round lost against plain decoding counts as exploration.
        if ms > plain && self.config.mode == Mode::Auto {
            self.explored_ms += ms - plain;
        } else {
            self.explored_ms = (self.explored_ms - 0.5 * (plain - ms)).max(0.0);
        }
    }
}

/// Tokens per millisecond to expect of the best number of candidates, one behind the
/// other, if a draft is right with probability `top`; and that number, 0 for plain
/// decoding. The two curves are milliseconds of the target's and the drafter's forwards.
pub fn promise(lanes: Lanes, top: f64, target: &CostCurve, draft: &CostCurve) -> (f64, u32) {
    let rates = promises(lanes, top, target, draft);
    rates.fold((0.0, 0), |best, r| if r.0 > best.0 { r } else { best })
}

/// What [`promise`] chooses from: (tokens per millisecond, chain length), from no chain on.
pub fn promises(
    lanes: Lanes,
    top: f64,
    target: &CostCurve,
    draft: &CostCurve,
) -> impl Iterator<Item = (f64, u32)> {
    /// Share of corrections that are in the cache; a miss costs two draft steps of waiting.
    const HITS: f64 = 0.8;
    const LONGEST: u32 = 16;
    let step = draft.ms(1);
    let rate = move |k: u32| {
        let tokens: f64 = (0..=k).map(|j| top.powi(j as i32)).sum();
        let verify = target.ms(1 + k);
        let ms = match lanes {
            Lanes::Shared => f64::from(k) * step + verify,
            Lanes::Disjoint if k == 0 => verify,
            Lanes::Disjoint => verify.max(f64::from(k) * step) + (1.0 - HITS) * 2.0 * step,
        };
        (tokens / ms, k)
    };
    (0..=LONGEST).map(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(mode: Mode, target: &[(u32, f64)], draft: &[(u32, f64)]) -> Policy {
        let mut policy = Policy::new(
            PolicyConfig {
                mode,
                lanes: Lanes::Shared,
                draft_len: 4,
            },
            CostCurve::from_points(target.iter().copied()),
            [
                CostCurve::from_points(draft.iter().copied()),
                CostCurve::default(),
            ],
        );
        // Plain decoding was measured a moment ago.
        policy.since_plain = 0.0;
        policy
    }

    #[test]
    fn time_in_which_text_at_hand_leads_does_not_make_the_rest_precious() {
        let mut p = policy(Mode::Auto, &[(1, 10.0), (33, 42.0)], &[(1, 1.0)]);
        let ms = Duration::from_millis;
        let worths = p.worths(ONE, &[0.97; 32], 64);
        assert!(worths[0] < LEADS, "{worths:?}");
        let led: Vec<Offer> = worths
            .iter()
            .map(|&worth| Offer { reach: 0.9, worth })
            .collect();
        for _ in 0..20 {
            p.size(ONE, &led);
            p.verified(ONE, 20, ms(30), ms(30), 15);
        }
        assert_eq!(p.rate(ONE), p.plain_rate(1));
        // Where it ends, a row of 1 ms is worth a candidate of 0.2 again.
        assert_eq!(p.size(ONE, &offers(&[0.2])), 1);
        p.verified(ONE, 5, ms(14), ms(20), 4);
        assert!(p.rate(ONE) > 0.19);
    }

    #[test]
    fn plain_decoding_is_measured_now_and_then() {
        // Rounds of 10 ms with so many tokens, until one is a plain one.
        let rounds = |tokens: u32| {
            let mut p = policy(Mode::Auto, &[(1, 10.0), (8, 10.1)], &[(1, 1.0)]);
            let ms = Duration::from_millis(10);
            let mut rounds = 0;
            while p.size(ONE, &offers(&[0.9])) == 1 {
                p.verified(ONE, 2, ms, ms, tokens);
                rounds += 1;
            }
            p.verified(ONE, 1, ms, ms, 1);
            assert_eq!(p.size(ONE, &offers(&[0.9])), 1, "and then it goes on");
            rounds
        };
        // Of five tokens, a plain round loses 8 ms, which is half a per cent of 1600.
        assert_eq!(rounds(5), 160);
        assert_eq!(rounds(2), 100);
        assert_eq!(rounds(1), 20);
    }

    const TOP: f32 = 0.75;
    const ONE: Base = Base {
        sequences: 1,
        rows: 1,
    };

    /// Candidates where nothing leads.
    fn offers(reaches: &[f32]) -> Vec<Offer> {
        let offer = |&reach| Offer { reach, worth: 1.0 };
        reaches.iter().map(offer).collect()
    }

    /// A drafter that would look past the last token, with so many rows to decode.
    fn outlook(rows: u32) -> Outlook {
        Outlook {
            source: Source::Draft,
            reach: 1.0,
            rows,
            sequence: SequenceId(1),
            path: Vec::new(),
        }
    }

    /// Nothing is cached.
    fn empty(tokens_left: u32) -> Ready<'static> {
        Ready {
            base: ONE,
            offers: &[],
            depth: 0,
            tokens_left,
            free: 0.0,
            missing: 0,
        }
    }

    fn drafts(p: &mut Policy, ready: &Ready, outlook: &Outlook, covered: &[f32]) -> bool {
        let level = |&p: &f32| Level { best: p, any: p };
        let covered: Vec<Level> = covered.iter().map(level).collect();
        let step = Step {
            outlook,
            covered: &covered,
            top: TOP,
        };
        p.draft_first(ready, &[step]).is_some()
    }

    #[test]
    fn verifies_only_rows_that_pay() {
        // A free row is worth taking, one that costs a whole forward is not.
        let mut flat = policy(Mode::Auto, &[(1, 10.0), (8, 10.1)], &[(1, 1.0)]);
        assert_eq!(flat.size(ONE, &offers(&[0.9, 0.5, 0.2])), 3);
        let mut steep = policy(Mode::Auto, &[(1, 10.0), (2, 20.0), (4, 40.0)], &[(1, 1.0)]);
        assert_eq!(steep.size(ONE, &offers(&[0.9, 0.5, 0.2])), 0);
        let mut plain = policy(Mode::Plain, &[(1, 10.0), (8, 10.1)], &[(1, 1.0)]);
        assert_eq!(plain.size(ONE, &offers(&[0.9, 0.5, 0.2])), 0);
    }

    #[test]
    fn sees_past_a_step_in_the_cost_curve() {
        // The second row doubles the cost, fourteen more are free.
        let mut p = policy(Mode::Auto, &[(1, 10.0), (2, 20.0), (16, 20.0)], &[(1, 0.5)]);
        assert_eq!(p.size(ONE, &offers(&[0.9])), 0);
        assert_eq!(p.size(ONE, &offers(&[0.9, 0.8, 0.7])), 3);
        assert!(drafts(&mut p, &empty(100), &outlook(1), &[]));
    }

    #[test]
    fn plain_decoding_wins_where_drafts_cost_too_much() {
        let mut p = policy(Mode::Auto, &[(1, 10.0), (8, 60.0)], &[(1, 8.0)]);
        assert!(!drafts(&mut p, &empty(100), &outlook(1), &[]));
        let mut p = policy(Mode::Card, &[(1, 10.0), (8, 60.0)], &[(1, 8.0)]);
        assert!(drafts(&mut p, &empty(100), &outlook(1), &[]));
    }

    #[test]
    fn a_draft_model_prefills_only_if_enough_is_left() {
        let curve = &[(1, 10.0), (8, 12.0)];
        let mut p = policy(Mode::Auto, curve, &[(1, 1.0), (500, 100.0)]);
        assert!(drafts(&mut p, &empty(100), &outlook(500), &[]));
        assert!(!drafts(&mut p, &empty(5), &outlook(500), &[]));
    }

    #[test]
    fn a_draft_model_does_not_read_for_what_is_proposed_without_it() {
        let curve = &[(1, 10.0), (8, 12.0)];
        let mut p = policy(Mode::Auto, curve, &[(1, 1.0), (200, 200.0)]);
        assert!(drafts(&mut p, &empty(100), &outlook(200), &[]));
        let ready = Ready {
            free: 0.9,
            missing: EARLY,
            ..empty(100)
        };
        assert!(!drafts(&mut p, &ready, &outlook(200), &[0.2]));
        let ready = Ready {
            free: 0.95,
            ..ready
        };
        assert!(!drafts(&mut p, &ready, &outlook(200), &[]));
    }

    #[test]
    fn a_draft_model_does_not_read_for_the_first_words_before_a_copy() {
        let curve = &[(1, 10.0), (8, 12.0)];
        let mut p = policy(Mode::Auto, curve, &[(1, 1.0), (200, 100.0)]);
        let hand = [0.2];
        let mut reads = |missing, covered: &[f32]| {
            let ready = Ready {
                missing,
                ..empty(100)
            };
            drafts(&mut p, &ready, &outlook(200), covered)
        };
        assert!(reads(1, &[]));
        assert!(!reads(1, &hand));
        assert!(reads(EARLY, &hand));
    }

    #[test]
    fn a_drafter_left_behind_by_a_copy_catches_up_where_that_ends() {
        let curve = &[(1, 10.0), (8, 12.0)];
        let mut p = policy(Mode::Auto, curve, &[(1, 1.0), (40, 15.0)]);
        let ready = Ready {
            free: 0.99,
            missing: EARLY,
            ..empty(60)
        };
        assert!(!drafts(&mut p, &ready, &outlook(40), &[0.2]));
        assert!(drafts(&mut p, &ready, &outlook(40), &[]));
    }

    #[test]
    fn a_drafter_is_not_measured_against_what_it_brought_about_before() {
        let mut p = policy(Mode::Auto, &[(1, 10.0), (8, 12.0)], &[(1, 1.0), (50, 10.0)]);
        // With it, earlier sequences went as fast as it promises.
        for _ in 0..40 {
            let ms = Duration::from_millis;
            p.verified(ONE, 8, ms(12), ms(20), 5);
        }
        assert!(drafts(&mut p, &empty(100), &outlook(50), &[]));
    }

    #[test]
    fn a_drafter_that_others_left_behind_catches_up() {
        let mut p = policy(Mode::Auto, &[(1, 10.0), (8, 12.0)], &[(1, 1.0), (12, 12.0)]);
        // A time in which text at hand was right, and made time precious.
        for _ in 0..40 {
            let ms = Duration::from_millis(12);
            p.verified(ONE, 8, ms, ms, 3);
        }
        assert!(drafts(&mut p, &empty(100), &outlook(12), &[]));
        // Not for the last few tokens.
        assert!(!drafts(&mut p, &empty(1), &outlook(12), &[]));
    }

    #[test]
    fn a_draft_may_take_the_place_of_a_worse_candidate() {
        // Four candidates fit, a fifth costs a forward. Those at hand are doubtful.
        let mut p = policy(Mode::Auto, &[(1, 10.0), (5, 10.1), (6, 20.0)], &[(1, 1.0)]);
        let known = [0.4, 0.2, 0.1, 0.05];
        let ready = Ready {
            offers: &offers(&known),
            depth: 4,
            ..empty(100)
        };
        assert!(drafts(&mut p, &ready, &outlook(1), &known));
    }

    #[test]
    fn does_not_draft_what_others_proposed_already() {
        let mut p = policy(Mode::Auto, &[(1, 10.0), (8, 12.0)], &[(1, 2.0)]);
        let known = [0.9, 0.88, 0.86, 0.85];
        let ready = Ready {
            offers: &offers(&known),
            depth: 4,
            ..empty(100)
        };
        let covered = [
            0.9, 0.88, 0.86, 0.85, 0.84, 0.83, 0.82, 0.8, 0.8, 0.8, 0.8, 0.8,
        ];
        assert!(!drafts(&mut p, &ready, &outlook(1), &covered));
        assert!(drafts(&mut p, &ready, &outlook(1), &[]));
    }

    #[test]
    fn of_two_drafters_the_one_that_brings_more_per_millisecond_steps() {
        let mut p = policy(Mode::Auto, &[(1, 10.0), (16, 12.0)], &[(1, 2.0)]);
        p.drafts[1] = CostCurve::from_points([(1, 0.5)]);
        let second = Outlook {
            source: Source::Draft2,
            ..outlook(1)
        };
        let first = outlook(1);
        let mut steps = [&first, &second].map(|outlook| Step {
            outlook,
            covered: &[],
            top: TOP,
        });
        assert_eq!(p.draft_first(&empty(100), &steps), Some(Source::Draft2));
        // If it is never right it does not.
        steps[1].top = 0.01;
        assert_eq!(p.draft_first(&empty(100), &steps), Some(Source::Draft));
    }

    #[test]
    fn whatever_a_drafter_says_of_its_time_waiting_is_bounded() {
        let mut p = policy(Mode::DraftThenVerify, &[(1, 10.0)], &[]);
        assert!(p.patience() <= Policy::PATIENCE);
        for rows in [1, 2, Rows::MOST] {
            for elapsed in [Duration::MAX, Duration::ZERO] {
                p.drafted(Source::Draft, Rows::new(rows).unwrap(), elapsed);
                assert!(p.patience() <= Policy::PATIENCE);
                assert!(p.patience() >= Duration::from_secs(1));
            }
        }
    }

    #[test]
    fn waits_for_a_first_candidate_but_not_for_the_last_bit() {
        // A target forward takes seven draft steps, whatever it verifies.
        let mut p = policy(Mode::Card, &[(1, 70.0), (64, 70.0)], &[(1, 10.0)]);
        for _ in 0..30 {
            p.verified(
                ONE,
                8,
                Duration::from_millis(70),
                Duration::from_millis(70),
                5,
            );
        }
        let behind = |reach| Outlook {
            reach,
            ..outlook(1)
        };
        let mut waits = |ready: &Ready, reach| {
            let step = Step {
                outlook: &behind(reach),
                covered: &[],
                top: TOP,
            };
            p.wait_first(ready, &step, None)
        };
        assert!(waits(&empty(100), 1.0));
        let deep = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.35];
        let ready = Ready {
            offers: &offers(&deep),
            depth: 7,
            ..empty(100)
        };
        assert!(!waits(&ready, 0.3));
    }
}
