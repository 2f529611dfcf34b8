//! The target's side: query, verify, correct.
//!
//! # One round
//!
//! A round is one forward of the target. The caller asks [`Scheduler::poll`] what to do, decodes
//! the forward it is given, and hands the logits to [`Scheduler::complete`]:
//!
//! 1. **Members** (`members`): whom the next forward is for. One sequence may read its prompt
//!    beside those that decode; a decision that was too close is made again alone.
//! 2. **Situation** (`situation`): what those sequences' candidate caches hold. The best
//!    candidates of all of them are put in one order, by the probability that the target walks
//!    through them. Everything below is decided on this one look.
//! 3. **Hold** (`hold`): whether a drafter on the same lane drafts first, or the target waits for
//!    one on a lane of its own ([policy](crate::policy)).
//! 4. **Batch** (`batch`): the policy says how many candidates pay, and the forward is built:
//!    the last token of each sequence, with its candidates as a tree behind it.
//! 5. **Verify** (`verify`): the target's own sampler decides every position, walking down the
//!    candidates as far as they agree.
//! 6. **Commit** (`commit`): the tokens join the text, their rows join the KV cache's stem, the
//!    sources learn from what was written, and the candidate cache is corrected. What lies past
//!    the committed tokens survives, so that drafting goes on from there.
//!
//! Between rounds, drafters report what they drafted ([`Scheduler::drafted`], in `listen`), and
//! sequences begin and end (`admission`). A sequence that ends leaves its KV cells to the prefix
//! cache.
//!
//! A target may have a head: a part of its own file that proposes from the hidden states of the
//! target. Which of these the head needs is said after each forward (`hidden`); the rest of a head
//! is a drafter on the target's lane.
//!
//! A target that cannot take back any token (a recurrent model, [`Rollback`]) verifies chains, and
//! what it has to take back is decoded again with the next forward (`stem_rules`). Its states are
//! saved where texts may part (`saving`).
//!
//! [`Rollback`]: crate::forward::Rollback
//!
//! The output depends on the target, the settings and the seed only: candidates decide how soon
//! a token is known, not which.

mod admission;
mod batch;
mod candidates;
mod commit;
mod config;
mod drafter_view;
mod hidden;
mod hold;
mod learned;
mod listen;
mod lookup;
mod marks;
mod members;
mod output;
mod pace;
mod reports;
mod request;
mod round;
mod saving;
mod sequence;
mod situation;
mod state;
mod state_changes;
mod stem_rules;
#[cfg(test)]
mod tests;
mod tree;
mod verify;
mod wait;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::forward::{Forward, Logits};
use crate::policy::{Base, Mode, Observation};
use crate::protocol::Outlook;
use crate::sampler::Sampler;
use crate::types::SequenceId;
use batch::{BatchBuilder, BatchPart, InFlight};
use commit::Committer;
use hold::Hold;
use members::Members;
use sequence::Sequence;
use situation::Prospect;
use state::RoundClock;
use stem_rules::StemRules;
use verify::{DecisionRules, Verdict, VerifyWalk, WalkEnd};

pub use config::{SchedulerConfig, Shapes};
pub use learned::Learned;
pub use output::{Action, Finish, Output};
pub use request::{Request, RequestError};
pub use round::{DraftSpan, Round, RoundNode, RoundStop};
pub use state::Scheduler;

pub use crate::saved_states::SavedStateCounts;

/// A forward that is done.
struct Landed<'a> {
    flight: &'a InFlight,
    forward: &'a Forward,
    logits: &'a dyn Logits,
    now: Duration,
}

/// The loop: what to do next, and what became of it.
impl Scheduler {
    /// Decides what to do. `outlooks` are the next steps of the drafters that share the lane.
    pub fn poll(&mut self, now: Duration, outlooks: &[Outlook]) -> Action {
        if self.in_flight.is_some() || self.sequences.is_empty() {
            return Action::Idle;
        }
        let others_first = self.are_others_due(now);
        let members = Members::choose(&self.sequences, &self.config, others_first);
        let prospect = self.prospect(&members);
        if let Some(prospect) = &prospect
            && let Some(action) = self.hold(now, prospect, outlooks)
        {
            return action;
        }
        self.wait.end();
        let silent = self.wait.is_silent();
        for seq in self.sequences.values_mut() {
            seq.view.launch(silent);
        }
        self.launch(now, &members, prospect.as_ref())
    }

    /// The forward given by [`Scheduler::poll`] is done: verify, commit, correct.
    pub fn complete(&mut self, forward: &Forward, logits: &dyn Logits, now: Duration) {
        let Some(flight) = self.in_flight.take() else {
            return;
        };
        let landed = Landed {
            flight: &flight,
            forward,
            logits,
            now,
        };
        let (mut tokens, mut without_drafters) = (0, 0);
        for part in &flight.parts {
            let mut round = commit::report(part, &flight, self.clock.ended, now);
            round.drafts = self.reports.take_spans();
            let verdict = self.settle(part, &landed, &mut round);
            tokens += round.tokens.len() as u32;
            without_drafters += round.without_drafters() as u32;
            self.reports.say(Output::Round(Box::new(round)));
            if let Some(verdict) = verdict {
                self.tell(part.sequence, verdict);
            }
        }
        self.observe(&landed, tokens, without_drafters);
    }

    /// The forward could not be done, which is known `now`. Nothing was committed; the sequences go
    /// on as if it had not been asked for. Its time is no part of the next round: that one was no
    /// slower, and its drafters are no worse, because of it. Drafting before it is, since what was
    /// drafted is still there.
    pub fn abandon(&mut self, now: Duration) {
        let Some(flight) = self.in_flight.take() else {
            return;
        };
        let ended = self.clock.ended + now.saturating_sub(flight.launched);
        // A sequence may have begun meanwhile, and with it the round.
        self.clock.ended = ended.min(now);
        // What the changes before it took is no part of the next forward's time.
        self.state_changes.take_spent();
        for part in &flight.parts {
            if let Some(seq) = self.sequences.get_mut(&part.sequence) {
                part.land(&mut seq.candidates.cache);
            }
        }
    }

    /// What the members' candidate caches hold; `None` if no candidate may join their forward.
    fn prospect(&mut self, members: &Members) -> Option<Prospect> {
        if !members.decides || self.policy.is_plain() {
            return None;
        }
        let (config, policy) = (&self.config, &self.policy);
        Some(Prospect::of(members, &mut self.sequences, config, policy))
    }

    /// Whether sequences that decode have the next forward, before more of a prompt is read.
    fn are_others_due(&self, now: Duration) -> bool {
        let beside = self.decoding_rows();
        let (config, policy) = (&self.config, &self.policy);
        self.pace.are_others_due(config, policy, beside, now)
    }

    /// Whether the sequences of a forward that decodes `base` can wait for a step of a drafter on
    /// their lane. Where there are several, none waits for long: a drafter may have the prompt of
    /// another to read.
    fn leaves_time(&self, now: Duration, base: Base, outlooks: &[Outlook]) -> bool {
        if self.sequences.len() < 2 || outlooks.is_empty() {
            return true;
        }
        let steps = outlooks.iter().map(|o| self.policy.step_ms(o));
        let longest = steps.fold(0.0, f64::max);
        self.pace.leaves_time(&self.policy, base.rows, longest, now)
    }

    /// Whether to draft or wait before the next launch. The target's head needs no drafter beside
    /// it.
    fn hold(&mut self, now: Duration, prospect: &Prospect, outlooks: &[Outlook]) -> Option<Action> {
        if !self.leaves_time(now, prospect.base, outlooks) {
            return None;
        }
        let drafters = !self.wait.is_lost() && !self.drafters_gated();
        let hold = Hold {
            drafters,
            running: &mut self.sequences,
            policy: &mut self.policy,
            trace: &mut self.reports.trace,
            wait: &mut self.wait,
            acceptance: &self.learned.acceptance,
            context: self.config.limits.context as usize,
            last_forward: self.clock.forward,
        };
        hold.decide(now, prospect, outlooks)
    }

    /// Builds the next forward, with as many of the candidates as pay.
    fn launch(&mut self, now: Duration, members: &Members, prospect: Option<&Prospect>) -> Action {
        let mut chosen = BTreeMap::new();
        let mut shape = 0;
        if let Some(prospect) = prospect {
            let size = self.policy.verify_size(prospect.base, &prospect.candidates);
            self.reports.trace.note_size(&size);
            chosen = prospect.best(size.size);
            shape = size.shape;
        }
        // Where nobody reads a prompt, no piece of one is read.
        let piece = if members.decides {
            0
        } else {
            let beside = self.decoding_rows();
            self.pace.piece(&self.config, &self.policy, beside)
        };
        let batch = BatchBuilder::new(&self.config, members, piece, &mut self.names);
        let mut batch = batch.filled_up_to(shape);
        for id in &members.sequences {
            if batch.room() == 0 {
                break;
            }
            if let Some(seq) = self.sequences.get_mut(id) {
                let nodes = chosen.remove(id).unwrap_or_default();
                batch.add(*id, seq, &nodes);
            }
        }
        let (forward, parts) = batch.finish();
        self.pace.launch(parts.iter().any(|p| p.prefill));
        let base = Base {
            sequences: parts.len() as u32,
            rows: parts.iter().map(|p| p.chain as u32).sum(),
        };
        self.in_flight = Some(InFlight {
            parts,
            launched: now,
            rows: forward.rows.len(),
            base,
            trace: self.reports.take_trace(self.policy.trace(base)),
            solo: members.solo,
        });
        Action::Forward(forward)
    }

    /// Verifies and commits one part of a forward. `None` if it makes no decision: its sequence
    /// reads its prompt, or is over.
    fn settle(&mut self, part: &BatchPart, landed: &Landed, round: &mut Round) -> Option<Verdict> {
        let seq = self.sequences.get_mut(&part.sequence)?;
        part.land(&mut seq.candidates.cache);
        commit::report_candidates(round, seq, part, self.config.trace);
        if !part.decides {
            let change = commit::extend_stem(seq, part, landed.forward);
            self.ops.push(change);
            self.hidden.note(seq, part, landed.forward, None);
            if seq.text.marks.contains(&seq.text.decoded) {
                self.save_state(part.sequence);
            }
            return None;
        }
        let before = seq.text.decoded;
        let mut verdict = verify(&self.config, &mut self.sampler, seq, part, landed);
        let mut committer = Committer {
            forward: landed.forward,
            learned: &mut self.learned,
            lookup: self.config.lookup,
            rules: StemRules::of(&self.config),
            now: landed.now,
        };
        let change = committer.apply(seq, part, &mut verdict, round);
        self.ops.push(change);
        self.hidden.note(seq, part, landed.forward, Some(&verdict));
        let joined = seq.text.decoded - before;
        let rejected = joined < part.rows() && !part.tree.nodes.is_empty();
        if rejected && !self.config.limits.rollback.is_free() {
            self.state_changes.reject(part.sequence);
        }
        if part.prefill {
            self.save_state(part.sequence);
        }
        Some(verdict)
    }

    /// Tells what was written, ends the sequence if that is what was decided, and otherwise asks
    /// the model-free sources what may follow.
    fn tell(&mut self, sequence: SequenceId, verdict: Verdict) {
        let written = verdict.written();
        if !written.is_empty() {
            let length = self.tokens(sequence).map_or(0, <[_]>::len);
            let from = (length - written.len()) as u32;
            let tokens = Output::Tokens(sequence, from, written.to_vec());
            self.reports.say(tokens);
        }
        match verdict.end {
            WalkEnd::Failed(why) => self.end(sequence, Output::Failed(sequence, why)),
            WalkEnd::Finished(reason) => self.finish(sequence, reason),
            WalkEnd::Left | WalkEnd::Deferred => self.look_up(sequence, verdict.tokens.len()),
        }
    }

    /// Learns from a forward's time and what it brought, and would have brought without draft models.
    fn observe(&mut self, landed: &Landed, tokens: u32, without_drafters: u32) {
        let (flight, now) = (landed.flight, landed.now);
        let whole = now.saturating_sub(flight.launched);
        // What changes of a state took is no part of what rows take.
        let elapsed = whole.saturating_sub(self.state_changes.take_spent());
        let decodes = flight.parts.iter().all(|p| !p.prefill);
        if !decodes {
            let expected_ms = self.policy.target_cost().ms(flight.rows as u32);
            self.pace.observe(flight.rows, expected_ms, elapsed);
        }
        let decoded = flight.parts.iter().any(|p| !p.prefill);
        self.pace.landed(decoded, now);
        self.policy.observe(if decodes {
            Observation::Round {
                base: flight.base,
                // The cost of a padded forward is the cost of its padding too.
                rows: flight.rows.max(landed.forward.pad_to) as u32,
                candidates: flight.candidates() as u32,
                forward: elapsed,
                round: now.saturating_sub(self.clock.ended),
                tokens,
                without_drafters,
            }
        } else {
            Observation::Prefill {
                rows: flight.rows as u32,
                elapsed,
            }
        });
        self.clock = RoundClock {
            ended: now,
            forward: whole,
        };
    }

    /// Asks the model-free sources what follows the last `written` tokens.
    fn look_up(&mut self, sequence: SequenceId, written: usize) {
        let speculates = matches!(self.policy.config().mode, Mode::Card | Mode::Auto);
        if !self.config.lookup || !speculates {
            return;
        }
        if let Some(seq) = self.sequences.get_mut(&sequence) {
            seq.look_up(&self.learned, written);
        }
    }
}

/// Lets the target decide on the rows of one part.
fn verify(
    config: &SchedulerConfig,
    sampler: &mut Sampler,
    seq: &mut Sequence,
    part: &BatchPart,
    landed: &Landed,
) -> Verdict {
    let (shapes, flight) = (config.shapes, landed.flight);
    // A near-tie is decided by a forward of its own; any other forward may decide it differently.
    let rows = flight.rows.max(landed.forward.pad_to);
    let wider = rows != shapes.redecide_rows && !part.prefill && !flight.solo;
    let walk = VerifyWalk {
        tree: &part.tree,
        logits: landed.logits,
        rules: DecisionRules {
            params: &seq.params,
            stop_tokens: &seq.stop_tokens,
            end: seq.text.end,
            context: config.limits.context as usize,
            near_tie: config.near_tie,
            redecide_below: shapes.redecide_below.filter(|_| wider),
            logprobs: seq.logprobs,
        },
        sampler,
        constraint: seq.constraint.as_deref_mut(),
    };
    walk.run(&mut seq.text.tokens)
}
