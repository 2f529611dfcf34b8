//! Finds where the recent tokens stood before, and what followed them there.
//!
//! Serves the suffix source (the text is prompt and output) and predicted output (see
//! [`Prediction`](super::Prediction)). Hash chains over token pairs, as in LZ77
//! compressors; the idea of drafting this way is that of prompt lookup decoding and of
//! SuffixDecoding (arXiv 2411.04975).

use std::collections::HashMap;

use super::{Chain, LONGEST, confidence};
use crate::types::Token;

/// Earlier places that are looked at for the longest match.
const TRIES: usize = 48;
/// Tokens compared at most.
const FAR: usize = 64;
const NONE: u32 = u32::MAX;

/// A text with an index of its token pairs.
#[derive(Clone, Debug, Default)]
pub struct TextIndex {
    tokens: Vec<Token>,
    /// Last place of each pair: the index of its second token.
    last: HashMap<(Token, Token), u32>,
    /// The place before with the same pair, by place.
    earlier: Vec<u32>,
}

impl TextIndex {
    /// The text `tokens`.
    pub fn new(tokens: &[Token]) -> Self {
        let mut index = TextIndex::default();
        index.extend(tokens);
        index
    }

    /// Adds to the end of the text. O(1) per token.
    pub fn extend(&mut self, tokens: &[Token]) {
        for &token in tokens {
            let place = self.tokens.len() as u32;
            let before = self.tokens.last().copied();
            self.tokens.push(token);
            let earlier = before.and_then(|b| self.last.insert((b, token), place));
            self.earlier.push(earlier.unwrap_or(NONE));
        }
    }

    /// Tokens of the text.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// What followed the longest earlier match of this text's own end.
    pub fn continue_itself(&self, out: &mut Chain) {
        out.clear();
        let Some(&place) = self.earlier.last() else {
            return;
        };
        if let Some((length, end)) = self.longest(&self.tokens, place, None) {
            let follows = self.tokens[end..].iter().take(LONGEST).enumerate();
            out.extend(follows.map(|(i, &t)| (t, confidence(length + i))));
        }
    }

    /// The text.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// The longest match (two tokens or more) of the end of `recent`, another text: its
    /// length, and the index behind it. Among equally long ones the one nearest to `near`.
    pub fn find(&self, recent: &[Token], near: Option<usize>) -> Option<(usize, usize)> {
        let [.., a, b] = recent else { return None };
        let place = *self.last.get(&(*a, *b))?;
        self.longest(recent, place, near)
    }

    /// The longest match among `place` and the places before it that begin alike.
    fn longest(
        &self,
        recent: &[Token],
        mut place: u32,
        near: Option<usize>,
    ) -> Option<(usize, usize)> {
        let recent = &recent[recent.len().saturating_sub(FAR)..];
        let mut best: Option<(usize, usize)> = None;
        for _ in 0..TRIES {
            if place == NONE {
                break;
            }
            let end = place as usize + 1;
            let behind = self.tokens[..end].iter().rev();
            let same = behind.zip(recent.iter().rev()).take_while(|(a, b)| a == b);
            let length = same.count();
            let nearer = |other: usize| near.is_some_and(|n| n.abs_diff(end) < n.abs_diff(other));
            let better = best.is_none_or(|(l, e)| length > l || length == l && nearer(e));
            if better {
                best = Some((length, end));
            }
            place = self.earlier[place as usize];
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(chain: &Chain) -> Vec<Token> {
        chain.iter().map(|c| c.0).collect()
    }

    #[test]
    fn the_longest_match_is_continued() {
        let mut out = Vec::new();
        //                             *           *
        let text = TextIndex::new(&[1, 2, 3, 9, 5, 2, 3, 8, 1, 2, 3]);
        text.continue_itself(&mut out);
        assert_eq!(tokens(&out)[..3], [9, 5, 2]);
        assert!(out.windows(2).all(|w| w[0].1 < w[1].1), "surer further on");
    }

    #[test]
    fn what_never_stood_there_proposes_nothing() {
        let mut out = vec![(1, 0.5)];
        TextIndex::new(&[1, 2, 3]).continue_itself(&mut out);
        assert!(out.is_empty());
        TextIndex::new(&[]).continue_itself(&mut out);
        assert!(out.is_empty());
        assert_eq!(TextIndex::new(&[4]).find(&[4], None), None);
    }
}
