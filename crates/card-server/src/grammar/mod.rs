//! JSON schemas and grammars as constraints of a generation (llguidance).

mod bounds;
pub(crate) mod budget;
pub(crate) mod frame;
#[cfg(test)]
mod frame_tests;
#[cfg(test)]
mod schema_tests;
mod scout;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use card_api::{AnswerShape, ApiError};
use card_core::constraint::{Constraint, Grammar, Scout};
use card_core::types::Token;
use llguidance::{Matcher, ParserFactory};
use toktrie::{ApproximateTokEnv, SimpleVob, TokRxInfo, TokTrie};

use crate::text::Tokenizer;
use frame::AnswerFrame;
use scout::MatcherScout;

/// Lexer states of a grammar, for a constraint and for each scout: about 32 MiB. Most scouts come
/// across far fewer.
const MOST_STATES: usize = 20_000;
/// Symbols in the productions of a grammar.
const LARGEST_GRAMMAR: usize = 200_000;

/// Items of the parser while a mask is made: about a fifth of a second. A grammar of single
/// characters takes several for each byte of each token that fits.
const MOST_ITEMS: usize = 4_000_000;

/// Bytes of stack for compiling; as much of it is used as a schema needs.
const STACK: usize = 256 << 20;

/// Makes constraints for one vocabulary. Reading the vocabulary takes a while, so that is
/// done when the first one is asked for.
pub(crate) struct Grammars {
    tokenizer: Arc<dyn Tokenizer>,
    factory: OnceLock<Result<ParserFactory, String>>,
    /// Bytes of stack of the thread that compiles.
    stack: usize,
}

/// A grammar that was compiled; each generation has a constraint of its own.
#[derive(Clone)]
pub(crate) struct Compiled(Arc<CompiledGrammar>);

impl Compiled {
    /// A constraint for one generation.
    pub(crate) fn constraint(&self) -> Box<dyn Constraint> {
        Box::new(MatcherConstraint {
            matcher: another(&self.0.matcher),
            mask: SimpleVob::new(),
            grammar: self.0.clone(),
        })
    }
}

/// What constraints and scouts are made of.
struct CompiledGrammar {
    /// At the beginning of a text.
    matcher: Mutex<Matcher>,
    /// The same for scouts, with their limits.
    scouts: Mutex<Matcher>,
    tokenizer: Arc<dyn Tokenizer>,
}

/// A matcher like this one, with lexer states of its own.
fn another(matcher: &Mutex<Matcher>) -> Matcher {
    let matcher = matcher.lock();
    let matcher = matcher.unwrap_or_else(PoisonError::into_inner);
    matcher.deep_clone()
}

impl Grammar for CompiledGrammar {
    fn scout(&self) -> Box<dyn Scout> {
        let scout = MatcherScout::new(another(&self.scouts), self.tokenizer.clone());
        Box::new(scout)
    }
}

impl Grammars {
    /// Grammars of this vocabulary.
    pub(crate) fn new(tokenizer: Arc<dyn Tokenizer>) -> Self {
        Grammars {
            tokenizer,
            factory: OnceLock::new(),
            stack: STACK,
        }
    }

    /// Compiles what the text has to be, as `field` of the request says, and what may stand around
    /// it.
    ///
    /// # Errors
    /// If it asks for what cannot be enforced, or takes more than a grammar may; or the system gives
    /// no thread, which is the server's fault.
    pub(crate) fn compile(
        &self,
        shape: &AnswerShape,
        frame: &AnswerFrame,
        field: &str,
    ) -> Result<Compiled, ApiError> {
        let wrong = |why: String| ApiError::schema(field, &why);
        bounds::check(shape.schemas()).map_err(|e| {
            let path = [field, &e.path].join(if e.path.is_empty() { "" } else { "." });
            ApiError::schema(path, e.why)
        })?;
        let factory = self.factory.get_or_init(|| factory(&*self.tokenizer));
        let factory = factory.as_ref().map_err(|why| wrong(why.clone()))?;
        // It goes as deep as the schema does.
        let compiled = std::thread::scope(|scope| {
            let deep = std::thread::Builder::new().stack_size(self.stack);
            let compile = || {
                let grammar = frame::grammar(shape, frame, &*self.tokenizer);
                let matcher = Matcher::new(factory.create_parser(grammar.clone()));
                (matcher, scout::matcher(factory, grammar))
            };
            let no_thread = |error: std::io::Error| {
                ApiError::internal(format!("there is no thread to compile a grammar: {error}"))
            };
            let compiling = deep.spawn_scoped(scope, compile).map_err(no_thread)?;
            compiling
                .join()
                .map_err(|_| wrong("its compiler broke down".to_owned()))
        });
        let (matcher, scouts) = compiled?;
        match matcher.get_error() {
            Some(why) => Err(wrong(told(&why))),
            None => Ok(Compiled(Arc::new(CompiledGrammar {
                matcher: Mutex::new(matcher),
                scouts: Mutex::new(scouts),
                tokenizer: self.tokenizer.clone(),
            }))),
        }
    }
}

/// Reads a vocabulary. It may be asked for as many parsers as there are grammars.
fn factory(vocab: &dyn Tokenizer) -> Result<ParserFactory, String> {
    let ends = vocab.end_tokens();
    let end = *ends
        .first()
        .ok_or("the model has no token that ends a text")?;
    let info = TokRxInfo::new(vocab.len() as u32, end);
    let words: Vec<Vec<u8>> = (0..vocab.len() as Token)
        .map(|token| {
            let plain = vocab.piece(token, false);
            if !plain.is_empty() {
                return plain;
            }
            // A token with a meaning of its own is marked, so that no text is taken for it.
            let special = vocab.piece(token, true);
            if special.is_empty() {
                special
            } else {
                [&[0xff], &special[..]].concat()
            }
        })
        .collect();
    let trie = TokTrie::from(&info, &words).with_eos_tokens(&ends);
    let env: toktrie::TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let mut factory = ParserFactory::new_simple(&env).map_err(|e| e.to_string())?;
    factory.quiet();
    // What one request's grammar may take: a state of its lexer is one to two kilobytes.
    let limits = factory.limits_mut();
    limits.max_lexer_states = MOST_STATES;
    limits.max_grammar_size = LARGEST_GRAMMAR;
    limits.step_max_items = MOST_ITEMS;
    limits.verbose_errors = false;
    Ok(factory)
}

/// What a client may hear of an error. llguidance catches its own panics; their text is for
/// the log.
fn told(why: &str) -> String {
    if why.starts_with("panic") {
        tracing::error!("a grammar broke its compiler: {why}");
        return "its compiler broke down".to_owned();
    }
    why.to_owned()
}

/// A grammar at one place of a text.
struct MatcherConstraint {
    matcher: Matcher,
    mask: SimpleVob,
    grammar: Arc<CompiledGrammar>,
}

impl Constraint for MatcherConstraint {
    fn allowed(&mut self) -> Result<&[u32], String> {
        self.mask = self
            .matcher
            .compute_mask_or_eos()
            .map_err(|e| told(&e.to_string()))?;
        Ok(self.mask.as_slice())
    }

    fn wrote(&mut self, token: Token) -> Result<(), String> {
        let consumed = self.matcher.consume_token(token);
        consumed.map_err(|e| told(&e.to_string()))
    }

    fn grammar(&self) -> Option<Arc<dyn Grammar>> {
        Some(self.grammar.clone())
    }
}
