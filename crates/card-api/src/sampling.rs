//! How a request samples where it does not say.

use card_core::sampler::SamplingParams;

/// Tokens less probable than this share of the best one's probability are cut off where nobody says
/// what to cut off, as llama-server does. A quantised model's distribution has a long tail of tokens
/// that fit nowhere, each of them improbable, and all together not.
pub const SAFE_MIN_P: f32 = 0.05;

/// OpenAI's defaults, and [`SAFE_MIN_P`]. Penalties, which are off, count the whole text.
pub fn openai_defaults() -> SamplingParams {
    SamplingParams {
        temperature: 1.0,
        min_p: SAFE_MIN_P,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_says_what_to_cut_off_the_tail_is() {
        let usual = openai_defaults();
        assert_eq!((usual.temperature, usual.min_p), (1.0, 0.05));
        assert_eq!((usual.top_k, usual.top_p), (0, 1.0));
        assert!(usual.validate().is_ok() && ollama_defaults().validate().is_ok());
    }
}
