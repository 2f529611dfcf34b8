//! How many drafters of each scope have come.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Drafters of one scope at a time. One whose connection was lost may still be counted.
const PER_SCOPE: usize = 8;

/// Counts of the drafters that came, by scope. A scope without a drafter has no entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scopes(Arc<Mutex<HashMap<Option<String>, usize>>>);

/// A drafter that is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct ScopeMember {
    scopes: Scopes,
    scope: Option<String>,
}

impl Scopes {
    /// Counts one more drafter of a scope, unless there are too many.
    pub(crate) fn enter(&self, scope: Option<String>) -> Result<ScopeMember, String> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(scope.clone()).or_default();
        if *count >= PER_SCOPE {
            return Err(format!(
                "{PER_SCOPE} drafters of this scope are here already"
            ));
        }
        *count += 1;
        drop(counts);
        Ok(ScopeMember {
            scopes: self.clone(),
            scope,
        })
    }
}

impl Drop for ScopeMember {
    fn drop(&mut self) {
        let mut counts = self.scopes.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.scope) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.scope);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_has_a_bounded_number_of_drafters_and_forgets_those_that_left() {
        let scopes = Scopes::default();
        for scope in [None, Some("laptop".to_owned())] {
            let mut here: Vec<ScopeMember> = (0..PER_SCOPE)
                .map(|_| scopes.enter(scope.clone()).unwrap())
                .collect();
            assert!(scopes.enter(scope.clone()).is_err());
            here.pop();
            assert!(scopes.enter(scope.clone()).is_ok());
        }
        assert!(scopes.0.lock().unwrap().is_empty());
    }
}
