//! One generation: the engine's events become text, and everybody who watches hears of it.
//!
//! A [`GenerationTask`] waits for its slot (`queue`), runs there on a thread of its own (`run`),
//! and its tokens become text (`writer`), which goes to its [`EventSink`] as [`News`];
//! the answer to a request reads those of all its generations from a [`NewsFeed`]. Nothing here
//! knows of HTTP, nor of the protocol that the request came in.

mod end;
mod failure;
mod feed;
mod news;
mod queue;
mod record;
mod run;
mod scored;
mod sink;
mod task;
mod timings;
mod watched;
mod writer;

pub(crate) use end::{EndCause, GenerationEnd, SpeculationFigures};
pub(crate) use feed::NewsFeed;
pub(crate) use news::{News, Piece, PieceLogprob};
pub(crate) use queue::run_in_slot;
pub(crate) use scored::ScoredPrompt;
pub(crate) use sink::{EventSink, FullAnswers};
pub(crate) use task::GenerationTask;
pub(crate) use timings::{GenerationTimings, PromptRead};
pub(crate) use watched::Watched;
