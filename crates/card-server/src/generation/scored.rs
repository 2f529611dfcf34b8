//! A prompt whose own tokens get log probabilities (`echo` with `logprobs`), as evaluations by
//! likelihood want them.
//!
//! The target's forwards of a prompt give logits at its end only. So all but the first of its
//! tokens are not sent as a prompt: they are what may be written, one at each place, and the
//! answer that is expected. Then each comes with its log probability in the model's own
//! distribution, and many of them are verified in one forward, as any prediction is.

use std::sync::Arc;

use card_core::constraint::Constraint;
use card_core::types::Token;

/// A prompt whose own tokens get log probabilities.
#[derive(Clone, Debug)]
pub(crate) struct ScoredPrompt {
    /// The first token, which has no log probability: nothing stands before it.
    pub(crate) first: Token,
    /// The others.
    pub(crate) rest: Arc<[Token]>,
    /// Tokens that are to be written behind the prompt.
    pub(crate) wanted: usize,
}

/// Lets a text be written that is known, and then what `inner` lets.
pub(super) struct AlongText {
    text: Arc<[Token]>,
    at: usize,
    mask: Vec<u32>,
    vocabulary: usize,
    inner: Option<Box<dyn Constraint>>,
}

impl AlongText {
    /// A constraint for a vocabulary of so many tokens, which have all tokens of `text` in it.
    pub(super) fn new(
        text: Arc<[Token]>,
        vocabulary: usize,
        inner: Option<Box<dyn Constraint>>,
    ) -> Self {
        AlongText {
            text,
            at: 0,
            mask: vec![0; vocabulary.div_ceil(32)],
            vocabulary,
            inner,
        }
    }
}

impl Constraint for AlongText {
    fn allowed(&mut self) -> Result<&[u32], String> {
        if let Some(&token) = self.text.get(self.at) {
            self.mask.fill(0);
            let word = self.mask.get_mut(token as usize / 32);
            *word.ok_or("the vocabulary has no such token")? |= 1 << (token % 32);
            return Ok(&self.mask);
        }
        match &mut self.inner {
            Some(inner) => inner.allowed(),
            None => {
                self.mask.fill(u32::MAX);
                let beyond = self.mask.len() * 32 - self.vocabulary;
                if let Some(last) = self.mask.last_mut() {
                    *last >>= beyond;
                }
                Ok(&self.mask)
            }
        }
    }

    fn wrote(&mut self, token: Token) -> Result<(), String> {
        if self.at < self.text.len() {
            self.at += 1;
            return Ok(());
        }
        match &mut self.inner {
            Some(inner) => inner.wrote(token),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use card_core::constraint::allows;

    use super::*;

    #[test]
    fn a_known_text_is_all_that_may_be_written_and_then_anything() -> Result<(), String> {
        let mut along = AlongText::new([3, 33].into(), 34, None);
        for token in [3, 33] {
            let mask = along.allowed()?;
            let allowed: Vec<Token> = (0..64).filter(|&t| allows(mask, t)).collect();
            assert_eq!(allowed, [token]);
            along.wrote(token)?;
        }
        let mask = along.allowed()?;
        assert!((0..34).all(|t| allows(mask, t)) && !(34..64).any(|t| allows(mask, t)));
        along.wrote(7)?;
        assert!(AlongText::new([64].into(), 34, None).allowed().is_err());
        Ok(())
    }
}
