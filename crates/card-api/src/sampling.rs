//! How a request samples where it does not say.

use card_core::sampler::SamplingParams;

/// OpenAI's defaults: the model's own distribution, nothing cut off. Penalties, which are off,
/// count the whole text.
pub fn openai_defaults() -> SamplingParams {
    SamplingParams {
        temperature: 1.0,
        penalty_window: u32::MAX,
        ..SamplingParams::default()
    }
}

/// Ollama's defaults.
pub fn ollama_defaults() -> SamplingParams {
    SamplingParams {
        temperature: 0.8,
        top_k: 40,
        top_p: 0.9,
        repeat_penalty: 1.1,
        penalty_window: 64,
        ..SamplingParams::default()
    }
}
