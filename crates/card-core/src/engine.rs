//! The target's side: query, verify, correct.
//!
//! A round is one forward of the target. [`Engine::poll`] takes the best subtree of each
//! sequence's candidate cache, sized by the [policy](crate::policy); [`Engine::complete`]
//! lets the target's own sampler decide every position, walks down the candidates as far
//! as they agree, commits, and corrects the cache. The output depends on the target, the
//! settings and the seed only: candidates decide how soon a token is known, not which.

mod round;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::acceptance::{Acceptance, Counts};
use crate::cache::{CandidateCache, NodeId};
use crate::constraint::Constraint;
use crate::drafter::{DraftInput, Drafted, Expansion};
use crate::forward::{Cell, Forward, KvOp, Limits, Row};
use crate::parked::{Beginning, Parked, Running};
use crate::policy::{Base, Lanes, Level, Mode, Offer, Outlook, Policy, Ready, Step, Why};
use crate::sampler::{Sampler, Sampling};
use crate::sources::{Chain, Corrections, Prediction, TextIndex};
use crate::types::{Prob, SequenceId, Source, SourceSet, Tenant, Token};

pub use round::{DraftSpan, Round, RoundNode};

/// Draft steps reported with a round.
const MOST_SPANS: usize = 64;
/// Expansions of one message of a drafter that are looked at: more than a forward of its has.
const MOST_EXPANSIONS: usize = 256;
/// Milliseconds after which the answer to a commit is no answer to it any more.
const MOST_LAG: f64 = 10_000.0;

/// Which shapes of forward may be used, so that results do not depend on them
/// (docs/exactness.md).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Shapes {
    /// Every decoding forward is padded to at least this many rows.
    pub pad_to: usize,
    /// No decoding forward has more rows.
    pub max_rows: usize,
    /// Verify chains only: the branches of a tree move KV cells, and with them the order
    /// of sums.
    pub chain_only: bool,
    /// One sequence per forward.
    pub alone: bool,
    /// Decisions of a margin below this (in logits, [`Choice`](crate::sampler::Choice)) are
    /// made again by a forward of their own.
    pub redecide_below: Option<f32>,
    /// Rows of that forward: one is the sequence's, the rest is padding. A single row may take
    /// kernels that depend on what else is in the KV cache.
    pub redecide_rows: usize,
    /// A prompt is read in forwards of its own, taking turns with what decodes.
    pub prefill_alone: bool,
}

impl Shapes {
    /// No restriction.
    pub const FREE: Shapes = Shapes {
        pad_to: 0,
        max_rows: usize::MAX,
        chain_only: false,
        alone: false,
        redecide_below: None,
        redecide_rows: 1,
        prefill_alone: false,
    };
}

/// Settings of an [`Engine`].
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// What the target can take.
    pub limits: Limits,
    /// Size of the target's vocabulary.
    pub vocab: usize,
    /// Which forwards are allowed.
    pub shapes: Shapes,
    /// Prompt tokens decoded per forward.
    pub prefill_rows: usize,
    /// Bytes of candidates per sequence.
    pub cache_bytes: usize,
    /// Finished sequences whose KV cells are kept for a prompt that starts alike.
    pub parked: usize,
    /// Let text that is at hand propose candidates too (see [`crate::sources`]).
    pub free_sources: bool,
    /// Report the candidates of every round, not only counts.
    pub trace: bool,
    /// Decisions of a margin below this (in logits, [`Choice`](crate::sampler::Choice)) are
    /// reported as near-ties.
    pub near_tie: f32,
}

/// A generation to run.
pub struct Request {
    /// Its name.
    pub sequence: SequenceId,
    /// The prompt, at least one token.
    pub prompt: Vec<Token>,
    /// Whose it is: nothing of other tenants' requests is used for it, nor of it for theirs.
    pub tenant: Tenant,
    /// How to sample.
    pub params: Sampling,
    /// Most tokens to write.
    pub max_tokens: u32,
    /// Tokens that end it.
    pub stop_tokens: Vec<Token>,
    /// The text the user expects back, if any ([`Source::Prediction`]). What goes beyond the
    /// context is left out.
    pub prediction: Vec<Token>,
    /// Report the log probability of each token, and of so many of the most probable ones.
    pub logprobs: Option<usize>,
    /// What may be written; `None` for anything.
    pub constraint: Option<Box<dyn Constraint>>,
    /// Decode it plainly, whatever the mode: no source proposes anything.
    pub plain: bool,
}

/// What is worth keeping from one run to the next.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// What the sources' words are worth.
    pub acceptance: Acceptance,
    /// What the target wrote before; `None` to remember nothing.
    pub corrections: Option<Corrections>,
}

/// Why a request cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// Nothing to go on from.
    #[error("the prompt is empty")]
    Empty,
    /// No room for the prompt and one token.
    #[error(
        "the prompt has {prompt} tokens, but the context holds {context}; shorten it, or raise --ctx"
    )]
    TooLong {
        /// Tokens in the prompt.
        prompt: usize,
        /// Tokens the context holds.
        context: u32,
    },
    /// Not of this vocabulary.
    #[error("token {0} is not in the model's vocabulary")]
    ForeignToken(Token),
    /// A sampling setting is impossible.
    #[error(transparent)]
    Sampling(#[from] crate::sampler::SamplingError),
    /// The name is taken.
    #[error("sequence {} is running already", .0.0)]
    Duplicate(SequenceId),
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The target wrote a token that ends it.
    Stop,
    /// As many tokens as were asked for.
    Length,
    /// The context is full.
    ContextFull,
    /// Cancelled.
    Cancelled,
}

/// What the engine wants done.
#[derive(Debug)]
pub enum Action {
    /// Apply [`Engine::take_ops`], decode this on the target, then [`Engine::complete`] it.
    Forward(Forward),
    /// Let this drafter take one step on the shared lane first.
    Draft(Source),
    /// Wait for news from the drafter, at most until then.
    Wait(Duration),
    /// Nothing to do until a request comes.
    Idle,
}

/// What the engine tells.
#[derive(Clone, Debug)]
pub enum Output {
    /// Tokens were committed: index of the first, and the tokens. A token that ended the
    /// sequence is not among them.
    Tokens(SequenceId, u32, Vec<Token>),
    /// A round was done.
    Round(Box<Round>),
    /// A sequence ended.
    Finished(SequenceId, Finish),
    /// A sequence ended because its constraint failed, for this reason.
    Failed(SequenceId, String),
}

struct Sequence {
    tenant: Tenant,
    params: Sampling,
    tokens: Vec<Token>,
    /// Tokens of the prompt among them.
    prompt: usize,
    /// Leading tokens that are in the stem.
    decoded: usize,
    /// Its root is the last token; a node's tag is the cell it was last decoded into.
    cache: CandidateCache,
    /// Length at which it ends.
    end: usize,
    /// What a candidate of its must be.
    bounds: Bounds,
    stop_tokens: Vec<Token>,
    /// The next decision is made by a forward of one row.
    solo: bool,
    /// What the sources' words are worth here.
    counts: Counts,
    /// Prompt and output, to find what repeats itself.
    suffix: TextIndex,
    /// The text that is expected.
    prediction: Prediction,
    /// Share of the tokens that text at hand proposed.
    free: FreeShare,
    logprobs: Option<usize>,
    constraint: Option<Box<dyn Constraint>>,
    /// Evictions that were reported.
    evicted: u64,
    /// Tokens of the prompt that an earlier sequence had decoded.
    reused: usize,
    /// When the last tokens were committed.
    committed: Duration,
    /// A drafter has heard of them, and said what may follow.
    answered: bool,
    /// The target went on before it did, without waiting for it.
    rushed: bool,
    /// A drafter has read the prompt, and said something.
    read: bool,
    /// No drafter hears of it.
    alone: bool,
    /// Nothing is proposed for it.
    plain: bool,
}

/// Where candidates of a sequence may lie: nobody's word goes beyond.
#[derive(Clone, Copy)]
struct Bounds {
    /// Tokens are below this.
    vocab: usize,
    /// Indices in the sequence are below this.
    end: usize,
}

/// A candidate that somebody proposes.
#[derive(Clone, Copy)]
struct Proposal {
    source: Source,
    token: Token,
    prob: Prob,
    /// Its place among what the source proposes there.
    rank: u8,
}

/// How much of a sequence is proposed without a model.
struct FreeShare {
    proposed: f64,
    tokens: f64,
    /// Tokens that were written and not proposed.
    missing: u32,
}

impl FreeShare {
    /// Before anything is written: text that is expected mostly comes, other text seldom
    /// repeats itself (docs/sources.md). Counts like ten tokens.
    fn new(predicted: bool) -> Self {
        FreeShare {
            proposed: if predicted { 8.5 } else { 1.0 },
            tokens: 10.0,
            missing: 0,
        }
    }

    /// So many tokens were written, and these candidates accepted.
    fn observe(&mut self, tokens: usize, accepted: &[SourceSet]) {
        let free = |s: &&SourceSet| s.iter().any(|s| s.drafter().is_none());
        // The token after a proposal that was right took no forward of its own.
        let own = usize::from(accepted.last().as_ref().is_some_and(free));
        let proposed = (accepted.iter().filter(free).count() + own).min(tokens);
        self.tokens += tokens as f64;
        self.proposed += proposed as f64;
        self.missing += (tokens - proposed) as u32;
    }

    fn get(&self) -> f64 {
        self.proposed / self.tokens
    }
}

/// The part of a running forward that belongs to one sequence.
struct Part {
    sequence: SequenceId,
    /// Its first row.
    first: usize,
    /// Committed tokens among its rows.
    chain: usize,
    /// Whether the last committed token is among them, so that there is a decision.
    decides: bool,
    /// Candidates, in the order of the rows after the chain.
    nodes: Vec<NodeId>,
    prefill: bool,
}

/// The best place that a drafter on another lane may look past soon.
struct Open {
    outlook: Outlook,
    /// If that is the last committed token: when it was committed.
    since: Option<Duration>,
}

/// Whom the next forward is for.
struct Turn {
    members: Vec<SequenceId>,
    /// It makes one decision again, by itself.
    solo: bool,
    /// Every member gets a new decision, and candidates may join.
    decides: bool,
}

struct Flight {
    parts: Vec<Part>,
    first_cell: Cell,
    launched: Duration,
    rows: usize,
    base: Base,
    why: Why,
    solo: bool,
}

/// The engine state machine. See the [module](self) documentation.
pub struct Engine {
    config: EngineConfig,
    /// The schedule, with what it has learned.
    pub policy: Policy,
    sequences: BTreeMap<SequenceId, Sequence>,
    parked: Parked,
    memory: Memory,
    sampler: Sampler,
    next_cell: Cell,
    ops: Vec<KvOp>,
    outputs: Vec<Output>,
    flight: Option<Flight>,
    drafter_lost: bool,
    /// Milliseconds from a commit to the first draft that knows of it.
    lag: Option<f64>,
    waiting_since: Option<Duration>,
    last_round: Duration,
    last_forward: Duration,
    /// Draft steps that were heard of since the last round.
    spans: Vec<DraftSpan>,
    /// The drafter was waited for in vain; it is not again until it is heard.
    drafter_silent: bool,
    /// The last forward read a prompt.
    prefilled: bool,
    nodes: Vec<NodeId>,
}

impl Engine {
    /// An engine with no sequence; `memory` is what earlier runs learned.
    pub fn new(config: EngineConfig, policy: Policy, memory: Memory) -> Self {
        let bound = config.shapes.redecide_below.unwrap_or(0.0);
        // Twice of what counts, so that nothing depends on the last bit.
        let look = 2.0 * config.near_tie.max(bound);
        Engine {
            parked: Parked::new(config.parked),
            config,
            policy,
            sequences: BTreeMap::new(),
            memory,
            sampler: Sampler::looking_up_to(look),
            next_cell: 1,
            ops: Vec::new(),
            outputs: Vec::new(),
            flight: None,
            drafter_lost: false,
            lag: None,
            waiting_since: None,
            last_round: Duration::ZERO,
            last_forward: Duration::ZERO,
            spans: Vec::new(),
            drafter_silent: false,
            prefilled: false,
            nodes: Vec::new(),
        }
    }

    /// Starts a generation. Not to be called while a forward runs; the same holds for
    /// the other methods that change something.
    ///
    /// # Errors
    /// If the request cannot be; nothing is changed then.
    pub fn open(&mut self, request: Request, now: Duration) -> Result<(), RequestError> {
        let Request {
            sequence,
            prompt,
            tenant,
            params,
            max_tokens,
            stop_tokens,
            prediction,
            logprobs,
            constraint,
            plain,
        } = request;
        if prompt.is_empty() {
            return Err(RequestError::Empty);
        }
        let context = self.config.limits.context;
        if prompt.len() >= context as usize {
            return Err(RequestError::TooLong {
                prompt: prompt.len(),
                context,
            });
        }
        if let Some(&t) = prompt.iter().find(|t| **t as usize >= self.config.vocab) {
            return Err(RequestError::ForeignToken(t));
        }
        if self.sequences.contains_key(&sequence) {
            return Err(RequestError::Duplicate(sequence));
        }
        if self.sequences.is_empty() {
            self.last_round = now;
        }
        let end = prompt.len().saturating_add(max_tokens as usize);
        let most = |end: usize| end.min(context as usize);
        let running = self.sequences.iter().map(|(&sequence, s)| Running {
            sequence,
            tenant: s.tenant,
            stem: &s.tokens[..s.decoded],
            end: most(s.end),
        });
        let new = Beginning {
            sequence,
            tenant,
            tokens: &prompt,
            end: most(end),
        };
        let cells = self.config.limits.cells;
        let decoded = self.parked.admit(new, running, cells, &mut self.ops);
        let free = self.config.free_sources;
        // More cannot be written, and indexing it takes time in which nobody decodes.
        let usable = prediction.len().min(context as usize - prompt.len());
        let prediction = &prediction[..usable];
        self.sequences.insert(
            sequence,
            Sequence {
                counts: Counts::default(),
                suffix: TextIndex::new(if free { &prompt } else { &[] }),
                prediction: Prediction::new(if free { prediction } else { &[] }),
                free: FreeShare::new(free && !prediction.is_empty()),
                tenant,
                params,
                prompt: prompt.len(),
                decoded,
                cache: CandidateCache::new(prompt.len() as u32 - 1, self.config.cache_bytes),
                end,
                bounds: Bounds {
                    vocab: self.config.vocab,
                    end: most(end),
                },
                tokens: prompt,
                stop_tokens,
                solo: false,
                logprobs,
                constraint,
                evicted: 0,
                reused: decoded,
                committed: now,
                // Reading the prompt says nothing about later answers.
                answered: true,
                rushed: false,
                read: false,
                alone: plain,
                plain,
            },
        );
        if max_tokens == 0 {
            self.finish(sequence, Finish::Length);
        }
        Ok(())
    }

    /// Ends a generation early.
    pub fn cancel(&mut self, sequence: SequenceId) {
        if self.sequences.contains_key(&sequence) {
            self.finish(sequence, Finish::Cancelled);
        }
    }

    /// Forgets every sequence, those that run and those that are kept for prompts to come,
    /// and the KV changes not taken yet: the target's cache was emptied
    /// ([`Model::reset`](crate::forward::Model::reset)). Returns those that ran, of which
    /// nothing more is told. Names of cells go on, so that none is used twice.
    pub fn forget_all(&mut self) -> Vec<SequenceId> {
        self.flight = None;
        self.ops.clear();
        self.parked = Parked::new(self.config.parked);
        self.waiting_since = None;
        self.prefilled = false;
        let ran = std::mem::take(&mut self.sequences);
        ran.into_keys().collect()
    }

    /// Takes a drafter's proposals. Those for a path that was corrected away are dropped,
    /// those for a path that survived are re-based.
    ///
    /// A drafter may say anything: what it says of a sequence that does not run, or that no
    /// drafter hears of ([`Engine::set_alone`]), or of a place that it cannot know of, is left
    /// out before anything is learned from it. Which of the sequences *this* drafter hears of
    /// is for the caller to know.
    pub fn drafted(&mut self, drafted: &Drafted, now: Duration) {
        let sound = |s: &Sequence, e: &Expansion| !s.alone && (e.root as usize) < s.tokens.len();
        let looked_at = drafted.expansions.iter().take(MOST_EXPANSIONS);
        let expansions: Vec<&Expansion> = looked_at
            .filter(|e| self.sequences.get(&e.sequence).is_some_and(|s| sound(s, e)))
            .collect();
        // One that speaks of nothing it was told of teaches nothing, its times neither. A forward
        // that only reads the prompt has no expansions at all.
        if expansions.is_empty() && !drafted.expansions.is_empty() {
            return;
        }
        for e in &expansions {
            self.drafter_silent = false;
            self.measure_lag(e, now);
        }
        if self.config.trace && self.spans.len() < MOST_SPANS {
            self.spans.push(DraftSpan {
                source: drafted.source,
                start: drafted.started,
                elapsed: drafted.elapsed,
                rows: drafted.rows.get(),
            });
        }
        for e in expansions {
            let best = e.children.first();
            let best = best.filter(|c| (c.0 as usize) < self.config.vocab);
            if let (Some(&(_, prob)), Some(seq)) = (best, self.sequences.get(&e.sequence)) {
                let known = &mut self.memory.acceptance;
                let best = known.expect_in(&seq.counts, drafted.source, prob.get(), 0);
                known.observe_top(drafted.source, Prob::clamped(best));
            }
            self.propose(e.sequence, e.root, &e.path, &e.children, drafted.source);
        }
        self.policy
            .drafted(drafted.source, drafted.rows, drafted.elapsed);
    }

    /// Learns that a drafter has read the prompt, and how long after a commit drafts arrive
    /// that know of it.
    fn measure_lag(&mut self, expansion: &Expansion, now: Duration) {
        const GAIN: f64 = 0.2;
        let Some(seq) = self.sequences.get_mut(&expansion.sequence) else {
            return;
        };
        seq.read = true;
        if seq.answered || expansion.root as usize + 1 != seq.tokens.len() {
            return;
        }
        seq.answered = true;
        let ms = now.saturating_sub(seq.committed).as_secs_f64() * 1e3;
        let ms = ms.min(MOST_LAG);
        // On a device that both use, a forward of the target's in between holds it up. So
        // that says no more than that it would not have taken longer without.
        if seq.rushed && self.lag.is_none_or(|lag| ms > lag) {
            return;
        }
        let before = self.lag.unwrap_or(ms);
        // One that was late says little of the next.
        let ms = ms.min(2.0 * before);
        self.lag = Some(before + GAIN * (ms - before));
    }

    /// Says whether drafters hear of a sequence; at first they do.
    pub fn set_alone(&mut self, sequence: SequenceId, alone: bool) {
        if let Some(seq) = self.sequences.get_mut(&sequence) {
            seq.alone = alone || seq.plain;
        }
    }

    /// Adds candidates after the path of tokens `path` that begins behind index `root`.
    pub fn propose(
        &mut self,
        sequence: SequenceId,
        root: u32,
        path: &[Token],
        children: &[(Token, Prob)],
        source: Source,
    ) {
        let Some(seq) = self.sequences.get_mut(&sequence).filter(|s| !s.plain) else {
            return;
        };
        // What was committed since must be what the path says.
        let behind = (root as usize).saturating_add(1);
        let Some(committed) = seq.tokens.get(behind..) else {
            return;
        };
        if path.len() < committed.len() || path[..committed.len()] != *committed {
            return;
        }
        let rest = &path[committed.len()..];
        let (at, followed) = seq.cache.walk(rest);
        if followed < rest.len() {
            return;
        }
        seq.cache.mark_expanded(at);
        let known = &self.memory.acceptance;
        let mut added = false;
        let children = children.iter().take(CandidateCache::MOST_CHILDREN);
        for (rank, &(token, prob)) in (0..).zip(children) {
            let proposal = Proposal {
                source,
                token,
                prob,
                rank,
            };
            added |= seq.insert(known, at, proposal).is_some();
        }
        if added {
            known.rejudge(&seq.counts, &mut seq.cache, at);
        }
    }

    /// Asks the sources that need no model what follows the last `written` tokens.
    fn consult(&mut self, id: SequenceId, written: usize) {
        let speculates = matches!(self.policy.config().mode, Mode::Card | Mode::Auto);
        if !self.config.free_sources || !speculates {
            return;
        }
        let Some(seq) = self.sequences.get_mut(&id).filter(|s| !s.plain) else {
            return;
        };
        let mut chain = Chain::new();
        seq.suffix.continue_itself(&mut chain);
        seq.insert_chain(&self.memory.acceptance, &chain, Source::Suffix);
        seq.prediction.propose(&seq.tokens, written, &mut chain);
        seq.insert_chain(&self.memory.acceptance, &chain, Source::Prediction);
        if let Some(corrections) = &self.memory.corrections {
            corrections.propose(seq.tenant, &seq.tokens, &mut chain);
            seq.insert_chain(&self.memory.acceptance, &chain, Source::Correction);
        }
    }

    /// What this run and those before it learned.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// There is no drafter (any more): the target does not wait for one.
    pub fn drafter_lost(&mut self) {
        self.drafter_lost = true;
    }

    /// There is a drafter (again).
    pub fn drafter_back(&mut self) {
        self.drafter_lost = false;
    }

    /// What a drafter is to be told of a running sequence; nothing of a plain one.
    pub fn introduction(&self, sequence: SequenceId) -> Option<DraftInput> {
        let seq = self.sequences.get(&sequence).filter(|s| !s.plain);
        seq.map(|seq| DraftInput::Open {
            sequence,
            tenant: seq.tenant,
            tokens: seq.tokens.clone(),
            params: seq.params.clone(),
            end: seq.end.min(u32::MAX as usize) as u32,
        })
    }

    /// What a drafter that is new here is to be told of all of them.
    pub fn introductions(&self) -> impl Iterator<Item = DraftInput> {
        let running = self.sequences.keys();
        running.filter_map(|&id| self.introduction(id))
    }

    /// KV changes to apply to the target before the next forward, in order.
    pub fn take_ops(&mut self, out: &mut Vec<KvOp>) {
        out.append(&mut self.ops);
    }

    /// What happened since the last call.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Whether drafters on lanes of their own shall take no step until this changes: they cost
    /// more than they bring. They hear of what is written all the same.
    pub fn drafters_rest(&self) -> bool {
        self.policy.drafters_rest()
    }

    /// Number of running sequences.
    pub fn running(&self) -> usize {
        self.sequences.len()
    }

    /// Tokens of a sequence, prompt included.
    pub fn tokens(&self, sequence: SequenceId) -> Option<&[Token]> {
        self.sequences.get(&sequence).map(|s| &s.tokens[..])
    }

    /// Tokens of the prompt this engine need not decode, and the candidates cached now.
    pub fn cached(&self, sequence: SequenceId) -> Option<(usize, &CandidateCache)> {
        self.sequences.get(&sequence).map(|s| (s.decoded, &s.cache))
    }

    /// Decides what to do. `outlooks` are the next steps of the drafters that share the lane.
    pub fn poll(&mut self, now: Duration, outlooks: &[Outlook]) -> Action {
        if self.flight.is_some() || self.sequences.is_empty() {
            return Action::Idle;
        }
        if let Some(wait) = self.hold(now, outlooks) {
            return wait;
        }
        self.waiting_since = None;
        let waited = self.drafter_silent;
        for seq in self.sequences.values_mut() {
            seq.rushed = !seq.answered && !waited;
        }
        self.launch(now)
    }

    /// Whether to draft or wait before the next launch.
    fn hold(&mut self, now: Duration, outlooks: &[Outlook]) -> Option<Action> {
        let config = self.policy.config();
        if config.mode == Mode::Plain || self.drafter_lost || self.drafters_rest() {
            return None;
        }
        let turn = self.turn();
        if !turn.decides {
            return None;
        }
        let members = &turn.members;
        let left = members.iter().map(|&id| self.left(id)).max();
        let left = left.unwrap_or(0);
        let depth = self.of(members).map(Sequence::ahead).max();
        let base = base_of(self.of(members));
        let offers = self.ready(members, base);
        let missing = self.of(members).map(|s| s.free.missing).max();
        let ready = Ready {
            base,
            offers: &offers,
            depth: depth.unwrap_or(0),
            tokens_left: left.min(u32::MAX as usize) as u32,
            free: self.free_share(members),
            missing: missing.unwrap_or(0),
        };
        match config.lanes {
            Lanes::Shared => {
                // Nothing past the end is ever verified.
                let wanted = |o: &&Outlook| {
                    members.contains(&o.sequence) && o.path.len() + 1 < self.left(o.sequence)
                };
                let outlooks: Vec<&Outlook> = outlooks.iter().filter(wanted).collect();
                let covered: Vec<_> = outlooks.iter().map(|o| self.covered(o)).collect();
                let steps = outlooks.into_iter().zip(&covered);
                let steps: Vec<Step> = steps
                    .map(|(outlook, covered)| Step {
                        outlook,
                        covered,
                        top: self.memory.acceptance.top(outlook.source),
                    })
                    .collect();
                self.policy.draft_first(&ready, &steps).map(Action::Draft)
            }
            Lanes::Disjoint if config.mode == Mode::DraftThenVerify => {
                let context = self.config.limits.context as usize;
                let short = self.of(members).filter(|s| !s.alone).any(|s| {
                    let ahead = s.ahead();
                    ahead < config.draft_len && ahead as usize + 1 < s.left(context)
                });
                let waits = short && !self.drafter_silent;
                let patience = self.policy.patience();
                waits.then(|| self.wait(now, patience)).flatten()
            }
            Lanes::Disjoint => {
                let open = self.open_place(members)?;
                let step = Step {
                    outlook: &open.outlook,
                    covered: &[],
                    top: self.memory.acceptance.top(Source::Draft),
                };
                // A drafter far away goes on drafting past what it has sent, but the answer
                // to a correction takes the way there and back.
                let answer = open.since.zip(self.lag).map(|(since, lag)| {
                    (lag - now.saturating_sub(since).as_secs_f64() * 1e3).max(0.0)
                });
                let wait = !self.drafter_silent && self.policy.wait_first(&ready, &step, answer);
                // A drafter that takes much longer than it should is not waited for.
                let most = self.policy.patience().min(self.last_forward);
                wait.then(|| self.wait(now, most)).flatten()
            }
        }
    }

    /// Waits, but no longer than `most` since the wait began.
    fn wait(&mut self, now: Duration, most: Duration) -> Option<Action> {
        let until = *self.waiting_since.get_or_insert(now) + most;
        self.drafter_silent = now >= until;
        (now < until).then_some(Action::Wait(until))
    }

    /// The best place of these sequences that a drafter on another lane has not looked past
    /// yet. `None` if that is where it has not been at all, so that it will not be there soon.
    fn open_place(&mut self, members: &[SequenceId]) -> Option<Open> {
        let context = self.config.limits.context as usize;
        let mut best: Option<Open> = None;
        for &sequence in members {
            let seq = self.sequences.get_mut(&sequence);
            let Some(seq) = seq.filter(|s| !s.alone) else {
                continue;
            };
            let empty = seq.cache.is_empty();
            let last = seq.tokens.len() as u32 - 1;
            let (reach, depth) = if empty {
                if !seq.read {
                    continue;
                }
                (1.0, 0)
            } else {
                seq.cache.frontier(1, u32::MAX, 0.0, &mut self.nodes);
                let open = self.nodes.first().and_then(|&n| seq.cache.get(n));
                match open {
                    Some(c) if c.sources.iter().any(|s| s.drafter().is_some()) => {
                        (c.reach, c.position - last)
                    }
                    _ => continue,
                }
            };
            if depth as usize + 1 >= seq.left(context) {
                continue;
            }
            if best.as_ref().is_none_or(|b| reach > b.outlook.reach) {
                best = Some(Open {
                    outlook: Outlook {
                        source: Source::Draft,
                        reach,
                        rows: 1,
                        sequence,
                        path: Vec::new(),
                    },
                    since: empty.then_some(seq.committed),
                });
            }
        }
        best
    }

    /// Tokens a sequence may still write.
    fn left(&self, sequence: SequenceId) -> usize {
        let context = self.config.limits.context as usize;
        let seq = self.sequences.get(&sequence);
        seq.map_or(0, |s| s.left(context))
    }

    /// See [`Step::covered`].
    fn covered(&self, outlook: &Outlook) -> Vec<Level> {
        let Some(seq) = self.sequences.get(&outlook.sequence) else {
            return Vec::new();
        };
        let (mut at, followed) = seq.cache.walk(&outlook.path);
        if followed < outlook.path.len() {
            return Vec::new();
        }
        let mut covered = Vec::new();
        let mut walked = 1.0;
        for best in seq.cache.best_path(at) {
            let of = |id| seq.cache.get(id).map_or(0.0, |c| c.cond);
            let all: f32 = seq.cache.children(at).map(of).sum();
            covered.push(Level {
                best: walked * of(best),
                any: walked * all,
            });
            walked *= of(best);
            at = best;
        }
        covered
    }

    /// The candidates of these sequences that could join a forward that decodes `base`
    /// anyway, of the highest reach first.
    fn ready(&mut self, members: &[SequenceId], base: Base) -> Vec<Offer> {
        let candidates = self.candidates(members, base);
        candidates.into_iter().map(|c| c.0).collect()
    }

    /// The same with their names. What [`Engine::hold`] counts on is what
    /// [`Engine::choose`] chooses from.
    fn candidates(
        &mut self,
        members: &[SequenceId],
        base: Base,
    ) -> Vec<(Offer, SequenceId, NodeId)> {
        let among = Among {
            base,
            most: self.most_candidates(base),
            leaves: self.leaves(),
            context: self.config.limits.context as usize,
        };
        let mut all: Vec<(Offer, SequenceId, NodeId)> = Vec::new();
        for &id in members {
            let Some(seq) = self.sequences.get_mut(&id) else {
                continue;
            };
            let offers = seq.offers(among, &self.policy, &mut self.nodes);
            let nodes = offers.into_iter().zip(&self.nodes);
            all.extend(nodes.map(|(offer, &node)| (offer, id, node)));
        }
        // Stable, so that parents stay before their children.
        all.sort_by(|a, b| b.0.reach.total_cmp(&a.0.reach));
        all.truncate(among.most);
        all
    }

    /// See [`Ready::free`].
    fn free_share(&self, members: &[SequenceId]) -> f64 {
        let all = self.of(members).map(|s| s.free.get());
        all.sum::<f64>() / members.len().max(1) as f64
    }

    /// Those of these sequences that run.
    fn of(&self, members: &[SequenceId]) -> impl Iterator<Item = &Sequence> {
        members.iter().filter_map(move |id| self.sequences.get(id))
    }

    fn leaves(&self) -> usize {
        if self.config.shapes.chain_only || self.policy.chain_only() {
            return 1;
        }
        (self.config.limits.leaves / self.sequences.len().max(1)).max(1)
    }

    /// Candidates one forward may carry beside `base`, which it decodes anyway.
    fn most_candidates(&self, base: Base) -> usize {
        // Beyond this the smallest cost of a row exceeds what its reach can bring.
        const MOST: usize = 64;
        let rows = self.config.limits.rows.min(self.config.shapes.max_rows);
        rows.saturating_sub(base.rows as usize).min(MOST)
    }

    /// Whom the next forward is for.
    fn turn(&self) -> Turn {
        let shapes = self.config.shapes;
        // Sequences that must not share a forward are done one after the other, so that
        // the cells of each lie in order.
        let most = match shapes.alone {
            true => 1,
            false => usize::MAX,
        };
        let running = || self.sequences.iter().take(most);
        let first = |want: fn(&Sequence) -> bool| {
            let found = running().find(|(_, s)| want(s));
            found.map(|(&id, _)| id)
        };
        let solo = first(|s| s.solo);
        let decoding = first(|s| !s.prefilling());
        // Taking turns with what decodes.
        let waits = shapes.prefill_alone && self.prefilled && decoding.is_some();
        let prefill = first(Sequence::prefilling).filter(|_| !waits);
        let mut turn = Turn {
            members: Vec::new(),
            solo: solo.is_some(),
            decides: solo.is_none() && prefill.is_none(),
        };
        turn.members = match (solo, prefill) {
            (Some(id), _) => vec![id],
            (None, Some(p)) if shapes.prefill_alone => vec![p],
            // One sequence prefills at a time, so that the others are not held up for long.
            (None, Some(p)) => {
                let decoding = running().filter(|(_, s)| !s.prefilling());
                let mut members: Vec<_> = decoding.map(|(&id, _)| id).collect();
                members.truncate(self.config.limits.rows.saturating_sub(1));
                members.push(p);
                members
            }
            (None, None) => running()
                .filter(|(_, s)| !s.prefilling())
                .map(|(&id, _)| id)
                .collect(),
        };
        turn
    }

    fn launch(&mut self, now: Duration) -> Action {
        let shapes = self.config.shapes;
        let mut forward = Forward::default();
        let mut flight = Flight {
            parts: Vec::new(),
            first_cell: self.next_cell,
            launched: now,
            rows: 0,
            base: Base {
                sequences: 0,
                rows: 0,
            },
            why: Why::default(),
            solo: false,
        };
        let Turn {
            members,
            solo,
            decides,
        } = self.turn();
        flight.solo = solo;
        let beside = members.len() > 1;
        let mut chosen = if decides && !self.policy.is_plain() {
            self.choose(&members)
        } else {
            BTreeMap::new()
        };
        for id in members {
            let room = self.config.limits.rows.saturating_sub(forward.rows.len());
            if room == 0 {
                break;
            }
            let nodes = chosen.remove(&id).unwrap_or_default();
            let prompt = match beside {
                // Those that decode beside it wait for this forward.
                true => self.config.prefill_rows.div_ceil(4),
                false => self.config.prefill_rows,
            };
            let prompt = prompt.max(1);
            self.add_part(id, nodes, room, prompt, &mut forward, &mut flight);
        }
        let decodes_only = flight.parts.iter().all(|p| !p.prefill);
        self.prefilled = !decodes_only;
        forward.pad_to = match (flight.solo, decodes_only) {
            (true, _) => shapes.redecide_rows.max(shapes.pad_to),
            (false, true) => shapes.pad_to,
            (false, false) => 0,
        };
        flight.base = Base {
            sequences: flight.parts.len() as u32,
            rows: flight.parts.iter().map(|p| p.chain as u32).sum(),
        };
        flight.rows = forward.rows.len();
        flight.why = self.policy.take_why(flight.base);
        self.flight = Some(flight);
        Action::Forward(forward)
    }

    /// The candidates of the next forward, per sequence: one budget for all, each row to
    /// the sequence where it adds most.
    fn choose(&mut self, members: &[SequenceId]) -> BTreeMap<SequenceId, Vec<NodeId>> {
        let base = base_of(self.of(members));
        let all = self.candidates(members, base);
        let offers: Vec<Offer> = all.iter().map(|e| e.0).collect();
        let size = self.policy.size(base, &offers);
        let mut chosen: BTreeMap<SequenceId, Vec<NodeId>> = BTreeMap::new();
        for &(_, id, node) in &all[..size] {
            chosen.entry(id).or_default().push(node);
        }
        chosen
    }

    fn add_part(
        &mut self,
        id: SequenceId,
        nodes: Vec<NodeId>,
        room: usize,
        prompt: usize,
        forward: &mut Forward,
        flight: &mut Flight,
    ) {
        let Some(seq) = self.sequences.get_mut(&id) else {
            return;
        };
        let first = forward.rows.len();
        let pending = seq.pending();
        let prefill = seq.prefilling();
        let chain = if prefill {
            pending.min(room).min(prompt)
        } else if flight.solo && pending > 1 {
            // The decision comes from a forward of its own.
            (pending - 1).min(room)
        } else {
            // What does not fit is decoded first, and decided on in the next forward.
            pending.min(room)
        };
        let decides = chain == pending;
        let mut parent = None;
        for i in 0..chain {
            let at = seq.decoded + i;
            let cell = self.next_cell;
            self.next_cell += 1;
            forward.rows.push(Row {
                sequence: id,
                token: seq.tokens[at],
                position: at as u32,
                cell,
                parent,
                logits: at + 1 == seq.tokens.len(),
            });
            parent = Some(cell);
        }
        let root_cell = parent;
        let root = seq.cache.root();
        let fitting = match decides {
            true => nodes.len().min(room.saturating_sub(chain)),
            false => 0,
        };
        let nodes = in_preorder(&seq.cache, &nodes[..fitting]);
        let mut taken = Vec::with_capacity(nodes.len());
        for node in nodes {
            let Some(c) = seq.cache.get(node) else {
                continue;
            };
            let parent = match seq.cache.parent(node) {
                Some(p) if p != root => Some(seq.cache.tag(p)),
                _ => root_cell,
            };
            let cell = self.next_cell;
            self.next_cell += 1;
            seq.cache.set_tag(node, cell);
            // What is drafted meanwhile does not take its place: see `Part::land`.
            seq.cache.pin(node);
            forward.rows.push(Row {
                sequence: id,
                token: c.token,
                position: c.position,
                cell,
                parent,
                logits: true,
            });
            taken.push(node);
        }
        flight.parts.push(Part {
            sequence: id,
            first,
            chain,
            decides,
            nodes: taken,
            prefill,
        });
    }

    fn finish(&mut self, id: SequenceId, reason: Finish) {
        let Some(mut seq) = self.sequences.remove(&id) else {
            return;
        };
        seq.tokens.truncate(seq.decoded);
        self.ops.push(KvOp::Prune { sequence: id });
        self.parked.park(id, seq.tenant, seq.tokens, &mut self.ops);
        self.outputs.push(Output::Finished(id, reason));
    }

    /// Ends a generation that cannot go on.
    fn fail(&mut self, id: SequenceId, why: String) {
        self.finish(id, Finish::Cancelled);
        self.outputs.pop();
        self.outputs.push(Output::Failed(id, why));
    }
}

/// What the candidates of a sequence have to fit.
#[derive(Clone, Copy)]
struct Among {
    /// What the forward decodes anyway.
    base: Base,
    /// Candidates it may carry.
    most: usize,
    /// Leaves they may have.
    leaves: usize,
    /// Tokens of context.
    context: usize,
}

fn base_of<'a>(sequences: impl Iterator<Item = &'a Sequence>) -> Base {
    let mut base = Base {
        sequences: 0,
        rows: 0,
    };
    for seq in sequences {
        base.sequences += 1;
        base.rows += seq.pending() as u32;
    }
    base
}

/// Every node followed by the subtree of its best child, then of its next one: the rows of
/// the best path lie side by side, so that its KV cells do.
fn in_preorder(cache: &CandidateCache, nodes: &[NodeId]) -> Vec<NodeId> {
    let wanted: HashSet<NodeId> = nodes.iter().copied().collect();
    let mut order = Vec::with_capacity(nodes.len());
    let mut stack = vec![cache.root()];
    while let Some(at) = stack.pop() {
        if at != cache.root() {
            order.push(at);
        }
        let before = stack.len();
        stack.extend(cache.children(at).filter(|c| wanted.contains(c)));
        stack[before..].reverse();
    }
    order
}

impl Sequence {
    /// Adds a chain of candidates behind the last token.
    fn insert_chain(&mut self, known: &Acceptance, chain: &Chain, source: Source) {
        let mut at = self.cache.root();
        for &(token, prob) in chain {
            let proposal = Proposal {
                source,
                token,
                prob: Prob::clamped(prob),
                rank: 0,
            };
            let Some(next) = self.insert(known, at, proposal) else {
                return;
            };
            known.rejudge(&self.counts, &mut self.cache, at);
            at = next;
        }
    }

    /// Takes a candidate behind `at`, whoever proposes it. Every one comes this way: a token
    /// that the target does not have, or a place past the end, goes no further.
    fn insert(&mut self, known: &Acceptance, at: NodeId, proposal: Proposal) -> Option<NodeId> {
        let Proposal {
            source,
            token,
            prob,
            rank,
        } = proposal;
        let index = self.cache.get(at)?.position as usize + 1;
        if token as usize >= self.bounds.vocab || index >= self.bounds.end {
            return None;
        }
        let prob = prob.get();
        let cond = known.expect_in(&self.counts, source, prob, rank);
        self.cache.insert(at, token, prob, cond, rank, source)
    }

    /// The best `most` candidates as text at hand proposes them: each past the one before.
    fn at_hand(&self, most: usize) -> (Vec<NodeId>, Vec<f32>) {
        let path = self.cache.best_path(self.cache.root());
        let known = path.map_while(|id| self.cache.get(id).map(|c| (id, c)));
        known
            .take_while(|(_, c)| c.sources.iter().any(|s| s.drafter().is_none()))
            .take(most)
            .map(|(id, c)| (id, c.cond))
            .unzip()
    }

    /// What the best candidates have to offer, parents before their children; the token
    /// after each must still be wanted.
    fn offers(&mut self, among: Among, policy: &Policy, nodes: &mut Vec<NodeId>) -> Vec<Offer> {
        let wanted = self.left(among.context).saturating_sub(1);
        self.cache.query(among.most, among.leaves, nodes);
        let last = (self.tokens.len() + wanted) as u32;
        nodes.retain(|node| self.cache.get(*node).is_some_and(|c| c.position < last));
        let (chain, chances) = self.at_hand(wanted);
        let worths = policy.worths(among.base, &chances, among.most);
        let mut led = chain.into_iter().zip(worths).peekable();
        let offer = |node: &NodeId| Offer {
            reach: self.cache.get(*node).map_or(0.0, |c| c.reach),
            worth: led.next_if(|l| l.0 == *node).map_or(1.0, |l| l.1),
        };
        nodes.iter().map(offer).collect()
    }

    /// Tokens that are not in the stem yet: the last one, a side branch the target took
    /// (see [`Engine::complete`]), or prompt.
    fn pending(&self) -> usize {
        self.tokens.len() - self.decoded
    }

    /// Tokens it may still write in a context of so many.
    fn left(&self, context: usize) -> usize {
        self.end.min(context).saturating_sub(self.tokens.len())
    }

    /// Some of the prompt is missing in the stem.
    fn prefilling(&self) -> bool {
        self.decoded < self.prompt
    }

    /// Length of the chain of best candidates.
    fn ahead(&self) -> u32 {
        self.cache.best_path(self.cache.root()).count() as u32
    }
}
