//! A vocabulary as the core's translation between two vocabularies reads it.

use card_core::translation::{Roles, TokenKind, TranslationError, Vocabulary};
use card_core::types::Token;
use llama_cpp_sys_2 as cpp;

use super::shim;
use super::vocab::Vocab;

/// Texts of the control tokens that begin what one side of a conversation says, by the families
/// that have them. Of several in one vocabulary the first one here counts.
const TURNS: [&str; 8] = [
    // ChatML: Qwen, SmolLM, Hermes and many others.
    "<|im_start|>",
    // Llama 3.
    "<|start_header_id|>",
    // Gemma up to 3, and from 4 on.
    "<start_of_turn>",
    "<|turn>",
    // gpt-oss.
    "<|start|>",
    // Granite.
    "<|start_of_role|>",
    // Mistral.
    "[INST]",
    // Command.
    "<|START_OF_TURN_TOKEN|>",
];

impl Vocab {
    /// The vocabulary as [`card_core::translation::TokenMap`] takes it: bytes, kind and role of
    /// each token.
    ///
    /// # Errors
    /// If there are more tokens, or longer ones, than models have.
    pub fn for_translation(&self) -> Result<Vocabulary, TranslationError> {
        let tokens = 0..self.len() as Token;
        let tokens = tokens.map(|token| (self.piece(token, false), self.token_kind(token)));
        Vocabulary::new(tokens, self.roles())
    }

    /// What a token is. Whatever ends a generation controls the model, whatever else it is.
    fn token_kind(&self, token: Token) -> TokenKind {
        let Some(id) = self.known_id(token) else {
            return TokenKind::Text;
        };
        if self.is_control(id) || self.is_end(id) {
            return TokenKind::Control;
        }
        // SAFETY: the token is in the vocabulary of a loaded model, which has texts.
        let attributes = unsafe { shim::llama_vocab_get_attr(self.raw(), id) };
        match attributes {
            Ok(found) if found & cpp::LLAMA_TOKEN_ATTR_BYTE != 0 => TokenKind::Byte,
            _ => TokenKind::Text,
        }
    }

    /// The control tokens whose meaning is known.
    fn roles(&self) -> Roles {
        // SAFETY: the vocabulary belongs to a loaded model; llama.cpp returns fields of it.
        let (bos, eos, eot, adds_bos) = unsafe {
            let raw = self.raw();
            (
                cpp::llama_vocab_bos(raw),
                cpp::llama_vocab_eos(raw),
                cpp::llama_vocab_eot(raw),
                cpp::llama_vocab_get_add_bos(raw),
            )
        };
        // A vocabulary without the token says -1, and a damaged file says anything.
        let token = |id: i32| {
            let token = Token::try_from(id).ok()?;
            self.known_id(token).map(|_| token)
        };
        Roles {
            bos: token(bos),
            eos: token(eos),
            eot: token(eot),
            turn: self.turn(),
            adds_bos,
        }
    }

    /// The control token that begins what one side of a conversation says, if it has one of the
    /// names that are known.
    fn turn(&self) -> Option<Token> {
        let mut best: Option<(usize, Token)> = None;
        for token in 0..self.len() as Token {
            let Some(id) = self.known_id(token).filter(|&id| self.is_control(id)) else {
                continue;
            };
            let text = self.raw_text(id);
            let Some(rank) = TURNS.iter().position(|turn| *turn == text) else {
                continue;
            };
            if best.is_none_or(|(first, _)| rank < first) {
                best = Some((rank, token));
            }
        }
        best.map(|(_, token)| token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::Tiny;

    #[test]
    fn a_vocabulary_of_a_file_has_bytes_kinds_and_roles() {
        let file = Tiny::new("translated").vocabulary("gpt-2").write();
        let vocab = Vocab::of_file(&file).unwrap();
        let _ = std::fs::remove_file(file);
        let found = vocab.for_translation().unwrap();
        assert_eq!(found.len(), vocab.len());
        assert_eq!(found.bytes(0), b"!");
        assert_eq!(found.kind(0), Some(TokenKind::Text));
        let end = vocab.end_tokens()[0];
        assert_eq!(found.kind(end), Some(TokenKind::Control));
        assert!(found.bytes(end).is_empty(), "a control token is in no text");
        assert_eq!(found.roles().turn, None);
        for role in [found.roles().eos, found.roles().eot].into_iter().flatten() {
            assert!((role as usize) < vocab.len());
        }
    }

    #[test]
    fn a_vocabulary_and_itself_are_the_same() {
        let file = Tiny::new("translated-same").vocabulary("gpt-2").write();
        let vocab = Vocab::of_file(&file).unwrap();
        let _ = std::fs::remove_file(file);
        let tokens = vocab.for_translation().unwrap();
        let map = card_core::translation::TokenMap::new(&tokens, &tokens).unwrap();
        assert!((map.coverage().typical_exact - 1.0).abs() < 1e-6);
        assert!((map.coverage().pieces_per_token - 1.0).abs() < 1e-6);
    }
}
