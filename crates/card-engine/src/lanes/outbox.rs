//! The messages that wait to be sent to a drafter: as few as tell it everything, and bounded.

use std::collections::VecDeque;

use card_core::protocol::DraftInput;
use card_core::types::{SequenceId, Token};

/// Messages that may wait. A sequence that runs needs one or two, one that ended needs one.
const MOST_MESSAGES: usize = 1024;
/// Tokens that may wait: the prompts of some dozens of long conversations.
const MOST_TOKENS: usize = 4 << 20;

/// Messages that found no room in the channel yet. A message that a later one makes needless
/// is left out, so that a drafter that lags behind gets short news instead of long ones.
///
/// Invariants: the messages of one sequence keep their order; `tokens` is the number of tokens
/// in all waiting messages.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<DraftInput>,
    /// Tokens in all waiting messages.
    tokens: usize,
}

impl Outbox {
    /// Takes in a message. The order of the messages of one sequence is kept.
    pub(super) fn push(&mut self, input: DraftInput) {
        match input {
            DraftInput::Commit {
                sequence,
                from,
                tokens,
            } => self.commit(sequence, from, tokens),
            DraftInput::Close { sequence } => self.close(sequence),
            DraftInput::Share(_) => {
                // Only the last one counts.
                self.waiting.retain(|w| !matches!(w, DraftInput::Share(_)));
                self.waiting.push_back(input);
            }
            DraftInput::Open { .. } | DraftInput::Forget { .. } => {
                self.tokens += tokens_of(&input);
                self.waiting.push_back(input);
            }
        }
    }

    /// The next message to be sent.
    pub(super) fn pop(&mut self) -> Option<DraftInput> {
        let next = self.waiting.pop_front()?;
        self.tokens -= tokens_of(&next);
        Some(next)
    }

    /// The message could not be sent: it is the next one again.
    pub(super) fn put_back(&mut self, input: DraftInput) {
        self.tokens += tokens_of(&input);
        self.waiting.push_front(input);
    }

    /// Whether more waits than may.
    pub(super) fn overflows(&self) -> bool {
        self.waiting.len() > MOST_MESSAGES || self.tokens > MOST_TOKENS
    }

    /// Appends the written tokens to the sequence's message that waits, wherever that is.
    fn commit(&mut self, sequence: SequenceId, from: u32, tokens: Vec<Token>) {
        self.tokens += tokens.len();
        let mut from_last = self.waiting.iter_mut().rev();
        let same = from_last.find(|w| sequence_of(w) == Some(sequence));
        let known = match same {
            Some(DraftInput::Open { tokens: known, .. }) if known.len() == from as usize => {
                Some(known)
            }
            Some(DraftInput::Commit {
                from: at,
                tokens: known,
                ..
            }) if *at as usize + known.len() == from as usize => Some(known),
            _ => None,
        };
        match known {
            Some(known) => known.extend(tokens),
            None => self.waiting.push_back(DraftInput::Commit {
                sequence,
                from,
                tokens,
            }),
        }
    }

    /// Drops every message of a sequence that is over. The drafter is told of the end only if
    /// it has heard of the beginning.
    fn close(&mut self, sequence: SequenceId) {
        let mut unheard = false;
        let mut dropped = 0;
        self.waiting.retain(|w| {
            if sequence_of(w) != Some(sequence) {
                return true;
            }
            unheard |= matches!(w, DraftInput::Open { .. });
            dropped += tokens_of(w);
            false
        });
        self.tokens -= dropped;
        if !unheard {
            self.waiting.push_back(DraftInput::Close { sequence });
        }
    }
}

fn sequence_of(input: &DraftInput) -> Option<SequenceId> {
    match input {
        DraftInput::Open { sequence, .. }
        | DraftInput::Commit { sequence, .. }
        | DraftInput::Close { sequence } => Some(*sequence),
        DraftInput::Forget { .. } | DraftInput::Share(_) => None,
    }
}

fn tokens_of(input: &DraftInput) -> usize {
    match input {
        DraftInput::Open { tokens, .. } | DraftInput::Commit { tokens, .. } => tokens.len(),
        DraftInput::Close { .. } | DraftInput::Forget { .. } | DraftInput::Share(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use card_core::protocol::DraftShare;
    use card_core::sampler::Sampling;

    use super::*;

    use card_core::types::{Tenant, TextMark};

    fn open(sequence: u64, tokens: Vec<Token>) -> DraftInput {
        DraftInput::Open {
            sequence: SequenceId(sequence),
            tenant: Tenant::SHARED,
            tokens,
            params: Sampling::default(),
            end: 1000,
            grammar: None,
        }
    }

    fn commit(sequence: u64, from: usize, tokens: &[Token]) -> DraftInput {
        DraftInput::Commit {
            sequence: SequenceId(sequence),
            from: from as u32,
            tokens: tokens.to_vec(),
        }
    }

    fn close(sequence: u64) -> DraftInput {
        DraftInput::Close {
            sequence: SequenceId(sequence),
        }
    }

    /// What a drafter knows: the tokens of the sequences that run.
    #[derive(Clone, Debug, Default, PartialEq)]
    struct Known(BTreeMap<u64, Vec<Token>>);

    impl Known {
        fn hear(&mut self, input: DraftInput) {
            match input {
                DraftInput::Open {
                    sequence, tokens, ..
                } => {
                    assert!(self.0.insert(sequence.0, tokens).is_none());
                }
                DraftInput::Commit {
                    sequence,
                    from,
                    tokens,
                } => {
                    let known = self.0.get_mut(&sequence.0).expect("an open sequence");
                    assert_eq!(known.len(), from as usize, "a gap");
                    known.extend(tokens);
                }
                DraftInput::Close { sequence } => {
                    assert!(self.0.remove(&sequence.0).is_some());
                }
                DraftInput::Forget { .. } | DraftInput::Share(_) => {}
            }
        }
    }

    /// A number that looks drawn, below `most`.
    fn draw(state: &mut u64, most: u64) -> u64 {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % most
    }

    #[test]
    fn whoever_lags_behind_learns_what_one_learns_that_does_not() {
        for seed in 0..50 {
            let mut state = seed;
            let mut outbox = Outbox::default();
            let mut fast = Known::default();
            let mut slow = Known::default();
            let mut next = 0;
            for _ in 0..300 {
                let running: Vec<u64> = fast.0.keys().copied().collect();
                let any = |state: &mut u64| running[draw(state, running.len() as u64) as usize];
                let input = match draw(&mut state, 10) {
                    0 | 1 => {
                        next += 1;
                        open(next, vec![1, 2, 3])
                    }
                    2 if !running.is_empty() => close(any(&mut state)),
                    3 => DraftInput::Share(DraftShare { index: 0, of: 2 }),
                    _ if !running.is_empty() => {
                        let sequence = any(&mut state);
                        let from = fast.0[&sequence].len();
                        commit(sequence, from, &[from as Token])
                    }
                    _ => continue,
                };
                fast.hear(input.clone());
                outbox.push(input);
                // It takes one now and then.
                if draw(&mut state, 4) == 0
                    && let Some(input) = outbox.pop()
                {
                    if draw(&mut state, 3) == 0 {
                        outbox.put_back(input);
                    } else {
                        slow.hear(input);
                    }
                }
                // One of each kind for a sequence at most, however long it lags behind.
                assert!(outbox.waiting.len() <= 2 * next as usize + 1);
            }
            let counted: usize = outbox.waiting.iter().map(tokens_of).sum();
            assert_eq!(outbox.tokens, counted);
            while let Some(input) = outbox.pop() {
                slow.hear(input);
            }
            assert_eq!(slow, fast);
            assert_eq!(outbox.tokens, 0);
        }
    }

    #[test]
    fn commits_of_sequences_that_take_turns_are_joined() {
        let mut outbox = Outbox::default();
        outbox.push(commit(1, 5, &[0]));
        outbox.push(commit(2, 5, &[0]));
        for at in 6..5000 {
            outbox.push(commit(1, at, &[0]));
            outbox.push(commit(2, at, &[0]));
        }
        assert_eq!(outbox.waiting.len(), 2);
        assert!(!outbox.overflows());
        outbox.push(close(1));
        outbox.push(close(2));
        assert_eq!((outbox.waiting.len(), outbox.tokens), (2, 0));
    }

    #[test]
    fn a_sequence_that_came_and_went_meanwhile_is_not_mentioned() {
        let mut outbox = Outbox::default();
        for sequence in 0..10_000 {
            outbox.push(open(sequence, vec![1; 100]));
            outbox.push(commit(sequence, 100, &[1]));
            outbox.push(close(sequence));
        }
        assert!(outbox.pop().is_none());
    }

    #[test]
    fn a_text_is_forgotten_after_what_was_said_of_it() {
        let mut outbox = Outbox::default();
        let forget = DraftInput::Forget {
            tenant: Tenant::SHARED,
            text: TextMark::of(&[1]),
        };
        outbox.push(commit(1, 5, &[0]));
        outbox.push(close(1));
        outbox.push(forget);
        assert!(matches!(outbox.pop(), Some(DraftInput::Close { .. })));
        assert!(matches!(outbox.pop(), Some(DraftInput::Forget { .. })));
        assert!(outbox.pop().is_none());
    }

    #[test]
    fn too_many_messages_or_tokens_overflow() {
        let mut outbox = Outbox::default();
        for sequence in 0..=MOST_MESSAGES as u64 {
            assert!(!outbox.overflows());
            outbox.push(close(sequence));
        }
        assert!(outbox.overflows());
        let mut outbox = Outbox::default();
        for sequence in 0..8 {
            outbox.push(open(sequence, vec![1; MOST_TOKENS / 8]));
        }
        assert!(!outbox.overflows());
        outbox.push(commit(3, MOST_TOKENS / 8, &[1]));
        assert!(outbox.overflows());
        outbox.push(close(3));
        assert!(!outbox.overflows());
    }
}
