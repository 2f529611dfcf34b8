//! Whatever a body says, it is parsed or refused in time linear in its bytes.

#![allow(clippy::unwrap_used)]

mod bodies;

use std::time::{Duration, Instant};

use card_api::{parse_chat, parse_completion, parse_detokenize, parse_response, parse_tokenize};
use serde::de::IgnoredAny;

/// How many times as long as looking at the bytes it may take. It takes up to about ten; what
/// is quadratic in the number of keys takes thousands.
const TIMES: u32 = 40;

fn quickest<T>(mut work: impl FnMut() -> T) -> Duration {
    let time = |_| {
        let start = Instant::now();
        std::hint::black_box(work());
        start.elapsed()
    };
    (0..3).map(time).min().unwrap()
}

#[test]
fn what_a_body_takes_is_linear_in_its_bytes() {
    for (what, body) in bodies::all() {
        let body = body.as_bytes();
        // Some bodies are no JSON, and refused by a look at their beginning: a body of this
        // length that is, is what all are compared with.
        let whole = serde_json::to_vec(&"a, ".repeat(body.len() / 3)).unwrap();
        let plain = quickest(|| serde_json::from_slice::<IgnoredAny>(&whole).is_ok());
        let plain = plain.max(quickest(|| {
            serde_json::from_slice::<IgnoredAny>(body).is_ok()
        }));
        // Less than this cannot be told from noise.
        let most = TIMES * plain.max(Duration::from_millis(2));
        for (parser, took) in [
            ("chat", quickest(|| parse_chat(body).is_ok())),
            ("completion", quickest(|| parse_completion(body).is_ok())),
            ("tokenize", quickest(|| parse_tokenize(body).is_ok())),
            ("detokenize", quickest(|| parse_detokenize(body).is_ok())),
            (
                "response",
                quickest(|| parse_response(body, &|_: &str| None).is_ok()),
            ),
        ] {
            assert!(
                took < most,
                "{what}, {parser}: {took:?}, and {plain:?} to look at it"
            );
        }
    }
}
