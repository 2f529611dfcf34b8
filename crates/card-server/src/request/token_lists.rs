//! The tokens of the texts of a request, as a workshop reads them.

use std::time::Instant;

use card_api::ApiError;
use card_core::types::Token;

use crate::clock::RequestDeadline;

/// The tokens of each text so far. A request may have thousands of texts, so it is looked before
/// each of them whether there is still time.
pub(crate) struct TokenLists {
    lists: Vec<Vec<Token>>,
    deadline: RequestDeadline,
}

impl TokenLists {
    /// No text was read yet, of a request that has to be answered by then.
    pub(super) fn new(deadline: RequestDeadline) -> Self {
        TokenLists {
            lists: Vec::new(),
            deadline,
        }
    }

    /// Adds the tokens of one more text, which `read` makes.
    ///
    /// # Errors
    /// If the deadline has passed, and what `read` says instead of tokens.
    pub(crate) fn add(
        &mut self,
        read: impl FnOnce() -> Result<Vec<Token>, ApiError>,
    ) -> Result<(), ApiError> {
        if Instant::now() >= self.deadline.at {
            return Err(self.deadline.passed());
        }
        self.lists.push(read()?);
        Ok(())
    }

    /// The tokens of all texts.
    pub(super) fn finish(self) -> Vec<Vec<Token>> {
        self.lists
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_text_is_read_only_if_there_is_time() {
        let deadline = |most| RequestDeadline::new(Instant::now(), most);
        let mut lists = TokenLists::new(deadline(Duration::from_secs(3600)));
        lists.add(|| Ok(vec![1, 2])).unwrap();
        lists.deadline = deadline(Duration::ZERO);
        let late = lists.add(|| unreachable!("it is not read"));
        assert_eq!(late.unwrap_err().status, 504);
        assert_eq!(lists.finish(), [[1, 2]]);
    }
}
