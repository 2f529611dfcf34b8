//! The end of a round: decide every position, commit, correct.

use std::time::Duration;

use super::{Engine, Finish, Flight, Output, Part};
use crate::cache::CandidateCache;
use crate::forward::{Forward, KvOp, Logits};
use crate::policy::Why;
use crate::sampler::Logprob;
use crate::types::{SequenceId, Source, SourceSet, Token};

/// What one target forward did for one sequence.
#[derive(Clone, Debug)]
pub struct Round {
    /// The sequence.
    pub sequence: SequenceId,
    /// Whether it decoded prompt tokens.
    pub prefill: bool,
    /// Tokens of the prompt that an earlier sequence had decoded.
    pub reused: usize,
    /// Candidates that were verified.
    pub offered: usize,
    /// Sources of each accepted candidate, in order.
    pub accepted: Vec<SourceSet>,
    /// Tokens the target decided on: the accepted ones and its own.
    pub tokens: Vec<Token>,
    /// Whether the token after the last accepted one was cached; `None` if there was no
    /// such decision.
    pub hit: Option<bool>,
    /// Bytes of candidates that were cached before the correction.
    pub cached_bytes: usize,
    /// Log probabilities of the tokens, in the model's own distribution (before bias,
    /// penalties and constraint), if they were asked for.
    pub logprobs: Vec<Logprob>,
    /// Candidates dropped for want of room since the round before.
    pub evicted: usize,
    /// Candidates cached after the correction.
    pub survivors: usize,
    /// Decisions closer than the near-tie bound: index in the sequence, margin in logits.
    pub near_ties: Vec<(u32, f32)>,
    /// A close decision was left to a forward of one row.
    pub deferred: bool,
    /// Rows of the whole forward.
    pub rows: usize,
    /// When the forward began, on the engine's clock.
    pub launched: Duration,
    /// Time of the forward.
    pub forward: Duration,
    /// Time since the round before ended, this forward included.
    pub elapsed: Duration,
    /// The numbers behind the schedule.
    pub why: Why,
    /// The verified candidates, if the engine was asked to trace. Parents come first.
    pub nodes: Vec<RoundNode>,
    /// Draft steps since the round before, if the engine was asked to trace.
    pub drafts: Vec<DraftSpan>,
}

/// A step of a drafter.
#[derive(Clone, Copy, Debug)]
pub struct DraftSpan {
    /// Whose.
    pub source: Source,
    /// When it began, on the drafter's clock; that is the engine's if they share a machine.
    pub start: Duration,
    /// Time it took.
    pub elapsed: Duration,
    /// Rows of its forward.
    pub rows: u32,
}

/// A candidate that was verified.
#[derive(Clone, Debug)]
pub struct RoundNode {
    /// Its token.
    pub token: Token,
    /// Its parent among the nodes; `None` for the last committed token.
    pub parent: Option<usize>,
    /// Who proposed it.
    pub sources: SourceSet,
    /// Probability its first source gave.
    pub prob: f32,
    /// Calibrated probability that the target walks through it.
    pub reach: f32,
    /// Whether the target did.
    pub accepted: bool,
}

impl Engine {
    /// The forward given by [`Engine::poll`] is done: verify, commit, correct.
    pub fn complete(&mut self, forward: &Forward, logits: &dyn Logits, now: Duration) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        let mut tokens = 0;
        let decodes = flight.parts.iter().all(|p| !p.prefill);
        for part in &flight.parts {
            let settled = self.settle(part, &flight, forward, logits, now);
            let Settled {
                round,
                committed,
                finish,
                failure,
            } = settled;
            let id = round.sequence;
            let written = round.tokens.len();
            tokens += written as u32;
            self.outputs.push(Output::Round(Box::new(round)));
            if let Some((from, tokens)) = committed {
                self.outputs.push(Output::Tokens(id, from, tokens));
            }
            match (failure, finish) {
                (Some(why), _) => self.fail(id, why),
                (None, Some(reason)) => self.finish(id, reason),
                (None, None) if part.decides => self.consult(id, written),
                (None, None) => {}
            }
        }
        let elapsed = now.saturating_sub(flight.launched);
        if decodes {
            // The cost of a padded forward is the cost of its padding too.
            let rows = flight.rows.max(forward.pad_to) as u32;
            let round = now.saturating_sub(self.last_round);
            self.policy
                .verified(flight.base, rows, elapsed, round, tokens);
        } else {
            self.policy.target.observe(flight.rows as u32, elapsed);
        }
        self.last_round = now;
        self.last_forward = elapsed;
    }

    /// The forward could not be done. Nothing was committed; the sequences go on as if
    /// it had not been asked for.
    pub fn abandon(&mut self) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        for part in &flight.parts {
            if let Some(seq) = self.sequences.get_mut(&part.sequence) {
                part.land(&mut seq.cache);
            }
        }
    }

    fn settle(
        &mut self,
        part: &Part,
        flight: &Flight,
        forward: &Forward,
        logits: &dyn Logits,
        now: Duration,
    ) -> Settled {
        let id = part.sequence;
        let mut round = Round {
            sequence: id,
            prefill: part.prefill,
            reused: 0,
            offered: part.nodes.len(),
            accepted: Vec::new(),
            tokens: Vec::new(),
            hit: None,
            cached_bytes: 0,
            evicted: 0,
            launched: flight.launched,
            drafts: std::mem::take(&mut self.spans),
            logprobs: Vec::new(),
            survivors: 0,
            near_ties: Vec::new(),
            deferred: false,
            rows: flight.rows,
            forward: now.saturating_sub(flight.launched),
            elapsed: now.saturating_sub(self.last_round),
            why: flight.why,
            nodes: Vec::new(),
        };
        let context = self.config.limits.context as usize;
        let Some(seq) = self.sequences.get_mut(&id) else {
            return Settled::only(round);
        };
        part.land(&mut seq.cache);
        round.reused = seq.reused;
        round.cached_bytes = seq.cache.bytes();
        round.evicted = (seq.cache.evictions() - seq.evicted) as usize;
        seq.evicted = seq.cache.evictions();
        if self.config.trace {
            round.nodes = trace(seq, part, flight, forward);
        }
        let root_row = part.first + part.chain - 1;
        if !part.decides {
            seq.decoded += part.chain;
            self.ops.push(KvOp::Commit {
                sequence: id,
                tip: forward.rows[root_row].cell,
                keep_descendants: false,
            });
            return Settled::only(round);
        }
        // Another forward than the one that re-decides may have decided a near-tie otherwise.
        let shapes = self.config.shapes;
        let wider = flight.rows != shapes.redecide_rows && !part.prefill && !flight.solo;
        let bound = self.config.shapes.redecide_below.filter(|_| wider);
        let start = seq.tokens.len();
        let mut at = seq.cache.root();
        let mut row = root_row;
        let mut in_order = 0;
        let mut finish = None;
        let mut failure = None;
        seq.solo = false;
        loop {
            let position = seq.tokens.len() as u32;
            let allowed = match seq.constraint.as_mut().map(|c| c.allowed()).transpose() {
                Ok(allowed) => allowed,
                Err(why) => {
                    failure = Some(why);
                    break;
                }
            };
            let here = logits.row(row);
            let choice = self
                .sampler
                .choose(&seq.params, here, allowed, &seq.tokens, position);
            if choice.margin < self.config.near_tie {
                round.near_ties.push((position, choice.margin));
            }
            if bound.is_some_and(|b| choice.margin < b) {
                seq.solo = true;
                round.deferred = true;
                break;
            }
            round.tokens.push(choice.token);
            if let Some(top) = seq.logprobs {
                round.logprobs.push(Logprob::of(here, choice.token, top));
            }
            if seq.stop_tokens.contains(&choice.token) {
                finish = Some(Finish::Stop);
                break;
            }
            seq.tokens.push(choice.token);
            if let Some(constraint) = &mut seq.constraint
                && let Err(why) = constraint.wrote(choice.token)
            {
                failure = Some(why);
                break;
            }
            if seq.tokens.len() >= seq.end {
                finish = Some(Finish::Length);
                break;
            }
            if seq.tokens.len() >= context {
                finish = Some(Finish::ContextFull);
                break;
            }
            let child = seq.cache.child(at, choice.token);
            let verified = child.filter(|&c| seq.cache.tag(c) >= flight.first_cell);
            let Some(child) = verified else { break };
            if let Some(c) = seq.cache.get(child) {
                round.accepted.push(c.sources);
            }
            let next = part.first + (seq.cache.tag(child) - forward.rows[part.first].cell) as usize;
            in_order += usize::from(next == root_row + in_order + 1);
            row = next;
            at = child;
        }
        let committed = &seq.tokens[start..];
        let in_stem = committed.len().min(round.accepted.len());
        // The best path's rows lie side by side and join the stem. Those of a side branch
        // do not, and joining they would change the order of attention's sums, so they are
        // decoded again, with what comes next (docs/exactness.md). So is the row of a
        // deferred decision.
        let mut decoded = seq.decoded + part.chain + in_order.min(in_stem);
        if round.deferred {
            decoded = decoded.min(seq.tokens.len() - 1);
        }
        self.ops.push(match decoded - seq.decoded {
            0 => KvOp::Prune { sequence: id },
            rows => KvOp::Commit {
                sequence: id,
                tip: forward.rows[part.first + rows - 1].cell,
                keep_descendants: false,
            },
        });
        seq.decoded = decoded;
        mark_accepted(&mut round, in_stem);
        let memory = &mut self.memory;
        memory
            .acceptance
            .learn(&mut seq.counts, &seq.cache, &round.tokens);
        if self.config.free_sources {
            seq.free.observe(committed.len(), &round.accepted);
            seq.suffix.extend(committed);
            if let Some(corrections) = &mut memory.corrections {
                corrections.learn(seq.tenant, &seq.tokens, start);
            }
        }
        let committed = (!committed.is_empty()).then(|| (start as u32, committed.to_vec()));
        if let Some((_, tokens)) = &committed {
            seq.committed = now;
            // What takes until the prompt is read says nothing of later answers.
            seq.answered = part.prefill || !seq.read;
            let correction = seq.cache.correct(tokens);
            round.survivors = correction.survivors;
            if !part.prefill && !round.deferred && finish.is_none() {
                round.hit = Some(correction.hit);
            }
        }
        Settled {
            round,
            committed,
            finish,
            failure,
        }
    }
}

impl Part {
    /// The forward is done: its candidates may be evicted again.
    fn land(&self, cache: &mut CandidateCache) {
        for &node in &self.nodes {
            cache.unpin(node);
        }
    }
}

/// What became of one part of a forward.
struct Settled {
    round: Round,
    /// Index of the first committed token, and the tokens.
    committed: Option<(u32, Vec<Token>)>,
    finish: Option<Finish>,
    /// Why it cannot go on.
    failure: Option<String>,
}

impl Settled {
    fn only(round: Round) -> Self {
        Settled {
            round,
            committed: None,
            finish: None,
            failure: None,
        }
    }
}

fn trace(seq: &super::Sequence, part: &Part, flight: &Flight, forward: &Forward) -> Vec<RoundNode> {
    let first = forward.rows[part.first].cell + part.chain as u64;
    part.nodes
        .iter()
        .filter_map(|&node| {
            let c = seq.cache.get(node)?;
            let parent = seq.cache.parent(node).map_or(0, |p| seq.cache.tag(p));
            let inside = parent >= first && parent >= flight.first_cell;
            Some(RoundNode {
                token: c.token,
                parent: inside.then(|| (parent - first) as usize),
                sources: c.sources,
                prob: c.prob,
                reach: c.reach,
                accepted: false,
            })
        })
        .collect()
}

/// Marks the nodes on the accepted path.
fn mark_accepted(round: &mut Round, accepted: usize) {
    let mut at = None;
    for &token in &round.tokens[..accepted.min(round.tokens.len())] {
        let next = round
            .nodes
            .iter()
            .position(|n| n.parent == at && n.token == token);
        let Some(i) = next else { return };
        round.nodes[i].accepted = true;
        at = Some(i);
    }
}
