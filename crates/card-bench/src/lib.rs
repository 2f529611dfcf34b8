//! Measures CARD: modes against plain decoding in one interleaved run, against what a
//! perfect schedule could have reached, and against other servers.
//!
//! Machines are noisy and differ, so everything is a ratio to plain decoding on the same
//! prompt, a moment earlier or later, reported as a median with its spread.

#![forbid(unsafe_code)]

pub mod bound;
pub mod calibrate;
pub mod contest;
pub mod counts;
pub mod lookup;
pub mod measure;
pub mod peer;
pub mod prompts;
pub mod report;
pub mod roi;
pub mod sample;
pub mod stats;
