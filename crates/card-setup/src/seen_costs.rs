//! What forwards of real generations took, kept for the next start: it makes a coarse measurement
//! finer, and corrects one that was wrong.

use anyhow::Result;
use card_engine::Pauses;
use card_engine::placement::Placement;
use serde::{Deserialize, Serialize};

use crate::findings::{self, keep, known};
use crate::models::store::Store;
use crate::quiet::Quiet;

/// Forwards of a size that make its median worth keeping.
const ENOUGH: usize = 8;

/// (rows, milliseconds) of the forwards of a pair, as medians.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenCosts {
    target: Vec<(u32, f64)>,
    draft: Vec<(u32, f64)>,
}

impl SeenCosts {
    /// What an engine has seen.
    pub fn of(pauses: &Pauses) -> Self {
        let [target, draft] = pauses.forward_times();
        SeenCosts {
            target: target.medians(ENOUGH),
            draft: draft.medians(ENOUGH),
        }
    }
}

/// The place of what was seen of a pair in one placement.
#[derive(Clone, Debug)]
pub struct SeenKey(String);

impl SeenKey {
    /// By the key of all else that measurements of the pair depend on.
    pub fn new(pair: &str, placement: &Placement) -> Self {
        SeenKey(format!("{pair} | seen {placement}"))
    }

    /// Keeps what was seen, together with what was known before of other sizes. What a busy machine
    /// took is not kept.
    pub fn keep(&self, store: &Store, seen: SeenCosts, quiet: Option<Quiet>) {
        if seen == SeenCosts::default() || quiet.is_some_and(|q| q.is_busy()) {
            return;
        }
        let before: SeenCosts = known(store, &self.0).unwrap_or_default();
        let both = SeenCosts {
            target: united(&before.target, &seen.target),
            draft: united(&before.draft, &seen.draft),
        };
        keep(store, self.0.clone(), both, quiet);
    }

    /// Corrects the costs of a placement by what was seen of it.
    pub fn correct(&self, store: &Store, placement: &mut Placement) {
        if let Some(seen) = known::<SeenCosts>(store, &self.0) {
            placement.target = corrected(&placement.target, &seen.target);
            placement.draft = corrected(&placement.draft, &seen.draft);
        }
    }

    /// Forgets it, once all was measured anew.
    pub fn forget(&self, store: &Store) {
        findings::forget(store, &self.0);
    }
}

/// Points of both; where both have one, that of the second.
fn united(first: &[(u32, f64)], second: &[(u32, f64)]) -> Vec<(u32, f64)> {
    let others = first.iter().filter(|p| second.iter().all(|q| q.0 != p.0));
    let mut all: Vec<_> = others.chain(second).copied().collect();
    all.sort_by_key(|p| p.0);
    all
}

/// What was measured, with what was seen in place of it. Sizes that were not seen take as many
/// times longer as those that were, as a median; nothing is corrected where no size was both
/// measured and seen.
fn corrected(measured: &[(u32, f64)], seen: &[(u32, f64)]) -> Vec<(u32, f64)> {
    let of = |rows| measured.iter().find(|p: &&(u32, f64)| p.0 == rows);
    let both = seen.iter().filter_map(|s| Some(s.1 / of(s.0)?.1));
    let mut ratios: Vec<f64> = both.filter(|r| r.is_finite() && *r > 0.0).collect();
    ratios.sort_by(f64::total_cmp);
    let Some(&longer) = ratios.get(ratios.len() / 2) else {
        return measured.to_vec();
    };
    let scaled: Vec<_> = measured.iter().map(|&(n, ms)| (n, longer * ms)).collect();
    united(&scaled, seen)
}

/// The key of all that the costs of a pair depend on.
///
/// # Errors
/// If a file is not there any more.
pub fn pair_key(
    target: &std::path::Path,
    target_key: &str,
    draft: Option<(&std::path::Path, &str)>,
) -> Result<String> {
    let mut key = format!("{} | {target_key}", findings::identity(target)?);
    if let Some((file, draft_key)) = draft {
        key = format!("{key} | {} | {draft_key}", findings::identity(file)?);
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use card_core::protocol::Lanes;

    use super::*;

    fn placement() -> Placement {
        Placement {
            lanes: Lanes::Shared,
            target_threads: 2,
            draft_threads: 2,
            target: vec![(1, 10.0), (8, 20.0)],
            draft: vec![(1, 2.0)],
        }
    }

    #[test]
    fn what_was_seen_takes_the_place_of_what_was_measured_and_scales_the_rest() {
        let measured = [(1, 10.0), (8, 20.0), (32, 60.0)];
        let seen = [(1, 15.0), (4, 18.0)];
        let expected = [(1, 15.0), (4, 18.0), (8, 30.0), (32, 90.0)];
        assert_eq!(corrected(&measured, &seen), expected);
        assert_eq!(corrected(&measured, &[]), measured);
        // Nothing says how the two compare.
        assert_eq!(corrected(&measured, &[(5, 1000.0)]), measured);
        assert_eq!(corrected(&[(1, 0.0)], &[(1, 5.0)]), [(1, 0.0)]);
        assert!(corrected(&[], &seen).is_empty());
    }

    #[test]
    fn what_is_kept_comes_back_for_the_same_placement_only() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        let key = SeenKey::new("a pair", &placement());
        let seen = |ms| SeenCosts {
            target: vec![(1, ms)],
            draft: Vec::new(),
        };
        key.keep(&store, seen(30.0), None);
        let busy = Quiet {
            others: 0.5,
            ..Quiet::default()
        };
        key.keep(&store, seen(99.0), Some(busy));
        let four = SeenCosts {
            target: vec![(4, 40.0)],
            draft: vec![(1, 3.0)],
        };
        key.keep(&store, four, Some(Quiet::default()));
        key.keep(&store, SeenCosts::default(), None);
        let mut corrected = placement();
        key.correct(&store, &mut corrected);
        assert_eq!(corrected.target, [(1, 30.0), (4, 40.0), (8, 60.0)]);
        assert_eq!(corrected.draft, [(1, 3.0)]);

        let mut other = Placement {
            target_threads: 1,
            ..placement()
        };
        let unchanged = other.clone();
        SeenKey::new("a pair", &other.clone()).correct(&store, &mut other);
        assert_eq!(other, unchanged);
        key.forget(&store);
        let mut again = placement();
        key.correct(&store, &mut again);
        assert_eq!(again, placement());
    }
}
