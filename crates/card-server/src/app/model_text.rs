//! The model's text: its vocabulary, its chat template, and the grammars of its vocabulary.

use std::sync::Arc;

use card_api::ApiError;
use card_api::answer_format::AnswerFormat;
use card_core::types::Token;

use crate::grammar::Grammars;
use crate::text::control_names::ControlNames;
use crate::text::fill::FillMarks;
use crate::text::{Template, Tokenizer, behind_begin};

/// What turns a request's text into tokens and tokens into text.
pub(crate) struct ModelText {
    pub(crate) tokenizer: Arc<dyn Tokenizer>,
    pub(crate) template: Option<Arc<dyn Template>>,
    /// Tokens that begin every text, or why the vocabulary cannot say.
    begin_tokens: Result<Vec<Token>, String>,
    /// Tokens that end an answer.
    pub(crate) end_tokens: Vec<Token>,
    pub(crate) control_names: ControlNames,
    /// In which words the model writes thoughts and calls, as its chat template tells.
    pub(crate) format: &'static AnswerFormat,
    /// In which words it writes calls: where its template has no place for tools, it is told of them
    /// in the words of most families.
    pub(crate) call_format: &'static AnswerFormat,
    /// The tokens of what ends its thoughts.
    pub(crate) thought_close_tokens: Arc<[Token]>,
    /// Whether its chat template knows of thoughts.
    pub(crate) thinks: bool,
    /// Control tokens whose names a reader of its answers has to see.
    shown_marks: Vec<Token>,
    /// The tokens by which the model fills in the middle of a text, if it does.
    pub(crate) fill: Option<FillMarks>,
    pub(crate) grammars: Grammars,
}

impl ModelText {
    /// The text of a model with this vocabulary and this template.
    pub(crate) fn new(tokenizer: Arc<dyn Tokenizer>, template: Option<Arc<dyn Template>>) -> Self {
        let source = template.as_ref().and_then(|template| template.source());
        let source = source.unwrap_or_default();
        let all_sources = template
            .as_ref()
            .and_then(|template| template.all_sources());
        let all_sources = all_sources.unwrap_or_default();
        let format = AnswerFormat::of_template(&source);
        let knows_tools = template
            .as_ref()
            .is_none_or(|template| template.knows_tools());
        let call_format = if knows_tools {
            format
        } else {
            AnswerFormat::by_default()
        };
        let marks = [format.thought_open(), format.thought_close()];
        let begin_tokens = tokenizer.tokenize("", true);
        // Where the vocabulary cannot say, nothing begins a text.
        let begin = begin_tokens.as_deref().unwrap_or_default();
        let thought_close = tokenizer.tokenize(format.thought_close(), true);
        ModelText {
            // Messages in channels have one for thoughts.
            thinks: !format.answer_open().is_empty() || marks.iter().any(|m| source.contains(m)),
            shown_marks: shown_marks(&*tokenizer, [format, call_format]),
            format,
            call_format,
            thought_close_tokens: behind_begin(&thought_close.unwrap_or_default(), begin).into(),
            fill: FillMarks::of(&*tokenizer, begin),
            begin_tokens,
            end_tokens: tokenizer.end_tokens(),
            control_names: ControlNames::new(tokenizer.control_texts()).written_by(&all_sources),
            grammars: Grammars::new(tokenizer.clone()),
            tokenizer,
            template,
        }
    }

    /// The tokens that begin every text.
    ///
    /// # Errors
    /// If the vocabulary cannot say.
    pub(crate) fn begin_tokens(&self) -> Result<&[Token], ApiError> {
        match &self.begin_tokens {
            Ok(tokens) => Ok(tokens),
            Err(why) => Err(ApiError::internal(why.as_str())),
        }
    }

    /// Tokens of a text without those that begin every text.
    ///
    /// # Errors
    /// If the vocabulary cannot say which these are.
    pub(crate) fn behind_begin<'a>(&self, tokens: &'a [Token]) -> Result<&'a [Token], ApiError> {
        Ok(behind_begin(tokens, self.begin_tokens()?))
    }

    /// The text of a token in an answer that is read in the model's format.
    pub(crate) fn answer_piece(&self, token: Token) -> Vec<u8> {
        let marked = self.shown_marks.contains(&token);
        self.tokenizer.piece(token, marked)
    }

    /// Tokens as people see them, control tokens by their names.
    pub(crate) fn shown(&self, tokens: &[Token]) -> String {
        let bytes = tokens.iter().flat_map(|&t| self.tokenizer.piece(t, true));
        String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
    }

    /// Whether the model has a token that a field of a request names.
    ///
    /// # Errors
    /// Names the field, if the model has not.
    pub(crate) fn check_token(&self, field: &str, token: Token) -> Result<(), ApiError> {
        if (token as usize) < self.tokenizer.len() {
            return Ok(());
        }
        let why = format!("token {token} is not in the model's vocabulary");
        Err(ApiError::field(field, why))
    }
}

/// Control tokens whose names stand in the marks of these formats. Of a token that ends an answer
/// nobody sees anything.
fn shown_marks(tokenizer: &dyn Tokenizer, formats: [&AnswerFormat; 2]) -> Vec<Token> {
    let ends = tokenizer.end_tokens();
    let mut shown = Vec::new();
    for mark in formats.into_iter().flat_map(AnswerFormat::marks) {
        for token in tokenizer.tokenize(mark, true).unwrap_or_default() {
            let name = tokenizer.piece(token, true);
            let hidden = !name.is_empty() && tokenizer.piece(token, false).is_empty();
            let named = std::str::from_utf8(&name).is_ok_and(|name| mark.contains(name));
            if hidden && named && !ends.contains(&token) && !shown.contains(&token) {
                shown.push(token);
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use card_api::TemplateOptions;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::ByteTokenizer;

    /// Takes a word out of what is said.
    struct Cutting;

    impl Template for Cutting {
        fn render(
            &self,
            _: &Value,
            _: Option<&Value>,
            _: &TemplateOptions,
        ) -> Result<String, String> {
            Err("it writes nothing".to_owned())
        }

        fn knows_tools(&self) -> bool {
            true
        }

        fn source(&self) -> Option<String> {
            Some("{{ messages[0].content.replace('/cut', '') }}".to_owned())
        }
    }

    #[test]
    fn what_the_template_takes_out_is_known() {
        let said = json!("<|im_/cutend|>");
        let marked = |template: Option<Arc<dyn Template>>| {
            let text = ModelText::new(Arc::new(ByteTokenizer), template);
            let marks = text.control_names.marks([&said].into_iter());
            marks.map(|marks| marks.is_some())
        };
        assert_eq!(marked(None), Ok(false));
        assert_eq!(marked(Some(Arc::new(Cutting))), Ok(true));
    }
}
