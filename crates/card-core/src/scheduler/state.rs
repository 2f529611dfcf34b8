//! The scheduler's state; how sequences begin and end, and what others may know.

use std::collections::BTreeMap;
use std::time::Duration;

use super::admission;
use super::batch::InFlight;
use super::config::SchedulerConfig;
use super::hidden::HiddenRows;
use super::learned::Learned;
use super::output::{Finish, Output};
use super::pace::PromptPace;
use super::reports::Reports;
use super::request::{Request, RequestError};
use super::sequence::Sequence;
use super::state_changes::StateChanges;
use super::stem_rules::StemRules;
use super::wait::DrafterWait;
use crate::cache::CandidateCache;
use crate::forward::{CellNames, HiddenRow, KvOp};
use crate::policy::Policy;
use crate::prefix_cache::PrefixCache;
use crate::protocol::DraftInput;
use crate::sampler::Sampler;
use crate::types::{SequenceId, Tenant, TextMark, Token};

/// The scheduler: a state machine without clock or thread. See the [module](super) documentation.
///
/// Invariants: at most one forward is in flight, between [`Scheduler::poll`] and
/// [`Scheduler::complete`] or [`Scheduler::abandon`]. A candidate that is in flight is pinned in
/// its cache. No two rows ever have the same cell.
///
/// ```
/// use std::time::Duration;
///
/// use card_core::cost::CostCurve;
/// use card_core::forward::{Limits, Model, Rollback};
/// use card_core::policy::{Mode, Policy, PolicyConfig};
/// use card_core::protocol::Lanes;
/// use card_core::sampler::Sampling;
/// use card_core::scheduler::{Action, Learned, Request, Scheduler, SchedulerConfig, Shapes};
/// use card_core::synthetic::{Synthetic, SyntheticConfig};
/// use card_core::types::{SequenceId, Tenant};
///
/// let limits = Limits {
///     context: 100,
///     cells: 200,
///     rows: 8,
///     leaves: 4,
///     rollback: Rollback::Free,
/// };
/// let mut target = Synthetic::new(SyntheticConfig {
///     vocab: 20,
///     seed: 5,
///     spread: 2.0,
///     noise: 0.0,
///     noise_seed: 1,
///     limits,
/// });
/// let config = SchedulerConfig {
///     limits,
///     vocab: target.vocab(),
///     shapes: Shapes::FREE,
///     prefill_rows: 8,
///     cache_bytes: 1 << 14,
///     prefix_slots: 1,
///     lookup: true,
///     trace: false,
///     near_tie: 0.0,
/// };
/// let mode = PolicyConfig { mode: Mode::Auto, lanes: Lanes::Shared, draft_len: 4 };
/// let costs = [CostCurve::default(), CostCurve::default()];
/// let policy = Policy::new(mode, CostCurve::default(), costs);
/// let mut scheduler = Scheduler::new(config, policy, Learned::default());
/// let request = Request {
///     sequence: SequenceId(1),
///     prompt: vec![3, 1, 4],
///     tenant: Tenant::SHARED,
///     params: Sampling::default(),
///     max_tokens: 10,
///     stop_tokens: Vec::new(),
///     prediction: Vec::new(),
///     logprobs: None,
///     constraint: None,
///     plain: false,
///     most_candidates: None,
/// };
/// scheduler.open(request, Duration::ZERO)?;
/// let mut now = Duration::ZERO;
/// let mut ops = Vec::new();
/// while let Action::Forward(forward) = scheduler.poll(now, &[]) {
///     scheduler.take_ops(&mut ops);
///     for op in ops.drain(..) {
///         target.apply(op)?;
///     }
///     target.forward(&forward)?;
///     now += Duration::from_millis(10);
///     scheduler.complete(&forward, &target, now);
/// }
/// assert_eq!(scheduler.running(), 0, "ten tokens were written");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Scheduler {
    pub(super) config: SchedulerConfig,
    pub(super) policy: Policy,
    pub(super) sequences: BTreeMap<SequenceId, Sequence>,
    pub(super) prefixes: PrefixCache,
    pub(super) learned: Learned,
    pub(super) sampler: Sampler,
    pub(super) names: CellNames,
    pub(super) ops: Vec<KvOp>,
    pub(super) reports: Reports,
    pub(super) in_flight: Option<InFlight>,
    pub(super) pace: PromptPace,
    pub(super) state_changes: StateChanges,
    pub(super) wait: DrafterWait,
    pub(super) clock: RoundClock,
    pub(super) hidden: HiddenRows,
}

/// When the last round ended, and how long its forward took.
#[derive(Debug, Default)]
pub(super) struct RoundClock {
    pub(super) ended: Duration,
    pub(super) forward: Duration,
}

/// Sequences begin and end.
impl Scheduler {
    /// A scheduler with no sequence; `learned` is what earlier runs learned.
    pub fn new(config: SchedulerConfig, policy: Policy, learned: Learned) -> Self {
        let rules = StemRules::of(&config);
        let bound = config.shapes.redecide_below.unwrap_or(0.0);
        // The sampler looks at tokens twice as far from the best as the bound, so that the rounding of a
        // difference at the bound does not matter.
        let look = 2.0 * config.near_tie.max(bound);
        Scheduler {
            prefixes: prefixes(&config),
            policy: policy
                .within(config.limits.rollback, rules.most_candidates(1))
                .redeciding(config.shapes.redecide_below.is_some())
                .padded_to(config.shapes.pad_to)
                .at_most(most_filled_up(&config)),
            config,
            sequences: BTreeMap::new(),
            learned,
            sampler: Sampler::looking_up_to(look),
            names: CellNames::new(),
            ops: Vec::new(),
            reports: Reports::default(),
            in_flight: None,
            pace: PromptPace::default(),
            state_changes: StateChanges::default(),
            wait: DrafterWait::default(),
            clock: RoundClock::default(),
            hidden: HiddenRows::default(),
        }
    }

    /// Takes in costs that were measured while it ran: `(rows, milliseconds)` of forwards of the
    /// target and of the first drafter. No points change nothing.
    pub fn give_costs(&mut self, target: &[(u32, f64)], draft: &[(u32, f64)]) {
        self.policy.give_costs(target, draft);
    }

    /// Starts a generation. Not to be called while a forward runs; the same holds for
    /// the other methods that change something.
    ///
    /// # Errors
    /// If the request cannot be; nothing is changed then.
    pub fn open(&mut self, request: Request, now: Duration) -> Result<(), RequestError> {
        admission::check(&request, &self.config, &self.sequences)?;
        if self.sequences.is_empty() {
            self.clock.ended = now;
            self.pace.begin(now);
            // What was carried out while nothing ran is no part of a forward's time.
            self.state_changes.take_spent();
        }
        self.weigh_states();
        let (sequence, nothing) = (request.sequence, request.max_tokens == 0);
        let seq = admission::admit(
            request,
            &self.config,
            &self.sequences,
            &mut self.prefixes,
            &mut self.ops,
            now,
        );
        self.sequences.insert(sequence, seq);
        self.learned.acceptance.begin_text();
        if nothing {
            self.finish(sequence, Finish::Length);
        }
        Ok(())
    }

    /// Ends a generation early.
    pub fn cancel(&mut self, sequence: SequenceId) {
        self.finish(sequence, Finish::Cancelled);
    }

    /// Forgets every sequence, those that run and those that are kept for prompts to come,
    /// and the KV changes not taken yet: the target's cache was emptied
    /// ([`Model::reset`](crate::forward::Model::reset)). Returns those that ran, of which
    /// nothing more is told. Names of cells go on, so that none is used twice.
    pub fn forget_all(&mut self) -> Vec<SequenceId> {
        self.in_flight = None;
        self.ops.clear();
        self.prefixes.clear();
        self.state_changes.forget();
        self.wait.end();
        self.pace.forget();
        let ran = std::mem::take(&mut self.sequences);
        ran.into_keys().collect()
    }

    /// Forgets a text of a tenant: what is kept for prompts to come and has more than half of it, with
    /// the states that were saved of it. Sequences that run go on. The KV cells are free when the
    /// changes were [taken](Scheduler::take_ops) and carried out.
    pub fn forget_text(&mut self, tenant: Tenant, text: &[Token]) {
        let mark = TextMark::of(text);
        self.prefixes.release_text(tenant, mark, &mut self.ops);
        let context = self.config.limits.context as usize;
        let running = admission::stems(&self.sequences, context);
        let nothing: &[Token] = &[];
        self.prefixes
            .give_up_states((tenant, nothing), running, &mut self.ops);
    }

    /// Rows of the next forward that are no prompt and no candidates: what the sequences that
    /// decode have to decode.
    pub(super) fn decoding_rows(&self) -> u32 {
        let running = self.sequences.values();
        let decoding = running.filter(|s| !s.text.prefilling());
        decoding.map(|s| s.text.pending() as u32).sum()
    }

    /// Ends a sequence, if it runs, for this reason.
    pub(super) fn finish(&mut self, sequence: SequenceId, reason: Finish) {
        self.end(sequence, Output::Finished(sequence, reason));
    }

    /// Ends a sequence, if it runs, and says why in this output.
    pub(super) fn end(&mut self, sequence: SequenceId, why: Output) {
        let Some(seq) = self.sequences.remove(&sequence) else {
            return;
        };
        admission::retire(sequence, seq, &mut self.prefixes, &mut self.ops);
        self.reports.say(why);
    }
}

/// Rows that a decoding forward is filled up to at the most, to repeat a shape; 0 if none is. A model
/// that keeps a state per sequence would need one for the padding.
fn most_filled_up(config: &SchedulerConfig) -> usize {
    if config.limits.rollback.is_free() {
        config.limits.rows.min(config.shapes.max_rows)
    } else {
        0
    }
}

/// An empty prefix cache of a scheduler with these settings.
fn prefixes(config: &SchedulerConfig) -> PrefixCache {
    PrefixCache::new(config.prefix_slots, config.limits.rollback)
}

/// What others may know.
impl Scheduler {
    /// What this run and those before it learned.
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// The schedule, with what it has learned.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What a drafter is to be told of a running sequence; nothing of a plain one.
    pub fn introduction(&self, sequence: SequenceId) -> Option<DraftInput> {
        self.sequences.get(&sequence)?.introduction(sequence)
    }

    /// What a drafter that is new here is to be told of all of them.
    pub fn introductions(&self) -> impl Iterator<Item = DraftInput> {
        let running = self.sequences.iter();
        running.filter_map(|(&id, seq)| seq.introduction(id))
    }

    /// KV changes to apply to the target before the next forward, in order; while no sequence runs,
    /// at once, so that what is over is free.
    pub fn take_ops(&mut self, out: &mut Vec<KvOp>) {
        out.append(&mut self.ops);
    }

    /// Says whether the target has a head; at first it has none.
    pub fn set_head(&mut self, head: bool) {
        self.hidden.want(head);
    }

    /// Hidden states that the head will need, of the forward that was [completed] last, sequence by
    /// sequence in the order of their positions; none if there is no head.
    ///
    /// [completed]: Scheduler::complete
    pub fn take_hidden(&mut self, out: &mut Vec<HiddenRow>) {
        self.hidden.take(out);
    }

    /// What happened since the last call.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        self.reports.take_outputs()
    }

    /// Whether drafters on lanes of their own shall take no step until this changes: they cost
    /// more than they bring. They hear of what is written all the same.
    pub fn drafters_gated(&self) -> bool {
        self.policy.drafters_gated()
    }

    /// Number of running sequences.
    pub fn running(&self) -> usize {
        self.sequences.len()
    }

    /// Tokens of a sequence, prompt included.
    pub fn tokens(&self, sequence: SequenceId) -> Option<&[Token]> {
        self.sequences.get(&sequence).map(|s| &s.text.tokens[..])
    }

    /// Tokens of a sequence that need not be decoded any more, and the candidates cached now.
    pub fn cached(&self, sequence: SequenceId) -> Option<(usize, &CandidateCache)> {
        let seq = self.sequences.get(&sequence)?;
        Some((seq.text.decoded, &seq.candidates.cache))
    }
}
