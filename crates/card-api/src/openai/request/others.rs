//! The known fields that are not done: of OpenAI, llama-server and vLLM. docs/serving-fields.md
//! shows them, and a test compares.

use crate::reading::refused::{Neutral, OtherFields, RefusedField};

/// The known fields of `/v1/chat/completions` that are not done.
pub(crate) enum OfChat {}

/// The known fields of `/v1/completions` that are not done.
pub(crate) enum OfCompletion {}

/// The known fields of `/v1/responses` that are not done.
pub(crate) enum OfResponse {}

type WithoutEffect = (&'static str, &'static str);

impl OtherFields for OfChat {
    const REFUSED: &'static [&'static [RefusedField]] = &[GENERATION, CHOICES, CHAT];
    const WITHOUT_EFFECT: &'static [&'static [WithoutEffect]] =
        &[NOTED, SERVED, CHAT_WITHOUT_EFFECT];
}

impl OtherFields for OfCompletion {
    const REFUSED: &'static [&'static [RefusedField]] = &[GENERATION, CHOICES];
    const WITHOUT_EFFECT: &'static [&'static [WithoutEffect]] = &[NOTED, SERVED];
}

impl OtherFields for OfResponse {
    const REFUSED: &'static [&'static [RefusedField]] = &[GENERATION, RESPONSE];
    const WITHOUT_EFFECT: &'static [&'static [WithoutEffect]] =
        &[NOTED, SERVED, RESPONSE_WITHOUT_EFFECT];
}

const fn refused(name: &'static str, neutral: Neutral, instead: &'static str) -> RefusedField {
    RefusedField {
        name,
        neutral,
        instead,
    }
}

const SCHEMA: &str = "send a JSON schema as `response_format`";
const SAMPLING: &str = "sample by `temperature`, `top_p`, `top_k` and `min_p`";
const STOP: &str = "send texts as `stop`, and bias tokens by `logit_bias`";
const LEAVE: &str = "leave it out";

/// What changes how text is generated, on every path.
const GENERATION: &[RefusedField] = &[
    refused("guided_choice", Neutral::Empty, SCHEMA),
    refused("guided_regex", Neutral::Empty, SCHEMA),
    refused("guided_grammar", Neutral::Empty, SCHEMA),
    refused("guided_decoding_backend", Neutral::Word("auto"), LEAVE),
    refused("ebnf", Neutral::Empty, SCHEMA),
    refused("regex", Neutral::Empty, SCHEMA),
    refused("min_tokens", Neutral::Number(0.0), STOP),
    refused("ignore_eos", Neutral::Empty, STOP),
    refused("stop_token_ids", Neutral::Empty, STOP),
    refused("bad_words", Neutral::Empty, STOP),
    refused("allowed_token_ids", Neutral::Empty, STOP),
    refused("include_stop_str_in_output", Neutral::Empty, LEAVE),
    refused("skip_special_tokens", Neutral::True, LEAVE),
    refused(
        "truncate_prompt_tokens",
        Neutral::Number(-1.0),
        "send a shorter prompt",
    ),
    refused("typical_p", Neutral::Number(1.0), SAMPLING),
    refused("typ_p", Neutral::Number(1.0), SAMPLING),
    refused("tfs_z", Neutral::Number(1.0), SAMPLING),
    refused("top_a", Neutral::Number(0.0), SAMPLING),
    refused("top_n_sigma", Neutral::Number(-1.0), SAMPLING),
    refused("mirostat", Neutral::Number(0.0), SAMPLING),
    refused("dynatemp_range", Neutral::Number(0.0), SAMPLING),
    refused("xtc_probability", Neutral::Number(0.0), SAMPLING),
    refused("dry_multiplier", Neutral::Number(0.0), SAMPLING),
    refused("samplers", Neutral::Empty, SAMPLING),
    refused("use_beam_search", Neutral::Empty, SAMPLING),
    refused("length_penalty", Neutral::Number(1.0), SAMPLING),
    refused(
        "prompt_logprobs",
        Neutral::Empty,
        "send `echo` and `logprobs` to /v1/completions",
    ),
    refused("n_probs", Neutral::Number(0.0), "send `logprobs`"),
    refused(
        "t_max_predict_ms",
        Neutral::Number(0.0),
        "send `max_tokens`",
    ),
    refused("lora", Neutral::Empty, "start the server with --lora"),
    refused("logits_processors", Neutral::Empty, LEAVE),
    refused("priority", Neutral::Number(0.0), LEAVE),
];

/// What asks for answers to choose from.
const CHOICES: &[RefusedField] = &[refused(
    "best_of",
    Neutral::Number(1.0),
    "ask for `n` answers with `logprobs` and choose one",
)];

/// What only chats have.
const CHAT: &[RefusedField] = &[
    refused("audio", Neutral::Empty, LEAVE),
    refused("modalities", Neutral::Word("text"), "ask for text"),
    refused(
        "web_search_options",
        Neutral::Empty,
        "search the web by a tool of yours",
    ),
    refused(
        "chat_template",
        Neutral::Empty,
        "start the server with the template",
    ),
    refused("documents", Neutral::Empty, "write them into a message"),
    refused("moderation", Neutral::Empty, LEAVE),
];

/// What only `/v1/responses` has.
const RESPONSE: &[RefusedField] = &[
    refused("n", Neutral::Number(1.0), "ask once for each answer"),
    refused(
        "background",
        Neutral::Empty,
        "keep the connection open, or ask for a stream",
    ),
    refused(
        "conversation",
        Neutral::Empty,
        "send the conversation as `input`",
    ),
    refused(
        "previous_response_id",
        Neutral::Empty,
        "send the conversation as `input`",
    ),
    refused(
        "prompt",
        Neutral::Empty,
        "write the prompt into `instructions` and `input`",
    ),
    refused(
        "context_management",
        Neutral::Empty,
        "send a shorter conversation",
    ),
    refused("moderation", Neutral::Empty, LEAVE),
    refused("modalities", Neutral::Word("text"), "ask for text"),
];

/// What is for the operator's books.
const NOTED: &[WithoutEffect] = &[
    ("user", "who asks is told by the key"),
    ("safety_identifier", "who asks is told by the key"),
    ("service_tier", "there is one"),
];

/// What would change nothing here.
const SERVED: &[WithoutEffect] = &[
    (
        "prompt_cache_key",
        "prompts that begin alike are found by themselves",
    ),
    (
        "prompt_cache_retention",
        "what was read is kept as long as there is room",
    ),
    (
        "prompt_cache_options",
        "what was read is kept as long as there is room",
    ),
    ("cache_prompt", "the text is the same either way"),
    ("id_slot", "a free slot is as good as another"),
    ("n_keep", "no text is shifted out of the context"),
    ("n_discard", "no text is shifted out of the context"),
    ("mirostat_tau", "`mirostat` is refused"),
    ("mirostat_eta", "`mirostat` is refused"),
    ("dynatemp_exponent", "`dynatemp_range` is refused"),
    ("xtc_threshold", "`xtc_probability` is refused"),
    ("dry_base", "`dry_multiplier` is refused"),
    ("dry_allowed_length", "`dry_multiplier` is refused"),
    ("dry_penalty_last_n", "`dry_multiplier` is refused"),
    ("dry_sequence_breakers", "`dry_multiplier` is refused"),
    ("early_stopping", "`use_beam_search` is refused"),
    (
        "spaces_between_special_tokens",
        "special tokens are not shown",
    ),
    ("min_keep", "there is always a token left"),
];

const CHAT_WITHOUT_EFFECT: &[WithoutEffect] = &[
    ("store", "nothing is kept"),
    ("metadata", "nothing is kept"),
    ("verbosity", "a hint for models that take one"),
];

const RESPONSE_WITHOUT_EFFECT: &[WithoutEffect] = &[
    ("client_metadata", "it is the client's"),
    (
        "max_tool_calls",
        "it bounds tools that OpenAI runs, and there are none",
    ),
];
