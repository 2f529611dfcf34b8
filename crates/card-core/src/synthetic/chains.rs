//! What a model that cannot take back any token ([`Rollback`]) allows, as a list of the chains
//! that hang off a stem.

use crate::forward::{KvCell, Rollback};

/// A call that breaks the rules of [`Rollback`]; the words say which.
pub(super) type Illegal = &'static str;

/// The chains that hang off the stem of one sequence.
///
/// Invariants: a chain's rows come from one forward; a chain begins behind the stem or behind the
/// last row of an earlier chain; at most one chain is `on_stem`, and then it is the only one.
#[derive(Debug, Default)]
pub(super) struct SyntheticChains {
    chains: Vec<DecodedChain>,
    /// The last commit left rows of its chain out.
    rolled_back: bool,
}

/// Rows of one forward.
#[derive(Debug)]
struct DecodedChain {
    /// The cell that the first row follows; `None` for the stem.
    parent: Option<KvCell>,
    /// The rows, at least one once the forward is done.
    cells: Vec<KvCell>,
    /// The stem's own state was changed: there is no other to go back to.
    on_stem: bool,
}

impl SyntheticChains {
    /// Whether the next forward changes the state of the stem itself.
    pub(super) fn is_rolled_back(&self) -> bool {
        self.rolled_back
    }

    /// A chain begins behind `parent`.
    pub(super) fn begin(&mut self, parent: Option<KvCell>) -> Result<(), Illegal> {
        let held = |p: KvCell| self.chains.iter().any(|c| c.cells.last() == Some(&p));
        if parent.is_some_and(|p| !held(p)) {
            return Err("follows a row that is not the last of its chain");
        }
        let on_stem = parent.is_none() && self.rolled_back;
        if on_stem && !self.chains.is_empty() {
            return Err("decodes behind a rolled-back stem twice");
        }
        self.chains.push(DecodedChain {
            parent,
            cells: Vec::new(),
            on_stem,
        });
        Ok(())
    }

    /// The chain that was begun last goes on.
    pub(super) fn extend(&mut self, cell: KvCell) {
        if let Some(chain) = self.chains.last_mut() {
            chain.cells.push(cell);
        }
    }

    /// The rows up to `tip` join the stem.
    pub(super) fn commit(
        &mut self,
        rollback: Rollback,
        tip: KvCell,
        keep_descendants: bool,
    ) -> Result<(), Illegal> {
        let behind = |c: &DecodedChain| {
            let at = c.cells.iter().position(|&cell| cell == tip)?;
            Some(c.cells.len() - 1 - at)
        };
        let behind = self.chains.iter().find_map(behind);
        let left_out = behind.ok_or("commits a row that is in no chain")?;
        let most = match rollback {
            Rollback::Free => usize::MAX,
            Rollback::Bounded { rows } => rows as usize,
            Rollback::Checkpoint => 0,
        };
        if left_out > most {
            return Err("leaves more rows of a chain out than it may");
        }
        self.rolled_back = left_out > 0;
        let mut kept: Vec<DecodedChain> = Vec::new();
        for mut chain in self.chains.drain(..) {
            if chain.parent == Some(tip) {
                chain.parent = None;
            } else {
                let below = |k: &DecodedChain| k.cells.last().copied() == chain.parent;
                if chain.parent.is_none() || !kept.iter().any(below) {
                    continue;
                }
            }
            kept.push(chain);
        }
        if keep_descendants && left_out == 0 {
            self.chains = kept;
        }
        Ok(())
    }

    /// All chains are taken back.
    pub(super) fn prune(&mut self) -> Result<(), Illegal> {
        if self.chains.iter().any(|c| c.on_stem) {
            return Err("takes back all rows behind a rolled-back stem");
        }
        self.chains.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDED: Rollback = Rollback::Bounded { rows: 2 };

    fn decoded(chains: &mut SyntheticChains, parent: Option<KvCell>, cells: &[KvCell]) {
        chains.begin(parent).unwrap();
        for &cell in cells {
            chains.extend(cell);
        }
    }

    #[test]
    fn a_part_of_a_chain_stays_only_within_the_bound() {
        for (rollback, most) in [(Rollback::Checkpoint, 0), (BOUNDED, 2)] {
            for left_out in 0..4 {
                let mut chains = SyntheticChains::default();
                decoded(&mut chains, None, &[1, 2, 3, 4]);
                let done = chains.commit(rollback, 4 - left_out, false);
                assert_eq!(done.is_ok(), left_out <= most, "{rollback:?} {left_out}");
            }
        }
    }

    #[test]
    fn behind_a_rolled_back_stem_something_stays() {
        let mut chains = SyntheticChains::default();
        decoded(&mut chains, None, &[1, 2]);
        chains.commit(BOUNDED, 1, false).unwrap();
        assert!(chains.is_rolled_back());
        decoded(&mut chains, None, &[3, 4]);
        assert!(chains.prune().is_err());
        assert!(chains.begin(None).is_err());
        chains.commit(BOUNDED, 4, false).unwrap();
        // Now there is a state to go back to.
        decoded(&mut chains, None, &[5]);
        chains.prune().unwrap();
        assert!(!chains.is_rolled_back());
    }

    #[test]
    fn each_drafted_token_can_be_gone_back_to() {
        let mut chains = SyntheticChains::default();
        decoded(&mut chains, None, &[1]);
        decoded(&mut chains, Some(1), &[2]);
        decoded(&mut chains, Some(2), &[3]);
        decoded(&mut chains, Some(1), &[4]);
        chains.commit(Rollback::Checkpoint, 1, true).unwrap();
        // What followed the committed token is still there.
        chains.begin(Some(3)).unwrap();
        chains.begin(Some(4)).unwrap();
        assert!(chains.begin(Some(1)).is_err());
        decoded(&mut chains, None, &[5, 6]);
        assert!(chains.begin(Some(5)).is_err());
    }
}
