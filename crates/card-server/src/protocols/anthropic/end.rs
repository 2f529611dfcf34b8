//! Why an answer ended, and what it cost.

use card_api::anthropic::response::event::MessageEnd;
use card_api::anthropic::response::message::{MessageUsage, StopReason};

use crate::generation::GenerationEnd;
use crate::request::TokenUsage;

/// Why an answer with so many calls ended; `stops` are the texts that could end it.
pub(super) fn message_end(end: &GenerationEnd, calls: usize, stops: &[String]) -> MessageEnd {
    let stop = end.stop.and_then(|stop| stops.get(stop)).cloned();
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
    use crate::generation::SpeculationFigures;

    #[test]
    fn each_end_has_its_reason() {
        let end = |finish, stop| GenerationEnd {
            finish,
            stop,
            tokens: 1,
            reused: 0,
            predicted: 0,
            mispredicted: 0,
            speculation: SpeculationFigures::default(),
        };
        let stops = ["a".to_owned(), "b".to_owned()];
        let cases = [
            (end("stop", None), 0, StopReason::EndTurn, None),
            (end("length", None), 0, StopReason::MaxTokens, None),
            (end("stop", Some(1)), 0, StopReason::StopSequence, Some("b")),
            (end("stop", Some(0)), 1, StopReason::ToolUse, None),
            (end("length", None), 2, StopReason::ToolUse, None),
        ];
        for (end, calls, reason, sequence) in cases {
            let told = message_end(&end, calls, &stops);
            assert_eq!(told.stop_reason, reason, "{end:?}");
            assert_eq!(told.stop_sequence.as_deref(), sequence, "{end:?}");
        }
    }
}
