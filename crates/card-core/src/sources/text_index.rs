//! Finds where the recent tokens stood before, and what followed them there.
//!
//! The index serves prompt lookup (the text is prompt and output) and predicted output (the
//! text is what the user expects back). It keeps hash chains over token pairs, as LZ77
//! compressors do. Drafting this way is known as prompt lookup decoding, or n-gram drafting;
//! SuffixDecoding (arXiv 2411.04975) does it with suffix trees.

use std::collections::HashMap;

use super::chain::{Chain, LONGEST};
use crate::types::Token;

/// Earlier places that are looked at for the longest match.
const TRIES: usize = 48;
/// The most tokens of a match that are compared.
const FAR: usize = 64;
/// The place that stands for "no place".
const NONE: u32 = u32::MAX;

/// Probability that a match of `length` tokens goes on, before anything was learned: a half for
/// two tokens, 0.77 for eight, 0.9 for thirteen. This is a fit to answers of a small model
/// (docs/sources.md). Of a chain, each token that was proposed counts as one more of the match.
fn match_confidence(length: usize) -> f32 {
    const SURE: f32 = 0.985;
    (1.0 / (1.0 + (0.3 - 0.19 * length as f32).exp())).min(SURE)
}

/// A text with an index of its token pairs. `earlier` has one element for each token.
///
/// ```
/// use card_core::sources::TextIndex;
///
/// let text = TextIndex::new(&[1, 2, 3, 4, 9, 1, 2]);
/// let mut chain = Vec::new();
/// // The text ends with 1, 2. Where these stood before, 3, 4, … came next.
/// text.continue_itself(&mut chain);
/// assert_eq!(chain[0].0, 3);
/// assert_eq!(chain[1].0, 4);
/// ```
#[derive(Clone, Debug, Default)]
pub struct TextIndex {
    tokens: Vec<Token>,
    /// The last place of each pair: the index of its second token.
    last: HashMap<(Token, Token), u32>,
    /// For each place, the place before it with the same pair.
    earlier: Vec<u32>,
}

impl TextIndex {
    /// An index of the text `tokens`.
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

    /// Number of tokens of the text.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Proposes what followed the longest earlier match of this text's own end.
    pub fn continue_itself(&self, out: &mut Chain) {
        let place = self.earlier.last();
        self.follow(
            place.and_then(|&p| self.longest(&self.tokens, p, None)),
            out,
        );
    }

    /// Proposes what followed the longest match of the end of `recent`, another text.
    pub fn continue_other(&self, recent: &[Token], out: &mut Chain) {
        self.follow(self.find(recent, None), out);
    }

    /// Proposes what followed a match: its length, and the index behind it.
    fn follow(&self, found: Option<(usize, usize)>, out: &mut Chain) {
        out.clear();
        if let Some((length, end)) = found {
            let follows = self.tokens[end..].iter().take(LONGEST).enumerate();
            out.extend(follows.map(|(i, &t)| (t, match_confidence(length + i))));
        }
    }

    /// The text.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// The longest match of the end of `recent`, another text: its length (two tokens or more),
    /// and the index behind it. Among equally long matches the one nearest to `near` counts.
    pub fn find(&self, recent: &[Token], near: Option<usize>) -> Option<(usize, usize)> {
        let [.., a, b] = recent else { return None };
        let place = *self.last.get(&(*a, *b))?;
        self.longest(recent, place, near)
    }

    /// The longest match that ends at `place` or at an earlier place with the same pair.
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
