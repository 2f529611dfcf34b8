//! Which token the target writes: a function of (logits, settings, seed, position).
//!
//! Sampling is Gumbel-max over the filtered distribution, with noise keyed by (seed, position,
//! token). So the choice does not depend on how or when the logits came about, and a drafter
//! that adds *the same* noise to its own logits agrees with the target as often as two models
//! can (a coupling; Maddison et al. 2014, "A* sampling", §2; Kool et al. 2019 for
//! Gumbel-top-k).
//!
//! Every logit is some number here: a logit that is no number (NaN) counts as −∞, that is as
//! banned, and +∞ as the largest number there is. The largest logit is taken off before anything
//! is divided by the temperature, and scores are 64-bit numbers, so that no temperature makes
//! them infinite.
//!
//! If *nothing* may be written, since every token is banned, masked or no number, the choice is
//! the first token that the mask allows, or token 0 without a mask: a request's bans do not
//! outweigh the grammar it asked for, and a model that fails does not end the engine.
//!
//! With each choice comes its margin: how far off the logits may be for the choice to be the
//! same. The private module `margin` says how it is found.

mod adjust;
mod best;
mod bias;
mod decide;
mod filter;
mod logprob;
mod margin;
mod noise;
mod settings;
mod softmax;
#[cfg(test)]
mod tests;

pub use bias::{Bias, LogitBias, Shift};
pub use decide::{Choice, Sampler};
pub use logprob::Logprob;
pub use noise::gumbel;
pub use settings::{Sampling, SamplingError, SamplingParams};
