//! A draft model's side: a replica of the candidate cache, grown best-first.
//!
//! The drafter hears of commits only. Each corrects its replica the same way the
//! target corrects the cache, so what it drafted past a hit survives here too, KV cells
//! included. A slow or remote drafter needs no lock and no round trip.

mod plan;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::acceptance::{Acceptance, Counts};
use crate::cache::{CandidateCache, NodeId};
use crate::cost::CostCurve;
use crate::forward::{Cell, Forward, KvOp, Logits, Row};
use crate::parked::{Beginning, Parked, Running};
use crate::policy::{Lanes, Outlook};
use crate::sampler::{Sampler, Sampling};
use crate::types::{Prob, Rows, SequenceId, Source, Tenant, Token};

pub use plan::{DraftPlan, DrafterConfig};

/// What a drafter proposes after one token.
#[derive(Clone, Debug, PartialEq)]
pub struct Expansion {
    /// The sequence.
    pub sequence: SequenceId,
    /// Index of the last committed token the drafter knew of.
    pub root: u32,
    /// Tokens from there to the expanded one.
    pub path: Vec<Token>,
    /// Proposed next tokens with the probability the draft model gives them, best first.
    pub children: Vec<(Token, Prob)>,
}

/// What a draft model proposes for one place of a text that is known.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Place {
    /// Which of the proposals is the text's token; `None` for none of them.
    pub rank: Option<usize>,
    /// Probabilities of the proposals, best first.
    pub probabilities: Vec<f32>,
}

/// Expansions that came from one forward of the draft model.
#[derive(Clone, Debug)]
pub struct Drafted {
    /// Who drafted.
    pub source: Source,
    /// The expansions.
    pub expansions: Vec<Expansion>,
    /// Rows the forward had.
    pub rows: Rows,
    /// When it began, on the drafter's clock.
    pub started: Duration,
    /// Time it took.
    pub elapsed: Duration,
}

/// What a drafter is told.
#[derive(Clone, Debug)]
pub enum DraftInput {
    /// A sequence begins.
    Open {
        /// The sequence.
        sequence: SequenceId,
        /// Whose it is: sequences of different tenants share no prefix.
        tenant: Tenant,
        /// Its tokens so far.
        tokens: Vec<Token>,
        /// How the target samples; the drafter uses the same noise.
        params: Sampling,
        /// Most tokens it can come to have.
        end: u32,
    },
    /// The target wrote these.
    Commit {
        /// The sequence.
        sequence: SequenceId,
        /// Index of the first of them.
        from: u32,
        /// The tokens.
        tokens: Vec<Token>,
    },
    /// The sequence is over.
    Close {
        /// The sequence.
        sequence: SequenceId,
    },
    /// Several drafters work for this target, and this is one's part.
    Share(Share),
}

/// A drafter's part of the tree, if it is shared out: of what may follow the last token, the
/// first one looks past the most probable, the others past the rest in turn. So one drafts
/// on while others are prepared for a correction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which of them, below `of`.
    pub index: u32,
    /// How many there are.
    pub of: u32,
}

impl Share {
    /// All of it.
    pub const WHOLE: Share = Share { index: 0, of: 1 };

    /// Whether the candidate of this rank after the last token is its to look past.
    pub fn owns(self, rank: usize) -> bool {
        match (self.of, rank) {
            (0 | 1, _) => true,
            (_, 0) => self.index == 0,
            (of, rank) => self.index as usize == 1 + (rank - 1) % (of as usize - 1),
        }
    }
}

/// Sequences that are drafted for at a time, where the plan does not say that more are kept.
const MOST_SEQUENCES: usize = 64;

/// KV cells that are left alone: those of nodes that were evicted are not counted.
const MARGIN: usize = 64;

struct Draft {
    tenant: Tenant,
    params: Sampling,
    tokens: Vec<Token>,
    /// Most tokens it can come to have.
    end: usize,
    /// Leading tokens that are in the stem.
    decoded: usize,
    /// Its root is the last token; a node's tag is the cell it was decoded into.
    replica: CandidateCache,
    counts: Counts,
    /// The target has written something since it was opened here.
    begun: bool,
    /// The root was decoded and looked past.
    rooted: bool,
    /// Leaves of the decoded part of the replica.
    leaves: usize,
    /// Its nodes.
    grown: usize,
}

/// A row of the running forward that will be looked past.
struct Wanted {
    sequence: SequenceId,
    row: usize,
    node: NodeId,
}

/// The drafting state machine. See the [module](self) documentation.
///
/// What it is told may come from another machine, and is believed only as far as it makes
/// sense: a sequence that is opened must fit the model's context and vocabulary, sequences are
/// bounded in number, and what is written must go on from what is known of an open one. All
/// else is left out, which costs drafts, never more.
pub struct Drafter {
    config: DrafterConfig,
    drafts: BTreeMap<SequenceId, Draft>,
    parked: Parked,
    acceptance: Acceptance,
    share: Share,
    cost: CostCurve,
    sampler: Sampler,
    next_cell: Cell,
    ops: Vec<KvOp>,
    wanted: Vec<Wanted>,
    /// Sequences whose stem grows by the running forward: its new end, and by how much.
    caught_up: Vec<(SequenceId, Cell, usize)>,
    started: Duration,
    nodes: Vec<NodeId>,
    children: Vec<(Token, Prob)>,
}

impl Drafter {
    /// A drafter with no sequence. `cost` is what is known of the draft model's forwards.
    pub fn new(config: DrafterConfig, cost: CostCurve) -> Self {
        Drafter {
            config,
            drafts: BTreeMap::new(),
            parked: Parked::new(config.parked),
            acceptance: Acceptance::default(),
            share: Share::WHOLE,
            cost,
            sampler: Sampler::default(),
            next_cell: 1,
            ops: Vec::new(),
            wanted: Vec::new(),
            caught_up: Vec::new(),
            started: Duration::ZERO,
            nodes: Vec::new(),
            children: Vec::new(),
        }
    }

    /// Which source it is.
    pub fn source(&self) -> Source {
        self.config.source
    }

    /// Sequences it drafts for.
    pub fn running(&self) -> usize {
        self.drafts.len()
    }

    /// Tokens of text it holds, of sequences that run and of those that are kept.
    pub fn held(&self) -> usize {
        let running: usize = self.drafts.values().map(|d| d.tokens.len()).sum();
        running + self.parked.cells()
    }

    /// Takes one message; one that makes no sense changes nothing, or ends the drafting of
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
            } => self.open(sequence, tenant, tokens, params, end),
            DraftInput::Commit {
                sequence,
                from,
                tokens,
            } => self.commit(sequence, from, &tokens),
            DraftInput::Close { sequence } => self.close(sequence),
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
        let rows_limit = self.config.limits.rows;
        let mut nodes = std::mem::take(&mut self.nodes);
        for (&sequence, draft) in &mut self.drafts {
            if !is_wanted(&self.config, draft) {
                continue;
            }
            let next = if !draft.rooted {
                if !fits(&self.config, draft) {
                    continue;
                }
                let pending = draft.tokens.len() - draft.decoded;
                Outlook {
                    source: self.config.source,
                    reach: 1.0,
                    rows: pending as u32,
                    sequence,
                    path: Vec::new(),
                }
            } else {
                let depth = depth_limit(&self.config, draft);
                draft
                    .replica
                    .frontier(1, depth, self.config.min_reach, &mut nodes);
                let Some(&node) = nodes.first() else {
                    continue;
                };
                Outlook {
                    source: self.config.source,
                    reach: draft.replica.get(node).map_or(0.0, |c| c.reach),
                    rows: 1,
                    sequence,
                    path: draft.replica.path(node),
                }
            };
            if best.as_ref().is_none_or(|b| next.reach > b.reach) {
                best = Some(next);
            }
        }
        self.nodes = nodes;
        best.map(|mut b| {
            b.rows = b.rows.min(rows_limit as u32).max(1);
            b
        })
    }

    /// The next forward of the draft model: tokens it has to catch up with first, else the
    /// frontier nodes of highest reach, as many as pay by its cost curve.
    pub fn poll(&mut self, now: Duration) -> Option<Forward> {
        let mut rows = Vec::new();
        self.wanted.clear();
        self.caught_up.clear();
        self.started = now;
        self.catch_up(&mut rows);
        if rows.is_empty() {
            self.expand(&mut rows);
        }
        (!rows.is_empty()).then_some(Forward { rows, pad_to: 0 })
    }

    /// The forward is done: what it proposes. Commits are heard afterwards, so nothing
    /// changed since [`Drafter::poll`].
    pub fn complete(&mut self, forward: &Forward, logits: &dyn Logits, now: Duration) -> Drafted {
        let elapsed = now.saturating_sub(self.started);
        let rows = Rows::clamped(forward.rows.len());
        self.cost.observe(rows.get(), elapsed);
        for (sequence, tip, count) in self.caught_up.drain(..) {
            let Some(draft) = self.drafts.get_mut(&sequence) else {
                continue;
            };
            draft.decoded += count;
            draft.rooted = draft.decoded == draft.tokens.len();
            self.ops.push(KvOp::Commit {
                sequence,
                tip,
                keep_descendants: false,
            });
        }
        let mut expansions = Vec::new();
        for wanted in std::mem::take(&mut self.wanted) {
            let Some(draft) = self.drafts.get_mut(&wanted.sequence) else {
                continue;
            };
            let path = draft.replica.path(wanted.node);
            let at = draft.tokens.len();
            // Penalties count the drafted path as well, as they will for the target.
            draft.tokens.extend_from_slice(&path);
            let position = draft.tokens.len() as u32;
            self.sampler.propose(
                &draft.params,
                logits.row(wanted.row),
                &draft.tokens,
                position,
                self.config.branch,
                &mut self.children,
            );
            draft.tokens.truncate(at);
            draft.replica.mark_expanded(wanted.node);
            for (rank, &(token, prob)) in self.children.iter().enumerate() {
                let source = self.config.source;
                let known = &self.acceptance;
                let (prob, place) = (prob.get(), rank.min(usize::from(u8::MAX)) as u8);
                let cond = known.expect_in(&draft.counts, source, prob, place);
                let replica = &mut draft.replica;
                let added = replica.insert(wanted.node, token, prob, cond, place, source);
                if let Some(child) = added
                    && wanted.node == replica.root()
                    && !self.share.owns(rank)
                {
                    // Another drafter looks past it.
                    replica.mark_expanded(child);
                }
            }
            expansions.push(Expansion {
                sequence: wanted.sequence,
                root: at as u32 - 1,
                path,
                children: self.children.clone(),
            });
        }
        Drafted {
            source: self.config.source,
            expansions,
            rows,
            started: self.started,
            elapsed,
        }
    }

    fn open(
        &mut self,
        sequence: SequenceId,
        tenant: Tenant,
        tokens: Vec<Token>,
        params: Sampling,
        end: u32,
    ) {
        let config = self.config;
        let most = config.parked.max(MOST_SEQUENCES);
        let known = self.drafts.contains_key(&sequence);
        if known || self.drafts.len() >= most || !may_be(&config, tokens.len(), &tokens) {
            return;
        }
        let Some(last) = tokens.len().checked_sub(1) else {
            return;
        };
        let limits = config.limits;
        let end = end.min(limits.context) as usize;
        let running = self.drafts.iter().map(|(&sequence, d)| Running {
            sequence,
            tenant: d.tenant,
            stem: &d.tokens[..d.decoded],
            end: d.end,
        });
        let new = Beginning {
            sequence,
            tenant,
            tokens: &tokens,
            end,
        };
        let adopted = self.parked.admit(new, running, limits.cells, &mut self.ops);
        let draft = Draft {
            tenant,
            params,
            end,
            decoded: adopted,
            replica: CandidateCache::new(last as u32, config.cache_bytes),
            counts: Counts::default(),
            begun: false,
            rooted: false,
            leaves: 0,
            grown: 0,
            tokens,
        };
        self.drafts.insert(sequence, draft);
    }

    fn commit(&mut self, sequence: SequenceId, from: u32, tokens: &[Token]) {
        let Some(draft) = self.drafts.get_mut(&sequence) else {
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
        if !may_be(&self.config, length, tokens) {
            // It has outgrown this model, or was never its: there is nothing to draft any more.
            self.close(sequence);
            return;
        }
        draft.begun = true;
        self.acceptance
            .learn(&mut draft.counts, &draft.replica, tokens);
        // The deepest cell on the committed path joins the stem.
        let mut at = draft.replica.root();
        let mut tip = None;
        let mut depth = 0;
        for &token in tokens {
            let Some(child) = draft.replica.child(at, token) else {
                break;
            };
            at = child;
            if draft.replica.tag(at) == 0 {
                break;
            }
            depth += 1;
            tip = Some(draft.replica.tag(at));
        }
        let whole = depth == tokens.len();
        // A root that is not decoded has nothing decoded below it either.
        if draft.rooted {
            self.ops.push(match tip {
                Some(tip) => KvOp::Commit {
                    sequence,
                    tip,
                    keep_descendants: whole,
                },
                None => KvOp::Prune { sequence },
            });
            draft.decoded = draft.tokens.len() + depth;
        }
        draft.tokens.extend_from_slice(tokens);
        draft.replica.correct(tokens);
        draft.rooted = draft.rooted && whole;
        (draft.grown, draft.leaves) = decoded(&draft.replica);
    }

    fn close(&mut self, sequence: SequenceId) {
        let Some(mut draft) = self.drafts.remove(&sequence) else {
            return;
        };
        draft.tokens.truncate(draft.decoded);
        self.ops.push(KvOp::Prune { sequence });
        self.parked
            .park(sequence, draft.tenant, draft.tokens, &mut self.ops);
    }

    /// Rows for committed tokens that are not decoded yet.
    fn catch_up(&mut self, rows: &mut Vec<Row>) {
        for (&sequence, draft) in &mut self.drafts {
            let waits = draft.rooted || !is_wanted(&self.config, draft);
            if waits || !fits(&self.config, draft) {
                continue;
            }
            let room = self.config.limits.rows.saturating_sub(rows.len());
            let pending = draft.tokens.len() - draft.decoded;
            let count = pending.min(room);
            let mut parent = None;
            for i in 0..count {
                let at = draft.decoded + i;
                let last = at + 1 == draft.tokens.len();
                let cell = self.next_cell;
                self.next_cell += 1;
                rows.push(Row {
                    sequence,
                    token: draft.tokens[at],
                    position: at as u32,
                    cell,
                    parent,
                    logits: last,
                });
                parent = Some(cell);
                if last {
                    self.wanted.push(Wanted {
                        sequence,
                        row: rows.len() - 1,
                        node: draft.replica.root(),
                    });
                }
            }
            if let Some(tip) = parent {
                self.caught_up.push((sequence, tip, count));
            }
        }
    }

    /// How many nodes of these reaches, the highest first, to look past at a time.
    fn rows_that_pay(&self, reaches: impl Iterator<Item = f64>) -> usize {
        let one = self.cost.ms(1);
        let mut sum = 0.0;
        let mut best = (0, f64::NEG_INFINITY);
        for (reach, rows) in reaches.zip(1..) {
            sum += reach;
            let ms = self.cost.ms(rows);
            let value = match self.config.lanes {
                // It works all the time: the most reach per millisecond.
                Lanes::Disjoint => sum / ms,
                // The target waits for it: a node may save a step of its own later, if the
                // target gets there, but makes this one longer.
                Lanes::Shared => sum * one - ms,
            };
            if value > best.1 {
                best = (rows as usize, value);
            }
        }
        best.0
    }

    /// Rows for the frontier nodes of highest reach.
    fn expand(&mut self, rows: &mut Vec<Row>) {
        let most = self.config.limits.rows.min(16);
        let mut found: Vec<(f32, SequenceId, NodeId)> = Vec::new();
        for (&sequence, draft) in &mut self.drafts {
            if !draft.rooted || !is_wanted(&self.config, draft) {
                continue;
            }
            let depth = depth_limit(&self.config, draft);
            let min = self.config.min_reach;
            draft.replica.frontier(most, depth, min, &mut self.nodes);
            found.extend(
                self.nodes
                    .iter()
                    .filter_map(|&node| Some((draft.replica.get(node)?.reach, sequence, node))),
            );
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        found.truncate(most);
        let mut count = self.rows_that_pay(found.iter().map(|f| f64::from(f.0)));
        let used: usize = self.drafts.values().map(|d| d.decoded + d.grown).sum();
        let room = self
            .config
            .limits
            .cells
            .saturating_sub(used + self.parked.cells() + MARGIN);
        count = count.min(room);
        let most_leaves = self.config.limits.leaves / self.drafts.len().max(1);
        for &(_, sequence, node) in &found[..count] {
            let Some(draft) = self.drafts.get_mut(&sequence) else {
                continue;
            };
            let Some(c) = draft.replica.get(node) else {
                continue;
            };
            if branches(&draft.replica, node) {
                if draft.leaves >= most_leaves {
                    continue;
                }
                draft.leaves += 1;
            }
            let root = draft.replica.root();
            let parent = draft.replica.parent(node).filter(|p| *p != root);
            let parent = parent.map(|p| draft.replica.tag(p));
            let cell = self.next_cell;
            self.next_cell += 1;
            draft.replica.set_tag(node, cell);
            draft.grown += 1;
            rows.push(Row {
                sequence,
                token: c.token,
                position: c.position,
                cell,
                parent,
                logits: true,
            });
            self.wanted.push(Wanted {
                sequence,
                row: rows.len() - 1,
                node,
            });
        }
    }
}

/// Whether a text of so many tokens, these among them, can be one of the model's.
fn may_be(config: &DrafterConfig, length: usize, tokens: &[Token]) -> bool {
    length < config.limits.context as usize && tokens.iter().all(|&t| (t as usize) < config.vocab)
}

/// Whether drafts for it are of use now. A target that shares the lane takes none while it
/// reads a prompt, or has others to decode first; until it has written something, drafting
/// would hold up what it decodes meanwhile.
fn is_wanted(config: &DrafterConfig, draft: &Draft) -> bool {
    draft.begun || config.lanes == Lanes::Disjoint
}

/// Whether the model can decode what is committed.
fn fits(config: &DrafterConfig, draft: &Draft) -> bool {
    draft.tokens.len() < config.limits.context as usize
        && draft.tokens[draft.decoded..]
            .iter()
            .all(|&t| (t as usize) < config.vocab)
}

/// Whether decoding `node` adds a leaf: a sibling, or nothing at all, was decoded before.
fn branches(replica: &CandidateCache, node: NodeId) -> bool {
    let parent = replica.parent(node).unwrap_or(replica.root());
    parent == replica.root() || replica.children(parent).any(|c| replica.tag(c) != 0)
}

/// Nodes of the decoded part of a replica, and its leaves.
fn decoded(replica: &CandidateCache) -> (usize, usize) {
    let (mut nodes, mut leaves) = (0, 0);
    let mut stack = vec![replica.root()];
    while let Some(at) = stack.pop() {
        let before = stack.len();
        stack.extend(replica.children(at).filter(|&c| replica.tag(c) != 0));
        let below = at != replica.root();
        nodes += usize::from(below);
        leaves += usize::from(stack.len() == before && below);
    }
    (nodes, leaves)
}

fn depth_limit(config: &DrafterConfig, draft: &Draft) -> u32 {
    let room = config.limits.context as usize;
    let room = room.saturating_sub(draft.tokens.len() + 1) as u32;
    config.max_depth.saturating_sub(1).min(room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::Limits;
    use crate::policy::Lanes;

    fn rows(lanes: Lanes, cost: &[(u32, f64)], reaches: &[f64]) -> usize {
        let limits = Limits {
            context: 100,
            cells: 100,
            rows: 16,
            leaves: 8,
        };
        let plan = DraftPlan {
            chain: None,
            branch: 4,
            max_depth: 24,
            cache_bytes: 1 << 14,
            parked: 1,
            lanes,
        };
        let config = plan.config(Source::Draft, limits, 50);
        let drafter = Drafter::new(config, CostCurve::from_points(cost.iter().copied()));
        drafter.rows_that_pay(reaches.iter().copied())
    }

    #[test]
    fn what_the_target_waits_for_is_one_node_where_rows_cost_time() {
        let processor = [(1, 7.0), (2, 12.0), (4, 12.5), (8, 21.0)];
        let flat = [(1, 7.0), (16, 7.0)];
        let doubtful = [0.3, 0.3, 0.2, 0.1];
        assert_eq!(rows(Lanes::Shared, &processor, &doubtful), 1);
        assert_eq!(rows(Lanes::Disjoint, &processor, &doubtful), 4);
        for lanes in [Lanes::Shared, Lanes::Disjoint] {
            assert_eq!(rows(lanes, &flat, &doubtful), 4);
            // Two sequences that are both sure to go on.
            assert_eq!(rows(lanes, &processor, &[0.95, 0.9]), 2);
        }
    }
}
