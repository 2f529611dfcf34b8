//! The loop body of a target's lane, for every caller: real lanes, simulated ones and tests.
//!
//! One pass of the loop is
//!
//! 1. [`Driver::next_step`]: ask the [scheduler](crate::scheduler) what to do. If it wants a
//!    drafter that shares the lane to draft first, let that drafter take its step; if the
//!    drafter has nothing to draft after all, ask the scheduler again without that choice.
//! 2. [`Driver::decode`]: apply the KV changes that are due, in order, and then decode the
//!    forward on the target.
//! 3. [`Driver::complete`]: hand the logits to the scheduler, which verifies, commits and
//!    corrects.
//!
//! The driver has no clock and no thread. A real lane calls `complete` as soon as `decode`
//! returns; a simulation calls it when its virtual time says that the forward is over. Between
//! the two calls a caller may pass on what drafters on other lanes drafted meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::forward::{Forward, HiddenRow, KvOp, Model, ModelError};
use crate::protocol::Outlook;
use crate::scheduler::{Action, Scheduler};
use crate::types::{SequenceId, Source};

/// The drafters that take turns with the target on one lane.
pub trait SharedLane {
    /// The next step of each drafter that has one.
    fn outlooks(&mut self) -> Vec<Outlook>;

    /// Lets the drafter `source` take one step, `now` on the engine's clock. A caller whose
    /// steps take no virtual time reports the result to the `scheduler` at once
    /// ([`Scheduler::drafted`]); a simulation reports it when the step is over.
    ///
    /// Returns `false` if the drafter began no step.
    fn draft(&mut self, source: Source, now: Duration, scheduler: &mut Scheduler) -> bool;
}

/// A lane with or without drafters; without, there is nothing to draft.
impl<L: SharedLane> SharedLane for Option<L> {
    fn outlooks(&mut self) -> Vec<Outlook> {
        self.as_mut().map_or_else(Vec::new, L::outlooks)
    }

    fn draft(&mut self, source: Source, now: Duration, scheduler: &mut Scheduler) -> bool {
        self.as_mut()
            .is_some_and(|lane| lane.draft(source, now, scheduler))
    }
}

/// What the lane does next.
#[derive(Debug)]
pub enum NextStep {
    /// [`Driver::decode`] this forward, then [`Driver::complete`] it.
    Decode(Forward),
    /// A drafter of the lane took a step, or began one. Ask again when that is over.
    Drafting,
    /// Wait for news from a drafter on another lane, at most until then.
    Wait(Duration),
    /// Nothing to do until a request comes.
    Idle,
}

/// Why a forward was not decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The KV cache has no room for it, or the model no sequence id for one of its sequences. The
    /// KV cache holds what it held before. See [`Driver::give_up`].
    #[error(transparent)]
    NoRoom(ModelError),
    /// The model failed, and nobody knows what its KV cache holds now. Forget what rests on it
    /// ([`Scheduler::forget_all`]), and empty it ([`Driver::reset_model`]).
    #[error(transparent)]
    Broken(ModelError),
}

/// A scheduler with the target that it drives. See the [module](self) documentation.
///
/// Invariant: at most one forward is between [`Driver::next_step`] and [`Driver::complete`]
/// (or [`Driver::give_up`]); until then `next_step` answers [`NextStep::Idle`].
///
/// A target that no drafter shares its lane with:
///
/// ```
/// use std::time::Duration;
///
/// use card_core::driver::{Driver, NextStep, SharedLane};
/// # use card_core::cost::CostCurve;
/// # use card_core::forward::{Limits, Rollback};
/// # use card_core::policy::{Mode, Policy, PolicyConfig};
/// # use card_core::protocol::{Lanes, Outlook};
/// # use card_core::sampler::Sampling;
/// # use card_core::scheduler::{Learned, Request, Scheduler, SchedulerConfig, Shapes};
/// # use card_core::synthetic::{Synthetic, SyntheticConfig};
/// # use card_core::types::{SequenceId, Source, Tenant};
///
/// struct NoDrafter;
///
/// impl SharedLane for NoDrafter {
///     fn outlooks(&mut self) -> Vec<Outlook> {
///         Vec::new()
///     }
///
///     fn draft(&mut self, _: Source, _: Duration, _: &mut Scheduler) -> bool {
///         false
///     }
/// }
/// # let rollback = Rollback::Free;
/// # let limits = Limits { context: 100, cells: 200, rows: 8, leaves: 4, rollback };
/// # let (vocab, seed, spread) = (20, 5, 2.0);
/// # let language = SyntheticConfig { vocab, seed, spread, noise: 0.0, noise_seed: 1, limits };
/// # let target = Synthetic::new(language);
/// # let config = SchedulerConfig {
/// #     limits, vocab, shapes: Shapes::FREE, prefill_rows: 8, cache_bytes: 1 << 14,
/// #     prefix_slots: 1, lookup: true, trace: false, near_tie: 0.0,
/// # };
/// # let mode = PolicyConfig { mode: Mode::Auto, lanes: Lanes::Shared, draft_len: 4 };
/// # let costs = [CostCurve::default(), CostCurve::default()];
/// # let policy = Policy::new(mode, CostCurve::default(), costs);
/// # let mut scheduler = Scheduler::new(config, policy, Learned::default());
/// # let request = Request {
/// #     sequence: SequenceId(1), prompt: vec![3, 1, 4], tenant: Tenant::SHARED,
/// #     params: Sampling::default(), max_tokens: 10, stop_tokens: Vec::new(),
/// #     prediction: Vec::new(), logprobs: None, constraint: None, plain: false,
/// #     most_candidates: None,
/// # };
/// scheduler.open(request, Duration::ZERO)?;
/// let mut driver = Driver::new(scheduler, Box::new(target));
/// let mut now = Duration::ZERO;
/// loop {
///     let step = driver.next_step(&|| now, &mut NoDrafter);
///     let NextStep::Decode(forward) = step else { break };
///     driver.decode(&forward)?;
///     now += Duration::from_millis(10);
///     driver.complete(&forward, now);
/// }
/// assert_eq!(driver.scheduler.running(), 0, "the text is written");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Driver {
    /// The scheduler, to open and cancel sequences and to report drafts. The driver alone
    /// calls `poll`, `take_ops`, `complete` and `abandon`.
    pub scheduler: Scheduler,
    model: Box<dyn Model + Send>,
    /// Room for the KV changes of one forward; empty between two calls.
    ops: Vec<KvOp>,
    /// Room for the hidden states of one forward; empty between two calls.
    hidden: Vec<HiddenRow>,
    /// The sequence for which the model had no id in the forward that was decoded last.
    refused: Option<SequenceId>,
    /// What the model was told last ([`Model::drafters_rest`]).
    drafters_rest: bool,
}

impl Driver {
    /// Drives `model` as `scheduler` says. The scheduler's limits must be the model's.
    pub fn new(scheduler: Scheduler, model: Box<dyn Model + Send>) -> Self {
        let mut driver = Driver {
            scheduler,
            model,
            ops: Vec::new(),
            hidden: Vec::new(),
            refused: None,
            drafters_rest: false,
        };
        driver.introduce_model();
        driver
    }

    /// Goes on with another scheduler, of which no sequence runs. The model was
    /// [emptied](Driver::reset_model).
    pub fn set_scheduler(&mut self, scheduler: Scheduler) {
        self.scheduler = scheduler;
        self.introduce_model();
    }

    /// Tells the scheduler what else the model can do.
    fn introduce_model(&mut self) {
        self.scheduler.set_state_bytes(self.model.state_bytes());
        self.scheduler.set_head(self.model.keeps_hidden());
    }

    /// Decides what the lane does next, and lets a drafter of the lane take its step if that
    /// is it. `clock` tells the time since the engine started.
    pub fn next_step(
        &mut self,
        clock: &dyn Fn() -> Duration,
        lane: &mut dyn SharedLane,
    ) -> NextStep {
        let mut outlooks = lane.outlooks();
        loop {
            let now = clock();
            match self.scheduler.poll(now, &outlooks) {
                Action::Draft(source) => {
                    if lane.draft(source, now, &mut self.scheduler) {
                        return NextStep::Drafting;
                    }
                    // Nothing could be drafted after all: ask again without that choice.
                    outlooks.retain(|o| o.source != source);
                }
                Action::Forward(forward) => return NextStep::Decode(forward),
                Action::Wait(until) => return NextStep::Wait(until),
                Action::Idle => return NextStep::Idle,
            }
        }
    }

    /// Applies the KV changes that are due and decodes the forward.
    ///
    /// # Errors
    /// If the target does not do it; see [`DecodeError`] for what to do then.
    pub fn decode(&mut self, forward: &Forward) -> Result<(), DecodeError> {
        self.decode_timed(forward, &|| Duration::ZERO)
    }

    /// As [`Driver::decode`], and tells the scheduler by `clock` how long each change took: of a
    /// target with one state per sequence that is part of what a rejection costs.
    ///
    /// # Errors
    /// As [`Driver::decode`].
    pub fn decode_timed(
        &mut self,
        forward: &Forward,
        clock: &dyn Fn() -> Duration,
    ) -> Result<(), DecodeError> {
        self.refused = None;
        self.apply_due(clock).map_err(DecodeError::Broken)?;
        let rest = self.scheduler.drafters_gated();
        if rest != self.drafters_rest {
            self.drafters_rest = rest;
            self.model.drafters_rest(rest);
        }
        let Err(error) = self.model.forward(forward) else {
            return Ok(());
        };
        Err(match error {
            ModelError::Full { .. } => DecodeError::NoRoom(error),
            ModelError::Ids { sequence, .. } => {
                self.refused = Some(sequence);
                DecodeError::NoRoom(error)
            }
            ModelError::Failed(_) => DecodeError::Broken(error),
        })
    }

    /// Applies the KV changes that are due. [`Driver::decode`] does so by itself; while nothing runs
    /// ([`NextStep::Idle`]) nobody knows when the next forward comes, and what is over or was
    /// forgotten would keep its cells until then. `clock` tells how long each change took. Not to be
    /// called while a forward runs.
    ///
    /// # Errors
    /// If the target fails. Nobody knows what its KV cache holds then, as with
    /// [`DecodeError::Broken`].
    pub fn apply_due(&mut self, clock: &dyn Fn() -> Duration) -> Result<(), ModelError> {
        self.scheduler.take_ops(&mut self.ops);
        // After a change that fails the others are of no use: the cache is emptied.
        for op in self.ops.drain(..) {
            let start = clock();
            self.model.apply(op)?;
            self.scheduler.applied(op, clock().saturating_sub(start));
        }
        Ok(())
    }

    /// The forward is decoded, and `now` it is over: verify, commit, correct. The target keeps the
    /// hidden states that its head will read, if it has one.
    pub fn complete(&mut self, forward: &Forward, now: Duration) {
        self.scheduler.complete(forward, &*self.model, now);
        self.scheduler.take_hidden(&mut self.hidden);
        if !self.hidden.is_empty() {
            self.model.keep_hidden(&self.hidden);
            self.hidden.clear();
        }
    }

    /// The forward found no room ([`DecodeError::NoRoom`]): cancels every sequence that has a
    /// row in it, or only the one for which the model had no id; the others go on then, `now` on the
    /// engine's clock. Returns the sequences that were cancelled, at least one.
    pub fn give_up(&mut self, forward: &Forward, now: Duration) -> BTreeSet<SequenceId> {
        self.scheduler.abandon(now);
        let mut sequences: BTreeSet<_> = forward.rows.iter().map(|r| r.sequence).collect();
        if let Some(refused) = self.refused.take()
            && sequences.contains(&refused)
        {
            sequences = BTreeSet::from([refused]);
        }
        for &sequence in &sequences {
            self.scheduler.cancel(sequence);
        }
        sequences
    }

    /// Empties the target's KV cache, after [`DecodeError::Broken`] and
    /// [`Scheduler::forget_all`].
    ///
    /// # Errors
    /// If the cache cannot be emptied. The target is of no use then.
    pub fn reset_model(&mut self) -> Result<(), ModelError> {
        self.model.reset()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::CostCurve;
    use crate::forward::{Limits, Logits, Rollback};
    use crate::policy::{Mode, Policy, PolicyConfig};
    use crate::protocol::Lanes;
    use crate::sampler::Sampling;
    use crate::scheduler::{Finish, Learned, Output, Request, SchedulerConfig, Shapes};
    use crate::synthetic::{Synthetic, SyntheticConfig};
    use crate::types::{Tenant, Token};

    const LIMITS: Limits = Limits {
        context: 100,
        cells: 200,
        rows: 16,
        leaves: 4,
        rollback: Rollback::Free,
    };
    const VOCAB: usize = 20;
    const SEQUENCE: SequenceId = SequenceId(1);
    const TOKENS: u32 = 30;

    fn language() -> Synthetic {
        Synthetic::new(SyntheticConfig {
            vocab: VOCAB,
            seed: 5,
            spread: 2.0,
            noise: 0.0,
            noise_seed: 1,
            limits: LIMITS,
        })
    }

    /// A driver with one sequence that has just begun.
    fn driver(mode: Mode, model: Box<dyn Model + Send>) -> Driver {
        let policy = PolicyConfig {
            mode,
            lanes: Lanes::Shared,
            draft_len: 4,
        };
        let config = SchedulerConfig {
            limits: LIMITS,
            vocab: VOCAB,
            shapes: Shapes::FREE,
            prefill_rows: 8,
            cache_bytes: 1 << 14,
            prefix_slots: 1,
            lookup: false,
            trace: false,
            near_tie: 0.0,
        };
        let curves = [CostCurve::default(), CostCurve::default()];
        let policy = Policy::new(policy, CostCurve::default(), curves);
        let mut scheduler = Scheduler::new(config, policy, Learned::default());
        scheduler.open(request(SEQUENCE), Duration::ZERO).unwrap();
        Driver::new(scheduler, model)
    }

    fn request(sequence: SequenceId) -> Request {
        Request {
            sequence,
            prompt: vec![3, 1, 4],
            tenant: Tenant::SHARED,
            params: Sampling::default(),
            max_tokens: TOKENS,
            stop_tokens: Vec::new(),
            prediction: Vec::new(),
            logprobs: None,
            constraint: None,
            plain: false,
            most_candidates: None,
        }
    }

    /// A drafter that has a step to offer, and never takes it.
    #[derive(Default)]
    struct Unable {
        asked: u32,
    }

    impl SharedLane for Unable {
        fn outlooks(&mut self) -> Vec<Outlook> {
            vec![Outlook {
                source: Source::Draft,
                reach: 1.0,
                rows: 1,
                sequence: SEQUENCE,
                path: Vec::new(),
            }]
        }

        fn draft(&mut self, source: Source, _: Duration, _: &mut Scheduler) -> bool {
            assert_eq!(source, Source::Draft);
            self.asked += 1;
            false
        }
    }

    /// Drives until nothing runs; returns what was written.
    fn written(driver: &mut Driver, lane: &mut dyn SharedLane) -> Vec<Token> {
        let mut text = Vec::new();
        let mut now = Duration::ZERO;
        while driver.scheduler.running() > 0 {
            let NextStep::Decode(forward) = driver.next_step(&|| now, lane) else {
                panic!("there is nothing to wait for");
            };
            driver.decode(&forward).unwrap();
            now += Duration::from_millis(10);
            driver.complete(&forward, now);
            for output in driver.scheduler.take_outputs() {
                if let Output::Tokens(_, _, tokens) = output {
                    text.extend(tokens);
                }
            }
        }
        text
    }

    #[test]
    fn a_drafter_that_drafts_nothing_after_all_costs_one_question_a_round() {
        let mut plain = driver(Mode::Plain, Box::new(language()));
        let expected = written(&mut plain, &mut None::<Unable>);
        assert_eq!(expected.len(), TOKENS as usize);
        let mut lane = Unable::default();
        let mut drafting = driver(Mode::DraftThenVerify, Box::new(language()));
        assert_eq!(written(&mut drafting, &mut lane), expected);
        // The first forward reads the prompt, before which nobody drafts.
        assert!(lane.asked > 0 && lane.asked < TOKENS, "{}", lane.asked);
    }

    /// A model whose second forward fails.
    struct Failing {
        inner: Synthetic,
        forwards: u32,
        error: ModelError,
    }

    impl Logits for Failing {
        fn row(&self, i: usize) -> &[f32] {
            self.inner.row(i)
        }
    }

    impl Model for Failing {
        fn limits(&self) -> Limits {
            self.inner.limits()
        }
        fn vocab(&self) -> usize {
            self.inner.vocab()
        }
        fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
            self.inner.apply(op)
        }
        fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
            self.forwards += 1;
            if self.forwards == 2 {
                return Err(self.error.clone());
            }
            self.inner.forward(forward)
        }
        fn reset(&mut self) -> Result<(), ModelError> {
            self.inner.reset()
        }
    }

    /// The driver, the forward that failed, and why.
    fn failed(error: ModelError) -> (Driver, Forward, DecodeError) {
        let model = Failing {
            inner: language(),
            forwards: 0,
            error,
        };
        let mut driver = driver(Mode::Plain, Box::new(model));
        let now = Duration::ZERO;
        loop {
            let step = driver.next_step(&|| now, &mut None::<Unable>);
            let NextStep::Decode(forward) = step else {
                panic!("there is nothing to wait for");
            };
            match driver.decode(&forward) {
                Ok(()) => driver.complete(&forward, now),
                Err(why) => return (driver, forward, why),
            }
        }
    }

    #[test]
    fn a_forward_without_room_ends_the_sequences_in_it() {
        let full = ModelError::Full {
            model: "target".into(),
        };
        let (mut driver, forward, why) = failed(full);
        assert!(matches!(why, DecodeError::NoRoom(_)), "{why}");
        let given_up = driver.give_up(&forward, Duration::ZERO);
        assert_eq!(given_up, BTreeSet::from([SEQUENCE]));
        assert_eq!(driver.scheduler.running(), 0);
        let outputs = driver.scheduler.take_outputs();
        let last = outputs.last();
        assert!(
            matches!(last, Some(Output::Finished(SEQUENCE, Finish::Cancelled))),
            "{last:?}"
        );
    }

    /// A model that has ids for one sequence.
    struct OneId(Synthetic);

    impl Logits for OneId {
        fn row(&self, i: usize) -> &[f32] {
            self.0.row(i)
        }
    }

    impl Model for OneId {
        fn limits(&self) -> Limits {
            self.0.limits()
        }
        fn vocab(&self) -> usize {
            self.0.vocab()
        }
        fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
            self.0.apply(op)
        }
        fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
            let mut sequences = forward.rows.iter().map(|r| r.sequence);
            match sequences.find(|&s| s != SEQUENCE) {
                None => self.0.forward(forward),
                Some(sequence) => Err(ModelError::Ids {
                    model: "target".into(),
                    sequence,
                }),
            }
        }
        fn reset(&mut self) -> Result<(), ModelError> {
            self.0.reset()
        }
    }

    #[test]
    fn only_the_sequence_without_an_id_is_given_up() {
        const OTHER: SequenceId = SequenceId(2);
        let mut plain = driver(Mode::Plain, Box::new(language()));
        let expected = written(&mut plain, &mut None::<Unable>);
        let mut driver = driver(Mode::Plain, Box::new(OneId(language())));
        driver
            .scheduler
            .open(request(OTHER), Duration::ZERO)
            .unwrap();
        let now = Duration::ZERO;
        let mut text = Vec::new();
        let mut given_up = Vec::new();
        while driver.scheduler.running() > 0 {
            let step = driver.next_step(&|| now, &mut None::<Unable>);
            let NextStep::Decode(forward) = step else {
                panic!("there is nothing to wait for");
            };
            match driver.decode(&forward) {
                Ok(()) => driver.complete(&forward, now),
                Err(DecodeError::NoRoom(_)) => given_up.extend(driver.give_up(&forward, now)),
                Err(why) => panic!("{why}"),
            }
            for output in driver.scheduler.take_outputs() {
                if let Output::Tokens(SEQUENCE, _, tokens) = output {
                    text.extend(tokens);
                }
            }
        }
        assert_eq!(given_up, [OTHER]);
        assert_eq!(text, expected);
    }

    #[test]
    fn after_a_failure_the_target_begins_anew() {
        let (mut driver, _, why) = failed(ModelError::Failed("a device that fails".into()));
        assert!(matches!(why, DecodeError::Broken(_)), "{why}");
        assert_eq!(driver.scheduler.forget_all(), [SEQUENCE]);
        driver.reset_model().unwrap();
        let idle = driver.next_step(&|| Duration::ZERO, &mut None::<Unable>);
        assert!(matches!(idle, NextStep::Idle));
    }
}
