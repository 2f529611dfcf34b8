//! A bound of how long a model thinks: behind it the thoughts are ended, and the model answers.

use std::sync::Arc;

use card_core::constraint::{Constraint, Grammar};
use card_core::types::Token;

use crate::text::Tokenizer;

/// Most white space before a thought, in bytes.
const MOST_BLANK: usize = 1024;

/// How long a model may think.
#[derive(Clone)]
pub(crate) struct ThoughtBudget {
    /// Most tokens of thoughts.
    pub(crate) most: u32,
    /// What begins the thoughts, if there are some; `None` if the prompt ends within them.
    pub(crate) open: Option<&'static str>,
    /// What ends them.
    pub(crate) close: &'static str,
    /// The same in tokens.
    pub(crate) close_tokens: Arc<[Token]>,
}

impl ThoughtBudget {
    /// The constraint of one generation that has this budget, and perhaps another constraint.
    pub(crate) fn constraint(
        &self,
        tokenizer: Arc<dyn Tokenizer>,
        inner: Option<Box<dyn Constraint>>,
    ) -> Box<dyn Constraint> {
        let words = tokenizer.len().div_ceil(32);
        let mut all = vec![u32::MAX; words];
        if let Some(last) = all.last_mut()
            && !tokenizer.len().is_multiple_of(32)
        {
            *last = (1 << (tokenizer.len() % 32)) - 1;
        }
        let mut constraint = BudgetConstraint {
            close_tokens: self.close_tokens.clone(),
            tokenizer,
            inner,
            all,
            only: Vec::new(),
            open: self.open.unwrap_or_default(),
            close: self.close,
            place: match self.open {
                Some(_) => BudgetPlace::Before,
                None => BudgetPlace::Within(self.most),
            },
            most: self.most,
            tail: Vec::new(),
        };
        constraint.end_if_spent();
        Box::new(constraint)
    }
}

/// Ends the thoughts when their budget is spent, and otherwise allows what the inner constraint
/// does, or everything.
struct BudgetConstraint {
    tokenizer: Arc<dyn Tokenizer>,
    inner: Option<Box<dyn Constraint>>,
    /// Every token.
    all: Vec<u32>,
    /// One token.
    only: Vec<u32>,
    open: &'static str,
    close: &'static str,
    close_tokens: Arc<[Token]>,
    most: u32,
    place: BudgetPlace,
    /// The last bytes of the text.
    tail: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum BudgetPlace {
    /// No thoughts have begun.
    Before,
    /// In the thoughts, with so many tokens left.
    Within(u32),
    /// The thoughts are ended: so many of the tokens that end them were written.
    Ending(usize),
    /// Behind the thoughts.
    Behind,
}

impl BudgetConstraint {
    fn end_if_spent(&mut self) {
        if self.place == BudgetPlace::Within(0) {
            self.place = if self.close_tokens.is_empty() {
                BudgetPlace::Behind
            } else {
                BudgetPlace::Ending(self.already_ended())
            };
        }
    }

    /// How many of the tokens that end the thoughts the model has written by itself just now.
    fn already_ended(&self) -> usize {
        let begins_so = |&most: &usize| {
            let tokens = self.close_tokens[..most].iter();
            let begun: Vec<u8> = tokens
                .flat_map(|&token| self.tokenizer.piece(token, true))
                .collect();
            self.tail.ends_with(&begun)
        };
        (1..self.close_tokens.len())
            .rev()
            .find(begins_so)
            .unwrap_or(0)
    }

    /// Whether the text begins thoughts, and whether it still may.
    fn beginning(&self) -> (bool, bool) {
        let text = String::from_utf8_lossy(&self.tail);
        let text = text.trim_start();
        let may = self.open.starts_with(text) && self.tail.len() <= MOST_BLANK;
        (text.starts_with(self.open), may)
    }

    /// The text goes on with the text of this token.
    fn goes_on(&mut self, token: Token) {
        if self.place == BudgetPlace::Behind {
            return;
        }
        self.tail.extend(self.tokenizer.piece(token, true));
        match self.place {
            BudgetPlace::Before => {
                let (begins, may) = self.beginning();
                if begins {
                    self.tail.clear();
                    self.place = BudgetPlace::Within(self.most);
                } else if !may {
                    self.place = BudgetPlace::Behind;
                }
            }
            BudgetPlace::Within(left) => {
                let close = self.close.as_bytes();
                let closed = self.tail.windows(close.len()).any(|part| part == close);
                self.place = if closed {
                    BudgetPlace::Behind
                } else {
                    BudgetPlace::Within(left.saturating_sub(1))
                };
                let behind = self.tail.len().saturating_sub(close.len());
                self.tail.drain(..behind);
            }
            BudgetPlace::Ending(written) if written + 1 < self.close_tokens.len() => {
                self.place = BudgetPlace::Ending(written + 1);
            }
            BudgetPlace::Ending(_) => self.place = BudgetPlace::Behind,
            BudgetPlace::Behind => {}
        }
        self.end_if_spent();
    }
}

impl Constraint for BudgetConstraint {
    fn allowed(&mut self) -> Result<&[u32], String> {
        if let BudgetPlace::Ending(written) = self.place {
            let token = self.close_tokens[written] as usize;
            self.only.clear();
            self.only.resize(self.all.len().max(token / 32 + 1), 0);
            self.only[token / 32] = 1 << (token % 32);
            return Ok(&self.only);
        }
        match &mut self.inner {
            Some(inner) => inner.allowed(),
            None => Ok(&self.all),
        }
    }

    fn wrote(&mut self, token: Token) -> Result<(), String> {
        if let Some(inner) = &mut self.inner {
            inner.wrote(token)?;
        }
        self.goes_on(token);
        Ok(())
    }

    fn grammar(&self) -> Option<Arc<dyn Grammar>> {
        self.inner.as_ref()?.grammar()
    }
}

#[cfg(test)]
mod tests {
    use card_core::constraint::allows;

    use super::*;
    use crate::testing::ByteTokenizer;

    fn budget(most: u32, open: Option<&'static str>) -> Result<ThoughtBudget, String> {
        let close = "</think>";
        Ok(ThoughtBudget {
            most,
            open,
            close,
            close_tokens: ByteTokenizer.tokenize(close, true)?.into(),
        })
    }

    /// What is written where the model would go on with `wish` for ever.
    fn written(most: u32, open: Option<&'static str>, wish: &str) -> Result<String, String> {
        let budget = budget(most, open)?;
        let mut constraint = budget.constraint(Arc::new(ByteTokenizer), None);
        let mut text = Vec::new();
        for byte in wish.bytes() {
            let mask = constraint.allowed()?.to_vec();
            let token = if allows(&mask, Token::from(byte)) {
                Token::from(byte)
            } else {
                let forced = (0..258).find(|&t| allows(&mask, t));
                forced.ok_or("nothing is allowed")?
            };
            constraint.wrote(token)?;
            text.push(u8::try_from(token).unwrap_or(b'?'));
        }
        String::from_utf8(text).map_err(|e| e.to_string())
    }

    #[test]
    fn thoughts_end_when_their_budget_is_spent() -> Result<(), String> {
        for (most, open, wish, text) in [
            (3, None, "aaaaaaaaaaaaa", "aaa</think>aa"),
            (0, None, "aaaaaaaaaa", "</think>aa"),
            (
                9,
                None,
                "aa</think>aaaaaaaaaaaaa",
                "aa</think>aaaaaaaaaaaaa",
            ),
            (
                2,
                Some("<think>"),
                "<think>aaaaaaaaaaa",
                "<think>aa</think>a",
            ),
            (2, Some("<think>"), "aaaaaaaaaaa", "aaaaaaaaaaa"),
        ] {
            assert_eq!(written(most, open, wish)?, text, "{most} {open:?}");
        }
        Ok(())
    }

    #[test]
    fn every_token_is_allowed_within_the_budget_and_no_other() -> Result<(), String> {
        let budget = budget(5, None)?;
        let mut constraint = budget.constraint(Arc::new(ByteTokenizer), None);
        let mask = constraint.allowed()?;
        assert!((0..258).all(|token| allows(mask, token)) && !allows(mask, 258));
        Ok(())
    }
}
