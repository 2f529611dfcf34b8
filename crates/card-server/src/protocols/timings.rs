//! `timings` and `prompt_progress` as llama-server has them.

use std::time::Duration;

use card_api::llama_server::response::{PromptProgress, Timings};

use crate::generation::{GenerationTimings, PromptRead};

/// The shortest time between the first token and the last; they can come together.
const SHORTEST_MS: f64 = 1e-3;

/// Times and counts of a generation. What an earlier request had read is told if `tell_cached`.
pub(crate) fn timings(taken: &GenerationTimings, tell_cached: bool) -> Timings {
    let cached = if tell_cached { taken.reused } else { 0 };
    // Nothing is read before the first part of the prompt is.
    let begun = !taken.prompt_time.is_zero();
    let read = if begun {
        taken.prompt.saturating_sub(cached)
    } else {
        0
    };
    let steps = taken.tokens.saturating_sub(1);
    let prompt_ms = ms(taken.prompt_time);
    let predicted_ms = match taken.tokens {
        0 => 0.0,
        _ => ms(taken.decode_time).max(SHORTEST_MS),
    };
    let drafted = taken.drafted > 0;
    Timings {
        cache_n: cached,
        prompt_n: read,
        prompt_ms,
        prompt_per_token_ms: ratio(prompt_ms, read as f64),
        prompt_per_second: ratio(1e3, prompt_ms) * read as f64,
        predicted_n: taken.tokens,
        predicted_ms,
        predicted_per_token_ms: ratio(predicted_ms, steps as f64),
        predicted_per_second: ratio(1e3, predicted_ms) * steps as f64,
        draft_n: drafted.then_some(taken.drafted),
        draft_n_accepted: drafted.then_some(taken.accepted),
    }
}

/// How much of a prompt was read.
pub(crate) fn progress(
    read: &PromptRead,
    taken: &GenerationTimings,
    tell_cached: bool,
) -> PromptProgress {
    let cache = if tell_cached { taken.reused } else { 0 };
    // Who may not know of the cache hears of what was read beside it.
    let hidden = if read.tokens < taken.prompt {
        taken.reused - cache
    } else {
        0
    };
    PromptProgress {
        total: taken.prompt,
        cache,
        processed: read.tokens.saturating_sub(hidden),
        time_ms: read.time.as_millis() as u64,
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// `a / b`, or 0 where nothing can be said.
fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(tokens: usize, decode_ms: u64) -> GenerationTimings {
        GenerationTimings {
            prompt: 10,
            reused: 4,
            prompt_time: Duration::from_millis(60),
            tokens,
            decode_time: Duration::from_millis(decode_ms),
            drafted: 0,
            accepted: 0,
        }
    }

    #[test]
    fn rates_leave_out_the_first_token() {
        let one = timings(&taken(1, 0), true);
        assert_eq!((one.predicted_n, one.predicted_per_second), (1, 0.0));
        assert_eq!(one.predicted_per_token_ms, 0.0);
        let many = timings(&taken(16, 150), true);
        assert_eq!((many.prompt_n, many.cache_n), (6, 4));
        assert!((many.prompt_per_token_ms - 10.0).abs() < 1e-9);
        assert!((many.predicted_per_second - 100.0).abs() < 1e-9);
        assert_eq!(many.draft_n, None);
        // All of them in one commit.
        assert!(timings(&taken(4, 0), true).predicted_ms > 0.0);
    }

    #[test]
    fn what_is_cached_is_told_to_those_who_may_know() {
        let told = timings(&taken(1, 0), false);
        assert_eq!((told.prompt_n, told.cache_n), (10, 0));
    }

    #[test]
    fn before_anything_is_read_all_is_zero() {
        let begun = GenerationTimings {
            prompt: 10,
            reused: 4,
            ..GenerationTimings::default()
        };
        let told = timings(&begun, true);
        assert_eq!((told.prompt_n, told.prompt_ms), (0, 0.0));
        assert_eq!((told.predicted_n, told.predicted_ms), (0, 0.0));
        assert_eq!(
            (told.prompt_per_second, told.predicted_per_second),
            (0.0, 0.0)
        );
    }
}
