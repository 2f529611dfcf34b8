//! `thinking`: whether the model thinks before it answers.

use crate::error::ApiError;
use crate::reading::bounded::Name;
use crate::reading::fields::fields;
use crate::reading::number::Int;

fields! {
    /// Whether the model thinks before it answers, if it is one that does.
    struct ThinkingParam {
        /// `enabled`, `disabled`, or `adaptive`, which leaves it to the model.
        #[schemars(rename = "type", required)]
        "type" => kind: Name,
        /// Most tokens of the thoughts, less than `max_tokens`: then they are ended, and the model
        /// answers.
        "budget_tokens" => budget_tokens: Int<1, { u32::MAX as i64 }>,
        /// `summarized`, or `omitted`, with which thoughts are not shown.
        "display" => display: Name,
    }
}

/// How to think.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThinkingWish {
    /// Whether to think; `None` leaves it to the model and its chat template.
    pub enabled: Option<bool>,
    /// Whether the client does not want to see the thoughts.
    pub hidden: bool,
    /// Most tokens of thoughts, if there is a bound.
    pub budget: Option<u32>,
}

impl ThinkingParam {
    /// How to think. `max_tokens` bounds thoughts and answer together, where it is known.
    ///
    /// # Errors
    /// If the type is not supported, or a field does not fit it.
    pub(super) fn check(self, max_tokens: Option<u32>) -> Result<ThinkingWish, ApiError> {
        let wrong = |field: &str, why: &str| Err(ApiError::field(format!("thinking.{field}"), why));
        let kind = self.kind.map(|kind| kind.0).unwrap_or_default();
        let enabled = match kind.as_str() {
            "enabled" => Some(true),
            "disabled" => Some(false),
            "adaptive" => None,
            other => {
                let why = format!("{other:?} is not enabled, disabled or adaptive");
                return wrong("type", &why);
            }
        };
        if let Some(Int(budget)) = self.budget_tokens {
            if enabled != Some(true) {
                return wrong(
                    "budget_tokens",
                    "only thinking of type enabled has a budget",
                );
            }
            if max_tokens.is_some_and(|most| budget >= i64::from(most)) {
                return wrong("budget_tokens", "it must be less than max_tokens");
            }
        }
        let hidden = match self.display.as_ref().map(|display| display.0.as_str()) {
            None | Some("summarized") => false,
            Some("omitted") => true,
            Some(other) => {
                return wrong(
                    "display",
                    &format!("{other:?} is not summarized or omitted"),
                );
            }
        };
        let budget = self.budget_tokens.map(|budget| budget.0);
        Ok(ThinkingWish {
            enabled,
            hidden,
            budget: budget.and_then(|most| u32::try_from(most).ok()),
        })
    }
}
