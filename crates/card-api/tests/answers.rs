//! Thoughts and calls in the words of every family of models.

#![allow(clippy::unwrap_used)]

mod conversations;
mod invariants;

use std::time::{Duration, Instant};

use card_api::answer_format::AnswerFormat;
use card_api::answer_parts::SpokenPart;
use conversations::Conversation;
use invariants::calls::{cuts_make_no_difference, read, text_is_shown};
use proptest::prelude::*;

#[test]
fn every_conversation_is_read_as_it_was_meant() {
    let mut families: Vec<&str> = Vec::new();
    for conversation in conversations::all() {
        families.push(conversation.format().name());
        for (size, whole_calls) in [
            (usize::MAX, true),
            (1, true),
            (usize::MAX, false),
            (3, false),
        ] {
            let told = conversation.read(size, whole_calls);
            let Conversation { family, text, .. } = &conversation;
            assert_eq!(told, conversation.told, "{family}, {size}: {text:?}");
        }
    }
    families.sort_unstable();
    families.dedup();
    let all: Vec<&str> = AnswerFormat::all().map(AnswerFormat::name).collect();
    let missing: Vec<&&str> = all.iter().filter(|name| !families.contains(name)).collect();
    assert!(missing.is_empty(), "no conversation of {missing:?}");
}

/// What families write, whole and in bits.
fn bits() -> Vec<String> {
    let mut bits: Vec<String> = AnswerFormat::all()
        .flat_map(AnswerFormat::marks)
        .map(str::to_owned)
        .collect();
    bits.sort_unstable();
    bits.dedup();
    let others = [
        "{\"name\":\"f\"}",
        "{\"name\": \"f\", \"arguments\": {\"a\": \"x\"}}",
        "f",
        "a",
        "f(a='x')",
        "call:f{a:1}",
        "functions.f:0",
        "<",
        ">",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "\\",
        ",",
        ":",
        "=",
        "(",
        ")",
        "\n",
        " ",
        "é",
        "```json\n",
        "to=functions.f",
        "json",
        "true",
        "1",
        "<think",
    ];
    bits.extend(others.map(str::to_owned));
    bits
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    /// However a text is cut into pieces, it is read as the same.
    #[test]
    fn cuts_of_a_stream_make_no_difference(
        pieces in prop::collection::vec(prop::sample::select(bits()), 0..14),
        cuts in prop::collection::vec(0usize..160, 0..8),
    ) {
        let text = pieces.concat();
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|&c| text.is_char_boundary(c)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        cuts_make_no_difference(&text, cuts.windows(2).map(|w| &text[w[0]..w[1]]));
        text_is_shown(&text);
    }

    /// The same of any text, character by character.
    #[test]
    fn any_text_is_read(text in prop::collection::vec(any::<char>(), 0..60)) {
        let text: String = text.into_iter().collect();
        let pieces = || text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]);
        cuts_make_no_difference(&text, pieces());
        text_is_shown(&text);
    }
}

/// How many times as long a text of eight times the length may take; what is quadratic takes 64.
const TIMES: u32 = 24;

fn took(format: &'static AnswerFormat, text: &str) -> Duration {
    let start = Instant::now();
    // In the pieces that a model writes.
    let pieces = text.as_bytes().chunks(4);
    let pieces = pieces.map(|piece| std::str::from_utf8(piece).unwrap());
    std::hint::black_box(read(format, true, pieces));
    start.elapsed()
}

#[test]
fn the_time_is_linear_in_the_length_of_a_text() {
    for format in AnswerFormat::all() {
        let mut hostile: Vec<String> = format.marks().into_iter().map(str::to_owned).collect();
        hostile.retain(|mark| mark.is_ascii());
        let opens: Vec<&str> = format.call_opens().filter(|mark| mark.is_ascii()).collect();
        for open in opens {
            hostile.push(format!("{open}{{\"name\":\"f\",\"a\":[["));
            hostile.push(format!("{open}f"));
        }
        hostile.extend(["x = 1\n", "{\"name\":\"f\"}", "<", "[{", "\"\\"].map(str::to_owned));
        for bit in hostile {
            let short = bit.repeat((2 << 10) / bit.len());
            let long = bit.repeat((16 << 10) / bit.len());
            // Less than this cannot be told from noise, and a busy machine is asked again.
            let linear = (0..5).any(|_| {
                let short = took(format, &short).max(Duration::from_millis(2));
                took(format, &long) < TIMES * short
            });
            assert!(linear, "{} {bit:?}", format.name());
        }
    }
}

#[test]
fn a_stream_has_calls_in_pieces() {
    for conversation in conversations::all() {
        let parts = conversation.parts(usize::MAX, false);
        let pieces = parts
            .iter()
            .filter(|part| matches!(part, SpokenPart::CallEnd));
        // An answer that is a call as a whole is known at its end.
        let bare = conversation.text.starts_with(['{', '`']);
        let wanted = if bare {
            0
        } else {
            conversation.told.calls.len()
        };
        assert_eq!(pieces.count(), wanted, "{:?}", conversation.text);
    }
}
