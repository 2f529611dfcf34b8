//! How much of everything a request may have. The parser keeps these bounds and the OpenAPI
//! document tells them; both take them from here.

use card_core::sampler::{Bias, LogitBias, Logprob};

/// Most answers to a prompt (`n`).
pub const CHOICES: i64 = 16;
/// Most prompts of a completion.
pub const PROMPTS: usize = 64;
/// Most answers of a request: prompts times `n`.
pub const ANSWERS: usize = 64;
/// Most texts that a request asks vectors of; OpenAI's bound too.
pub const INPUTS: usize = 2048;
/// Most documents that a request has ranked.
pub const DOCUMENTS: usize = 1024;
/// Most log probabilities with each token.
pub const LOGPROBS: i64 = 20;
/// Most log probabilities with each token at llama-server's paths (`n_probs`).
pub const N_PROBS: i64 = Logprob::MOST as i64;
/// Most fields that an answer can be cut down to (`response_fields`).
pub const RESPONSE_FIELDS: usize = 64;
/// Most pieces of other files around an infill (`input_extra`).
pub const EXTRAS: usize = 1024;
/// Most variables for a chat template (`chat_template_kwargs`).
pub const TEMPLATE_VARIABLES: usize = 64;
/// Longest GBNF grammar, in bytes.
pub const GRAMMAR_BYTES: usize = 64 << 10;
/// Most texts that end an answer; OpenAI takes four.
pub const STOPS: usize = 16;
/// Longest of those texts, in bytes.
pub const STOP_BYTES: usize = 1024;
/// Most tokens with a bias of their own.
pub const BIASES: usize = LogitBias::MOST;
/// Most tools; OpenAI's bound too.
pub const TOOLS: usize = 128;
/// Longest name of a model, a function, a role or a type, in bytes.
pub const NAME_BYTES: usize = 1024;
/// Most messages of a conversation.
pub const MESSAGES: usize = 8192;
/// Most parts of a message's content.
pub const PARTS: usize = 8192;
/// Most calls of tools in a message.
pub const CALLS: usize = 1024;
/// Most names in a list of names, like `include`.
pub const NAMES: usize = 64;
/// Most bytes of remembered items that a request refers to, all together.
pub const RECALLED_BYTES: usize = 4 << 20;
/// Most tokens of a prompt that comes as tokens.
pub const TOKENS: usize = 1 << 20;
/// The largest number a token can have; whether the model has it is asked later.
pub const TOKEN: i64 = i32::MAX as i64;
/// Most JSON values of all parts of a request together whose form is the client's: schemas,
/// tools, messages. In memory a value takes up to 290 bytes, so that is 15 MiB.
pub const VALUES: usize = 50_000;

/// The range that a number of a request has to be in. The parser enforces it, and the
/// document tells it.
pub(crate) trait NumberRange {
    /// The smallest number of the range.
    const MIN: f64;
    /// The largest number of the range.
    const MAX: f64;
    /// Whether `MIN` itself is outside of the range.
    const ABOVE: bool = false;
}

/// The range of `temperature`.
pub(crate) enum Temperature {}

impl NumberRange for Temperature {
    const MIN: f64 = 0.0;
    const MAX: f64 = 100.0;
}

/// The range of `top_p`: the probability mass that nucleus sampling keeps.
pub(crate) enum TopMass {}

impl NumberRange for TopMass {
    const MIN: f64 = 0.0;
    const MAX: f64 = 1.0;
    const ABOVE: bool = true;
}

/// The range of `min_p`: a fraction of the best token's probability.
pub(crate) enum BestFraction {}

impl NumberRange for BestFraction {
    const MIN: f64 = 0.0;
    const MAX: f64 = 1.0;
}

/// The range of `repetition_penalty`, which divides the logits of tokens that were seen.
pub(crate) enum Repetition {}

impl NumberRange for Repetition {
    const MIN: f64 = 0.0;
    const MAX: f64 = 100.0;
    const ABOVE: bool = true;
}

/// The range of `frequency_penalty` and `presence_penalty`, which are taken from the logits
/// of tokens that were seen.
pub(crate) enum Penalty {}

impl NumberRange for Penalty {
    const MIN: f64 = -100.0;
    const MAX: f64 = 100.0;
}

/// The range of a bias in `logit_bias`.
pub(crate) enum BiasRange {}

impl NumberRange for BiasRange {
    const MIN: f64 = -100.0;
    const MAX: f64 = 100.0;
}

/// The range of `top_p` at llama-server's paths, which take 0: the most probable token stays.
pub(crate) enum NativeTopMass {}

impl NumberRange for NativeTopMass {
    const MIN: f64 = 0.0;
    const MAX: f64 = 1.0;
}

/// The range of a bias at llama-server's paths.
pub(crate) enum NativeBias {}

impl NumberRange for NativeBias {
    const MIN: f64 = -(Bias::MOST as f64);
    const MAX: f64 = Bias::MOST as f64;
}
