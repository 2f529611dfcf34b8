//! The tokens of the texts of a request, as a workshop reads them.

use std::time::Instant;

use card_api::ApiError;
use card_core::types::Token;

use crate::admission::{Admission, BodyRoom};
use crate::clock::RequestDeadline;

/// The tokens of each text so far. A request may have thousands of texts, so it is looked before
/// each of them whether there is still time, and behind it whether there is room for its tokens.
pub(crate) struct TokenLists<'a> {
    lists: Vec<Vec<Token>>,
    /// Bytes of all lists.
    bytes: usize,
    /// Their room: that of the body, and more where they take more.
    room: BodyRoom,
    admission: &'a Admission,
    deadline: RequestDeadline,
}

impl<'a> TokenLists<'a> {
    /// No text was read yet, of a body that has this room and has to be answered by then.
    pub(super) fn new(admission: &'a Admission, room: BodyRoom, deadline: RequestDeadline) -> Self {
        TokenLists {
            lists: Vec::new(),
            bytes: 0,
            room,
            admission,
            deadline,
        }
    }

    /// Adds the tokens of one more text, which `read` makes.
    ///
    /// # Errors
    /// If the deadline has passed, or there is no room for the tokens; and what `read` says instead
    /// of tokens.
    pub(crate) fn add(
        &mut self,
        read: impl FnOnce() -> Result<Vec<Token>, ApiError>,
    ) -> Result<(), ApiError> {
        if Instant::now() >= self.deadline.at {
            return Err(self.deadline.passed());
        }
        let tokens = read()?;
        self.bytes += tokens.len() * size_of::<Token>();
        self.admission.enlarge(&mut self.room, self.bytes)?;
        self.lists.push(tokens);
        Ok(())
    }

    /// The tokens of all texts, and their room.
    pub(super) fn finish(self) -> (Vec<Vec<Token>>, BodyRoom) {
        (self.lists, self.room)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admission::BODY_BUDGET;
    use crate::config::ServerConfig;

    fn deadline(most: Duration) -> RequestDeadline {
        RequestDeadline::new(Instant::now(), most)
    }

    fn lists(admission: &Admission) -> TokenLists<'_> {
        let deadline = deadline(Duration::from_secs(3600));
        TokenLists::new(admission, BodyRoom::new(), deadline)
    }

    #[test]
    fn a_text_is_read_only_if_there_is_time() {
        let admission = Admission::of(&ServerConfig::default());
        let mut lists = lists(&admission);
        lists.add(|| Ok(vec![1, 2])).unwrap();
        lists.deadline = deadline(Duration::ZERO);
        let late = lists.add(|| unreachable!("it is not read"));
        assert_eq!(late.unwrap_err().status, 504);
        assert_eq!(lists.finish().0, [[1, 2]]);
    }

    #[test]
    fn tokens_have_room_among_the_bodies_for_as_long_as_they_are_held() {
        let admission = Admission::of(&ServerConfig::default());
        let half = || Ok(vec![0; BODY_BUDGET / 2 / size_of::<Token>()]);
        let mut one = lists(&admission);
        one.add(half).unwrap();
        let held = one.finish();
        let mut other = lists(&admission);
        other.add(half).unwrap();
        assert_eq!(other.add(half).unwrap_err().status, 429);
        drop(held);
        let mut whole = lists(&admission);
        drop(other);
        whole.add(half).unwrap();
        whole.add(half).unwrap();
        assert_eq!(whole.add(half).unwrap_err().status, 400);
    }
}
