//! Finds where the recent tokens stood before, and what followed them there.
//!
//! Serves the suffix source (the text is prompt and output) and predicted output (the
//! text is what the user expects back). Hash chains over token pairs, as in LZ77
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

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.tokens.capacity() * 8 + self.last.capacity() * 16
    }

    /// What followed the longest earlier match of this text's own end.
    pub fn continue_itself(&self, out: &mut Chain) {
        out.clear();
        let end = self.tokens.len();
        let start = end.saturating_sub(FAR);
        let from = self.earlier.last().copied().unwrap_or(NONE);
        self.propose(&self.tokens[start..end], from, out);
    }

    /// What follows the longest match of the end of `recent`, another text.
    pub fn continue_other(&self, recent: &[Token], out: &mut Chain) {
        out.clear();
        let from = match recent {
            [.., a, b] => self.last.get(&(*a, *b)).copied().unwrap_or(NONE),
            _ => NONE,
        };
        self.propose(&recent[recent.len().saturating_sub(FAR)..], from, out);
    }

    /// The beginning of the text, for an output that has not begun.
    pub fn beginning(&self, out: &mut Chain) {
        out.clear();
        let first = self.tokens.iter().take(LONGEST).enumerate();
        out.extend(first.map(|(i, &t)| (t, confidence(i + 2))));
    }

    fn propose(&self, recent: &[Token], mut place: u32, out: &mut Chain) {
        let mut best = (0, 0);
        for _ in 0..TRIES {
            if place == NONE {
                break;
            }
            let end = place as usize + 1;
            let behind = self.tokens[..end].iter().rev();
            let same = behind.zip(recent.iter().rev()).take_while(|(a, b)| a == b);
            let length = same.count();
            if length > best.0 && end < self.tokens.len() {
                best = (length, end);
            }
            if best.0 >= FAR {
                break;
            }
            place = self.earlier[place as usize];
        }
        let (length, end) = best;
        if length > 0 {
            let follows = self.tokens[end..].iter().take(LONGEST).enumerate();
            out.extend(follows.map(|(i, &t)| (t, confidence(length + i))));
        }
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
        TextIndex::new(&[4]).continue_other(&[4], &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn predicted_text_goes_on_behind_a_change() {
        let expected = TextIndex::new(&[10, 11, 12, 13, 14, 15]);
        let mut out = Vec::new();
        expected.beginning(&mut out);
        assert_eq!(tokens(&out), [10, 11, 12, 13, 14, 15]);
        // The output left it at 12 and came back at 13, 14.
        expected.continue_other(&[10, 11, 99, 13, 14], &mut out);
        assert_eq!(tokens(&out), [15]);
    }
}
