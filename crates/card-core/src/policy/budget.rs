//! How much time may be spent on trying what does not look best.

/// The share of the time that may go to draft steps that do not look profitable, to find out
/// whether speculation pays by now. Trials of gated drafters earn the same share of tokens.
pub(super) const EXPLORE: f64 = 0.02;
/// The share of the time that plain rounds in [`Mode::Auto`](super::Mode::Auto) may lose. Every
/// decision is made against the cost of plain decoding, and a schedule that always speculates
/// would not notice when that cost changes. Where speculation is far ahead a plain round loses
/// much, so it comes seldom.
const REMEASURE: f64 = 0.005;
/// A plain round counts as losing at least this share of its own time, so that plain rounds do
/// not come too often where they lose nearly nothing.
const LEAST_LOSS: f64 = 0.1;

/// The account of exploration. All amounts are milliseconds, none is negative.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExplorationBudget {
    /// Time of all rounds.
    total_ms: f64,
    /// Time that was lost against plain decoding and not won back since.
    explored_ms: f64,
    /// Time since the last round without candidates; infinite before the first one.
    pub(super) since_plain_ms: f64,
}

impl ExplorationBudget {
    /// Nothing was spent, and plain decoding was never measured.
    pub(super) fn new() -> Self {
        ExplorationBudget {
            total_ms: 0.0,
            explored_ms: 0.0,
            since_plain_ms: f64::INFINITY,
        }
    }

    /// Whether a plain round is due that takes `plain_ms` and loses `loss_ms` against what the
    /// sequences would have got in that time.
    pub(super) fn plain_round_is_due(&self, plain_ms: f64, loss_ms: f64) -> bool {
        REMEASURE * self.since_plain_ms >= loss_ms.max(LEAST_LOSS * plain_ms)
    }

    /// Whether a trial that costs `ms` is within the budget.
    pub(super) fn affords(&self, ms: f64) -> bool {
        self.explored_ms + ms < EXPLORE * self.total_ms
    }

    /// Notes a round of `ms` milliseconds. `speculated` says whether candidates joined it, and
    /// `plain_ms` what plain decoding takes for as many tokens. What the round lost counts as
    /// exploration if the policy could have chosen plain decoding (`could_be_plain`); half of
    /// what a round wins is taken off again.
    pub(super) fn note_round(
        &mut self,
        ms: f64,
        plain_ms: f64,
        speculated: bool,
        could_be_plain: bool,
    ) {
        self.since_plain_ms = if speculated {
            self.since_plain_ms + ms
        } else {
            0.0
        };
        self.total_ms += ms;
        if ms > plain_ms && could_be_plain {
            self.explored_ms += ms - plain_ms;
        } else {
            self.explored_ms = (self.explored_ms - 0.5 * (plain_ms - ms)).max(0.0);
        }
    }
}
