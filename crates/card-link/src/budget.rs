//! What a drafter's machine gives to targets: one budget for all of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use card_core::words::counted;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many targets are drafted for at a time, and how much context they have together.
///
/// Invariant: `cells` and the contexts of all living grants add up to what the budget was made
/// with.
#[derive(Debug)]
pub struct Budget {
    links: Arc<Semaphore>,
    most_links: u32,
    /// Tokens of context that are left to grant.
    cells: Mutex<u64>,
    /// Longest context of one sequence.
    context: u32,
}

/// What one target was granted; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Grant {
    budget: Arc<Budget>,
    /// Tokens of context of a sequence.
    pub(crate) context: u32,
    /// Sequences at a time.
    pub(crate) sequences: u32,
    _link: OwnedSemaphorePermit,
}

impl Budget {
    /// Most targets at a time.
    pub const LINKS: u32 = 16;
    /// Shortest context of a sequence.
    const SHORTEST: u32 = 64;

    /// A budget for so many targets, so many tokens of context in all, and sequences of that
    /// length.
    pub fn new(links: u32, cells: u64, context: u32) -> Arc<Budget> {
        Arc::new(Budget {
            links: Arc::new(Semaphore::new(links as usize)),
            most_links: links,
            cells: Mutex::new(cells),
            context: context.clamp(Self::SHORTEST, card_wire::MOST_CONTEXT),
        })
    }

    /// Grants what a target asks for, or fewer sequences if there is no room for all.
    pub(crate) fn take(self: &Arc<Self>, context: u32, sequences: u32) -> Result<Grant, String> {
        let link = self.links.clone().try_acquire_owned().map_err(|_| {
            format!(
                "this machine drafts for {} already",
                counted(self.most_links, "target")
            )
        })?;
        let context = context.clamp(Self::SHORTEST, self.context);
        let asked = sequences.clamp(1, card_wire::MOST_SEQUENCES);
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let room = *cells / u64::from(context);
        let sequences = u32::try_from(room).unwrap_or(u32::MAX).min(asked);
        if sequences == 0 {
            return Err(format!(
                "there is room for {} of context here, and {context} are asked for; see --max-cells",
                counted(*cells, "token")
            ));
        }
        *cells -= u64::from(context) * u64::from(sequences);
        if sequences < asked {
            tracing::warn!(
                "a target asks for {asked} sequences of {context} tokens; there is room for {sequences} (--max-cells)"
            );
        }
        drop(cells);
        Ok(Grant {
            budget: self.clone(),
            context,
            sequences,
            _link: link,
        })
    }

    /// Waits until no target holds anything, at most that long.
    pub async fn ended(&self, most: Duration) {
        let all = self.links.acquire_many(self.most_links);
        // If it takes longer, it is not waited for.
        let _ = tokio::time::timeout(most, all).await;
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let cells = u64::from(self.context) * u64::from(self.sequences);
        let left = &self.budget.cells;
        *left.lock().unwrap_or_else(PoisonError::into_inner) += cells;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_targets_together_get_no_more_than_there_is() {
        let budget = Budget::new(4, 1000, 200);
        let mut held = Vec::new();
        let mut refused = 0;
        for (context, sequences) in [(u32::MAX, 3), (200, u32::MAX), (100, 1), (0, 0)] {
            match budget.take(context, sequences) {
                Ok(grant) => held.push(grant),
                Err(why) => {
                    refused += 1;
                    assert!(why.contains("--max-cells"), "{why}");
                }
            }
        }
        let sum: u32 = held.iter().map(|g| g.context * g.sequences).sum();
        assert!(sum <= 1000, "{held:?}");
        assert_eq!((held[0].context, held[0].sequences), (200, 3));
        assert_eq!((held[1].context, held[1].sequences), (200, 2));
        assert_eq!(refused, 2);
        held.clear();
        assert_eq!(budget.take(200, 5).unwrap().sequences, 5);
        assert_eq!(*budget.cells.lock().unwrap(), 1000);
    }

    #[test]
    fn targets_are_counted() {
        let budget = Budget::new(2, u64::MAX, 1000);
        let one = budget.take(100, 1).unwrap();
        let _two = budget.take(100, 1).unwrap();
        assert!(budget.take(100, 1).unwrap_err().contains("2 targets"));
        drop(one);
        assert!(budget.take(100, 1).is_ok());
    }
}
