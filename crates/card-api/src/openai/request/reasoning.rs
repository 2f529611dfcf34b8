//! What a chat says of thoughts: whether the model thinks, how much, and whether they are told.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::ApiError;
use crate::limits;
use crate::reading::bounded::Name;
use crate::reading::fields::fields;
use crate::reading::number::Int;

fields! {
    /// How a chat's model thinks, as OpenRouter's clients say it.
    #[allow(dead_code, reason = "fields without effect are not read")]
    struct ChatReasoning {
        /// The same as `reasoning_effort`.
        "effort" => effort: Name,
        /// The same as `thinking_budget_tokens`.
        "max_tokens" => max_tokens: Int<-1, { limits::TOKEN }>,
        /// Whether the model thinks, where its chat template has a switch.
        "enabled" => enabled: bool,
        /// With true thoughts are not sent; `usage` counts them.
        "exclude" => exclude: bool,
        /// Without effect: thoughts are told in full, and a summary is not made.
        "summary" => summary: Name,
    }
}

fields! {
    /// Whether a chat's model thinks, as clients of DeepSeek, GLM, Kimi and LiteLLM say it.
    struct ChatThinking {
        /// `enabled`, `disabled`, or `auto` or `adaptive`, which leave it to the model.
        #[schemars(rename = "type", required)]
        "type" => kind: Name,
        /// The same as `thinking_budget_tokens`.
        "budget_tokens" => budget_tokens: Int<-1, { limits::TOKEN }>,
    }
}

impl ChatThinking {
    /// Whether the model thinks; `None` leaves it to the model.
    fn enabled(&self) -> Result<Option<bool>, ApiError> {
        match self.kind.as_ref().map(|kind| kind.0.as_str()) {
            None | Some("auto" | "adaptive") => Ok(None),
            Some("enabled") => Ok(Some(true)),
            Some("disabled") => Ok(Some(false)),
            Some(other) => {
                let why =
                    format!("thinking.type: {other:?} is not enabled, disabled, auto or adaptive");
                Err(ApiError::field("thinking.type", why))
            }
        }
    }
}

/// How thoughts are told (`reasoning_format`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReasoningFormat {
    /// Apart from the answer, in `reasoning_content`.
    Apart,
    /// Not at all.
    Hidden,
}

/// The words for thoughts that are told apart: of llama-server, Groq, and nobody's in particular.
const APART: [&str; 3] = ["auto", "deepseek", "parsed"];
/// Groq's word for thoughts that are not told.
const HIDDEN: &str = "hidden";

impl<'de> Deserialize<'de> for ReasoningFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FormatWord)
    }
}

/// Reads the word.
struct FormatWord;

impl Visitor<'_> for FormatWord {
    type Value = ReasoningFormat;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("auto, deepseek, parsed or hidden")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<ReasoningFormat, E> {
        match word {
            HIDDEN => Ok(ReasoningFormat::Hidden),
            "" => Ok(ReasoningFormat::Apart),
            word if APART.contains(&word) => Ok(ReasoningFormat::Apart),
            _ => Err(E::custom(
                "this server tells thoughts apart (auto, deepseek, parsed) or not at all (hidden); \
                 put `reasoning_content` and `content` together",
            )),
        }
    }
}

impl JsonSchema for ReasoningFormat {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ReasoningFormat".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let [auto, deepseek, parsed] = APART;
        json_schema!({ "type": "string", "enum": [auto, deepseek, parsed, HIDDEN] })
    }
}

/// What a chat says of thoughts, in whichever of its fields.
pub(super) struct ThoughtsAsked {
    /// How much the model thinks; `none` is not at all.
    pub(super) effort: Option<Name>,
    /// Whether it thinks, if that is said apart from how much.
    pub(super) enabled: Option<bool>,
    /// Most tokens of thoughts; `None` for any number.
    pub(super) budget: Option<u32>,
    /// Whether thoughts are not sent.
    pub(super) hidden: bool,
}

/// The fields of a chat that say it.
pub(super) struct ThoughtFields {
    pub(super) reasoning: Option<ChatReasoning>,
    pub(super) thinking: Option<ChatThinking>,
    pub(super) enabled: Option<bool>,
    pub(super) effort: Option<Name>,
    /// A budget, -1 for none.
    pub(super) budget: Option<i64>,
    pub(super) include: Option<bool>,
    pub(super) format: Option<ReasoningFormat>,
}

impl ThoughtFields {
    /// What they say together. Thoughts are hidden if one of them hides them.
    ///
    /// # Errors
    /// Names a field that says otherwise than another one.
    pub(super) fn check(self) -> Result<ThoughtsAsked, ApiError> {
        let reasoning = self.reasoning.unwrap_or_default();
        let thinking = self.thinking.unwrap_or_default();
        let effort = once(self.effort, reasoning.effort, "reasoning.effort")?;
        let tokens = |most: Int<-1, { limits::TOKEN }>| most.0;
        let of_reasoning = reasoning.max_tokens.map(tokens);
        let of_thinking = thinking.budget_tokens.map(tokens);
        let budget = once(self.budget, of_reasoning, "reasoning.max_tokens")?;
        let budget = once(budget, of_thinking, "thinking.budget_tokens")?;
        let enabled = once(self.enabled, reasoning.enabled, "reasoning.enabled")?;
        let enabled = once(enabled, thinking.enabled()?, "thinking.type")?;
        let word = effort.as_ref().map_or("", |word| word.0.as_str());
        if enabled.is_some_and(|thinks| !word.is_empty() && thinks != (word != "none")) {
            let why = "reasoning_effort: another field says otherwise of whether the model thinks; \
                       leave one of them out";
            return Err(ApiError::field("reasoning_effort", why));
        }
        let hidden = self.format == Some(ReasoningFormat::Hidden)
            || self.include == Some(false)
            || reasoning.exclude == Some(true);
        Ok(ThoughtsAsked {
            effort,
            enabled,
            budget: budget.and_then(|most| u32::try_from(most).ok()),
            hidden,
        })
    }
}

/// What is said in two fields, the second of which stands at `path`.
///
/// # Errors
/// If they say different things.
fn once<T: PartialEq>(
    first: Option<T>,
    second: Option<T>,
    path: &str,
) -> Result<Option<T>, ApiError> {
    match (first, second) {
        (Some(first), Some(second)) if first != second => {
            let why = format!("{path}: another field says otherwise; leave one of them out");
            Err(ApiError::field(path, why))
        }
        (first, second) => Ok(first.or(second)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::openai::request::tests::{chat, refusal};

    #[test]
    fn thoughts_are_hidden_in_whichever_words_it_is_said() {
        let hidden = |extra: &str| chat(extra).unwrap().hides_thoughts;
        for extra in [
            r#","reasoning_format":"hidden""#,
            r#","include_reasoning":false"#,
            r#","reasoning":{"exclude":true}"#,
            r#","reasoning":{"exclude":true},"include_reasoning":true"#,
        ] {
            assert!(hidden(extra), "{extra}");
            let logprobs = chat(&format!(r#"{extra},"logprobs":true"#));
            assert_eq!(refusal(logprobs).0, "logprobs", "{extra}");
        }
        for extra in [
            "",
            r#","reasoning_format":"parsed","include_reasoning":true,"reasoning":{}"#,
            r#","reasoning_format":null,"include_reasoning":null,"reasoning":null"#,
            r#","reasoning_format":"","reasoning":{"exclude":false}"#,
        ] {
            assert!(!hidden(extra), "{extra}");
        }
        for word in ["raw", "none", "hide"] {
            let (field, message) = refusal(chat(&format!(r#","reasoning_format":"{word}""#)));
            assert_eq!(field, "reasoning_format");
            assert!(message.contains("hidden"), "{message}");
        }
    }

    #[test]
    fn how_much_a_model_thinks_may_stand_in_an_object() {
        let job = |extra: &str| chat(extra).unwrap();
        let whole = job(r#","reasoning":{"effort":"low","max_tokens":9,"summary":"auto"}"#);
        assert_eq!(whole.template.effort.as_deref(), Some("low"));
        assert_eq!(
            (whole.template.thinking, whole.thinking_budget),
            (None, Some(9))
        );
        for (extra, thinking) in [
            (r#","reasoning":{"effort":"none"}"#, Some(false)),
            (r#","reasoning":{"enabled":false}"#, Some(false)),
            (r#","reasoning":{"enabled":true}"#, Some(true)),
            (
                r#","reasoning":{"enabled":true,"effort":"high"}"#,
                Some(true),
            ),
            (r#","reasoning":{"max_tokens":-1}"#, None),
            (r#","enable_thinking":false"#, Some(false)),
            (r#","thinking":{"type":"disabled"}"#, Some(false)),
            (
                r#","thinking":{"type":"auto"},"enable_thinking":null"#,
                None,
            ),
        ] {
            assert_eq!(job(extra).template.thinking, thinking, "{extra}");
        }
        for extra in [
            r#","thinking_budget":7"#,
            r#","thinking":{"type":"enabled","budget_tokens":7}"#,
        ] {
            assert_eq!(job(extra).thinking_budget, Some(7), "{extra}");
        }
        let same = job(r#","reasoning":{"effort":"low"},"reasoning_effort":"low""#);
        assert_eq!(same.template.effort.as_deref(), Some("low"));
        for (extra, field) in [
            (
                r#","reasoning":{"effort":"low"},"reasoning_effort":"high""#,
                "reasoning.effort",
            ),
            (
                r#","reasoning":{"max_tokens":1},"thinking_budget_tokens":2"#,
                "reasoning.max_tokens",
            ),
            (
                r#","reasoning":{"enabled":true,"effort":"none"}"#,
                "reasoning_effort",
            ),
            (
                r#","enable_thinking":false,"reasoning_effort":"low""#,
                "reasoning_effort",
            ),
            (
                r#","enable_thinking":false,"thinking":{"type":"enabled"}"#,
                "thinking.type",
            ),
            (r#","thinking":{"type":"on"}"#, "thinking.type"),
            (r#","reasoning":{"exclude":"yes"}"#, "reasoning.exclude"),
            (r#","reasoning":{"max_tokens":-2}"#, "reasoning.max_tokens"),
            (r#","reasoning":"low""#, "reasoning"),
        ] {
            assert_eq!(refusal(chat(extra)).0, field, "{extra}");
        }
    }
}
