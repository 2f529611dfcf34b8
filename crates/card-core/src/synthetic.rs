//! A made-up language model: its logits are a hash of the whole text so far.
//!
//! It checks what callers do with its KV cache (every row must follow a cell that is
//! there), so a bookkeeping mistake shows as an error or as other text. With limits that say so it
//! is a model that cannot take back any token ([`Rollback`](crate::forward::Rollback)), and what such
//! a model could not do is an error. With noise added
//! it becomes a draft model that agrees with the one without noise more or less often.
//! It serves the tests and the simulator; its figures say nothing of a real model.

mod chains;

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::forward::{Forward, KvCell, KvOp, Limits, Logits, Model, ModelError, Row, StateName};
use crate::sampler::gumbel;
use crate::types::{SequenceId, Token};
use chains::{Illegal, SyntheticChains};

/// Bytes that a saved state counts as, of a model that cannot take back any token.
const STATE_BYTES: usize = 1 << 10;

/// Settings of a [`Synthetic`] model.
#[derive(Clone, Copy, Debug)]
pub struct SyntheticConfig {
    /// Number of tokens.
    pub vocab: usize,
    /// Two models of one seed speak the same language.
    pub seed: u64,
    /// How far logits spread, in units of Gumbel noise: a model of more spread is surer of its
    /// next token.
    pub spread: f32,
    /// How far this model's logits are off the language's, in units of Gumbel noise.
    pub noise: f32,
    /// Seed of that noise.
    pub noise_seed: u64,
    /// What one forward can take.
    pub limits: Limits,
}

#[derive(Clone, Copy)]
struct SyntheticCell {
    position: u32,
    parent: Option<KvCell>,
    /// Hash of the text up to and with this token.
    hash: u64,
}

#[derive(Default)]
struct Kv {
    /// Hash of the text up to each token of the stem.
    stem: Vec<u64>,
    cells: BTreeMap<KvCell, SyntheticCell>,
    /// Which tokens can be taken back; not used with
    /// [`Rollback::Free`](crate::forward::Rollback::Free).
    chains: SyntheticChains,
}

impl Kv {
    /// The path to `tip` joins the stem.
    fn commit(&mut self, tip: KvCell, keep_descendants: bool) -> Result<(), ModelError> {
        let mut path = Vec::new();
        let mut at = Some(tip);
        while let Some(cell) = at {
            let decoded = self.cells.get(&cell).copied();
            let decoded = decoded.ok_or_else(|| failed("commits a cell it never had"))?;
            path.push(decoded.hash);
            at = decoded.parent;
        }
        self.stem.extend(path.iter().rev());
        let mut kept = BTreeMap::new();
        // Parents have smaller names than their children.
        for (&cell, decoded) in &self.cells {
            let mut decoded = *decoded;
            if decoded.parent == Some(tip) {
                decoded.parent = None;
            } else if !decoded.parent.is_some_and(|p| kept.contains_key(&p)) {
                continue;
            }
            kept.insert(cell, decoded);
        }
        if !keep_descendants {
            kept.clear();
        }
        self.cells = kept;
        Ok(())
    }
}

/// A made-up model. See the [module](self) documentation.
///
/// ```
/// use card_core::forward::{Forward, Limits, Logits, Model, Rollback};
/// use card_core::synthetic::{Synthetic, SyntheticConfig};
/// use card_core::types::SequenceId;
///
/// let mut model = Synthetic::new(SyntheticConfig {
///     vocab: 20,
///     seed: 5,
///     spread: 2.0,
///     noise: 0.0,
///     noise_seed: 1,
///     limits: Limits {
///         context: 100,
///         cells: 200,
///         rows: 8,
///         leaves: 4,
///         rollback: Rollback::Free,
///     },
/// });
/// model.forward(&Forward::chain(SequenceId(1), 0, &[3, 1, 4], 0))?;
/// assert_eq!(model.row(2).len(), 20);
/// # Ok::<(), card_core::forward::ModelError>(())
/// ```
pub struct Synthetic {
    config: SyntheticConfig,
    sequences: HashMap<SequenceId, Kv>,
    /// The stems behind which states were saved.
    saved: HashMap<StateName, Vec<u64>>,
    logits: Vec<Vec<f32>>,
}

impl Synthetic {
    /// A model with an empty KV cache.
    pub fn new(config: SyntheticConfig) -> Self {
        Synthetic {
            config,
            sequences: HashMap::new(),
            saved: HashMap::new(),
            logits: Vec::new(),
        }
    }

    /// Checks the rows of a forward against [`Rollback`](crate::forward::Rollback), and notes
    /// them.
    fn note_chains(&mut self, rows: &[Row]) -> Result<(), Illegal> {
        if self.config.limits.rollback.is_free() {
            return Ok(());
        }
        let mut seen: HashSet<SequenceId> = HashSet::new();
        let mut before: Option<&Row> = None;
        for row in rows {
            let chains = &mut self.sequences.entry(row.sequence).or_default().chains;
            if before.is_some_and(|b| b.sequence == row.sequence) {
                if row.parent != before.map(|b| b.cell) {
                    return Err("decodes more than one chain of a sequence");
                }
            } else if seen.insert(row.sequence) {
                chains.begin(row.parent)?;
            } else {
                return Err("decodes rows of a sequence that lie apart");
            }
            chains.extend(row.cell);
            before = Some(row);
        }
        Ok(())
    }

    /// Checks that another sequence may begin with `keep` tokens of `from`.
    fn check_beginning(&self, from: SequenceId, keep: u32, shared: bool) -> Result<(), Illegal> {
        let Some(kv) = self.sequences.get(&from) else {
            return Err("takes tokens of a sequence it never had");
        };
        if self.config.limits.rollback.is_free() {
            return Ok(());
        }
        if keep as usize != kv.stem.len() {
            return Err("takes a part of a stem");
        }
        if shared && kv.chains.is_rolled_back() {
            return Err("shares a rolled-back stem");
        }
        Ok(())
    }

    /// Saves the state behind the stem of a sequence.
    fn save(&mut self, sequence: SequenceId, state: StateName) -> Result<(), Illegal> {
        if self.config.limits.rollback.is_free() {
            return Err("saves a state that it does not have");
        }
        let Some(kv) = self.sequences.get(&sequence) else {
            return Err("saves the state of a sequence it never had");
        };
        if !kv.cells.is_empty() {
            return Err("saves a state while rows hang off the stem");
        }
        if self.saved.insert(state, kv.stem.clone()).is_some() {
            return Err("gives a saved state's name twice");
        }
        Ok(())
    }

    /// A sequence begins with the first `keep` tokens of `from`, and a saved state.
    fn resume(
        &mut self,
        sequence: SequenceId,
        from: SequenceId,
        keep: u32,
        state: StateName,
    ) -> Result<(), Illegal> {
        let Some(saved) = self.saved.get(&state) else {
            return Err("goes on from a state that was not saved");
        };
        let from = self.sequences.get(&from).map(|kv| &kv.stem);
        if from.and_then(|stem| stem.get(..keep as usize)) != Some(saved.as_slice()) {
            return Err("goes on from a state that is another text's");
        }
        let kv = Kv {
            stem: saved.clone(),
            ..Kv::default()
        };
        self.sequences.insert(sequence, kv);
        Ok(())
    }

    fn logits_after(&self, hash: u64) -> Vec<f32> {
        let c = &self.config;
        let draw = |seed: u64, t: usize| gumbel(seed ^ hash, 0, t as Token);
        (0..c.vocab)
            .map(|t| c.spread * draw(c.seed, t) + c.noise * draw(c.noise_seed, t))
            .collect()
    }
}

impl Logits for Synthetic {
    fn row(&self, i: usize) -> &[f32] {
        &self.logits[i]
    }
}

impl Model for Synthetic {
    fn limits(&self) -> Limits {
        self.config.limits
    }

    fn vocab(&self) -> usize {
        self.config.vocab
    }

    fn state_bytes(&self) -> Option<usize> {
        (!self.config.limits.rollback.is_free()).then_some(STATE_BYTES)
    }

    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        match op {
            KvOp::Commit {
                sequence,
                tip,
                keep_descendants,
            } => {
                let kv = self.sequences.entry(sequence).or_default();
                let rollback = self.config.limits.rollback;
                if !rollback.is_free() {
                    let done = kv.chains.commit(rollback, tip, keep_descendants);
                    done.map_err(failed)?;
                }
                kv.commit(tip, keep_descendants)?;
            }
            KvOp::Prune { sequence } => {
                let kv = self.sequences.entry(sequence).or_default();
                kv.chains.prune().map_err(failed)?;
                kv.cells.clear();
            }
            KvOp::Share {
                sequence,
                from,
                keep,
            } => {
                self.check_beginning(from, keep, true).map_err(failed)?;
                let stem = self.sequences.get(&from).map(|kv| &kv.stem);
                let stem = stem.and_then(|s| s.get(..keep as usize));
                let stem = stem.ok_or_else(|| failed("shares more than there is"))?;
                let kv = Kv {
                    stem: stem.to_vec(),
                    ..Kv::default()
                };
                self.sequences.insert(sequence, kv);
            }
            KvOp::Adopt {
                sequence,
                from,
                keep,
            } => {
                self.check_beginning(from, keep, false).map_err(failed)?;
                let mut kv = self
                    .sequences
                    .remove(&from)
                    .ok_or_else(|| failed("adopts from a sequence it never had"))?;
                if keep as usize > kv.stem.len() {
                    return Err(failed("adopts more than there is"));
                }
                kv.chains.prune().map_err(failed)?;
                kv.stem.truncate(keep as usize);
                kv.cells.clear();
                self.sequences.insert(sequence, kv);
            }
            KvOp::Release { sequence } => {
                self.sequences.remove(&sequence);
            }
            KvOp::Save { sequence, state } => self.save(sequence, state).map_err(failed)?,
            KvOp::Resume {
                sequence,
                from,
                keep,
                state,
            } => self.resume(sequence, from, keep, state).map_err(failed)?,
            KvOp::Forget { state } => {
                let known = self.saved.remove(&state).is_some();
                known
                    .then_some(())
                    .ok_or_else(|| failed("forgets a state that was not saved"))?;
            }
        }
        Ok(())
    }

    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        if forward.rows.len() > self.config.limits.rows {
            return Err(failed("too many rows"));
        }
        self.note_chains(&forward.rows).map_err(failed)?;
        self.logits.clear();
        for row in &forward.rows {
            let kv = self.sequences.entry(row.sequence).or_default();
            let (position, hash) = match row.parent {
                Some(parent) => {
                    let p = kv.cells.get(&parent);
                    let p = p.ok_or_else(|| failed("follows a cell it never had"))?;
                    (p.position + 1, p.hash)
                }
                None => (
                    kv.stem.len() as u32,
                    kv.stem.last().copied().unwrap_or(0x5bd1_e995),
                ),
            };
            if position != row.position || position >= self.config.limits.context {
                return Err(failed("position"));
            }
            if row.token as usize >= self.config.vocab {
                return Err(failed("foreign token"));
            }
            let mut hash = (hash ^ u64::from(row.token)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 29;
            kv.cells.insert(
                row.cell,
                SyntheticCell {
                    position,
                    parent: row.parent,
                    hash,
                },
            );
            let logits = if row.logits {
                self.logits_after(hash)
            } else {
                Vec::new()
            };
            self.logits.push(logits);
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<(), ModelError> {
        self.sequences.clear();
        self.saved.clear();
        self.logits.clear();
        Ok(())
    }
}

fn failed(what: &str) -> ModelError {
    ModelError::Failed(format!("synthetic model: {what}"))
}
