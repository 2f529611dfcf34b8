//! The report of a round, for people and metrics: nothing here decides anything.

use std::time::Duration;

use crate::policy::DecisionTrace;
use crate::sampler::Logprob;
use crate::types::{SequenceId, Source, SourceSet, Token};

/// What one target forward did for one sequence.
#[derive(Clone, Debug)]
pub struct Round {
    /// The sequence.
    pub sequence: SequenceId,
    /// Whether the forward decoded prompt tokens of the sequence.
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
    /// Why the forward accepted no further candidate; `None` where the sequence ended, a decision
    /// was left to another forward, or the prompt was read.
    pub stop: Option<RoundStop>,
    /// Bytes of candidates that were cached before the correction.
    pub cached_bytes: usize,
    /// Log probabilities of the tokens, in the model's own distribution (before bias,
    /// penalties and constraint), if they were asked for.
    pub logprobs: Vec<Logprob>,
    /// Candidates dropped for want of room since the round before.
    pub evicted: usize,
    /// Proposals that the grammar of the text refused since the round before, so that they became
    /// no candidates. Of a chain only the first such token counts.
    pub refused: usize,
    /// Candidates cached after the correction.
    pub survivors: usize,
    /// Decisions closer than the near-tie bound: index in the sequence, margin in logits.
    pub near_ties: Vec<(u32, f32)>,
    /// A close decision was left to a forward of one row.
    pub deferred: bool,
    /// Rows of the whole forward.
    pub rows: usize,
    /// When the forward began, on the scheduler's clock.
    pub launched: Duration,
    /// Time of the forward.
    pub forward: Duration,
    /// Time since the round before ended, this forward included.
    pub elapsed: Duration,
    /// The numbers behind the schedule.
    pub why: DecisionTrace,
    /// The verified candidates, if the scheduler was asked to trace. Parents come first.
    pub nodes: Vec<RoundNode>,
    /// Draft steps since the round before, if the scheduler was asked to trace.
    pub drafts: Vec<DraftSpan>,
}

impl Round {
    /// Tokens that would have been decided on without draft models too: those that other sources
    /// proposed, up to the first that only draft models did, and the target's own behind them.
    pub(super) fn without_drafters(&self) -> usize {
        let drafters = SourceSet::of(Source::Draft).union(SourceSet::of(Source::Draft2));
        let by_others = |set: &&SourceSet| !set.without(drafters).is_empty();
        let accepted = self.accepted.iter().take_while(by_others).count();
        (accepted + 1).min(self.tokens.len())
    }
}

/// Why a round brought no more tokens: what was known of the target's own token, which follows the
/// last accepted candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoundStop {
    /// Something was proposed for its place, and this token was not among it.
    NotProposed,
    /// It was a candidate when the forward began, and had no row in the forward.
    NotVerified,
    /// It became a candidate while the forward ran: the drafter is no further ahead.
    Late,
    /// Nobody has proposed anything for its place: the drafter is busy elsewhere, or behind.
    NotDrafted,
}

/// A step of a drafter.
#[derive(Clone, Copy, Debug)]
pub struct DraftSpan {
    /// The drafter.
    pub source: Source,
    /// When the step began, on the drafter's clock; that is the scheduler's if they share a
    /// machine.
    pub start: Duration,
    /// Time the step took.
    pub elapsed: Duration,
    /// Rows of the step's forward.
    pub rows: u32,
}

/// A candidate that was verified.
#[derive(Clone, Debug)]
pub struct RoundNode {
    /// Its token.
    pub token: Token,
    /// Index of its parent among the nodes; `None` for the last committed token.
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
