//! What the scheduler has to tell, until it is asked: nothing here decides anything.

use super::output::Output;
use super::round::DraftSpan;
use crate::policy::DecisionTrace;

/// Draft steps reported with a round.
const MOST_SPANS: usize = 64;

/// What is to be told.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// The numbers behind the decisions since the last launch.
    pub(super) trace: DecisionTrace,
    /// Draft steps that were heard of since the last round.
    spans: Vec<DraftSpan>,
    outputs: Vec<Output>,
}

impl Reports {
    /// Something happened.
    pub(super) fn say(&mut self, output: Output) {
        self.outputs.push(output);
    }

    /// What happened since the last call.
    pub(super) fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// A drafter took a step. Of too many only the first ones are reported.
    pub(super) fn note_span(&mut self, span: DraftSpan) {
        if self.spans.len() < MOST_SPANS {
            self.spans.push(span);
        }
    }

    /// The draft steps since the last call.
    pub(super) fn take_spans(&mut self) -> Vec<DraftSpan> {
        std::mem::take(&mut self.spans)
    }

    /// The numbers behind the round that is launched, of which `shown` is what does not come from a
    /// decision; the next round begins anew.
    pub(super) fn take_trace(&mut self, shown: DecisionTrace) -> DecisionTrace {
        DecisionTrace {
            gated: shown.gated,
            plain: shown.plain,
            sequences: shown.sequences,
            ..std::mem::take(&mut self.trace)
        }
    }
}
