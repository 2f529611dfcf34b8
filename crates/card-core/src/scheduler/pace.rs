//! How much of a prompt is read at a time, while other sequences decode.
//!
//! Those that decode wait for every forward that reads a prompt. So a piece of a prompt has as
//! many rows as keep the longest gap between two of their tokens within a bound, by the target's
//! cost curve. A prompt that nobody waits for is read in the largest pieces.
//!
//! Let a forward of n rows take a + b·n milliseconds, and the bound be four forwards of one row.
//! A piece then has about 3·(a + b)/b rows, and a prompt is read at 4/3·b milliseconds a token at
//! most, where b is what the largest pieces come to. So a bound in forwards costs a prompt a third
//! of its time at most, and hardly any where rows are cheap.

use std::time::Duration;

use super::config::SchedulerConfig;
use crate::policy::Policy;

/// A gap of so many milliseconds is always allowed.
const SHORT_MS: f64 = 250.0;
/// A gap may last as long as so many forwards that only decode.
const FORWARDS: f64 = 4.0;
/// Part of the bound that is aimed at, since a forward seldom takes what is expected.
const AIM: f64 = 0.9;
/// Part of the bound that is used where a prompt would be slowed down much otherwise.
const MOST: f64 = 0.97;
/// A prompt is slowed down much if a token of it takes so many times longer than in a forward
/// of the most rows.
const MUCH: f64 = 1.2;
/// Where prompts are read in forwards of their own: these may take so many times as long as a
/// forward that decodes, before that one has its turn. The gap may allow less.
const READING: f64 = 6.0;
/// A drafter may always begin a step if sequences have waited for less than this part of the gap.
const SOON: f64 = 0.05;
/// Weight of a new forward in the mean.
const GAIN: f64 = 0.5;

/// The pace at which prompts are read beside sequences that decode.
#[derive(Debug)]
pub(super) struct PromptPace {
    /// The last forward read a prompt.
    prefilled: bool,
    /// When the last forward ended in which those that decode had rows.
    decoded: Duration,
    /// How many times longer forwards that read prompts take than the cost curve says: they take
    /// longer the further the prompt goes.
    slower: f64,
    /// Rows of the last forward that read a prompt, and its milliseconds.
    last: Option<(usize, f64)>,
}

impl Default for PromptPace {
    fn default() -> Self {
        PromptPace {
            prefilled: false,
            decoded: Duration::ZERO,
            slower: 1.0,
            last: None,
        }
    }
}

impl PromptPace {
    /// The longest gap, in milliseconds, between two tokens of sequences that decode `beside`
    /// rows with each forward.
    fn longest_gap(policy: &Policy, beside: u32) -> f64 {
        SHORT_MS.max(FORWARDS * policy.target_cost().ms(beside))
    }

    /// Prompt tokens that the next forward may read, while sequences that decode have `beside`
    /// rows to decode.
    pub(super) fn piece(&self, config: &SchedulerConfig, policy: &Policy, beside: u32) -> usize {
        let most = config.prefill_rows.max(1);
        let shapes = config.shapes;
        // Where generations run one after the other, none waits for a prompt.
        if beside == 0 || shapes.alone || shapes.whole_pieces {
            return most;
        }
        let gap = PromptPace::longest_gap(policy, beside);
        let cost = policy.target_cost();
        let within = |ms: f64, beside| cost.rows_within(ms / self.slower, beside, most);
        if shapes.prefill_alone {
            return within(AIM * gap - cost.ms(beside), 0);
        }
        let piece = within(AIM * gap, beside);
        let per_token = |rows: usize| cost.ms(beside + rows as u32) / rows as f64;
        let whole = cost.ms(most as u32) / most as f64;
        let piece = if per_token(piece) > MUCH * whole {
            within(MOST * gap, beside)
        } else {
            piece
        };
        let so_far = self.rows_as_last(AIM * gap, cost.ms(beside), beside);
        piece.min(so_far.unwrap_or(piece))
    }

    /// Prompt tokens whose forward takes `ms` at most, if each costs what one of the last forward
    /// did. The cost curve learns one number of rows at a time, so it may be behind for others.
    fn rows_as_last(&self, ms: f64, beside_ms: f64, beside: u32) -> Option<usize> {
        let (rows, took_ms) = self.last?;
        let read = rows.checked_sub(beside as usize).filter(|read| *read > 0)?;
        let row_ms = (took_ms - beside_ms) / read as f64;
        (row_ms > 0.0).then(|| (((ms - beside_ms) / row_ms) as usize).max(1))
    }

    /// Whether those that decode have the next forward, where prompts are read in forwards of
    /// their own. They never have two in a row while a prompt is to be read.
    pub(super) fn are_others_due(
        &self,
        config: &SchedulerConfig,
        policy: &Policy,
        beside: u32,
        now: Duration,
    ) -> bool {
        if !self.prefilled || beside == 0 {
            return false;
        }
        let piece = self.piece(config, policy, beside) as u32;
        let next_ms = self.slower * policy.target_cost().ms(piece);
        let gap = PromptPace::longest_gap(policy, beside);
        let step_ms = policy.target_cost().ms(beside);
        self.waited_ms(now) + next_ms > (AIM * gap - step_ms).min(READING * step_ms)
    }

    /// Whether there is time for a step of `step_ms` milliseconds before the next forward, which
    /// decodes `beside` rows of several sequences.
    pub(super) fn leaves_time(
        &self,
        policy: &Policy,
        beside: u32,
        step_ms: f64,
        now: Duration,
    ) -> bool {
        let gap = PromptPace::longest_gap(policy, beside);
        let forward_ms = policy.target_cost().ms(beside);
        let waited_ms = self.waited_ms(now);
        waited_ms < SOON * gap || waited_ms + step_ms + forward_ms <= AIM * gap
    }

    /// Milliseconds for which those that decode have waited.
    fn waited_ms(&self, now: Duration) -> f64 {
        now.saturating_sub(self.decoded).as_secs_f64() * 1e3
    }

    /// The first sequence begins: nobody has waited yet.
    pub(super) fn begin(&mut self, now: Duration) {
        self.decoded = now;
    }

    /// A forward begins that reads a prompt, or none.
    pub(super) fn launch(&mut self, prefills: bool) {
        self.prefilled = prefills;
    }

    /// No sequence runs any more.
    pub(super) fn forget(&mut self) {
        self.prefilled = false;
        self.last = None;
    }

    /// A forward is over `now`, in which sequences that decode had rows or not.
    pub(super) fn landed(&mut self, decoded: bool, now: Duration) {
        if decoded {
            self.decoded = now;
        }
    }

    /// Learns from a forward of so many rows that read a prompt and was `expected_ms` long by the
    /// cost curve.
    pub(super) fn observe(&mut self, rows: usize, expected_ms: f64, elapsed: Duration) {
        let took_ms = elapsed.as_secs_f64() * 1e3;
        self.last = Some((rows, took_ms));
        let ratio = took_ms / expected_ms.max(1e-6);
        self.slower += GAIN * (ratio.clamp(1.0, 4.0) - self.slower);
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Shapes;
    use super::*;
    use crate::cost::CostCurve;
    use crate::forward::{Limits, Rollback};
    use crate::policy::{Mode, PolicyConfig};
    use crate::protocol::Lanes;

    fn config(shapes: Shapes) -> SchedulerConfig {
        SchedulerConfig {
            limits: Limits {
                context: 8192,
                cells: 1 << 16,
                rows: 512,
                leaves: 8,
                rollback: Rollback::Free,
            },
            vocab: 20,
            shapes,
            prefill_rows: 256,
            cache_bytes: 1 << 14,
            prefix_slots: 1,
            lookup: false,
            trace: false,
            near_tie: 0.0,
        }
    }

    /// A policy on a target whose forwards take `base + row * rows` milliseconds.
    fn policy(base: f64, row: f64) -> Policy {
        let settings = PolicyConfig {
            mode: Mode::Auto,
            lanes: Lanes::Shared,
            draft_len: 4,
        };
        let points = [1, 256].map(|rows| (rows, base + row * f64::from(rows)));
        let drafts = [CostCurve::default(), CostCurve::default()];
        Policy::new(settings, CostCurve::from_points(points), drafts)
    }

    #[test]
    fn a_piece_is_as_large_as_the_gap_allows_and_the_largest_where_nobody_waits() {
        let pace = PromptPace::default();
        let free = config(Shapes::FREE);
        let processor = policy(25.0, 4.0);
        assert_eq!(pace.piece(&free, &processor, 0), 256);
        // 225 of 250 ms.
        assert_eq!(pace.piece(&free, &processor, 1), 48);
        // 64 sequences make a forward of 281 ms, of which four are allowed.
        let beside_many = pace.piece(&free, &processor, 64);
        assert!((160..200).contains(&beside_many), "{beside_many}");
        // On a device whose rows are nearly free nobody notices.
        assert_eq!(pace.piece(&free, &policy(15.0, 0.1), 8), 256);
        // Where pieces change logits, they stay what they are.
        let whole = config(Shapes {
            whole_pieces: true,
            ..Shapes::FREE
        });
        assert_eq!(pace.piece(&whole, &processor, 1), 256);
    }

    #[test]
    fn the_whole_bound_is_used_where_a_prompt_would_be_slowed_down_much() {
        // 28 rows would take less than 225 ms, and 7.6 ms each where 256 take 6.2 ms each.
        let slow = policy(40.0, 6.0);
        let pace = PromptPace::default();
        assert_eq!(pace.piece(&config(Shapes::FREE), &slow, 1), 32);
    }

    #[test]
    fn a_prompt_that_reads_slower_further_on_is_read_in_smaller_pieces() {
        let (free, processor) = (config(Shapes::FREE), policy(25.0, 4.0));
        let mut pace = PromptPace::default();
        for _ in 0..20 {
            pace.observe(1, 100.0, Duration::from_millis(200));
        }
        assert_eq!(pace.piece(&free, &processor, 1), 20);
        // It is never read faster than the curve says, in what is expected.
        for _ in 0..20 {
            pace.observe(1, 100.0, Duration::from_millis(1));
        }
        assert_eq!(pace.piece(&free, &processor, 1), 48);
    }

    #[test]
    fn forwards_of_their_own_take_turns_when_the_gap_would_be_too_long() {
        let apart = config(Shapes {
            prefill_alone: true,
            ..Shapes::FREE
        });
        let device = policy(15.0, 0.1);
        let ms = Duration::from_millis;
        let mut pace = PromptPace::default();
        pace.begin(ms(1000));
        assert!(
            !pace.are_others_due(&apart, &device, 1, ms(1000)),
            "a prompt comes first"
        );
        // Pieces of 41 ms: one is over, and a second one fits into six forwards of 15 ms.
        pace.launch(true);
        assert!(!pace.are_others_due(&apart, &device, 1, ms(1041)));
        assert!(pace.are_others_due(&apart, &device, 1, ms(1082)));
        assert!(
            !pace.are_others_due(&apart, &device, 0, ms(1082)),
            "nobody waits"
        );
        pace.landed(true, ms(1138));
        pace.launch(false);
        assert!(!pace.are_others_due(&apart, &device, 1, ms(1400)));
        assert!(pace.leaves_time(&device, 2, 60.0, ms(1200)));
        assert!(!pace.leaves_time(&device, 2, 60.0, ms(1300)));
        // After a forward there is time for one step, however long that takes.
        assert!(pace.leaves_time(&device, 2, 500.0, ms(1139)));
    }
}
