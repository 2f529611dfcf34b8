//! What drafters and other sources say.

use std::time::Duration;

use super::round::DraftSpan;
use super::sequence::Sequence;
use super::state::Scheduler;
use crate::policy::Observation;
use crate::protocol::{Drafted, Expansion};
use crate::types::{Prob, SequenceId, Source, Token};

/// Expansions of one message that are looked at: more than any forward of a drafter has.
const MOST_EXPANSIONS: usize = 256;

impl Scheduler {
    /// Takes a drafter's proposals. Those for a path that was corrected away are dropped,
    /// those for a path that survived are re-based.
    ///
    /// A drafter may say anything: what it says of a sequence that does not run, or that no
    /// drafter hears of ([`Scheduler::set_alone`]), or of a place that it cannot know of, is
    /// left out before anything is learned from it. Which of the sequences *this* drafter hears
    /// of is for the caller to know.
    pub fn drafted(&mut self, drafted: &Drafted, now: Duration) {
        let expansions = self.sound(drafted);
        // A message whose expansions are all of sequences that the drafter was not told of is
        // ignored, its times too. A forward that only reads the prompt has no expansions at all.
        if expansions.is_empty() && !drafted.expansions.is_empty() {
            return;
        }
        // The target never waits for its head, so an answer of the head ends no wait.
        if drafted.source != Source::Head {
            for expansion in &expansions {
                self.hear(expansion, now);
            }
        }
        if self.config.trace {
            self.reports.note_span(DraftSpan {
                source: drafted.source,
                start: drafted.started,
                elapsed: drafted.elapsed,
                rows: drafted.rows.get(),
            });
        }
        for expansion in expansions {
            self.learn_top(expansion, drafted.source);
            let Expansion {
                sequence,
                root,
                path,
                children,
            } = expansion;
            self.propose(*sequence, *root, path, children, drafted.source);
        }
        self.policy.observe(Observation::Draft {
            source: drafted.source,
            rows: drafted.rows,
            elapsed: drafted.elapsed,
        });
    }

    /// The expansions of a message that are of a place a drafter can know of. The target's head
    /// knows of every sequence that is not plain.
    fn sound<'a>(&self, drafted: &'a Drafted) -> Vec<&'a Expansion> {
        let head = drafted.source == Source::Head;
        let hears = |s: &Sequence| {
            if head {
                s.speculates()
            } else {
                s.has_drafters()
            }
        };
        let is_sound = |e: &&Expansion| {
            let seq = self.sequences.get(&e.sequence);
            seq.is_some_and(|s| hears(s) && (e.root as usize) < s.text.tokens.len())
        };
        let looked_at = drafted.expansions.iter().take(MOST_EXPANSIONS);
        looked_at.filter(is_sound).collect()
    }

    /// Learns that a drafter has read the prompt, and how long after a commit drafts arrive
    /// that know of it.
    fn hear(&mut self, expansion: &Expansion, now: Duration) {
        self.wait.hear();
        let Some(seq) = self.sequences.get_mut(&expansion.sequence) else {
            return;
        };
        let latest = expansion.root as usize + 1 == seq.text.tokens.len();
        if let Some(answer) = seq.view.hear(latest, now) {
            self.wait.observe(answer);
        }
    }

    /// Learns how sure a drafter is of its best child.
    fn learn_top(&mut self, expansion: &Expansion, source: Source) {
        let best = expansion.children.first();
        let best = best.filter(|c| (c.0 as usize) < self.config.vocab);
        if let (Some(&(_, prob)), Some(seq)) = (best, self.sequences.get(&expansion.sequence)) {
            let known = &mut self.learned.acceptance;
            let best = known.expect_in(&seq.candidates.counts, source, prob.get(), 0);
            known.observe_top(source, Prob::clamped(best));
        }
    }

    /// Says whether drafters hear of a sequence; at first they do.
    pub fn set_alone(&mut self, sequence: SequenceId, alone: bool) {
        if let Some(seq) = self.sequences.get_mut(&sequence) {
            seq.set_alone(alone);
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
        if let Some(seq) = self.sequences.get_mut(&sequence) {
            seq.propose(&self.learned, root, path, children, source);
        }
    }

    /// There is no drafter (any more): the target does not wait for one.
    pub fn drafter_lost(&mut self) {
        self.wait.set_lost(true);
    }

    /// There is a drafter (again).
    pub fn drafter_back(&mut self) {
        self.wait.set_lost(false);
    }
}
