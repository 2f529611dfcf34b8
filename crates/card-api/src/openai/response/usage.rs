//! How many tokens a request read and wrote, and why an answer ended.

use schemars::JsonSchema;
use serde::Serialize;

/// Tokens that were read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Usage {
    /// Of the prompts.
    pub prompt_tokens: usize,
    /// Of all answers.
    pub completion_tokens: usize,
    /// Both.
    pub total_tokens: usize,
    /// More about the prompts.
    pub prompt_tokens_details: PromptDetails,
    /// More about the answers.
    pub completion_tokens_details: CompletionDetails,
}

/// More about prompts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct PromptDetails {
    /// Tokens that earlier requests had read.
    pub cached_tokens: usize,
}

/// More about answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct CompletionDetails {
    /// Tokens of the prediction that came true.
    pub accepted_prediction_tokens: usize,
    /// Tokens of the prediction that were verified and did not.
    pub rejected_prediction_tokens: usize,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model or a stop text ended it.
    Stop,
    /// There was no more room for it.
    Length,
    /// It calls tools.
    ToolCalls,
    /// It calls a function, where the request had `functions`.
    FunctionCall,
}
