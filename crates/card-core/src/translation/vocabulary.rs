//! A vocabulary as far as a translation needs it: bytes, kind and role of each token.

use super::error::TranslationError;
use crate::types::Token;

/// Most tokens of a vocabulary; those of today's models have at most 262,144.
const MOST_TOKENS: usize = 1 << 22;
/// Most bytes of one token. The longest of today's models are runs of a few hundred spaces.
const MOST_BYTES: usize = 1 << 12;
/// Most bytes of all tokens of a vocabulary.
const MOST_BYTES_TOGETHER: usize = 1 << 28;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Stands for a piece of text.
    Text,
    /// Stands for one byte that no other token spells (`<0x61>`, byte fallback). Where a token of
    /// kind [`TokenKind::Text`] has the same byte, a model writes that one.
    Byte,
    /// Controls the model and is no text, like `<|im_end|>`.
    Control,
}

/// The control tokens whose meaning is known. Control tokens of two vocabularies are matched by
/// these roles only, never by their names: the same name can mean different things, and what has
/// another name can mean the same. A token may have several roles, and every token with a role
/// counts as a control token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// Begins a text.
    pub bos: Option<Token>,
    /// Ends a text.
    pub eos: Option<Token>,
    /// Ends what one side of a conversation says, like `<|im_end|>`.
    pub eot: Option<Token>,
    /// Begins what one side of a conversation says, like `<|im_start|>`.
    pub turn: Option<Token>,
    /// Whether the model was trained with `bos` in front of every text. A draft model that was
    /// gets its `bos` there, whether the target's texts begin with one or not.
    pub adds_bos: bool,
}

impl Roles {
    /// The tokens by role, those first that a conversation has most of.
    pub(super) fn in_order(&self) -> [Option<Token>; 4] {
        [self.eot, self.turn, self.eos, self.bos]
    }
}

/// The tokens of a model. Bounded: what no model has is refused.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// The texts of all tokens, one behind the other.
    bytes: Vec<u8>,
    /// Where the text of each token ends in `bytes`.
    ends: Vec<u32>,
    kinds: Vec<TokenKind>,
    roles: Roles,
}

impl Vocabulary {
    /// The vocabulary with these tokens, in the order of their numbers: the bytes that each
    /// stands for in a text, and its kind. The bytes of a control token are not looked at. A
    /// token without bytes is one that no text has.
    ///
    /// # Errors
    /// If there are more tokens or longer ones than models have, or a role's token is not among
    /// them.
    pub fn new<B: AsRef<[u8]>>(
        tokens: impl IntoIterator<Item = (B, TokenKind)>,
        roles: Roles,
    ) -> Result<Self, TranslationError> {
        let mut vocabulary = Vocabulary {
            bytes: Vec::new(),
            ends: Vec::new(),
            kinds: Vec::new(),
            roles,
        };
        for (bytes, kind) in tokens {
            vocabulary.push(bytes.as_ref(), kind)?;
        }
        for token in roles.in_order().into_iter().flatten() {
            let tokens = vocabulary.kinds.len();
            let kind = vocabulary.kinds.get_mut(token as usize);
            *kind.ok_or(TranslationError::UnknownRole { token, tokens })? = TokenKind::Control;
        }
        Ok(vocabulary)
    }

    fn push(&mut self, bytes: &[u8], kind: TokenKind) -> Result<(), TranslationError> {
        if self.ends.len() == MOST_TOKENS {
            return Err(TranslationError::TooManyTokens { most: MOST_TOKENS });
        }
        let end = self.bytes.len() + bytes.len();
        if bytes.len() > MOST_BYTES || end > MOST_BYTES_TOGETHER {
            return Err(TranslationError::TooLong {
                token: self.ends.len(),
                most: MOST_BYTES,
                most_together: MOST_BYTES_TOGETHER,
            });
        }
        self.bytes.extend_from_slice(bytes);
        // It fits: MOST_BYTES_TOGETHER is below 2^32.
        self.ends.push(end as u32);
        self.kinds.push(kind);
        Ok(())
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of a token; none for a token that is not there.
    pub fn bytes(&self, token: Token) -> &[u8] {
        let at = token as usize;
        let Some(&end) = self.ends.get(at) else {
            return &[];
        };
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..end as usize]
    }

    /// The kind of a token; `None` for a token that is not there.
    pub fn kind(&self, token: Token) -> Option<TokenKind> {
        self.kinds.get(token as usize).copied()
    }

    /// The control tokens whose meaning is known.
    pub fn roles(&self) -> Roles {
        self.roles
    }

    /// All tokens.
    pub(super) fn tokens(&self) -> std::ops::Range<Token> {
        // It fits: MOST_TOKENS is below 2^32.
        0..self.len() as Token
    }

    /// The tokens that stand for text, ascending.
    pub(super) fn text_tokens(&self) -> impl Iterator<Item = Token> + '_ {
        self.tokens().filter(|&token| self.is_text(token))
    }

    /// Whether a token stands for text.
    pub(super) fn is_text(&self, token: Token) -> bool {
        let control = matches!(self.kind(token), None | Some(TokenKind::Control));
        !control && !self.bytes(token).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vocabulary_gives_back_what_it_was_made_of() {
        let roles = Roles {
            eot: Some(2),
            ..Roles::default()
        };
        let tokens = [
            ("ab", TokenKind::Text),
            ("", TokenKind::Text),
            ("<end>", TokenKind::Text),
            ("c", TokenKind::Byte),
        ];
        let vocabulary = Vocabulary::new(tokens, roles).unwrap();
        assert_eq!(vocabulary.len(), 4);
        assert_eq!(vocabulary.bytes(0), b"ab");
        assert_eq!(vocabulary.bytes(1), b"");
        assert_eq!(vocabulary.bytes(3), b"c");
        assert_eq!(vocabulary.bytes(4), b"");
        assert_eq!(
            vocabulary.kind(2),
            Some(TokenKind::Control),
            "it has a role"
        );
        assert_eq!(vocabulary.kind(4), None);
        assert_eq!(vocabulary.text_tokens().collect::<Vec<_>>(), [0, 3]);
    }

    #[test]
    fn what_no_model_has_is_refused() {
        let roles = Roles {
            bos: Some(1),
            ..Roles::default()
        };
        let refused = Vocabulary::new([("a", TokenKind::Text)], roles).map(|_| ());
        let expected = TranslationError::UnknownRole {
            token: 1,
            tokens: 1,
        };
        assert_eq!(refused, Err(expected));

        let long = vec![b'a'; MOST_BYTES + 1];
        let refused = Vocabulary::new([(&long, TokenKind::Text)], Roles::default());
        let error = refused.map(|_| ()).unwrap_err();
        assert!(matches!(error, TranslationError::TooLong { token: 0, .. }));

        let many = std::iter::repeat_n(("", TokenKind::Text), MOST_TOKENS + 1);
        let refused = Vocabulary::new(many, Roles::default()).map(|_| ());
        let expected = TranslationError::TooManyTokens { most: MOST_TOKENS };
        assert_eq!(refused, Err(expected));
    }
}
