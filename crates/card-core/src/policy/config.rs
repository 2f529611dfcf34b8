//! The fixed settings of a policy.

use serde::{Deserialize, Serialize};

use crate::protocol::Lanes;

/// How the scheduler decides what to do next. All four modes run through the same loop; they
/// differ in how many candidates a forward carries and in when a draft step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// One token per forward, and no drafter.
    Plain,
    /// Draft a chain of fixed length, verify it, start over (speculative decoding as in
    /// arXiv 2211.17192).
    DraftThenVerify,
    /// Query-and-correct (CARD, arXiv 2508.04462): verify what the candidate cache holds, and
    /// go on drafting meanwhile, always.
    Card,
    /// Whatever the measured costs say is fastest, plain decoding included.
    Auto,
}

/// The most further draft steps that are looked ahead. Cost curves have jumps, and the policy
/// must see past one.
pub(super) const LOOKAHEAD: u32 = 12;

/// The fixed settings of a [`Policy`](super::Policy).
#[derive(Clone, Copy, Debug)]
pub struct PolicyConfig {
    /// How to schedule.
    pub mode: Mode,
    /// Whether target and drafter share one lane or have one each.
    pub lanes: Lanes,
    /// Tokens of the chain in [`Mode::DraftThenVerify`].
    pub draft_len: u32,
}
