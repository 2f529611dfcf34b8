//! States that are saved for prompts which begin like an earlier text, of a model that has one
//! state per sequence ([`Rollback`](crate::forward::Rollback)).
//!
//! Such a model goes on from the end of a text and from no other place of it. A state that was saved
//! somewhere in a text makes that place one to go on from, too: the end of a prompt, the end of an
//! answer, the place where two prompts part. llama-server calls it a context checkpoint; Marconi
//! (arXiv 2411.19379) keeps states of hybrid models where prompts part, for the same reason.
//!
//! This file keeps names and tokens; the bytes are with the model. It says what to do as [`KvOp`]s.

use std::mem::size_of_val;

use crate::forward::{KvOp, StateName};
use crate::types::{SequenceId, Tenant, Token};

/// Bytes of states that are saved at most, where nobody says how many.
const ROOM: usize = 256 << 20;

/// What became of saved states, for people and metrics.
///
/// ```
/// use card_core::scheduler::SavedStateCounts;
///
/// let none = SavedStateCounts::default();
/// assert_eq!((none.kept, none.bytes, none.resumed), (0, 0, 0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SavedStateCounts {
    /// States that are saved now.
    pub kept: usize,
    /// Bytes of these.
    pub bytes: usize,
    /// States that were saved so far.
    pub saved: u64,
    /// Sequences that began with one.
    pub resumed: u64,
    /// States that were given up, to make room or since no text has their tokens any more.
    pub forgotten: u64,
}

impl SavedStateCounts {
    /// States that are kept at most, however small they are: every prompt is compared with all of
    /// them.
    pub const MOST_KEPT: usize = 64;
}

/// The saved states, that used longest ago first.
///
/// Invariants: all of them together take `room` bytes at most and are
/// [`SavedStateCounts::MOST_KEPT`] at most; no two are of the same tokens of one tenant; no name is
/// given twice. Tokens of one tenant are never found for another.
#[derive(Debug)]
pub(crate) struct SavedStates {
    /// Bytes of one state; `None` if the model saves none.
    each: Option<usize>,
    /// Bytes of all of them at most.
    room: usize,
    /// Tokens that a state has to spare at least, to be worth its time.
    least: usize,
    next: StateName,
    states: Vec<SavedState>,
    saved: u64,
    resumed: u64,
    forgotten: u64,
}

/// The state behind these tokens.
#[derive(Debug)]
struct SavedState {
    name: StateName,
    tenant: Tenant,
    tokens: Vec<Token>,
    /// With its tokens.
    bytes: usize,
}

/// A saved state that a text can go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FoundState {
    /// Its name.
    pub(crate) name: StateName,
    /// Tokens it is of.
    pub(crate) keep: usize,
    /// A sequence whose stem begins with them.
    pub(crate) from: SequenceId,
}

impl SavedStates {
    /// None, and none are saved before a model says how large they are.
    pub(crate) fn new() -> Self {
        SavedStates {
            each: None,
            room: ROOM,
            least: 0,
            next: 1,
            states: Vec::new(),
            saved: 0,
            resumed: 0,
            forgotten: 0,
        }
    }

    /// Says how many bytes a state takes; `None` if the model saves none.
    pub(crate) fn set_bytes(&mut self, each: Option<usize>) {
        self.each = each;
    }

    /// Says how many bytes all of them may take.
    pub(crate) fn set_room(&mut self, bytes: usize) {
        self.room = bytes;
    }

    /// Says how many tokens a state has to spare at least. Reading so many takes longer than saving
    /// the state and putting it back.
    pub(crate) fn set_least(&mut self, tokens: usize) {
        self.least = tokens;
    }

    /// Whether a state that spares so many tokens is worth its time.
    pub(crate) fn pays(&self, tokens: usize) -> bool {
        let fits = self.each.is_some_and(|each| each <= self.room);
        fits && tokens > 0 && tokens >= self.least
    }

    /// The state behind the stem of a sequence, which has these tokens, is saved; those that were
    /// used longest ago make room. One that is there already counts as used.
    pub(crate) fn save(
        &mut self,
        sequence: SequenceId,
        tenant: Tenant,
        tokens: &[Token],
        ops: &mut Vec<KvOp>,
    ) {
        let Some(each) = self.each.filter(|_| !tokens.is_empty()) else {
            return;
        };
        let same = |s: &SavedState| s.tenant == tenant && s.tokens == tokens;
        if let Some(at) = self.states.iter().position(same) {
            self.touch(at);
            return;
        }
        let bytes = each.saturating_add(size_of_val(tokens));
        if bytes > self.room {
            return;
        }
        while self.states.len() >= SavedStateCounts::MOST_KEPT || self.bytes() > self.room - bytes {
            self.forget(0, ops);
        }
        let name = self.next;
        self.next += 1;
        self.saved += 1;
        self.states.push(SavedState {
            name,
            tenant,
            tokens: tokens.to_vec(),
            bytes,
        });
        ops.push(KvOp::Save {
            sequence,
            state: name,
        });
    }

    /// The state that spares most of these tokens, among those whose tokens some of the `stems` of
    /// the same tenant begin with. The last token is decoded anyway: its logits are needed.
    pub(crate) fn longest<'a>(
        &self,
        tenant: Tenant,
        tokens: &[Token],
        stems: impl Iterator<Item = (SequenceId, &'a [Token])> + Clone,
    ) -> Option<FoundState> {
        let own = self.states.iter().filter(|s| s.tenant == tenant);
        let usable = own.filter(|s| s.tokens.len() < tokens.len() && tokens.starts_with(&s.tokens));
        let found = usable.filter_map(|s| {
            let mut stems = stems.clone();
            let (from, _) = stems.find(|(_, stem)| stem.starts_with(&s.tokens))?;
            Some(FoundState {
                name: s.name,
                keep: s.tokens.len(),
                from,
            })
        });
        found.max_by_key(|f| f.keep)
    }

    /// A sequence begins with this state.
    pub(crate) fn resume(&mut self, name: StateName) {
        self.resumed += 1;
        if let Some(at) = self.states.iter().position(|s| s.name == name) {
            self.touch(at);
        }
    }

    /// Gives up the states whose tokens no stem has any more: the KV cells of attention went with
    /// the stems.
    pub(crate) fn retain(&mut self, has: impl Fn(Tenant, &[Token]) -> bool, ops: &mut Vec<KvOp>) {
        let mut at = 0;
        while let Some(state) = self.states.get(at) {
            if has(state.tenant, &state.tokens) {
                at += 1;
            } else {
                self.forget(at, ops);
            }
        }
    }

    /// Forgets all of them and asks no [`KvOp`] of the model, which has none any more.
    pub(crate) fn clear(&mut self) {
        self.forgotten += self.states.len() as u64;
        self.states.clear();
    }

    /// What became of them.
    pub(crate) fn counts(&self) -> SavedStateCounts {
        SavedStateCounts {
            kept: self.states.len(),
            bytes: self.bytes(),
            saved: self.saved,
            resumed: self.resumed,
            forgotten: self.forgotten,
        }
    }

    fn bytes(&self) -> usize {
        self.states.iter().map(|s| s.bytes).sum()
    }

    fn touch(&mut self, at: usize) {
        let state = self.states.remove(at);
        self.states.push(state);
    }

    fn forget(&mut self, at: usize, ops: &mut Vec<KvOp>) {
        let SavedState { name, .. } = self.states.remove(at);
        self.forgotten += 1;
        ops.push(KvOp::Forget { state: name });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Tenant = Tenant::SHARED;
    const S: SequenceId = SequenceId(1);

    /// Room for so many states of 100 bytes and four tokens.
    fn room_for(count: usize) -> SavedStates {
        let mut states = SavedStates::new();
        states.set_bytes(Some(100));
        states.set_room(count * 116);
        states
    }

    fn save(states: &mut SavedStates, tokens: &[Token]) -> Vec<KvOp> {
        let mut ops = Vec::new();
        states.save(S, US, tokens, &mut ops);
        ops
    }

    #[test]
    fn that_used_longest_ago_makes_room() {
        let mut states = room_for(2);
        let saved = |state| KvOp::Save { sequence: S, state };
        assert_eq!(save(&mut states, &[1, 2, 3, 4]), [saved(1)]);
        assert_eq!(save(&mut states, &[5, 6, 7, 8]), [saved(2)]);
        // It is there, and so it was used.
        assert!(save(&mut states, &[1, 2, 3, 4]).is_empty());
        let forgotten = KvOp::Forget { state: 2 };
        assert_eq!(save(&mut states, &[9, 9, 9, 9]), [forgotten, saved(3)]);
        let counts = states.counts();
        assert_eq!((counts.kept, counts.bytes), (2, 232));
        assert_eq!((counts.saved, counts.forgotten), (3, 1));
        // One that fits no room, or no model, is not saved.
        assert!(save(&mut room_for(0), &[1]).is_empty());
        assert!(save(&mut SavedStates::new(), &[1]).is_empty());
        assert!(save(&mut room_for(1), &[]).is_empty());
    }

    #[test]
    fn however_small_states_are_there_are_not_many() {
        let mut states = SavedStates::new();
        states.set_bytes(Some(1));
        for token in 0..2 * SavedStateCounts::MOST_KEPT as Token {
            save(&mut states, &[token]);
        }
        assert_eq!(states.counts().kept, SavedStateCounts::MOST_KEPT);
    }

    #[test]
    fn the_longest_is_found_if_some_stem_has_its_tokens() {
        let mut states = room_for(9);
        for length in [1, 3, 4] {
            save(&mut states, &[1, 2, 3, 4][..length]);
        }
        let (a, b) = (SequenceId(7), SequenceId(8));
        let both: [(SequenceId, &'static [Token]); 2] = [(a, &[1, 9]), (b, &[1, 2, 3, 4, 5])];
        let find = |tokens: &[Token], stems: &[(SequenceId, &'static [Token])]| {
            let found = states.longest(US, tokens, stems.iter().copied());
            found.map(|f| (f.keep, f.from))
        };
        assert_eq!(find(&[1, 2, 3, 4, 6], &both), Some((4, b)));
        // The last token is asked for.
        assert_eq!(find(&[1, 2, 3, 4], &both), Some((3, b)));
        assert_eq!(find(&[1, 2, 3, 4, 6], &both[..1]), Some((1, a)));
        assert_eq!(find(&[2, 2, 3, 4, 6], &both), None);
        // What another tenant sent is of no use.
        let other = states.longest(Tenant(5), &[1, 2, 3, 4, 6], both.into_iter());
        assert_eq!(other, None);
    }

    #[test]
    fn what_no_stem_has_any_more_is_given_up() {
        let mut states = room_for(9);
        save(&mut states, &[1]);
        save(&mut states, &[2]);
        save(&mut states, &[1, 3]);
        let mut ops = Vec::new();
        states.retain(|_, tokens| tokens[0] == 1, &mut ops);
        assert_eq!(ops, [KvOp::Forget { state: 2 }]);
        states.clear();
        assert_eq!((states.counts().kept, states.counts().forgotten), (0, 3));
    }

    #[test]
    fn a_state_has_to_spare_as_much_as_it_costs() {
        let mut states = room_for(1);
        assert!(states.pays(1) && !states.pays(0));
        states.set_least(20);
        assert!(states.pays(20) && !states.pays(19));
        states.set_room(99);
        assert!(!states.pays(1000));
        assert!(!SavedStates::new().pays(1000));
    }
}
