//! Bodies of requests: a job that can run, or an error in the protocol's shape.
#![no_main]

#[path = "../../crates/card-api/tests/invariants/mod.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    invariants::request(body);
    invariants::other_protocols::request(body);
});
