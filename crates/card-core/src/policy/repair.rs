//! What the rejection of a candidate makes the next forward do.

/// What the next forward decodes again, because its model could not take back just the candidates
/// that were rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repair {
    /// Nothing: the model takes back what it is asked to.
    Nothing,
    /// One row: a model whose rows are taken back within bounds leaves one more out than it has
    /// to, where close decisions are made again.
    OneRow,
    /// All that the forward decoded, and no candidate joins meanwhile: the state goes back to the
    /// one before that forward.
    Everything,
}

/// What a rejection costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RejectionCost {
    /// What the next forward decodes again.
    pub(super) repair: Repair,
    /// Milliseconds to take back what was rejected, beside that.
    pub(super) take_back_ms: f64,
}

impl From<Repair> for RejectionCost {
    /// Taking back takes no time.
    fn from(repair: Repair) -> Self {
        RejectionCost {
            repair,
            take_back_ms: 0.0,
        }
    }
}
