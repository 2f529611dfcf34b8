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
mod limits;
pub mod proto;
mod refusal;
mod sampling;
mod vocabulary;

pub use drafted::{
    LONGEST, MOST_CHILDREN, MOST_EXPANSIONS, MOST_PATH, drafted_in, drafted_out, nothing_drafted,
};
pub use hello::{MOST_SCOPE, check, hello, plan, scope, welcome};
pub use input::{Intake, input_out};
pub use limits::{
    MOST_BYTES_FROM_DRAFTER, MOST_BYTES_TO_DRAFTER, MOST_CONTEXT, MOST_SEQUENCES, PROTOCOL,
};
pub use refusal::Refusal;
pub use vocabulary::SharedVocabulary;
