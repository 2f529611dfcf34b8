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
    /// Names the field of `reasoning` that contradicts another field.
    pub(super) fn check(self) -> Result<ThoughtsAsked, ApiError> {
        let ThoughtFields {
            reasoning,
            effort,
            budget,
            include,
            format,
        } = self;
        let reasoning = reasoning.unwrap_or_default();
        let tokens = reasoning.max_tokens.map(|most| most.0);
        let effort = once(effort, reasoning.effort, "effort", "reasoning_effort")?;
        let budget = once(budget, tokens, "max_tokens", "thinking_budget_tokens")?;
        if let (Some(enabled), Some(word)) = (reasoning.enabled, &effort) {
            let thinks = word.0 != "none";
            if !word.0.is_empty() && thinks != enabled {
                let why = format!(
                    "reasoning.enabled: it is {enabled}, and the effort says otherwise; leave one \
                     of them out"
                );
                return Err(ApiError::field("reasoning.enabled", why));
            }
        }
        let excluded = reasoning.exclude == Some(true);
        let hidden = format == Some(ReasoningFormat::Hidden) || include == Some(false);
        Ok(ThoughtsAsked {
            effort,
            enabled: reasoning.enabled,
            budget: budget.and_then(|most| u32::try_from(most).ok()),
            hidden: hidden || excluded,
        })
    }
}

/// What is said in two fields: `name` of `reasoning`, and another one.
///
/// # Errors
/// If they say different things.
fn once<T: PartialEq>(
    other: Option<T>,
    own: Option<T>,
    name: &str,
    other_name: &str,
) -> Result<Option<T>, ApiError> {
    match (other, own) {
        (Some(other), Some(own)) if other != own => {
            let path = format!("reasoning.{name}");
            let why = format!("{path}: `{other_name}` says otherwise; leave one of them out");
            Err(ApiError::field(path, why))
        }
        (other, own) => Ok(other.or(own)),
    }
}
