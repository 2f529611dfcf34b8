//! Whatever a body of 4 MiB says, parsing it and keeping what was parsed takes at most 64 MiB.

mod bodies;

use card_api::{parse_chat, parse_completion, parse_detokenize, parse_response, parse_tokenize};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Most bytes beside the body.
const MOST: usize = 64 << 20;

/// What `parse` took at its peak, its result included.
fn taken<T>(parse: impl FnOnce() -> T) -> usize {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    std::hint::black_box(parse());
    MEMORY.peak_usage() - before
}

// One test only: another one beside it would be counted too.
#[test]
fn a_request_holds_at_most_64_mib() {
    for (what, body) in bodies::all() {
        let body = body.as_bytes();
        for (parser, bytes) in [
            ("chat", taken(|| parse_chat(body))),
            ("completion", taken(|| parse_completion(body))),
            ("tokenize", taken(|| parse_tokenize(body))),
            ("detokenize", taken(|| parse_detokenize(body))),
            ("response", taken(|| parse_response(body, &|_: &str| None))),
        ] {
            assert!(bytes < MOST, "{what}, {parser}: {} MiB", bytes >> 20);
        }
    }
}
