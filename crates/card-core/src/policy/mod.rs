//! When to verify, how much, and when to draft. docs/policy.md explains it.
//!
//! One number ties the decisions together: the rate λ, in tokens per millisecond, that the
//! engine reaches. A millisecond is worth λ tokens. So a candidate joins a forward if its reach
//! exceeds λ times what its row costs, and a further draft step is taken if what it can add
//! exceeds λ times what it takes. This is the marginal form of maximising a ratio (Dinkelbach
//! 1967). λ is never below the rate of plain decoding, so what plain decoding does better is
//! left to it. Where a lookup chain leads (a chain that model-free sources propose: prompt
//! lookup, corrections, the prediction), tokens come faster. λ is not learned there, and a token
//! is worth less than elsewhere ([`Policy::marginal_values`]).
//!
//! Each decision is a file, with its tests at the bottom:
//!
//! | decision | file |
//! |---|---|
//! | how many candidates the next forward verifies | `verify_size` |
//! | whether a drafter takes a step first (shared lane) | `draft_or_launch`, `catch_up` |
//! | the same of a head of the target, which is always on its lane | `head` |
//! | whether the target waits for a drafter (lanes of their own) | `wait` |
//! | what further draft steps are worth | `lookahead` |
//! | what a token of a lookup chain is worth | `marginal_value` |
//! | which number of rows is worth repeating | `shape` |
//! | what a rejection costs a model with one state per sequence | `rejection`, `repair`, `state_cost` |
//! | whether drafters may work at all | `gate` |
//! | when to measure what does not look best | `explore`, `budget` |
//! | what a pair of models promises before it runs | `promise` |
//!
//! The scheduler asks ([`Policy::verify_size`], [`Policy::draft_first`],
//! [`Policy::wait_first`]), does what it was told, and reports what came of it
//! ([`Policy::observe`]). Decisions are returned with the numbers behind them ([`DecisionTrace`]
//! collects these), and the policy starts nothing by itself.

mod budget;
mod catch_up;
mod config;
mod draft_or_launch;
mod explore;
mod gate;
mod head;
mod lookahead;
mod marginal_value;
mod observe;
mod promise;
mod rate;
mod rejection;
mod repair;
mod shape;
mod situation;
mod state;
mod state_cost;
#[cfg(test)]
mod testing;
mod trace;
mod verify_size;
mod wait;

pub use config::{Mode, PolicyConfig};
pub use observe::Observation;
pub use promise::{promise, promises};
pub use situation::{Base, Candidate, Coverage, DraftOption, Situation};
pub use state::Policy;
pub use state_cost::StateCost;
pub use trace::{DecisionTrace, DraftDecision, Foresight, VerifySize, WaitDecision};
