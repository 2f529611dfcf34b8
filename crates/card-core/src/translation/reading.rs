//! How the draft model reads each target token.

use super::exact::ExactPairs;
use super::piece_index::PieceIndex;
use super::vocabulary::{Roles, Vocabulary};
use crate::types::Token;

/// The draft tokens that each target token is read as: at least one, so that every token has a
/// place in the draft model's KV cache.
#[derive(Debug)]
pub(super) struct TokenReading {
    pieces: Vec<Token>,
    /// Where the pieces of each token end in `pieces`.
    ends: Vec<u32>,
    /// What a token is read as that the draft model has no tokens for.
    filler: Token,
}

impl TokenReading {
    /// How a draft model reads the target's tokens. `None` if it has no token for text, nor one
    /// with a role.
    ///
    /// A token that both have is read as itself, a control token as the one of the same role, and
    /// text as the tokens that spell it. Everything else, like a control token without a role, is
    /// read as a filler: a line break if the draft model has that, since it divides without a
    /// meaning of its own.
    pub(super) fn new(
        target: &Vocabulary,
        draft: &Vocabulary,
        texts: &PieceIndex,
        pairs: &ExactPairs,
    ) -> Option<Self> {
        let roles = draft.roles();
        let filler = texts.exact(b"\n").or(texts.exact(b" "));
        let filler = filler.or(roles.in_order().into_iter().flatten().next());
        let mut reading = TokenReading {
            pieces: Vec::new(),
            ends: Vec::new(),
            filler: filler.or(texts.tokens().first().copied())?,
        };
        for token in target.tokens() {
            let one = pairs.draft_of(token);
            match one.or_else(|| same_role(token, &target.roles(), &roles)) {
                Some(one) => reading.pieces.push(one),
                None => {
                    let text = target.is_text(token).then(|| target.bytes(token));
                    if !texts.spell(text.unwrap_or_default(), &mut reading.pieces) {
                        reading.pieces.push(reading.filler);
                    }
                }
            }
            // It fits: at most 2^22 tokens of at most 64 pieces.
            reading.ends.push(reading.pieces.len() as u32);
        }
        Some(reading)
    }

    /// The pieces of a target token; `None` for a token that is not there.
    pub(super) fn of(&self, token: Token) -> Option<&[Token]> {
        let at = token as usize;
        let end = *self.ends.get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.pieces.get(start as usize..end as usize)
    }

    /// What a token is read as that the draft model has no tokens for.
    pub(super) fn filler(&self) -> Token {
        self.filler
    }
}

/// The draft token that means to the draft model what the control token `token` means to the
/// target. Both kinds of ends stand for each other.
fn same_role(token: Token, target: &Roles, draft: &Roles) -> Option<Token> {
    let roles = [
        (target.eot, draft.eot.or(draft.eos)),
        (target.turn, draft.turn),
        (target.eos, draft.eos.or(draft.eot)),
        (target.bos, draft.bos),
    ];
    let same = roles.into_iter().filter(|role| role.0 == Some(token));
    same.filter_map(|role| role.1).next()
}

#[cfg(test)]
mod tests {
    use super::super::vocabulary::TokenKind;
    use super::*;

    #[test]
    fn every_token_is_read_as_something() {
        let roles = |bos, eos, eot| Roles {
            bos,
            eos,
            eot,
            ..Roles::default()
        };
        let (text, control) = (TokenKind::Text, TokenKind::Control);
        let target = [
            ("ab", text),
            ("<end>", control),
            ("<|tool|>", control),
            ("", text),
            ("x", text),
            ("<bos>", control),
        ];
        let target = Vocabulary::new(target, roles(Some(5), None, Some(1))).unwrap();
        let draft = [("</s>", control), ("a", text), ("b", text), (" ", text)];
        let draft = Vocabulary::new(draft, roles(None, Some(0), None)).unwrap();
        let texts = PieceIndex::new(&draft);
        let pairs = ExactPairs::new(target.len(), draft.len());
        let reading = TokenReading::new(&target, &draft, &texts, &pairs).unwrap();
        assert_eq!(reading.filler(), 3);
        let read: Vec<_> = target.tokens().filter_map(|t| reading.of(t)).collect();
        let expected: [&[Token]; 6] = [&[1, 2], &[0], &[3], &[3], &[3], &[3]];
        assert_eq!(read, expected);
        assert_eq!(reading.of(6), None);

        let nothing = Vocabulary::new([("", text)], Roles::default()).unwrap();
        let texts = PieceIndex::new(&nothing);
        assert!(TokenReading::new(&target, &nothing, &texts, &pairs).is_none());
    }
}
