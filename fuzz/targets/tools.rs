//! Calls of tools in a text: the same ones however the stream is cut.
#![no_main]

use card_api::tools::{Part, Splitter};

fn calls<'a>(pieces: impl Iterator<Item = &'a str>) -> Vec<Part> {
    let mut splitter = Splitter::default();
    let mut all: Vec<Part> = pieces.flat_map(|p| splitter.push(p)).collect();
    all.extend(splitter.finish());
    all.retain(|p| matches!(p, Part::Call(..)));
    all
}

libfuzzer_sys::fuzz_target!(|input: (u8, &str)| {
    let (size, text) = input;
    let mut cuts: Vec<usize> = (0..text.len())
        .step_by(1 + usize::from(size % 16))
        .collect();
    cuts.retain(|&c| text.is_char_boundary(c));
    cuts.push(text.len());
    let pieces = cuts.windows(2).map(|w| &text[w[0]..w[1]]);
    assert_eq!(calls(std::iter::once(text)), calls(pieces));
});
