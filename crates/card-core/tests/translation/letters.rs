//! A made-up language of letters, and models that write it with different tokens.

use std::sync::Arc;

use card_core::forward::{Forward, KvOp, Limits, Logits, Model, ModelError, Rollback};
use card_core::synthetic::{Synthetic, SyntheticConfig};
use card_core::translation::{Roles, TokenKind, TokenMap, Vocabulary};
use card_core::types::Token;

use crate::texts::Texts;

pub const LIMITS: Limits = Limits {
    context: 400,
    cells: 1200,
    rows: 24,
    leaves: 8,
    rollback: Rollback::Free,
};

pub type Tokens = &'static [(&'static str, TokenKind)];

/// Words over a small alphabet, and tokens that are no text.
pub const TARGET: Tokens = &[
    ("a", TokenKind::Text),
    ("b", TokenKind::Text),
    ("c", TokenKind::Text),
    ("d", TokenKind::Text),
    ("ab", TokenKind::Text),
    ("bc", TokenKind::Text),
    ("cda", TokenKind::Text),
    ("dd", TokenKind::Text),
    ("abc", TokenKind::Text),
    ("bad", TokenKind::Text),
    ("ca", TokenKind::Text),
    ("", TokenKind::Control),
    ("", TokenKind::Control),
    ("", TokenKind::Text),
    ("x", TokenKind::Text),
];
/// What ends a text of the target's.
pub const TARGET_END: Token = 11;
/// Another one, which is in no list of roles.
pub const TARGET_OTHER: Token = 12;
/// Text that the draft model cannot read.
pub const TARGET_FOREIGN: Token = 14;

/// Letters and some pairs of them.
pub const DRAFT: Tokens = &[
    ("", TokenKind::Control),
    ("", TokenKind::Control),
    ("a", TokenKind::Text),
    ("b", TokenKind::Text),
    ("c", TokenKind::Text),
    ("d", TokenKind::Text),
    ("ab", TokenKind::Text),
    ("da", TokenKind::Text),
    ("cd", TokenKind::Text),
    ("dd", TokenKind::Text),
];
pub const DRAFT_BEGIN: Token = 0;
pub const DRAFT_END: Token = 1;

pub fn map() -> Arc<TokenMap> {
    let target = Roles {
        eot: Some(TARGET_END),
        ..Roles::default()
    };
    let draft = Roles {
        bos: Some(DRAFT_BEGIN),
        eos: Some(DRAFT_END),
        eot: Some(DRAFT_END),
        adds_bos: true,
        ..Roles::default()
    };
    let target = Vocabulary::new(TARGET.iter().copied(), target).unwrap();
    let draft = Vocabulary::new(DRAFT.iter().copied(), draft).unwrap();
    Arc::new(TokenMap::new(&target, &draft).unwrap())
}

/// The next letter of every text, by its length and its last two letters.
pub fn next_letter(text: &[u8]) -> u8 {
    let last = text.iter().rev().take(2);
    let hash = last.fold(text.len() as u64, |hash, &letter| {
        let mixed = (hash ^ u64::from(letter)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed.rotate_left(23)
    });
    b"abcd"[(hash >> 33) as usize % 4]
}

/// What a model of these tokens says after a text: the more letters of a token are the next ones
/// of the text, the larger is its logit.
pub fn say(tokens: Tokens, text: &[u8]) -> Vec<f32> {
    let logit = |token: &str| {
        if token.is_empty() {
            return -8.0;
        }
        let mut text = text.to_vec();
        let mut logit = 0.0;
        for letter in token.bytes() {
            if letter != next_letter(&text) {
                return logit - 6.0;
            }
            logit += 2.0;
            text.push(letter);
        }
        logit
    };
    tokens.iter().map(|token| logit(token.0)).collect()
}

/// The letters that these tokens spell.
pub fn spell(tokens: Tokens, text: &[Token]) -> Vec<u8> {
    let letters = text.iter().flat_map(|&t| tokens[t as usize].0.bytes());
    letters.collect()
}

/// A made-up model that writes letters. All models of this kind speak one language, whatever
/// their tokens are. A [`Synthetic`] model beside it checks what is done with its KV cache.
pub struct Letters {
    pub tokens: Tokens,
    pub checks: Synthetic,
    pub texts: Texts,
    pub logits: Vec<Vec<f32>>,
    /// Forwards that go well before one fails, and why it does.
    pub failure: Option<(usize, ModelError)>,
}

impl Letters {
    pub fn new(tokens: Tokens, limits: Limits) -> Self {
        Letters {
            tokens,
            checks: synthetic(tokens.len(), limits),
            texts: Texts::default(),
            logits: Vec::new(),
            failure: None,
        }
    }
}

pub fn synthetic(vocab: usize, limits: Limits) -> Synthetic {
    Synthetic::new(SyntheticConfig {
        vocab,
        seed: 5,
        spread: 2.0,
        noise: 0.0,
        noise_seed: 1,
        limits,
    })
}

impl Logits for Letters {
    fn row(&self, i: usize) -> &[f32] {
        &self.logits[i]
    }
}

impl Model for Letters {
    fn limits(&self) -> Limits {
        self.checks.limits()
    }

    fn vocab(&self) -> usize {
        self.tokens.len()
    }

    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        self.checks.apply(op)?;
        self.texts.apply(op);
        Ok(())
    }

    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        match self.failure.take() {
            Some((0, error)) => return Err(error),
            Some((after, error)) => self.failure = Some((after - 1, error)),
            None => {}
        }
        self.checks.forward(forward)?;
        self.logits.clear();
        for row in &forward.rows {
            let text = spell(self.tokens, &self.texts.decode(row));
            let logits = row.logits.then(|| say(self.tokens, &text));
            self.logits.push(logits.unwrap_or_default());
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<(), ModelError> {
        self.texts = Texts::default();
        self.checks.reset()
    }
}
