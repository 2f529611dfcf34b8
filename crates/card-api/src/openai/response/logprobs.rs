//! What the model thought of the tokens it wrote: log probabilities.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// What the model thought of the tokens of a chat.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ChatLogprobs {
    /// Token by token.
    pub content: Vec<TokenLogprob>,
    /// Always null.
    pub refusal: Option<Vec<TokenLogprob>>,
}

/// What the model thought of a token.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TokenLogprob {
    /// Its text; what is not UTF-8 is replaced.
    pub token: String,
    /// Natural logarithm of its probability; -9999 for what cannot be.
    pub logprob: f64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The most probable tokens, best first.
    pub top_logprobs: Vec<TopLogprob>,
}

/// One of the most probable tokens.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TopLogprob {
    /// Its text; what is not UTF-8 is replaced.
    pub token: String,
    /// Natural logarithm of its probability; -9999 for what cannot be.
    pub logprob: f64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The logarithm of a probability as JSON can have it: OpenAI's -9999 is for what cannot be.
pub fn logprob(log: f32) -> f64 {
    // NaN gives -9999 too.
    f64::from(log.max(-9999.0))
}

/// What the model thought of the tokens of a completion: lists of the same length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct TextLogprobs {
    /// Their texts; `bytes:` and the bytes for what is no whole character.
    pub tokens: Vec<String>,
    /// Natural logarithms of their probabilities; null for the first token of a prompt.
    pub token_logprobs: Vec<Option<f64>>,
    /// Where they begin, in characters.
    pub text_offset: Vec<usize>,
    /// For each the most probable tokens, with the logarithms of theirs.
    pub top_logprobs: Vec<Option<TopByText>>,
}

/// Tokens by their texts, with the logarithms of their probabilities, best first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct TopByText(
    #[schemars(with = "std::collections::BTreeMap<String, f64>")] pub Map<String, Value>,
);

impl FromIterator<(String, f64)> for TopByText {
    fn from_iter<I: IntoIterator<Item = (String, f64)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        TopByText(pairs.map(|(token, log)| (token, log.into())).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_tokens_stay_in_order() {
        let top: TopByText = [("b".to_owned(), -0.5), ("a".to_owned(), -2.0)]
            .into_iter()
            .collect();
        assert_eq!(
            serde_json::to_string(&top).unwrap(),
            r#"{"b":-0.5,"a":-2.0}"#
        );
        assert_eq!(logprob(f32::NEG_INFINITY), -9999.0);
        assert_eq!(logprob(f32::NAN), -9999.0);
    }
}
