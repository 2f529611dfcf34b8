//! What holds for a model's text, whatever it says.

use std::sync::Arc;

use card_api::OfferedFunction;
use card_api::answer_format::AnswerFormat;
use card_api::answer_parts::{AnswerReader, ReadAs, SpokenPart, Thinking};

/// Reads a text that comes in pieces, in this format; parts of a kind that follow each other are
/// one.
pub fn read<'a>(
    format: &'static AnswerFormat,
    whole_calls: bool,
    pieces: impl Iterator<Item = &'a str>,
) -> Vec<SpokenPart> {
    let parameters = serde_json::json!({ "properties": { "a": { "type": "string" } } });
    let function = OfferedFunction {
        name: "f".into(),
        parameters: Some(parameters),
    };
    let mut reader = AnswerReader::read_as(ReadAs {
        format,
        call_format: format,
        thinking: Thinking::MayBegin,
        offered: Some(Arc::from([function])),
        whole_calls,
        forced_call: false,
        one_call: false,
    });
    let mut parts = Vec::new();
    for piece in pieces {
        for part in reader.push(piece.to_owned()) {
            add(&mut parts, part);
        }
    }
    for part in reader.finish() {
        add(&mut parts, part);
    }
    parts
}

fn add(parts: &mut Vec<SpokenPart>, part: SpokenPart) {
    match (parts.last_mut(), part) {
        (Some(SpokenPart::Text(last)), SpokenPart::Text(more))
        | (Some(SpokenPart::Thought(last)), SpokenPart::Thought(more))
        | (Some(SpokenPart::CallMore(last)), SpokenPart::CallMore(more)) => last.push_str(&more),
        (_, part) => parts.push(part),
    }
}

/// However a text is cut into pieces, it is read as the same thoughts, text and calls, in every
/// format.
pub fn cuts_make_no_difference<'a>(text: &str, pieces: impl Iterator<Item = &'a str> + Clone) {
    for format in AnswerFormat::all() {
        for whole_calls in [false, true] {
            let whole = read(format, whole_calls, std::iter::once(text));
            let cut = read(format, whole_calls, pieces.clone());
            assert_eq!(cut, whole, "{} {text:?}", format.name());
        }
    }
}

/// Where nothing is a thought or a call, the reader sees all that the model wrote.
pub fn text_is_shown(text: &str) {
    let begin = text.trim_start();
    if begin.starts_with("<think>") || begin.starts_with("</think>") {
        return;
    }
    let parts = read(AnswerFormat::by_default(), true, std::iter::once(text));
    let shown: Option<Vec<&str>> = parts
        .iter()
        .map(|part| match part {
            SpokenPart::Text(more) => Some(more.as_str()),
            _ => None,
        })
        .collect();
    if let Some(shown) = shown {
        assert_eq!(shown.concat(), text);
    }
}
