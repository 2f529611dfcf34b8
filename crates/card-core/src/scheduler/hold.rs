//! Whether to draft, or to wait for drafts, before the next launch.

use std::collections::BTreeMap;
use std::time::Duration;

use super::output::Action;
use super::sequence::Sequence;
use super::situation::{Prospect, coverage, is_open_ended, open_node};
use super::wait::DrafterWait;
use crate::acceptance::Acceptance;
use crate::policy::{Coverage, DecisionTrace, DraftOption, Mode, Policy};
use crate::protocol::{Lanes, Outlook};
use crate::types::{SequenceId, Source};

/// What the decision depends on beside the [`Prospect`].
pub(super) struct Hold<'a> {
    /// Draft models are at work. If not, only the target's head can be asked.
    pub(super) drafters: bool,
    pub(super) running: &'a mut BTreeMap<SequenceId, Sequence>,
    pub(super) policy: &'a mut Policy,
    /// What the next launch will show.
    pub(super) trace: &'a mut DecisionTrace,
    pub(super) wait: &'a mut DrafterWait,
    pub(super) acceptance: &'a Acceptance,
    /// Tokens of context.
    pub(super) context: usize,
    /// How long the last forward of the target took.
    pub(super) last_forward: Duration,
}

impl Hold<'_> {
    /// What to do before the next launch; `None` to launch now. `outlooks` are the next steps of
    /// drafters that share the lane.
    pub(super) fn decide(
        mut self,
        now: Duration,
        prospect: &Prospect,
        outlooks: &[Outlook],
    ) -> Option<Action> {
        let config = self.policy.config();
        let on_lane = self.draft_first(prospect, outlooks);
        match (config.lanes, config.mode) {
            _ if on_lane.is_some() || !self.drafters => on_lane,
            (Lanes::Shared, _) => None,
            (Lanes::Disjoint, Mode::DraftThenVerify) => {
                self.wait_for_chain(now, prospect, config.draft_len)
            }
            (Lanes::Disjoint, _) => self.wait_for_candidate(now, prospect),
        }
    }

    /// Whether a drafter that shares the lane, or the target's head, takes a step first.
    fn draft_first(&mut self, prospect: &Prospect, outlooks: &[Outlook]) -> Option<Action> {
        // A decision that is not made keeps the trace of the one before.
        let shared = self.drafters && self.policy.config().lanes == Lanes::Shared;
        let heads = outlooks.iter().any(|o| o.source == Source::Head);
        if !shared && !heads {
            return None;
        }
        let running = &*self.running;
        let mut options: Vec<(&Outlook, Vec<Coverage>)> = Vec::new();
        for outlook in outlooks {
            if !self.drafters && outlook.source != Source::Head {
                continue;
            }
            let sequence = outlook.sequence;
            let Some(seq) = running
                .get(&sequence)
                .filter(|_| prospect.members.contains(&sequence))
            else {
                continue;
            };
            // Nothing past the end is ever verified.
            if outlook.path.len() + 1 < seq.text.left(self.context) {
                options.push((outlook, coverage(seq, outlook)));
            }
        }
        let options: Vec<DraftOption> = options
            .iter()
            .map(|(outlook, covered)| DraftOption {
                outlook,
                covered,
                top: self.acceptance.top(outlook.source),
            })
            .collect();
        let decision = self.policy.draft_first(&prospect.situation(), &options);
        self.trace.note_draft(&decision);
        if decision.source.is_some() {
            self.policy.note_drafted();
        } else {
            self.policy
                .note_not_drafted(&prospect.situation(), &options);
        }
        decision.source.map(Action::Draft)
    }

    /// Whether the target waits until a chain of `length` is drafted for each sequence.
    fn wait_for_chain(
        &mut self,
        now: Duration,
        prospect: &Prospect,
        length: u32,
    ) -> Option<Action> {
        let context = self.context;
        let is_short = |s: &Sequence| {
            let ahead = s.candidates.ahead();
            let wanted = s.has_drafters() && !s.view.is_silent() && is_open_ended(s);
            wanted && ahead < length && ahead as usize + 1 < s.text.left(context)
        };
        let members = prospect.members.iter().copied();
        let short = members.filter(|id| self.running.get(id).is_some_and(is_short));
        let short: Vec<SequenceId> = short.collect();
        if short.is_empty() || self.wait.is_silent() {
            return None;
        }
        let most = self.policy.patience();
        self.wait_for(&short, now, most)
    }

    /// Waits for a word on these sequences, but no longer than `most` since the wait began. When
    /// that time is over, none of them is waited for until a drafter speaks of it.
    fn wait_for(
        &mut self,
        sequences: &[SequenceId],
        now: Duration,
        most: Duration,
    ) -> Option<Action> {
        let until = self.wait.until(now, most);
        if until.is_none() {
            for sequence in sequences {
                if let Some(seq) = self.running.get_mut(sequence) {
                    seq.view.waited_in_vain();
                }
            }
        }
        until.map(Action::Wait)
    }

    /// Whether the target waits for the next candidate that a drafter on another lane puts
    /// behind the best open node.
    fn wait_for_candidate(&mut self, now: Duration, prospect: &Prospect) -> Option<Action> {
        let open = open_node(&prospect.members, self.running, self.context)?;
        if self.wait.is_silent() {
            return None;
        }
        let option = DraftOption {
            outlook: &open.outlook,
            covered: &[],
            top: self.acceptance.top(Source::Draft),
        };
        // A drafter far away goes on drafting past what it has sent, but the answer to a
        // correction takes the way there and back.
        let answer = open
            .since
            .and_then(|since| self.wait.answer_due(since, now));
        let situation = prospect.situation();
        let decision = self.policy.wait_first(&situation, &option, answer);
        self.trace.note_wait(&decision);
        if !decision.wait {
            return None;
        }
        // A drafter that takes much longer than it should is not waited for.
        let most = self.policy.patience().min(self.last_forward);
        self.wait_for(&[open.outlook.sequence], now, most)
    }
}
