//! Why an answer ended, and what it cost.

use card_api::anthropic::response::event::MessageEnd;
use card_api::anthropic::response::message::{MessageUsage, StopReason};

use crate::generation::{EndCause, GenerationEnd};
use crate::request::TokenUsage;

/// Why an answer with so many calls ended; `stops` are the texts that could end it.
pub(super) fn message_end(end: &GenerationEnd, calls: usize, stops: &[String]) -> MessageEnd {
    let stop = match end.cause {
        EndCause::StopText(number) => stops.get(number).cloned(),
        _ => None,
    };
    let stop_reason = if calls > 0 {
        StopReason::ToolUse
    } else if stop.is_some() {
        StopReason::StopSequence
    } else if end.finish == "length" {
        StopReason::MaxTokens
    } else {
        StopReason::EndTurn
    };
    MessageEnd {
        stop_sequence: stop.filter(|_| stop_reason == StopReason::StopSequence),
        stop_reason,
    }
}

/// The tokens as Anthropic counts them: those that were read before stand apart.
pub(super) fn message_usage(usage: &TokenUsage) -> MessageUsage {
    let cached = if usage.tell_cached { usage.cached } else { 0 };
    MessageUsage {
        input_tokens: usage.prompt.saturating_sub(cached),
        cache_creation_input_tokens: 0,
        cache_read_input_tokens: cached,
        output_tokens: usage.completion,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::{GenerationTimings, SpeculationFigures};

    #[test]
    fn each_end_has_its_reason() {
        let end = |finish, cause| GenerationEnd {
            finish,
            tokens: 1,
            reused: 0,
            predicted: 0,
            mispredicted: 0,
            speculation: SpeculationFigures::default(),
            cause,
            timings: GenerationTimings::default(),
        };
        let stops = ["a".to_owned(), "b".to_owned()];
        let cases = [
            (
                end("stop", EndCause::EndToken),
                0,
                StopReason::EndTurn,
                None,
            ),
            (
                end("length", EndCause::Limit),
                0,
                StopReason::MaxTokens,
                None,
            ),
            (
                end("stop", EndCause::StopText(1)),
                0,
                StopReason::StopSequence,
                Some("b"),
            ),
            (
                end("stop", EndCause::StopText(0)),
                1,
                StopReason::ToolUse,
                None,
            ),
            (end("length", EndCause::Limit), 2, StopReason::ToolUse, None),
        ];
        for (end, calls, reason, sequence) in cases {
            let told = message_end(&end, calls, &stops);
            assert_eq!(told.stop_reason, reason, "{end:?}");
            assert_eq!(told.stop_sequence.as_deref(), sequence, "{end:?}");
        }
    }
}
