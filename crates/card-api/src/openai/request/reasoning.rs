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
    /// How a model thinks, as OpenRouter's clients say it, and those of `/v1/responses`.
    struct ChatReasoning {
        /// How much it thinks, as `reasoning_effort` of a chat.
        "effort" => effort: Name,
        /// The same as `thinking_budget_tokens`.
        "max_tokens" => max_tokens: Int<-1, { limits::TOKEN }>,
        /// Whether the model thinks, where its chat template has a switch.
        "enabled" => enabled: bool,
        /// With true thoughts of a chat are not sent; `usage` counts them. A response refuses it.
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

/// Whether a chat's model thinks, or how much, as Ollama's clients say it (`think`).
pub(crate) enum ChatThink {
    /// Whether it thinks.
    Switch(bool),
    /// How much, as `reasoning_effort`.
    Effort(Name),
}

/// How much a model thinks, in Ollama's words.
const LEVELS: [&str; 3] = ["low", "medium", "high"];

impl<'de> Deserialize<'de> for ChatThink {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SwitchOrLevel)
    }
}

/// Reads it.
struct SwitchOrLevel;

impl Visitor<'_> for SwitchOrLevel {
    type Value = ChatThink;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false, low, medium or high")
    }

    fn visit_bool<E: Error>(self, thinks: bool) -> Result<ChatThink, E> {
        Ok(ChatThink::Switch(thinks))
    }

    fn visit_str<E: Error>(self, level: &str) -> Result<ChatThink, E> {
        if level.is_empty() || LEVELS.contains(&level) {
            return Name::new(level).map(ChatThink::Effort);
        }
        Err(E::custom(
            "it is not true, false, low, medium or high; send another word as `reasoning_effort`",
        ))
    }
}

impl JsonSchema for ChatThink {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ChatThink".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "boolean" },
                { "type": "string", "enum": LEVELS },
            ],
        })
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

/// A budget in tokens, -1 for none.
pub(super) type BudgetTokens = Int<-1, { limits::TOKEN }>;

/// The fields of a chat that say it.
#[derive(Default)]
pub(super) struct ThoughtFields {
    pub(super) reasoning: Option<ChatReasoning>,
    pub(super) thinking: Option<ChatThinking>,
    pub(super) think: Option<ChatThink>,
    pub(super) enabled: Option<bool>,
    pub(super) effort: Option<Name>,
    /// `thinking_budget_tokens`.
    pub(super) budget: Option<BudgetTokens>,
    /// `reasoning_budget_tokens`.
    pub(super) reasoning_budget: Option<BudgetTokens>,
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
        let (switch, level) = match self.think {
            Some(ChatThink::Switch(thinks)) => (Some(thinks), None),
            Some(ChatThink::Effort(word)) => (None, Some(word)),
            None => (None, None),
        };
        let said = |word: Option<Name>| word.filter(|word| !word.0.is_empty());
        let words = [
            (said(self.effort), "reasoning_effort"),
            (said(reasoning.effort), "reasoning.effort"),
            (said(level), "think"),
        ];
        // Where the word stands that says how much.
        let first = words.iter().find(|(word, _)| word.is_some());
        let effort_at = first.map_or("reasoning_effort", |(_, path)| *path);
        let mut effort = None;
        for (word, path) in words {
            effort = once(effort, word, path)?;
        }
        let budget = once(
            self.budget,
            self.reasoning_budget,
            "reasoning_budget_tokens",
        )?;
        let budget = once(budget, reasoning.max_tokens, "reasoning.max_tokens")?;
        let budget = once(budget, thinking.budget_tokens, "thinking.budget_tokens")?;
        let enabled = once(self.enabled, reasoning.enabled, "reasoning.enabled")?;
        let enabled = once(enabled, thinking.enabled()?, "thinking.type")?;
        let enabled = once(enabled, switch, "think")?;
        // A model thinks exactly if the word is not `none`.
        let none = effort.as_ref().map(|word| word.0 == "none");
        if enabled.is_some() && none == enabled {
            let why = format!(
                "{effort_at}: another field says otherwise of whether the model thinks; leave one \
                 of them out"
            );
            return Err(ApiError::field(effort_at, why));
        }
        let hidden = self.format == Some(ReasoningFormat::Hidden)
            || self.include == Some(false)
            || reasoning.exclude == Some(true);
        Ok(ThoughtsAsked {
            effort,
            enabled,
            budget: budget.and_then(|most| u32::try_from(most.0).ok()),
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
            (r#","think":false"#, Some(false)),
            (r#","think":true,"enable_thinking":true"#, Some(true)),
            (r#","think":null,"reasoning_effort":"""#, None),
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
        for extra in [
            r#","reasoning":{"effort":"low"},"reasoning_effort":"low""#,
            r#","reasoning":{"effort":"low"},"reasoning_effort":"""#,
            r#","reasoning":{"effort":""},"think":"low""#,
        ] {
            assert_eq!(
                job(extra).template.effort.as_deref(),
                Some("low"),
                "{extra}"
            );
        }
    }

    #[test]
    fn fields_that_say_otherwise_of_thoughts_are_named() {
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
                "reasoning.effort",
            ),
            (
                r#","reasoning_budget_tokens":1,"thinking_budget_tokens":2"#,
                "reasoning_budget_tokens",
            ),
            (r#","think":"low","reasoning_effort":"high""#, "think"),
            (r#","think":"low","enable_thinking":false"#, "think"),
            (r#","think":true,"enable_thinking":false"#, "think"),
            (r#","think":"a lot""#, "think"),
            (r#","think":1"#, "think"),
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
