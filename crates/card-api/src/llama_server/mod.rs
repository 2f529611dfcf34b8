//! llama-server's own API: what its clients send beside OpenAI's, and what they get.
//!
//! A file is a field, the fields of one route, or the answers of one. What is taken, what is
//! taken only where it changes nothing (`neutral.rs`), and what is refused by name stands in
//! docs/llama-server.md.

mod bias;
pub mod completion;
pub mod embedding;
pub mod error;
pub mod gbnf;
pub mod infill;
pub mod models;
mod neutral;
pub mod prompt;
pub mod rerank;
pub mod response;
pub mod samplers;
pub mod slot;
mod stop;
pub mod tokenize;

pub use bias::BiasedText;

/// The fields that llama-server (b11434) reads of a completion and, beside those of OpenAI's, of a
/// chat; without `prompt`.
#[cfg(test)]
pub(crate) const KNOWN_FIELDS: &str = "\
    adaptive_decay adaptive_target backend_sampling cache_prompt chat_format chat_parser \
    continue_final_message dry_allowed_length dry_base dry_multiplier dry_penalty_last_n \
    dry_sequence_breakers dynatemp_exponent dynatemp_range echo frequency_penalty \
    generation_prompt grammar grammar_lazy grammar_triggers ignore_eos json_schema \
    logit_bias logprobs lora max_completion_tokens max_tokens min_keep min_p mirostat \
    mirostat_eta mirostat_tau n n_cache_reuse n_cmpl n_discard n_indent n_keep n_predict \
    n_probs parse_tool_calls post_sampling_probs presence_penalty preserved_tokens \
    reasoning_budget_end_tag reasoning_budget_end_tags reasoning_budget_message \
    reasoning_budget_start_tag reasoning_budget_tokens reasoning_control reasoning_format \
    repeat_last_n repeat_penalty response_fields return_progress return_tokens samplers \
    seed speculative.n_max speculative.n_min speculative.ngram_min_hits \
    speculative.ngram_size_m speculative.ngram_size_n speculative.p_min speculative.type \
    sse_ping_interval stop stream stream_options t_max_predict_ms t_max_prompt_ms \
    temperature timings_per_token top_k top_n_sigma top_p typical_p verbose \
    xtc_probability xtc_threshold";
