//! A draft model's side: a replica of the candidate cache, grown best-first.
//!
//! The drafter hears of commits only. Each corrects its replica the same way the
//! target corrects the cache, so what it drafted past a hit survives here too, KV cells
//! included. A slow or remote drafter needs no lock and no round trip.
//!
//! A head of the target is drafted with in the same way, on the target's lane; it drafts anew after
//! each commit (`anew`).
//!
//! One step is [`Drafter::poll`] (first catch up with what was committed, else expand the best
//! nodes), a forward of the draft model, and [`Drafter::complete`] (logits become candidates).
//!
//! On a lane of its own a drafter reads ahead where its text repeats itself (`read_ahead`), so that a
//! step may add more than one level to the tree.
//!
//! A draft model that cannot take back any token (a recurrent one,
//! [`Rollback`](crate::forward::Rollback)) drafts one chain per sequence, one token of it per
//! forward. So each drafted token has a state of its own, and whichever of them the target commits,
//! the model goes on from there. It sends an empty [`Expansion`] for each candidate that the chain
//! leaves aside, and for the one at its end when no state is left: the target need not wait for
//! drafts behind these.

mod anew;
mod catch_up;
mod config;
mod expand;
mod leaf_room;
mod proposals;
mod read_ahead;
mod sequence;
mod shape;
mod step;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::acceptance::Acceptance;
use crate::cache::NodeId;
use crate::constraint::TextGrammar;
use crate::cost::CostCurve;
use crate::forward::{CellNames, Forward, KvOp, Logits};
use crate::prefix_cache::{NewSequence, PrefixCache, RunningSequence, Stem};
use crate::protocol::{DraftInput, DraftShare, Drafted, Expansion, Outlook};
use crate::sampler::{Sampler, Sampling};
use crate::scouted_text::ScoutedText;
use crate::sources::Chain;
use crate::types::{Prob, Rows, SequenceId, Source, Tenant, Token};
use leaf_room::LeafRoom;
use sequence::{DraftSequence, is_possible};
use step::{DraftStep, ExpandRow};

pub use config::DrafterConfig;

/// Sequences that are drafted for at a time, where the plan does not say that more are kept.
const MOST_SEQUENCES: usize = 64;

/// The drafting state machine. See the [module](self) documentation.
///
/// What it is told may come from another machine, and is believed only as far as it makes
/// sense: a sequence that is opened must fit the model's context and vocabulary, sequences are
/// bounded in number, and what is written must go on from what is known of an open one. All
/// else is left out, which costs drafts, never more.
///
/// ```
/// use std::time::Duration;
///
/// use card_core::cost::CostCurve;
/// use card_core::drafter::Drafter;
/// use card_core::forward::{Limits, Model, Rollback};
/// use card_core::protocol::{DraftInput, DraftPlan, Lanes};
/// use card_core::sampler::Sampling;
/// use card_core::synthetic::{Synthetic, SyntheticConfig};
/// use card_core::types::{SequenceId, Source, Tenant};
///
/// let limits = Limits {
///     context: 100,
///     cells: 400,
///     rows: 8,
///     leaves: 4,
///     rollback: Rollback::Free,
/// };
/// let mut model = Synthetic::new(SyntheticConfig {
///     vocab: 20,
///     seed: 5,
///     spread: 2.0,
///     noise: 0.5,
///     noise_seed: 1,
///     limits,
/// });
/// let plan = DraftPlan {
///     chain: None,
///     branch: 3,
///     max_depth: 6,
///     cache_bytes: 1 << 14,
///     prefix_slots: 1,
///     lanes: Lanes::Disjoint,
/// };
/// let config = plan.config(Source::Draft, limits, model.vocab());
/// let mut drafter = Drafter::new(config, CostCurve::default());
/// drafter.handle(DraftInput::Open {
///     sequence: SequenceId(1),
///     tenant: Tenant::SHARED,
///     tokens: vec![3, 1, 4],
///     params: Sampling::default(),
///     end: 50,
///     grammar: None,
/// });
/// // Read the prompt, and propose what may follow its last token.
/// let now = Duration::ZERO;
/// let forward = drafter.poll(now).expect("there is a prompt to read");
/// model.forward(&forward)?;
/// let drafted = drafter.complete(&forward, &model, now);
/// assert_eq!(drafted.expansions[0].root, 2);
/// assert_eq!(drafted.expansions[0].children.len(), 3);
/// # Ok::<(), card_core::forward::ModelError>(())
/// ```
pub struct Drafter {
    config: DrafterConfig,
    sequences: BTreeMap<SequenceId, DraftSequence>,
    prefixes: PrefixCache,
    acceptance: Acceptance,
    share: DraftShare,
    cost: CostCurve,
    sampler: Sampler,
    names: CellNames,
    ops: Vec<KvOp>,
    /// The forward that runs, or the last one.
    step: DraftStep,
    /// Steps since a sequence that was passed over had its turn.
    since_turn: u32,
    /// Room for nodes and children, to allocate nothing per token.
    nodes: Vec<NodeId>,
    children: Vec<(Token, Prob)>,
    guesses: Chain,
}

impl Drafter {
    /// A drafter with no sequence. `cost` is what is known of the draft model's forwards.
    pub fn new(config: DrafterConfig, cost: CostCurve) -> Self {
        Drafter {
            config,
            sequences: BTreeMap::new(),
            prefixes: PrefixCache::new(config.prefix_slots, config.limits.rollback),
            acceptance: Acceptance::default(),
            share: DraftShare::WHOLE,
            cost,
            sampler: Sampler::default(),
            names: CellNames::new(),
            ops: Vec::new(),
            step: DraftStep::default(),
            since_turn: 0,
            nodes: Vec::new(),
            children: Vec::new(),
            guesses: Chain::new(),
        }
    }

    /// Which source it is.
    pub fn source(&self) -> Source {
        self.config.source
    }

    /// Sequences it drafts for.
    pub fn running(&self) -> usize {
        self.sequences.len()
    }

    /// Tokens of text it holds, of sequences that run and of finished ones that are kept.
    pub fn held(&self) -> usize {
        let running: usize = self.sequences.values().map(|d| d.tokens.len()).sum();
        running + self.prefixes.cells()
    }

    /// Takes one message; a message that makes no sense changes nothing, or ends the drafting of
    /// its sequence. Not to be called between [`Drafter::poll`] and
    /// [`Drafter::complete`] of a forward.
    pub fn handle(&mut self, input: DraftInput) {
        match input {
            DraftInput::Open {
                sequence,
                tenant,
                tokens,
                params,
                end,
                grammar,
            } => self.open(sequence, tenant, tokens, params, end, grammar),
            DraftInput::Commit {
                sequence,
                from,
                tokens,
            } => self.commit(sequence, from, &tokens),
            DraftInput::Close { sequence } => self.close(sequence),
            DraftInput::Forget { tenant, text } => {
                self.prefixes.release_text(tenant, text, &mut self.ops);
            }
            DraftInput::Share(share) => self.share = share,
        }
    }

    /// KV changes to apply before the next forward, in order.
    pub fn take_ops(&mut self, out: &mut Vec<KvOp>) {
        out.append(&mut self.ops);
    }

    /// What it would do next, if anything.
    pub fn outlook(&mut self) -> Option<Outlook> {
        let mut best: Option<Outlook> = None;
        let room = LeafRoom::of(&self.config, &self.sequences);
        for (&sequence, draft) in &mut self.sequences {
            let share = room.most(draft.places(&self.config));
            let next = expand::outlook(sequence, draft, &self.config, share, &mut self.nodes);
            let Some(next) = next else { continue };
            // Of equal reaches the one with fewer rows counts, as in `catch_up`.
            let better =
                |b: &Outlook| next.reach > b.reach || next.reach == b.reach && next.rows < b.rows;
            if best.as_ref().is_none_or(better) {
                best = Some(next);
            }
        }
        let mut best = best?;
        best.rows = best.rows.min(self.config.limits.rows as u32).max(1);
        Some(best)
    }

    /// The next forward of the draft model: tokens it has to catch up with first, else the
    /// frontier nodes of highest reach, as many as pay by its cost curve.
    pub fn poll(&mut self, now: Duration) -> Option<Forward> {
        self.step = DraftStep::begin(now);
        catch_up::catch_up(
            &mut self.sequences,
            &self.config,
            &self.cost,
            &mut self.names,
            &mut self.since_turn,
            &mut self.step,
        );
        if self.step.rows.is_empty() {
            read_ahead::guess(
                &mut self.sequences,
                &self.config,
                &self.acceptance,
                &mut self.nodes,
                &mut self.guesses,
            );
            let forgone_ms = expand::expand(
                &mut self.sequences,
                &self.config,
                &self.cost,
                self.prefixes.cells(),
                &mut self.names,
                &mut self.step,
            );
            self.cost.forgo(forgone_ms);
        }
        let rows = std::mem::take(&mut self.step.rows);
        if rows.is_empty() {
            return None;
        }
        let forward = shape::filled_up(&self.config, &self.cost, rows);
        if !self.step.caught_up.is_empty() {
            self.cost.forgo(shape::padding_ms(&self.cost, &forward));
        }
        Some(forward)
    }

    /// The forward is done: what it proposes. Commits are heard afterwards, so nothing
    /// changed since [`Drafter::poll`].
    pub fn complete(&mut self, forward: &Forward, logits: &dyn Logits, now: Duration) -> Drafted {
        let step = std::mem::take(&mut self.step);
        let elapsed = now.saturating_sub(step.started);
        let rows = Rows::clamped(forward.rows.len().max(forward.pad_to));
        self.cost.observe(rows.get(), elapsed);
        for caught_up in &step.caught_up {
            let Some(draft) = self.sequences.get_mut(&caught_up.sequence) else {
                continue;
            };
            draft.decoded += caught_up.count;
            draft.rooted = draft.decoded == draft.tokens.len();
            self.ops.push(KvOp::Commit {
                sequence: caught_up.sequence,
                tip: caught_up.tip,
                keep_descendants: false,
            });
        }
        let mut expansions = Vec::new();
        for row in &step.expand {
            expansions.extend(self.look_past(row, logits.row(row.row)));
        }
        // Empty expansions come last: where a message is too long, its receiver ignores the end.
        for row in &step.expand {
            self.leave_out(row, &mut expansions);
        }
        Drafted {
            source: self.config.source,
            expansions,
            rows,
            started: step.started,
            elapsed,
        }
    }

    /// Makes children of the logits after a node, in the replica and in the message to the target.
    /// `None` if the node is gone.
    fn look_past(&mut self, row: &ExpandRow, logits: &[f32]) -> Option<Expansion> {
        let draft = self.sequences.get_mut(&row.sequence)?;
        // The node may be evicted: the children of the nodes before it needed room.
        draft.replica.get(row.node)?;
        let path = draft.replica.path(row.node);
        let at = draft.tokens.len();
        let (branch, children) = (self.config.branch, &mut self.children);
        proposals::propose(&mut self.sampler, draft, &path, logits, branch, children);
        let source = self.config.source;
        let replica = &mut draft.replica;
        replica.mark_expanded(row.node);
        for (number, &(token, prob)) in self.children.iter().enumerate() {
            let (prob, rank) = (prob.get(), number.min(usize::from(u8::MAX)) as u8);
            let cond = self.acceptance.expect_in(&draft.counts, source, prob, rank);
            let added = replica.insert(row.node, token, prob, cond, rank, source);
            if let Some(child) = added {
                // The model knows better than a guess.
                replica.set_cond(child, cond);
            }
            if let Some(child) = added
                && row.node == replica.root()
                && !self.share.owns(number)
            {
                // Another drafter looks past it.
                replica.mark_expanded(child);
            }
        }
        read_ahead::refute(replica, row.node, source);
        Some(Expansion {
            sequence: row.sequence,
            root: at as u32 - 1,
            path,
            children: self.children.clone(),
        })
    }

    /// Adds an empty expansion for each new child of a node that a model which drafts chains will
    /// not go on from, so that the target does not wait for that. A later expansion may say more,
    /// when commits have freed states or the text has reached the child.
    fn leave_out(&self, row: &ExpandRow, expansions: &mut Vec<Expansion>) {
        let Some(draft) = self.sequences.get(&row.sequence) else {
            return;
        };
        if self.config.limits.rollback.is_free() {
            return;
        }
        let room = LeafRoom::of(&self.config, &self.sequences);
        let states = room.most(draft.places(&self.config));
        let next = draft.next_of_chain(&self.config, states);
        let replica = &draft.replica;
        // A child that is another drafter's part is marked as expanded here.
        let own = |&c: &NodeId| replica.get(c).is_some_and(|c| !c.expanded);
        let children = replica.children(row.node).filter(own);
        let left_out = children.filter(|&c| Some(c) != next);
        expansions.extend(left_out.map(|c| Expansion {
            sequence: row.sequence,
            root: draft.tokens.len() as u32 - 1,
            path: replica.path(c),
            children: Vec::new(),
        }));
    }

    fn open(
        &mut self,
        sequence: SequenceId,
        tenant: Tenant,
        tokens: Vec<Token>,
        params: Sampling,
        end: u32,
        grammar: Option<TextGrammar>,
    ) {
        let config = self.config;
        let most = config.prefix_slots.max(MOST_SEQUENCES);
        let known = self.sequences.contains_key(&sequence);
        let possible = is_possible(&config, tokens.len(), &tokens);
        if known || self.sequences.len() >= most || !possible || tokens.is_empty() {
            return;
        }
        let end = end.min(config.limits.context) as usize;
        let running = self.sequences.iter().map(|(&sequence, d)| RunningSequence {
            sequence,
            tenant: d.tenant,
            stem: &d.tokens[..d.decoded],
            rolled_back: false,
            end: d.end,
        });
        let new = NewSequence {
            sequence,
            tenant,
            tokens: &tokens,
            end,
        };
        let cells = config.limits.cells;
        let reused = self.prefixes.admit(new, running, cells, &mut self.ops);
        let scouted = grammar.map(|g| {
            let written = tokens.get(g.begins as usize..).unwrap_or_default();
            ScoutedText::new(g.grammar, written)
        });
        let mut draft = DraftSequence::new(tenant, params, tokens, end, reused.tokens, &config);
        draft.scouted = scouted;
        self.sequences.insert(sequence, draft);
    }

    fn commit(&mut self, sequence: SequenceId, from: u32, tokens: &[Token]) {
        let Some(draft) = self.sequences.get_mut(&sequence) else {
            return;
        };
        // A message that was heard twice, or after a restart, brings only what is new.
        let Some(known) = draft.tokens.len().checked_sub(from as usize) else {
            return;
        };
        let Some(tokens) = tokens.get(known..).filter(|t| !t.is_empty()) else {
            return;
        };
        let length = draft.tokens.len().saturating_add(tokens.len());
        if is_possible(&self.config, length, tokens) {
            let acceptance = &mut self.acceptance;
            let change = if self.config.drafts_anew() {
                draft.commit_anew(sequence, tokens, acceptance, &self.config)
            } else {
                draft.commit(sequence, tokens, acceptance)
            };
            self.ops.extend(change);
        } else {
            // The text has outgrown this model, or was never one of its: there is nothing to
            // draft any more.
            self.close(sequence);
        }
    }

    fn close(&mut self, sequence: SequenceId) {
        let Some(mut draft) = self.sequences.remove(&sequence) else {
            return;
        };
        draft.tokens.truncate(draft.decoded);
        self.ops.push(KvOp::Prune { sequence });
        let stem = Stem {
            sequence,
            tenant: draft.tenant,
            tokens: draft.tokens,
            // What joins a drafter's stem is always the whole of a chain.
            rolled_back: false,
        };
        self.prefixes.keep(stem, &mut self.ops);
    }
}
