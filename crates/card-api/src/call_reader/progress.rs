//! What the readers of calls tell.

/// Something about a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum CallEvent {
    /// A call of this function begins.
    Begin(String),
    /// More of its arguments, as JSON text.
    More(String),
    /// The call is whole.
    End,
}

/// How far a reader came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum BodyState {
    /// It needs more text. What it did not use is not long.
    Wants,
    /// A call ended here; another may follow.
    Called,
    /// No call follows.
    Over,
    /// It is no call.
    Wrong,
}

/// What a reader made of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BodyProgress {
    /// Bytes of the text that were used.
    pub(super) used: usize,
    /// How far it came.
    pub(super) state: BodyState,
}

impl BodyProgress {
    /// So many bytes were used, and this came of it.
    pub(super) fn new(used: usize, state: BodyState) -> Self {
        BodyProgress { used, state }
    }
}

/// What a text is in which nothing has ended a name yet, which may have `most` bytes with what stands
/// beside it.
pub(super) fn cut(text: &str, most: usize) -> BodyState {
    if text.len() > most {
        BodyState::Wrong
    } else {
        BodyState::Wants
    }
}

/// Whether a text may be the name of a function.
pub(super) fn is_name(text: &str) -> bool {
    const LONGEST: usize = 256;
    let named = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/');
    !text.is_empty() && text.len() <= LONGEST && text.chars().all(named)
}

/// The last beginning of a character at or before `at`.
pub(crate) fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
}

/// Length of the longest end of `text` that is a beginning of `mark`, but not the whole of it.
pub(super) fn held_for(text: &str, mark: &str) -> usize {
    let most = mark.len().saturating_sub(1).min(text.len());
    let fits = |n: &usize| text.as_bytes().ends_with(&mark.as_bytes()[..*n]);
    (1..=most).rev().find(fits).unwrap_or(0)
}

/// Bytes of white space at the beginning of a text.
pub(super) fn blanks(text: &str) -> usize {
    text.len() - text.trim_start().len()
}
