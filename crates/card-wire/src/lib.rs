//! The messages between a target and a drafter on another machine (`proto/link.proto`), and
//! how they become the core's.
//!
//! What comes in is checked here, against ranges and against what the other side may take up.
//! A message that makes no sense is left out and the link goes on; only a side that does not
//! keep to the protocol loses it ([`Refusal`]).

#![forbid(unsafe_code)]

mod drafted;
mod hello;
mod input;
mod refusal;
mod sampling;

pub use drafted::{
    LONGEST, MOST_CHILDREN, MOST_EXPANSIONS, MOST_PATH, drafted_in, drafted_out, nothing_drafted,
};
pub use hello::{MOST_SCOPE, Vocabulary, check, hello, plan, scope, welcome};
pub use input::{Intake, input_out};
pub use refusal::Refusal;

/// Generated from `proto/link.proto`.
#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/card.link.v1.rs"));
}

/// Sides that differ in this do not understand each other.
pub const PROTOCOL: u32 = 3;

/// Most tokens of one sequence that cross a link.
pub const MOST_CONTEXT: u32 = 1 << 20;

/// Most sequences of one target at a time.
pub const MOST_SEQUENCES: u32 = 64;

/// Most bytes of a message to a drafter. The largest opens a sequence: up to five bytes for
/// each token, and the settings, whose biases take at most 64 KiB.
pub const MOST_BYTES_TO_DRAFTER: usize = 5 * MOST_CONTEXT as usize + (256 << 10);

/// Most bytes of a message from a drafter. A forward of 64 rows, each 256 deep and with 32
/// children, takes a tenth of it.
pub const MOST_BYTES_FROM_DRAFTER: usize = 1 << 20;
