//! Thoughts and calls in a text: the same ones however the stream is cut, in the words of every
//! family of models, and nothing else is lost.
#![no_main]

#[path = "../../crates/card-api/tests/invariants/mod.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: (u8, &str)| {
    let (size, text) = input;
    let mut cuts: Vec<usize> = (0..text.len())
        .step_by(1 + usize::from(size % 16))
        .collect();
    cuts.retain(|&c| text.is_char_boundary(c));
    cuts.push(text.len());
    let pieces = || cuts.windows(2).map(|w| &text[w[0]..w[1]]);
    invariants::calls::cuts_make_no_difference(text, pieces());
    invariants::calls::text_is_shown(text);
});
