//! JSON schemas and grammars as constraints of a generation (llguidance).

use std::sync::{Arc, OnceLock};

use card_api::Shape;
use card_core::constraint::Constraint;
use card_core::types::Token;
use card_llama::Vocab;
use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use toktrie::{ApproximateTokEnv, SimpleVob, TokRxInfo, TokTrie};

/// Makes constraints for one vocabulary. Reading the vocabulary takes a while, so that is
/// done when the first one is asked for.
pub struct Grammars {
    vocab: Vocab,
    factory: OnceLock<Result<ParserFactory, String>>,
}

impl Grammars {
    /// For this vocabulary.
    pub fn new(vocab: Vocab) -> Self {
        Grammars {
            vocab,
            factory: OnceLock::new(),
        }
    }

    /// A constraint for one generation.
    ///
    /// # Errors
    /// If the schema asks for what cannot be enforced.
    pub fn constraint(&self, shape: &Shape) -> Result<Box<dyn Constraint>, String> {
        let factory = self.factory.get_or_init(|| factory(&self.vocab));
        let factory = factory.as_ref().map_err(Clone::clone)?;
        let parser = factory.create_parser(grammar(shape)?);
        let matcher = Matcher::new(parser);
        match matcher.get_error() {
            Some(why) => Err(why),
            None => Ok(Box::new(Grammar {
                matcher,
                mask: SimpleVob::new(),
            })),
        }
    }
}

fn grammar(shape: &Shape) -> Result<TopLevelGrammar, String> {
    Ok(match shape {
        Shape::Object => TopLevelGrammar::from_json_schema(neat(json!({ "type": "object" }))),
        Shape::Schema(schema) => TopLevelGrammar::from_json_schema(neat(schema.clone())),
        Shape::Call(functions) => {
            let call = |(name, arguments): &(String, Value)| {
                json!({
                    "type": "object",
                    "properties": { "name": { "const": name }, "arguments": arguments },
                    "required": ["name", "arguments"],
                    "additionalProperties": false,
                })
            };
            let calls: Vec<Value> = functions.iter().map(call).collect();
            let schema = match &calls[..] {
                [one] => one.clone(),
                _ => json!({ "anyOf": calls }),
            };
            let schema = neat(schema);
            let lark =
                format!("start: \"<tool_call>\\n\" call \"\\n</tool_call>\"\ncall: %json {schema}");
            TopLevelGrammar::from_lark(lark)
        }
    })
}

/// Between the parts of a text stands a space, or a line break with an indent, and no more:
/// small models like to go on with blanks for ever.
fn neat(mut schema: Value) -> Value {
    if let Some(fields) = schema.as_object_mut() {
        let blank = r"(\n[ ]{0,40}|[ ])?";
        fields.insert("x-guidance".into(), json!({ "whitespace_pattern": blank }));
    }
    schema
}

fn factory(vocab: &Vocab) -> Result<ParserFactory, String> {
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
            match special.is_empty() {
                true => special,
                false => [&[0xff], &special[..]].concat(),
            }
        })
        .collect();
    let trie = TokTrie::from(&info, &words).with_eos_tokens(&ends);
    let env: toktrie::TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let mut factory = ParserFactory::new_simple(&env).map_err(|e| e.to_string())?;
    factory.quiet();
    Ok(factory)
}

struct Grammar {
    matcher: Matcher,
    mask: SimpleVob,
}

impl Constraint for Grammar {
    fn allowed(&mut self) -> Result<&[u32], String> {
        self.mask = self
            .matcher
            .compute_mask_or_eos()
            .map_err(|e| e.to_string())?;
        Ok(self.mask.as_slice())
    }

    fn wrote(&mut self, token: Token) -> Result<(), String> {
        self.matcher.consume_token(token).map_err(|e| e.to_string())
    }
}
