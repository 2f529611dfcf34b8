//! Which shapes of forward give the same logits, and what each costs.
//!
//! Decodes one passage token by token and in chunks of other sizes. Sizes whose logits
//! are the same bit for bit form a *kernel class*. Trees, prompts that are read in pieces and
//! forwards that several sequences share are tried too. How [`Exactness::Exact`] is kept is
//! decided by what this finds (docs/exactness.md). The same forwards give the cost curve. Of a
//! model that cannot take back any token no trees are tried, since it verifies none.
//!
//! | module | what it has |
//! |---|---|
//! | `run` | which sizes are tried behind which heads |
//! | `coarse` | a few forwards, where there is no time for more |
//! | `measure` | forwards of one shape, timed |
//! | `probes` | trees, other sequences, prompts in pieces, padding |
//! | `compare` | rows of logits, compared |
//! | `states` | what changes of a state take |
//! | `report` | what was found |
//! | `means` | by what means the output is kept exact |

mod coarse;
mod compare;
mod means;
mod measure;
mod probes;
mod report;
mod run;
mod states;
#[cfg(test)]
mod tests;

pub use coarse::coarse;
pub use compare::fingerprint;
pub use means::{Exactness, Means};
pub use report::{SelfTestReport, SizeReport};
pub use run::{HEADS, SIZES, costs, run};
pub use states::{StateTimes, state_times};
