//! The places in a prompt at which forwards end while it is read, so that there are states of them
//! (`saving`): where it parts from an earlier prompt, and shortly before its end.

use crate::prefix_cache::Reused;
use crate::saved_states::SavedStates;

/// A prompt that is asked again, or that a chat template ends otherwise in the next turn, agrees with
/// the earlier one up to its last few tokens.
const TAIL: usize = 8;
/// A forward ends before the tail only if so many times as many tokens are read before it.
const WORTH: usize = 8;

/// The places in a prompt of so many tokens at which its state is saved while it is read, in order,
/// if it begins with what is `reused`.
pub(super) fn marks(reused: Reused, prompt: usize, saved: &SavedStates) -> Vec<usize> {
    let tail = prompt.checked_sub(TAIL).filter(|&tail| {
        let read = tail.saturating_sub(reused.tokens);
        read >= WORTH * TAIL && saved.pays(read)
    });
    let mut marks: Vec<usize> = reused.branch.into_iter().chain(tail).collect();
    marks.sort_unstable();
    marks.dedup();
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_end_where_texts_may_part() {
        let mut saved = SavedStates::new();
        let reused = |tokens, branch| Reused {
            tokens,
            branch,
            ..Reused::default()
        };
        // A model that saves no state reads on.
        assert!(marks(reused(0, None), 1000, &saved).is_empty());
        saved.set_bytes(Some(1));
        assert_eq!(marks(reused(0, None), 1000, &saved), [992]);
        assert_eq!(marks(reused(0, Some(300)), 1000, &saved), [300, 992]);
        assert_eq!(marks(reused(0, Some(992)), 1000, &saved), [992]);
        // Of a short prompt, or where little is new, a forward more does not pay.
        assert!(marks(reused(0, None), 60, &saved).is_empty());
        assert!(marks(reused(950, None), 1000, &saved).is_empty());
        saved.set_least(993);
        assert!(marks(reused(0, None), 1000, &saved).is_empty());
    }
}
