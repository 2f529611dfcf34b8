//! Text to tokens and back.

use std::path::Path;
use std::sync::Arc;

use card_core::types::Token;
use llama_cpp_sys_2 as cpp;

use super::ffi::text;
use super::handle::Handle;
use super::start::start;
use super::{shim, stack};
use crate::error::LlamaError;

/// The vocabulary of a model. Cheap to clone.
#[derive(Clone)]
pub struct Vocab {
    handle: Arc<Handle>,
}

impl Vocab {
    /// The vocabulary of a loaded model.
    pub(crate) fn new(handle: Arc<Handle>) -> Self {
        Vocab { handle }
    }

    /// The vocabulary of a file; its weights are not loaded.
    ///
    /// # Errors
    /// If the file is no model, or has no texts for its tokens.
    pub(crate) fn of_file(path: &Path) -> Result<Self, LlamaError> {
        start();
        // SAFETY: returns a plain struct.
        let mut params = unsafe { cpp::llama_model_default_params() };
        params.vocab_only = true;
        // SAFETY: `params` points to nothing.
        let vocab = Vocab::new(Arc::new(unsafe { Handle::load(path, params) }?));
        if vocab.has_texts() {
            Ok(vocab)
        } else {
            Err(no_texts(path))
        }
    }

    /// The vocabulary as llama.cpp's functions take it; valid as long as `self`.
    pub(super) fn raw(&self) -> *const cpp::llama_vocab {
        // SAFETY: the model is loaded and outlives self.
        unsafe { cpp::llama_model_get_vocab(self.handle.raw()) }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        // SAFETY: the vocabulary belongs to a loaded model.
        unsafe { cpp::llama_vocab_n_tokens(self.raw()) }.max(0) as usize
    }

    /// Whether the vocabulary has no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A number that differs where tokens mean something else: FNV-1a over all of them.
    pub fn fingerprint(&self) -> u64 {
        let fold = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        (0..self.len() as Token).fold(0xcbf2_9ce4_8422_2325, |h, token| {
            self.piece(token, true)
                .into_iter()
                .chain([0xff])
                .fold(h, fold)
        })
    }

    /// llama.cpp's id of a token, if the vocabulary has the token. llama.cpp looks most ids up
    /// unchecked.
    fn id(&self, token: Token) -> Option<i32> {
        let id = i32::try_from(token).ok()?;
        ((token as usize) < self.len()).then_some(id)
    }

    /// llama.cpp's id of a token that is in the vocabulary and has a text.
    pub(super) fn known_id(&self, token: Token) -> Option<i32> {
        self.id(token).filter(|_| self.has_texts())
    }

    /// llama.cpp's ids of all tokens.
    fn ids(&self) -> std::ops::Range<i32> {
        0..self.len() as i32
    }

    /// Whether the tokens have texts. A file without them ("no_vocab") is one that
    /// llama.cpp ends the process over when it is asked for a text.
    pub(crate) fn has_texts(&self) -> bool {
        self.kind() != cpp::LLAMA_VOCAB_TYPE_NONE
    }

    /// Tokens of a text. `special` reads `<|im_end|>` and the like as the tokens they
    /// name, which is right for a rendered chat template and wrong for what a user typed.
    ///
    /// # Errors
    /// If the text is too long for llama.cpp (2 GiB, or 262,144 characters without a break),
    /// or llama.cpp fails over it.
    pub fn tokenize(&self, input: &str, special: bool) -> Result<Vec<Token>, LlamaError> {
        if !self.has_texts() {
            return Err(LlamaError::Text("this model has no vocabulary".into()));
        }
        let work = || self.tokenize_here(input, true, special);
        stack::for_text(input, work).map_err(LlamaError::Text)?
    }

    /// A question and a document as the one text that rerankers read: what begins and ends texts of
    /// the model stands around and between them, as in llama-server.
    ///
    /// # Errors
    /// As [`Vocab::tokenize`].
    pub fn pair(&self, query: &str, document: &str) -> Result<Vec<Token>, LlamaError> {
        if !self.has_texts() {
            return Err(LlamaError::Text("this model has no vocabulary".into()));
        }
        let part = |text: &str| {
            let work = || self.tokenize_here(text, false, false);
            stack::for_text(text, work).map_err(LlamaError::Text)?
        };
        let raw = self.raw();
        // SAFETY: the vocabulary belongs to a loaded model; all of them return numbers or flags.
        let (begins, ends, separates, bos, eos, sep) = unsafe {
            (
                cpp::llama_vocab_get_add_bos(raw),
                cpp::llama_vocab_get_add_eos(raw),
                cpp::llama_vocab_get_add_sep(raw),
                cpp::llama_vocab_bos(raw),
                cpp::llama_vocab_eos(raw),
                cpp::llama_vocab_sep(raw),
            )
        };
        // A vocabulary without a token has a negative number for it.
        let token = |wanted: bool, id: i32| Token::try_from(id).ok().filter(|_| wanted);
        let end = token(ends, eos).or(token(ends, sep));
        let separator = token(separates, sep);
        let mut tokens: Vec<Token> = token(begins, bos).into_iter().collect();
        tokens.extend(part(query)?);
        tokens.extend(end.into_iter().chain(separator));
        tokens.extend(part(document)?);
        tokens.extend(end);
        Ok(tokens)
    }

    /// Tokens of a text in parts, each with whether names of control tokens in it are those tokens.
    /// Nothing is put around them.
    ///
    /// # Errors
    /// As [`Vocab::tokenize`].
    pub fn of_parts(&self, parts: &[(&str, bool)]) -> Result<Vec<Token>, LlamaError> {
        if !self.has_texts() {
            return Err(LlamaError::Text("this model has no vocabulary".into()));
        }
        let mut tokens = Vec::new();
        for &(text, special) in parts {
            let work = || self.tokenize_here(text, false, special);
            tokens.extend(stack::for_text(text, work).map_err(LlamaError::Text)??);
        }
        Ok(tokens)
    }

    /// Tokens of a text; with `whole`, what begins and ends texts of the model is among them.
    fn tokenize_here(
        &self,
        input: &str,
        whole: bool,
        special: bool,
    ) -> Result<Vec<Token>, LlamaError> {
        let too_long = || LlamaError::Text("the text is too long to tokenize".into());
        let length = i32::try_from(input.len()).map_err(|_| too_long())?;
        let mut tokens = vec![0i32; input.len() + 8];
        for _ in 0..2 {
            // SAFETY: the vocabulary belongs to a loaded model; the text is `length` bytes,
            // the buffer at least as long as said.
            let n = unsafe {
                shim::llama_tokenize(
                    self.raw(),
                    input.as_ptr().cast(),
                    length,
                    tokens.as_mut_ptr(),
                    tokens.len().min(i32::MAX as usize) as i32,
                    whole,
                    special,
                )
            };
            let n = n.map_err(|e| LlamaError::Text(format!("cannot tokenize this text: {e}")))?;
            if n >= 0 {
                tokens.truncate(n as usize);
                return Ok(tokens.into_iter().map(|t| t as Token).collect());
            }
            // That many are missing, or more than can be counted.
            if n == i32::MIN {
                break;
            }
            tokens = vec![0; n.unsigned_abs() as usize];
        }
        Err(too_long())
    }

    /// The bytes a token stands for. They need not be whole characters. A token that is not
    /// in the vocabulary stands for nothing.
    pub fn piece(&self, token: Token, special: bool) -> Vec<u8> {
        let Some(id) = self.known_id(token) else {
            return Vec::new();
        };
        let mut buffer = vec![0u8; 32];
        for _ in 0..2 {
            // SAFETY: the token is in the vocabulary of a loaded model, and the buffer is as
            // long as said.
            let n = unsafe {
                shim::llama_token_to_piece(
                    self.raw(),
                    id,
                    buffer.as_mut_ptr().cast(),
                    buffer.len() as i32,
                    0,
                    special,
                )
            };
            let n = n.unwrap_or_else(|e| {
                tracing::error!("token {token} has no text: {e}");
                0
            });
            if n >= 0 {
                buffer.truncate(n as usize);
                return buffer;
            }
            buffer = vec![0; n.unsigned_abs() as usize];
        }
        Vec::new()
    }

    /// Tokens that end a generation.
    pub fn end_tokens(&self) -> Vec<Token> {
        let ends = self.ids().filter(|&id| self.is_end(id));
        ends.map(|id| id as Token).collect()
    }

    /// The tokens that are no text, and as many of the most common ones as make `n` with them,
    /// ascending. Tokenizers number the tokens as they are learned, the most common first.
    pub fn common(&self, n: usize) -> Vec<Token> {
        let (mut kept, text): (Vec<i32>, Vec<i32>) =
            self.ids().partition(|&id| self.is_control(id));
        let missing = n.saturating_sub(kept.len());
        kept.extend(text.into_iter().take(missing));
        kept.sort_unstable();
        kept.into_iter().map(|t| t as Token).collect()
    }

    /// Texts of the tokens that are no text but control the model, like `<|im_end|>`. What a
    /// user typed must not become one of them in a rendered chat template.
    pub fn control_texts(&self) -> Vec<String> {
        self.ids()
            .filter(|&id| self.is_control(id) || self.is_end(id))
            .map(|id| self.raw_text(id))
            .filter(|text| !text.is_empty())
            .collect()
    }

    /// Text of the token that begins a text, empty if there is none.
    pub fn bos_text(&self) -> String {
        // SAFETY: the vocabulary belongs to a loaded model.
        self.raw_text(unsafe { cpp::llama_vocab_bos(self.raw()) })
    }

    /// Text of the token that ends a text, empty if there is none.
    pub fn eos_text(&self) -> String {
        // SAFETY: the vocabulary belongs to a loaded model.
        self.raw_text(unsafe { cpp::llama_vocab_eos(self.raw()) })
    }

    /// Whether the vocabulary has this id, and texts for its ids.
    fn knows(&self, id: i32) -> bool {
        self.has_texts() && self.ids().contains(&id)
    }

    pub(super) fn raw_text(&self, id: i32) -> String {
        if !self.knows(id) {
            return String::new();
        }
        // SAFETY: the token is in the vocabulary; the string lives as long as the model.
        let found = unsafe { shim::llama_vocab_get_text(self.raw(), id) };
        // SAFETY: as above; texts of a vocabulary end with NUL.
        found.map(|p| unsafe { text(p) }).unwrap_or_default()
    }

    pub(super) fn is_control(&self, id: i32) -> bool {
        // SAFETY: the token is in the vocabulary of a loaded model, which has texts.
        self.knows(id) && unsafe { shim::llama_vocab_is_control(self.raw(), id) } == Ok(true)
    }

    pub(super) fn is_end(&self, id: i32) -> bool {
        // SAFETY: the vocabulary belongs to a loaded model; any id may be asked for.
        (unsafe { shim::llama_vocab_is_eog(self.raw(), id) }) == Ok(true)
    }

    fn kind(&self) -> u32 {
        // SAFETY: the vocabulary belongs to a loaded model.
        unsafe { cpp::llama_vocab_type(self.raw()) as u32 }
    }
}

/// Why a model without texts is refused: llama.cpp ends the process when it is asked for one.
pub(crate) fn no_texts(path: &Path) -> LlamaError {
    LlamaError::Unsupported {
        path: path.display().to_string(),
        why: "it has no vocabulary, so it can neither read nor write text".into(),
    }
}

/// Checks that a draft model's tokens mean what the target's do: the same kind of
/// tokenizer, and the same text for every token both have. Vocabularies may differ in
/// length, since some files pad them.
///
/// # Errors
/// Says what differs first.
pub fn check_vocabularies(target: &Vocab, draft: &Vocab) -> Result<(), LlamaError> {
    /// Padding seen in model families (Qwen2.5: 151,936 against 152,064).
    const MOST_PADDING: usize = 256;
    let (t, d) = (target.len(), draft.len());
    if target.kind() != draft.kind() {
        return Err(LlamaError::Vocabulary(
            "they use different kinds of tokenizer".into(),
        ));
    }
    if t.abs_diff(d) > MOST_PADDING {
        return Err(LlamaError::Vocabulary(format!(
            "the target has {t} tokens, the draft model {d}"
        )));
    }
    for token in 0..t.min(d) as i32 {
        let (a, b) = (target.raw_text(token), draft.raw_text(token));
        if a != b {
            return Err(LlamaError::Vocabulary(format!(
                "token {token} is {a:?} for the target and {b:?} for the draft model"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::Tiny;

    /// Tokens of [`Tiny::vocabulary`].
    const TOKENS: usize = 97;

    fn vocab(pre: &str) -> Vocab {
        let file = Tiny::new(&format!("vocab-{pre}")).vocabulary(pre).write();
        let vocab = Vocab::of_file(&file).unwrap();
        let _ = std::fs::remove_file(file);
        vocab
    }

    #[test]
    fn a_model_without_texts_is_refused() {
        let file = Tiny::new("no-texts")
            .text("general.architecture", "llama")
            .text("tokenizer.ggml.model", "no_vocab")
            .number("llama.vocab_size", 10)
            .write();
        let error = Vocab::of_file(&file).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("no vocabulary"), "{error}");
        let _ = std::fs::remove_file(file);
    }

    #[test]
    fn what_is_not_in_the_vocabulary_has_no_text_and_ends_no_process() {
        let vocab = vocab("gpt-2");
        assert_eq!(vocab.len(), TOKENS);
        assert_eq!(vocab.piece(0, true), b"!");
        assert_eq!(vocab.piece(96, true), b"<|end|>");
        let unknown = [97, 98, 1000, 99_999_999, 1 << 31, (1 << 31) - 1, u32::MAX];
        for token in unknown {
            for special in [false, true] {
                assert!(vocab.piece(token, special).is_empty(), "{token}");
            }
        }
        for id in [-1, 97, i32::MAX, i32::MIN] {
            assert!(vocab.raw_text(id).is_empty(), "{id}");
            assert!(!vocab.is_control(id) && !vocab.is_end(id), "{id}");
        }
    }

    #[test]
    fn tokens_that_control_are_told_from_text() {
        let vocab = vocab("gpt-2");
        assert_eq!(vocab.control_texts(), ["<|end|>"]);
        assert_eq!(vocab.end_tokens(), [96]);
        // And a user who types one gets letters.
        let typed = vocab.tokenize("<|end|>", false).unwrap();
        assert!(!typed.contains(&96), "{typed:?}");
        assert!(vocab.tokenize("<|end|>", true).unwrap().contains(&96));
    }

    /// One vocabulary for each pattern that llama.cpp has no splitter of its own for, and some
    /// for which it has.
    const SPLITS: [&str; 24] = [
        "afmoe",
        "bailingmoe",
        "chameleon",
        "chatglm-bpe",
        "deepseek-coder",
        "deepseek-llm",
        "deepseek-v3",
        "exaone-moe",
        "falcon",
        "gpt-2",
        "gpt-4o",
        "jais-2",
        "kimi-k2",
        "llama-bpe",
        "minicpm5",
        "poro-chat",
        "qwen2",
        "qwen35",
        "seed-coder",
        "superbpe",
        "tekken",
        "tiny_aya",
        "viking",
        "youtu",
    ];

    #[test]
    fn long_stretches_of_one_kind_are_tokenized_by_every_vocabulary() {
        const LENGTH: usize = 200_000;
        for pre in SPLITS {
            let vocab = vocab(pre);
            for text in ["A", "1", "!?", "a ", "é"] {
                // Its look-ahead reads all digits again at each: right, but for minutes.
                if (pre, text) == ("superbpe", "1") {
                    continue;
                }
                let text = text.repeat(LENGTH / text.chars().count());
                let tokens = vocab.tokenize(&text, false);
                assert!(tokens.is_ok(), "{pre}: {:?}", tokens.err());
            }
        }
    }

    #[test]
    fn longer_stretches_are_an_error_that_says_what_to_do() {
        let vocab = vocab("gpt-4o");
        let error = vocab.tokenize(&"A".repeat(1 << 20), false).unwrap_err();
        assert!(error.to_string().contains("put spaces"), "{error}");
        // Long text as people write it is no such stretch.
        let prose = "Some words, and then more of them.\n".repeat(30_000);
        assert!(vocab.tokenize(&prose, false).is_ok());
    }
}
