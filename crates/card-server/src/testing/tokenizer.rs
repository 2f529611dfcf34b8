//! A vocabulary of bytes.

use card_core::types::Token;

use crate::text::Tokenizer;

/// The name of the control token that begins a turn.
pub(super) const TURN: &str = "<|im_start|>";
/// The name of the control token that ends a turn.
pub(super) const END: &str = "<|im_end|>";
const TURN_TOKEN: Token = 256;
const END_TOKEN: Token = 257;
/// Tokens there are.
pub(super) const TOKENS: usize = 258;

/// A vocabulary of 256 bytes and two control tokens.
pub struct ByteTokenizer;

impl Tokenizer for ByteTokenizer {
    fn len(&self) -> usize {
        TOKENS
    }

    fn tokenize(&self, text: &str, special: bool) -> Result<Vec<Token>, String> {
        let bytes = |part: &str| part.bytes().map(Token::from).collect::<Vec<_>>();
        if !special {
            return Ok(bytes(text));
        }
        let (mut tokens, mut rest) = (Vec::with_capacity(text.len()), text);
        while let Some(at) = rest.find("<|") {
            let (before, behind) = rest.split_at(at);
            tokens.extend(bytes(before));
            let control = [(TURN, TURN_TOKEN), (END, END_TOKEN)];
            let found = control.iter().find(|(name, _)| behind.starts_with(name));
            let length = found.map_or(2, |(name, _)| name.len());
            match found {
                Some(&(_, token)) => tokens.push(token),
                None => tokens.extend(bytes("<|")),
            }
            rest = &behind[length..];
        }
        tokens.extend(bytes(rest));
        Ok(tokens)
    }

    fn piece(&self, token: Token, special: bool) -> Vec<u8> {
        match token {
            TURN_TOKEN if special => TURN.into(),
            END_TOKEN if special => END.into(),
            _ => u8::try_from(token).map(|b| vec![b]).unwrap_or_default(),
        }
    }

    fn end_tokens(&self) -> Vec<Token> {
        vec![END_TOKEN]
    }

    fn control_texts(&self) -> Vec<String> {
        vec![TURN.into(), END.into()]
    }

    fn fingerprint(&self) -> u64 {
        258
    }
}

/// Names of the tokens by which [`FillTokenizer`]'s model fills in the middle of a text.
const FILL: [&str; 3] = ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"];
/// Tokens there are with those.
pub(super) const FILL_TOKENS: usize = TOKENS + FILL.len();

/// The vocabulary of [`ByteTokenizer`], and three tokens to fill in the middle of a text with.
pub(super) struct FillTokenizer;

impl Tokenizer for FillTokenizer {
    fn len(&self) -> usize {
        FILL_TOKENS
    }

    fn tokenize(&self, text: &str, special: bool) -> Result<Vec<Token>, String> {
        let names = FILL.iter().enumerate().filter(|_| special);
        let found = names.filter_map(|(i, name)| Some((text.find(*name)?, i, name.len())));
        let Some((at, i, length)) = found.min() else {
            return ByteTokenizer.tokenize(text, special);
        };
        let mut tokens = ByteTokenizer.tokenize(&text[..at], special)?;
        tokens.push((TOKENS + i) as Token);
        tokens.extend(self.tokenize(&text[at + length..], special)?);
        Ok(tokens)
    }

    fn piece(&self, token: Token, special: bool) -> Vec<u8> {
        match (token as usize).checked_sub(TOKENS) {
            None => ByteTokenizer.piece(token, special),
            Some(i) if special => FILL.get(i).map_or(Vec::new(), |name| (*name).into()),
            Some(_) => Vec::new(),
        }
    }

    fn end_tokens(&self) -> Vec<Token> {
        ByteTokenizer.end_tokens()
    }

    fn control_texts(&self) -> Vec<String> {
        let fill = FILL.iter().map(|name| (*name).to_owned());
        ByteTokenizer
            .control_texts()
            .into_iter()
            .chain(fill)
            .collect()
    }

    fn fingerprint(&self) -> u64 {
        261
    }
}
