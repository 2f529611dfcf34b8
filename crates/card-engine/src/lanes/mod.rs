//! The lanes: the target's thread, and the drafters as that thread sees them.
//!
//! - [`target`]: the thread of the target, around the core's loop body; [`clients`]: who asked
//!   for what runs there.
//! - [`roster`]: all drafters of an engine; who hears of which sequence. [`member`]: one of them.
//! - [`lifecycle`]: when a drafter works, pauses, starts or stops, as a state machine.
//! - [`draft`]: a draft model, and the thread that brings it back after a failure.
//! - [`lane`]: a draft model at work, on a thread of its own or on the target's.
//! - [`link`]: the channels to a drafter on another lane, with what waits to be sent in an
//!   [`outbox`], over [`pipe`]s.
//! - [`command`]: what the engine asks of the target's thread.
//! - [`permits`]: how many drafters may attach themselves.

mod clients;
mod command;
mod draft;
mod lane;
mod lifecycle;
mod link;
mod member;
mod outbox;
mod permits;
mod pipe;
mod roster;
mod target;

pub(crate) use command::{Attachment, Command, Opening};
pub use draft::{Dial, Draft, MakeModel};
pub(crate) use lane::LANE_STACK;
pub use lane::start_lane;
pub use link::{DraftEnd, TargetEnd, ends};
pub(crate) use permits::{AttachPermits, MOST_ATTACHED};
pub use pipe::{PipeReceiver, PipeSender};
pub(crate) use roster::Roster;
pub(crate) use target::{TargetLane, live};
