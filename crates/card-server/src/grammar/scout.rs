//! Looking ahead under a grammar: what may follow a candidate, and what has to.
//!
//! A scout has a matcher of its own, with lexer states of its own: what it looks at takes nothing
//! of what the matcher of the text may use up. It asks for single tokens, which takes
//! microseconds, and never for a mask of the vocabulary.
//!
//! llguidance follows forced text to its end, however far that is: a grammar may force millions of
//! bytes. So the matchers of scouts have limits of their own. A scout that reaches one is lost.

use std::sync::Arc;

use card_core::constraint::Scout;
use card_core::types::{Prob, Token};
use llguidance::api::{GrammarInit, ParserLimits, TopLevelGrammar};
use llguidance::earley::{BiasComputer, ParserRecognizer};
use llguidance::{Logger, Matcher, ParserFactory, TokenParser};
use toktrie::{InferenceCapabilities, SimpleVob, TokEnv, TokTrie};

use crate::text::Tokenizer;

/// Bytes of forced text that are made tokens of at a time.
const MOST_FORCED: usize = 128;
/// Items of the parser while forced text is looked for, as many as llguidance allows by itself: a few
/// milliseconds.
const FORCED_ITEMS: usize = 50_000;
/// What the states of a scout's lexer may cost in all, in llguidance's unit: below a tenth of a
/// second. How many there may be is the same for all matchers.
const LEXER_FUEL: u64 = 1_000_000;
/// Probability of a forced token, before anything was learned. The same text could be written
/// with other tokens, but models seldom do that.
const SURE: f32 = 0.98;
/// The same of the last one, where a longer token begins with it: what comes next may be written
/// together with it, as `"` and `:` often are.
const LAST: f32 = 0.5;

/// The matcher of a grammar from which those of its scouts are cloned. It is one that failed if the
/// grammar cannot be compiled.
pub(super) fn matcher(factory: &ParserFactory, grammar: TopLevelGrammar) -> Matcher {
    let limits = ParserLimits {
        step_max_items: FORCED_ITEMS,
        step_lexer_fuel: LEXER_FUEL,
        ..factory.limits().clone()
    };
    let parser = factory.create_parser_from_init_ext(
        GrammarInit::Serialized(grammar),
        Logger::new(0, 0),
        InferenceCapabilities::default(),
        limits,
    );
    Matcher::new(parser.map(bounded))
}

/// The parser, whose lexer keeps to its limits. llguidance sets them when a mask is made, and scouts
/// make none; so one is made of nothing.
fn bounded(mut parser: TokenParser) -> TokenParser {
    let nothing = NoMask(parser.token_env.clone());
    // A mask behind no bytes would be kept, and taken for the real one.
    parser.parser.compute_bias(&nothing, b" ");
    parser
}

/// Allows no token, without a look at any.
struct NoMask(TokEnv);

impl BiasComputer for NoMask {
    fn compute_bias(&self, _: &mut ParserRecognizer<'_>, _: &[u8]) -> SimpleVob {
        self.trie().alloc_token_set()
    }

    fn trie(&self) -> &TokTrie {
        self.0.tok_trie()
    }
}

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
