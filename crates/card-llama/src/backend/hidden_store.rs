//! Hidden states of a target that its head has not read yet.
//!
//! The target's context puts them in, the head's context takes them out. They are copies in memory
//! of the host: llama.cpp hands states out and takes them in there, wherever the layers are.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use card_core::types::SequenceId;

/// Bytes of states that are held at most: of 4096 numbers each, 16,384 tokens. What goes beyond is
/// forgotten from the oldest token of the longest sequence on, and costs drafts only.
const MOST_BYTES: usize = 256 << 20;

/// The states that a target and its head share. Cheap to clone.
#[derive(Clone)]
pub struct HiddenStore(Arc<Mutex<HiddenStates>>);

impl HiddenStore {
    /// An empty one, for states of `width` numbers.
    pub(super) fn new(width: usize) -> Self {
        let most = MOST_BYTES / size_of::<f32>() / width.max(1);
        HiddenStore(Arc::new(Mutex::new(HiddenStates::new(width, most))))
    }

    /// One that stays empty: a head reads zeros then, and can be measured by itself.
    pub fn none() -> Self {
        HiddenStore::new(0)
    }

    /// The states. A thread that panicked while it held them left states behind, nothing worse.
    pub(super) fn states(&self) -> MutexGuard<'_, HiddenStates> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`HiddenStore`].
///
/// Invariant: `held` is the number of states of all sequences, at most `most`.
pub(super) struct HiddenStates {
    width: usize,
    most: usize,
    held: usize,
    sequences: HashMap<SequenceId, SequenceStates>,
}

/// States of one sequence, of tokens that follow each other.
#[derive(Default)]
struct SequenceStates {
    /// Index of the first of these tokens.
    first: u32,
    states: VecDeque<Box<[f32]>>,
}

impl SequenceStates {
    /// Index of the token behind the last one that has a state here.
    fn end(&self) -> u32 {
        self.first.saturating_add(self.states.len() as u32)
    }
}

impl HiddenStates {
    fn new(width: usize, most: usize) -> Self {
        HiddenStates {
            width,
            most: most.max(1),
            held: 0,
            sequences: HashMap::new(),
        }
    }

    /// Keeps the state behind the token at `position`. One that does not follow those that are
    /// there takes their place.
    pub(super) fn keep(&mut self, sequence: SequenceId, position: u32, state: &[f32]) {
        if state.is_empty() || state.len() != self.width {
            return;
        }
        let of = self.sequences.entry(sequence).or_default();
        if let Some(there) = position
            .checked_sub(of.first)
            .and_then(|i| of.states.get_mut(i as usize))
        {
            there.copy_from_slice(state);
            return;
        }
        if position != of.end() || of.states.is_empty() {
            self.held -= of.states.len();
            of.states.clear();
            of.first = position;
        }
        of.states.push_back(state.into());
        self.held += 1;
        if self.held > self.most {
            self.forget_oldest();
        }
    }

    /// The state behind the token at `position`, if it is there.
    pub(super) fn get(&self, sequence: SequenceId, position: u32) -> Option<&[f32]> {
        let of = self.sequences.get(&sequence)?;
        let i = position.checked_sub(of.first)?;
        of.states.get(i as usize).map(|state| &**state)
    }

    /// The head has read up to here: states behind tokens before `position` are not needed.
    pub(super) fn forget_before(&mut self, sequence: SequenceId, position: u32) {
        let Some(of) = self.sequences.get_mut(&sequence) else {
            return;
        };
        while of.first < position && of.states.pop_front().is_some() {
            of.first += 1;
            self.held -= 1;
        }
    }

    /// The sequence is over, or has another name.
    pub(super) fn forget(&mut self, sequence: SequenceId) {
        if let Some(of) = self.sequences.remove(&sequence) {
            self.held -= of.states.len();
        }
    }

    /// Forgets the state of the oldest token of the longest sequence.
    fn forget_oldest(&mut self) {
        let longest = self.sequences.values_mut().max_by_key(|s| s.states.len());
        if let Some(of) = longest
            && of.states.pop_front().is_some()
        {
            of.first += 1;
            self.held -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SequenceId = SequenceId(1);
    const B: SequenceId = SequenceId(2);

    fn kept(states: &mut HiddenStates, sequence: SequenceId, positions: std::ops::Range<u32>) {
        for position in positions {
            states.keep(sequence, position, &[position as f32, 0.5]);
        }
    }

    fn at(states: &HiddenStates, sequence: SequenceId, position: u32) -> Option<f32> {
        states.get(sequence, position).map(|s| s[0])
    }

    #[test]
    fn what_was_kept_is_there_until_the_head_has_read_it() {
        let mut states = HiddenStates::new(2, 100);
        kept(&mut states, A, 0..5);
        kept(&mut states, B, 7..9);
        assert_eq!(
            (at(&states, A, 4), at(&states, B, 7)),
            (Some(4.0), Some(7.0))
        );
        assert_eq!((at(&states, A, 5), at(&states, B, 6)), (None, None));
        // A token that was decoded again has another state.
        states.keep(A, 3, &[33.0, 0.0]);
        assert_eq!((at(&states, A, 3), states.held), (Some(33.0), 7));
        states.forget_before(A, 4);
        assert_eq!((at(&states, A, 3), at(&states, A, 4)), (None, Some(4.0)));
        assert_eq!(states.held, 3);
        // The head read further than there are states.
        states.forget_before(B, 100);
        kept(&mut states, B, 99..101);
        assert_eq!((at(&states, B, 99), states.held), (Some(99.0), 3));
        states.forget(A);
        assert_eq!((at(&states, A, 4), states.held), (None, 2));
    }

    #[test]
    fn states_that_do_not_follow_begin_anew() {
        let mut states = HiddenStates::new(2, 100);
        kept(&mut states, A, 0..3);
        kept(&mut states, A, 5..7);
        assert_eq!((at(&states, A, 2), at(&states, A, 6)), (None, Some(6.0)));
        assert_eq!(states.held, 2);
        // One of another width is no state of this model.
        states.keep(A, 7, &[1.0]);
        assert_eq!(at(&states, A, 7), None);
    }

    #[test]
    fn of_too_many_the_oldest_of_the_longest_are_forgotten() {
        let mut states = HiddenStates::new(2, 6);
        kept(&mut states, B, 0..2);
        kept(&mut states, A, 0..50);
        assert_eq!(states.held, 6);
        assert_eq!((at(&states, A, 45), at(&states, A, 46)), (None, Some(46.0)));
        assert_eq!(at(&states, B, 0), Some(0.0));
        let store = HiddenStore::new(4096);
        assert_eq!(store.states().most, 16_384);
    }
}
