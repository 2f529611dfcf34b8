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
    const REFUSED: &'static [&'static [RefusedField]] = &[GENERATION, CHOICES, COMPLETION];
    const WITHOUT_EFFECT: &'static [&'static [WithoutEffect]] =
        &[NOTED, SERVED, COMPLETION_WITHOUT_EFFECT];
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
const GRAMMAR: &str = "send `grammar`, which holds from the first token on";
const CHATS: &str = "ask /v1/chat/completions";
const ITSELF: &str = "put its fields into the body itself";
const MESSAGES: &str = "write it into `messages`";
const TOKENS: &str = "ask /completion, with `return_tokens`";
/// What a client may do that wants no thoughts in a response.
pub(super) const UNREAD: &str =
    "leave items of type `reasoning` unread, or ask /v1/chat/completions";
/// The words for thoughts that are told apart from the answer.
const TOLD_APART: Neutral = Neutral::Words(&["auto", "deepseek", "parsed"]);

/// Ollama's options of the machine: they say what the server was started with, and change no text.
const OF_MACHINE: Neutral = Neutral::Members(&[
    "num_ctx",
    "num_keep",
    "num_batch",
    "num_gpu",
    "num_thread",
    "main_gpu",
    "use_mmap",
    "use_mlock",
]);

/// What changes how text is generated, on every path.
const GENERATION: &[RefusedField] = &[
    refused("guided_choice", Neutral::Empty, SCHEMA),
    refused("guided_regex", Neutral::Empty, SCHEMA),
    refused("guided_grammar", Neutral::Empty, SCHEMA),
    refused("guided_decoding_backend", Neutral::Words(&["auto"]), LEAVE),
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
    refused("adaptive_target", Neutral::Number(-1.0), SAMPLING),
    refused("n_indent", Neutral::Number(0.0), STOP),
    refused("stop_regex", Neutral::Empty, STOP),
    refused("no_stop_trim", Neutral::Empty, LEAVE),
    refused("grammar_lazy", Neutral::Empty, GRAMMAR),
    refused("grammar_triggers", Neutral::Empty, GRAMMAR),
    refused(
        "post_sampling_probs",
        Neutral::Empty,
        "send `logprobs`, which are those before sampling",
    ),
    refused("return_token_ids", Neutral::Empty, TOKENS),
    refused("return_tokens_as_token_ids", Neutral::Empty, TOKENS),
    refused("return_hidden_states", Neutral::Empty, LEAVE),
    refused("reasoning_budget_message", Neutral::Empty, LEAVE),
    refused(
        "thinking_token_budget",
        Neutral::Empty,
        "send `thinking_budget_tokens` with a chat",
    ),
    refused("image_data", Neutral::Empty, "send text"),
    refused("mm_processor_kwargs", Neutral::Empty, LEAVE),
    refused("prompt_embeds", Neutral::Empty, "send text or tokens"),
    refused("lora_path", Neutral::Empty, "start the server with --lora"),
    refused("custom_logit_processor", Neutral::Empty, LEAVE),
    refused(
        "repetition_detection",
        Neutral::Empty,
        "send `repetition_penalty`",
    ),
    refused("vllm_xargs", Neutral::Empty, LEAVE),
    refused("kv_transfer_params", Neutral::Empty, LEAVE),
    refused("extra_body", Neutral::Empty, ITSELF),
    refused("sampling_params", Neutral::Empty, ITSELF),
    refused("options", OF_MACHINE, ITSELF),
    refused("format", Neutral::Empty, SCHEMA),
];

/// What asks for answers to choose from.
const CHOICES: &[RefusedField] = &[
    refused(
        "best_of",
        Neutral::Number(1.0),
        "ask for `n` answers with `logprobs` and choose one",
    ),
    refused("n_cmpl", Neutral::Number(1.0), "ask for `n` answers"),
];

/// What only completions have.
const COMPLETION: &[RefusedField] = &[
    refused("messages", Neutral::Empty, CHATS),
    refused("tools", Neutral::Empty, CHATS),
    refused("tool_choice", Neutral::Words(&["none", "auto"]), CHATS),
    refused("functions", Neutral::Empty, CHATS),
    refused("reasoning_format", TOLD_APART, "send a chat"),
    refused(
        "add_special_tokens",
        Neutral::True,
        "send tokens as `prompt`",
    ),
    refused(
        "verbose",
        Neutral::Empty,
        "ask /completion, whose answers repeat prompt and settings",
    ),
    refused(
        "thinking_budget_tokens",
        Neutral::Number(-1.0),
        "send a chat",
    ),
    refused("thinking_budget", Neutral::Number(-1.0), "send a chat"),
    refused(
        "reasoning_budget_tokens",
        Neutral::Number(-1.0),
        "send a chat",
    ),
];

/// What only chats have.
const CHAT: &[RefusedField] = &[
    refused("prompt", Neutral::Empty, MESSAGES),
    refused("suffix", Neutral::Empty, "ask /v1/completions"),
    refused("input", Neutral::Empty, MESSAGES),
    refused("instructions", Neutral::Empty, MESSAGES),
    refused("system", Neutral::Empty, MESSAGES),
    refused("max_output_tokens", Neutral::Empty, "send `max_tokens`"),
    refused("audio", Neutral::Empty, LEAVE),
    refused("modalities", Neutral::Words(&["text"]), "ask for text"),
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
    refused(
        "echo",
        Neutral::Empty,
        "send the conversation to /v1/completions as a prompt",
    ),
    refused("add_special_tokens", Neutral::Empty, LEAVE),
    refused(
        "separate_reasoning",
        Neutral::True,
        "put `reasoning_content` and `content` together",
    ),
    refused("response_role", Neutral::Words(&["assistant"]), LEAVE),
];

/// What only `/v1/responses` has.
const RESPONSE: &[RefusedField] = &[
    refused("messages", Neutral::Empty, "send them as `input`"),
    refused("reasoning_format", TOLD_APART, UNREAD),
    refused("include_reasoning", Neutral::True, UNREAD),
    refused("n", Neutral::Number(1.0), "ask once for each answer"),
    refused("n_cmpl", Neutral::Number(1.0), "ask once for each answer"),
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
    refused("modalities", Neutral::Words(&["text"]), "ask for text"),
    refused("verbose", Neutral::Empty, CHATS),
    refused("timings_per_token", Neutral::Empty, CHATS),
    refused("return_progress", Neutral::Empty, CHATS),
    refused("continue_final_message", Neutral::Empty, CHATS),
    refused("echo", Neutral::Empty, LEAVE),
    refused(
        "logprobs",
        Neutral::Empty,
        "send `include` with `message.output_text.logprobs`",
    ),
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
    (
        "reasoning_control",
        "it lets thoughts be ended at another path, and changes no text by itself",
    ),
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
    ("n_cache_reuse", "nothing is shifted in the cache"),
    ("adaptive_decay", "`adaptive_target` is refused"),
    ("preserved_tokens", "`grammar_triggers` is refused"),
    (
        "speculative.n_max",
        "speculation changes no text; `speculation` bounds it",
    ),
    (
        "speculative.n_min",
        "speculation changes no text; `speculation` bounds it",
    ),
    (
        "speculative.p_min",
        "speculation changes no text; `speculation` bounds it",
    ),
    (
        "speculative.type",
        "speculation changes no text; `speculation` bounds it",
    ),
    (
        "backend_sampling",
        "the text is the same wherever tokens are sampled",
    ),
    (
        "t_max_prompt_ms",
        "llama-server does nothing with it either",
    ),
    (
        "sse_ping_interval",
        "streams send comments at a pace of their own",
    ),
    (
        "return_tokens",
        "only answers of llama-server's own paths have tokens, as there",
    ),
    (
        "response_fields",
        "only answers of llama-server's own paths are cut down, as there",
    ),
    (
        "speculative.ngram_size_n",
        "speculation changes no text; `speculation` bounds it",
    ),
    (
        "speculative.ngram_size_m",
        "speculation changes no text; `speculation` bounds it",
    ),
    (
        "speculative.ngram_min_hits",
        "speculation changes no text; `speculation` bounds it",
    ),
    ("parse_tool_calls", "calls are read where tools are offered"),
    (
        "chat_format",
        "the model's family says how an answer is read",
    ),
    (
        "chat_parser",
        "the model's family says how an answer is read",
    ),
    (
        "generation_prompt",
        "the template says how an answer begins",
    ),
    (
        "reasoning_budget_start_tag",
        "the model's family says what begins a thought",
    ),
    (
        "reasoning_budget_end_tags",
        "the model's family says what ends a thought",
    ),
    (
        "reasoning_budget_end_tag",
        "the model's family says what ends a thought",
    ),
    ("cache_salt", "what was read is kept apart by key"),
    ("request_id", "the server gives each request a name"),
    ("rid", "the server gives each request a name"),
];

const COMPLETION_WITHOUT_EFFECT: &[WithoutEffect] = &[(
    "continue_final_message",
    "a completion goes on with its prompt",
)];

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
