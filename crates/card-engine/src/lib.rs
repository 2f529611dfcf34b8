//! Drives the CARD core on real models: a thread per lane, channels, a clock.
//!
//! With a lane each, the target's thread and the drafter's run at the same time and share
//! nothing but two bounded channels: commits one way, expansions the other. On a shared
//! lane one thread runs both, as the policy says. Neither case needs a coordinator.
//!
//! Nothing here waits for ever: [`Engine::health`] tells whether the target's thread works,
//! and if it ends, panics or hangs, every open generation hears of it.

#![forbid(unsafe_code)]

pub mod emulate;
mod engine;
mod event;
mod forward_times;
mod health;
mod lanes;
mod meters;
mod options;
mod pauses;
pub mod placement;
mod pulse;
mod readers;
mod request;
pub mod selftest;
mod stream;
pub mod teacher_forcing;
pub mod text;
mod update;

pub use engine::Engine;
pub use event::{Event, Failure};
pub use forward_times::{CostDeviation, ForwardTimes};
pub use health::Health;
pub use lanes::{
    Dial, Draft, DraftEnd, MakeModel, PipeReceiver, PipeSender, TargetEnd, ends, start_lane,
};
pub use meters::LaneTimes;
pub use options::Options;
pub use pauses::{Patient, Pauses};
pub use request::Generate;
pub use stream::Stream;
pub use update::{DecodingRules, EngineUpdate};
