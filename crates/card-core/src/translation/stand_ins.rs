//! Target tokens for the draft tokens that the target does not have.
//!
//! One forward of the draft model gives a probability to each of its tokens. Where the target has
//! the same token, the probability is taken over as it is (token-level intersection, TLI, arXiv
//! 2502.05202). The rest of the mass would be lost, though its text says what the target may
//! write. Matching at the level of strings, as in that paper's SLEM, would write the draft
//! model's tokens out and divide their text with the target's tokenizer, which takes a forward of
//! the draft model for each token before anything can be proposed. Here one token is matched at a
//! time, by a table that is made once. For a draft token `d` that the target does not have:
//!
//! 1. The longest target token that the text of `d` *begins with* stands for `d`: a text that
//!    begins with `d` begins with that too, so this is no guess about the text, only about how
//!    the target divides it. Most tokenizers prefer long tokens.
//! 2. A target token that is read as `d` and further pieces *continues* `d`, and takes for granted
//!    more than the draft model said. It stands for `d` too if it is the only token of the target
//!    that does so, since whatever long token the target writes here must be that one.
//! 3. If no target token begins `d`, the shortest one that continues it stands for `d`, since it
//!    takes the least for granted. Among tokens of equal length it is the one with the smallest
//!    number, which is the most common.
//!
//! A target token that several draft tokens stand for gets the largest of their logits. So the
//! probabilities are no longer those of the draft model: they are too low where masses should
//! have been added, and too high where rules 2 and 3 take more for granted than the draft model
//! said. Nothing depends on them but the order of candidates; what share of them is accepted is
//! learned per source, rank and probability ([`acceptance`](crate::acceptance)).

use super::exact::ExactPairs;
use super::piece_index::PieceIndex;
use super::reading::TokenReading;
use super::vocabulary::Vocabulary;
use crate::types::Token;

/// (draft token, target token) for every target token that stands for a draft token which the
/// target does not have. At most two for each draft token. `texts` are those of the target.
pub(super) fn stand_ins(
    draft: &Vocabulary,
    texts: &PieceIndex,
    reading: &TokenReading,
    pairs: &ExactPairs,
) -> Vec<(Token, Token)> {
    let continuations = Continuations::new(draft.len(), texts, reading);
    let mut found = Vec::new();
    for token in draft.text_tokens() {
        if pairs.target_of(token).is_some() {
            continue;
        }
        let begins = texts.longest(draft.bytes(token));
        let continues = match begins {
            Some(_) => continuations.only(token),
            None => continuations.shortest(token),
        };
        found.extend(begins.map(|t| (token, t)));
        found.extend(continues.map(|t| (token, t)));
    }
    found
}

/// For each draft token, the target tokens that are read as it and further pieces.
struct Continuations {
    /// How many there are, and the shortest.
    by_piece: Vec<(u32, Option<Token>)>,
}

impl Continuations {
    fn new(draft_tokens: usize, texts: &PieceIndex, reading: &TokenReading) -> Self {
        let mut by_piece: Vec<(u32, Option<Token>)> = vec![(0, None); draft_tokens];
        for &token in texts.tokens() {
            let Some([first, _, ..]) = reading.of(token) else {
                continue;
            };
            let Some((count, shortest)) = by_piece.get_mut(*first as usize) else {
                continue;
            };
            *count += 1;
            let length = |t: Token| (texts.bytes(t).len(), t);
            if shortest.is_none_or(|s| length(token) < length(s)) {
                *shortest = Some(token);
            }
        }
        Continuations { by_piece }
    }

    /// The one target token that continues `piece`, if there are not several.
    fn only(&self, piece: Token) -> Option<Token> {
        let &(count, token) = self.by_piece.get(piece as usize)?;
        token.filter(|_| count == 1)
    }

    /// The shortest target token that continues `piece`.
    fn shortest(&self, piece: Token) -> Option<Token> {
        self.by_piece.get(piece as usize)?.1
    }
}

#[cfg(test)]
mod tests {
    use super::super::vocabulary::{Roles, TokenKind};
    use super::*;

    fn vocabulary(tokens: &[&'static str]) -> Vocabulary {
        let tokens = tokens.iter().map(|&t| (t, TokenKind::Text));
        Vocabulary::new(tokens, Roles::default()).unwrap()
    }

    fn found(target: &[&'static str], draft: &[&'static str]) -> Vec<(Token, Token)> {
        let (target, draft) = (vocabulary(target), vocabulary(draft));
        let mut pairs = ExactPairs::new(target.len(), draft.len());
        let (theirs, own) = (PieceIndex::new(&target), PieceIndex::new(&draft));
        pairs.pair_texts(&theirs, &own);
        let reading = TokenReading::new(&target, &draft, &own, &pairs).unwrap();
        stand_ins(&draft, &theirs, &reading, &pairs)
    }

    #[test]
    fn the_longest_token_that_begins_a_draft_token_stands_for_it() {
        let target = ["a", "ab", "b", "c"];
        assert_eq!(found(&target, &["abc", "b"]), [(0, 1)]);
        // What both have needs nobody to stand for it.
        assert!(found(&target, &["ab", "b"]).is_empty());
        // A second token with the same text is matched by that.
        assert_eq!(found(&target, &["ab", "ab"]), [(1, 1)]);
    }

    #[test]
    fn a_token_that_alone_continues_a_draft_token_stands_for_it_too() {
        let draft = ["th", "e", "a", "t"];
        assert_eq!(found(&["t", "the"], &draft), [(0, 0), (0, 1)]);
        // Of two that continue it neither is sure, and "t" begins it for certain.
        assert_eq!(found(&["t", "the", "tha"], &draft), [(0, 0)]);
    }

    #[test]
    fn the_shortest_continuation_stands_for_what_nothing_begins() {
        let draft = ["th", "e", "a"];
        assert_eq!(found(&["theae", "tha", "the", "a"], &draft), [(0, 1)]);
        assert!(found(&["x"], &["y"]).is_empty());
    }
}
