//! What was found out while an engine runs. The engine takes it up before the next generation that
//! begins while no other runs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use card_core::scheduler::Shapes;

/// What was found out about the models of a running engine.
#[derive(Clone, Debug, Default)]
pub struct EngineUpdate {
    /// (rows, milliseconds) of the target's forwards, on lanes of their own with the drafter at work
    /// beside it; empty if nothing new is known.
    pub target: Vec<(u32, f64)>,
    /// The same of the first draft model.
    pub draft: Vec<(u32, f64)>,
    /// Which forwards the target may run; `None` if that stays as it is.
    pub rules: Option<DecodingRules>,
}

/// Which forwards a target may run, and how close its decisions may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodingRules {
    /// Which shapes of forward the target may run.
    pub shapes: Shapes,
    /// Decisions of a margin below this, in logits, are reported as near-ties.
    pub near_tie: f32,
    /// Whether every generation is decoded plainly.
    pub plain: bool,
    /// Whether a generation may go on from what an earlier one left in the KV cache, if the engine
    /// was started so that it can.
    pub reuses: bool,
}

/// The update that waits for the target's thread, if one does.
#[derive(Debug, Default)]
pub(crate) struct Updates(Mutex<Option<EngineUpdate>>);

impl Updates {
    fn lock(&self) -> MutexGuard<'_, Option<EngineUpdate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves an update. What an earlier one said that nobody took up yet stays, unless this one
    /// says otherwise.
    pub(crate) fn leave(&self, new: EngineUpdate) {
        let mut waiting = self.lock();
        let earlier = waiting.take().unwrap_or_default();
        let or = |new: Vec<_>, old| if new.is_empty() { old } else { new };
        *waiting = Some(EngineUpdate {
            target: or(new.target, earlier.target),
            draft: or(new.draft, earlier.draft),
            rules: new.rules.or(earlier.rules),
        });
    }

    /// Takes what waits.
    pub(crate) fn take(&self) -> Option<EngineUpdate> {
        self.lock().take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_that_wait_are_merged_and_taken_once() {
        let updates = Updates::default();
        assert!(updates.take().is_none());
        let rules = DecodingRules {
            shapes: Shapes::FREE,
            near_tie: 0.1,
            plain: false,
            reuses: true,
        };
        updates.leave(EngineUpdate {
            target: vec![(1, 10.0)],
            rules: Some(rules),
            ..EngineUpdate::default()
        });
        updates.leave(EngineUpdate {
            target: vec![(1, 11.0)],
            draft: vec![(1, 2.0)],
            rules: None,
        });
        let taken = updates.take().unwrap();
        assert_eq!(
            (taken.target, taken.draft),
            (vec![(1, 11.0)], vec![(1, 2.0)])
        );
        assert_eq!(taken.rules, Some(rules));
        assert!(updates.take().is_none());
    }
}
