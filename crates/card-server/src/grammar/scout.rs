//! Looking ahead under a grammar: what may follow a candidate, and what has to.
//!
//! A scout has a matcher of its own, with lexer states of its own: what it looks at takes nothing
//! of what the matcher of the text may use up. It asks for single tokens, which takes
//! microseconds, and never for a mask of the vocabulary.

use std::sync::Arc;

use card_core::constraint::Scout;
use card_core::types::{Prob, Token};
use llguidance::Matcher;
use toktrie::TokTrie;

use crate::text::Tokenizer;

/// Bytes of forced text that are made tokens of at a time.
const MOST_FORCED: usize = 128;
/// Probability of a forced token, before anything was learned. The same text could be written
/// with other tokens, but models seldom do that.
const SURE: f32 = 0.98;
/// The same of the last one, where a longer token begins with it: what comes next may be written
/// together with it, as `"` and `:` often are.
const LAST: f32 = 0.5;

/// Looks ahead in one text.
pub(super) struct MatcherScout {
    matcher: Matcher,
    tokenizer: Arc<dyn Tokenizer>,
    /// Tokens that end a text.
    ends: Vec<Token>,
    /// The token that was written last.
    last: Option<Token>,
    /// Room for a path and a token behind it.
    chain: Vec<Token>,
}

impl MatcherScout {
    /// A scout at the beginning of a text, where the matcher is.
    pub(super) fn new(matcher: Matcher, tokenizer: Arc<dyn Tokenizer>) -> Self {
        MatcherScout {
            matcher,
            ends: tokenizer.end_tokens(),
            tokenizer,
            last: None,
            chain: Vec::new(),
        }
    }

    /// The tokens that a model most likely writes these bytes with. A tokenizer that sees the
    /// token before does not begin a new word there.
    fn tokens_of(&self, trie: &TokTrie, bytes: &[u8]) -> Vec<Token> {
        if let Some(last) = self.last {
            let before = self.tokenizer.piece(last, false);
            let whole = self.tokenized(&[&before[..], bytes].concat());
            if let Some([first, behind @ ..]) = whole.as_deref()
                && *first == last
            {
                return behind.to_vec();
            }
        }
        // A tokenizer that adds a space to every text says nothing of a piece of one.
        self.tokenized(bytes)
            .unwrap_or_else(|| trie.greedy_tokenize(bytes))
    }

    /// The tokenizer's tokens of exactly these bytes; `None` if it makes other text of them.
    fn tokenized(&self, bytes: &[u8]) -> Option<Vec<Token>> {
        let text = std::str::from_utf8(bytes).ok()?;
        let tokens = self.tokenizer.tokenize(text, false).ok()?;
        let mut written = Vec::with_capacity(bytes.len());
        let mut plain = Vec::with_capacity(tokens.len());
        for token in tokens {
            // One that begins every text, say, is no part of it.
            let piece = self.tokenizer.piece(token, false);
            if !piece.is_empty() {
                written.extend(piece);
                plain.push(token);
            }
        }
        (written == bytes).then_some(plain)
    }
}

impl Scout for MatcherScout {
    fn wrote(&mut self, token: Token) -> Result<(), String> {
        self.last = Some(token);
        self.matcher.consume_token(token).map_err(|e| e.to_string())
    }

    fn allows(&mut self, path: &[Token], token: Token) -> bool {
        if token as usize >= self.tokenizer.len() {
            return false;
        }
        // A matcher that failed refuses nothing.
        if self.matcher.is_error() {
            return true;
        }
        if self.matcher.is_stopped() {
            return path.is_empty() && self.ends.contains(&token);
        }
        self.chain.clear();
        self.chain.extend_from_slice(path);
        self.chain.push(token);
        let valid = self.matcher.validate_tokens(&self.chain);
        !valid.is_ok_and(|tokens| tokens < self.chain.len())
    }

    fn forced(&mut self) -> Vec<(Token, Prob)> {
        if self.matcher.is_stopped() {
            return Vec::new();
        }
        let bytes = self.matcher.compute_ff_bytes();
        // What follows the mark of a control token is no text.
        let marked = bytes
            .iter()
            .position(|&b| b == TokTrie::SPECIAL_TOKEN_MARKER);
        let length = marked.unwrap_or(bytes.len()).min(MOST_FORCED);
        let Ok(vocabulary) = self.matcher.tok_env() else {
            return Vec::new();
        };
        let trie = vocabulary.tok_trie();
        let tokens = self.tokens_of(trie, &bytes[..length]);
        let last = tokens.len().saturating_sub(1);
        let prob = |(i, token): (usize, Token)| {
            let grows = i == last && trie.has_extensions(trie.token(token));
            (token, Prob::clamped(if grows { LAST } else { SURE }))
        };
        tokens.into_iter().enumerate().map(prob).collect()
    }
}
