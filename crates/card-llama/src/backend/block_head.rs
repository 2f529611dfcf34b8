//! A head that drafts a block of tokens at once (DFlash, DSpark), as the core's [`Model`].
//!
//! The head has keys and values of the target's states, one for each committed token but the last, and
//! none of its own tokens. A forward that comes to the last committed token decodes a block behind
//! them: this token, and as many masks as the head was trained with (`common/speculative.cpp`,
//! `common_speculative_impl_draft_dflash`). The logits of a row say what stands there, whatever the
//! drafted tokens before it are, so that all of a draft is known at once: rows of drafts are answered
//! from the block, without a forward, as far as it goes.

use std::collections::HashMap;
use std::time::Duration;

use card_core::forward::{Forward, KvCell, KvOp, Limits, Logits, Model, ModelError, Row};
use card_core::types::SequenceId;

use super::context_options::ContextOptions;
use super::cores::{Cores, on_own_thread};
use super::head_model::HeadModel;
use super::hidden_store::HiddenStore;
use super::kv::books::MemoryKind;
use super::kv::cache::{check, thrown};
use super::kv::ids;
use crate::error::LlamaError;
use crate::sys::batch::Batch;
use crate::sys::context::{Context, ContextSettings, Decoded, ModelPart};
use crate::sys::head_file::BlockShape;
use crate::sys::memory::SeqId;

/// What the head remembers.
const MEMORY: MemoryKind = MemoryKind::Cells { in_order: false };

/// A block drafter with its KV cache.
pub struct BlockContext {
    llama: Context,
    /// States of the target that become keys and values.
    states: Batch,
    block: Batch,
    store: HiddenStore,
    shape: BlockShape,
    /// Numbers of the states of one token.
    width: usize,
    sequences: HashMap<SequenceId, BlockSequence>,
    /// Sequence ids of llama.cpp that hold nothing.
    free: Vec<SeqId>,
    /// Of each row of the last forward, how far behind the last committed token of its sequence it is;
    /// `None` if nothing is known of it.
    answers: Vec<Option<(SequenceId, usize)>>,
    cores: Cores,
    limits: Limits,
    vocab: usize,
}

/// A text.
struct BlockSequence {
    id: SeqId,
    /// Tokens of the stem.
    stem: u32,
    /// The states behind so many tokens, from the first on, are keys and values.
    injected: u32,
    /// Indices of tokens behind the stem.
    cells: HashMap<KvCell, u32>,
    draft: Option<BlockDraft>,
}

/// The logits of a block.
struct BlockDraft {
    /// Index of the last committed token.
    root: u32,
    /// What comes after it, what comes after that, and so on.
    logits: Vec<Box<[f32]>>,
}

impl BlockContext {
    /// A context for a block drafter. It drafts for a target context that keeps the states of the
    /// layers it reads in `states` (`LlamaContext::keep_layers`).
    ///
    /// # Errors
    /// If the head drafts no blocks, a forward of so many rows cannot be, or there is no memory.
    pub fn new(
        head: &HeadModel,
        options: &ContextOptions,
        states: HiddenStore,
    ) -> Result<Self, LlamaError> {
        let fail = |why: String| LlamaError::Context {
            context: options.context,
            why,
        };
        let Some(shape) = head.file().block else {
            return Err(fail("the head drafts no blocks".into()));
        };
        if options.rows < shape.rows {
            return Err(fail(format!("a block has {} rows", shape.rows)));
        }
        let settings = ContextSettings {
            part: ModelPart::HeadFile,
            cells: options
                .cells()
                .ok_or_else(|| fail("that many cells cannot be counted".into()))?,
            rows: options.rows,
            ids: options.ids(MEMORY),
            snapshots: 0,
            threads: options.cores.threads(),
            cache: head.model().cache(),
        };
        let lender = head.lender().map_err(fail)?;
        let made = Context::borrowing(head.model().handle(), &settings, lender);
        let mut llama = made.map_err(fail)?;
        if !shape.causal {
            llama.attend_both_ways();
        }
        let width = head.features();
        let batches = llama
            .states_batch(width)
            .zip(Batch::new(shape.rows as usize, 1, 0));
        let (states_batch, block) =
            batches.ok_or_else(|| fail("there is no memory for a batch".into()))?;
        let mut context = BlockContext {
            llama,
            states: states_batch,
            block,
            store: states,
            shape,
            width,
            sequences: HashMap::new(),
            free: ids::all(settings.ids),
            answers: Vec::new(),
            cores: options.cores.clone(),
            limits: options.limits(MEMORY),
            vocab: head.model().vocab().len(),
        };
        // The first forward pays for page faults and buffers; it shall not be a measurement.
        on_own_thread(|| context.warm_up()).map_err(|e| fail(e.to_string()))?;
        Ok(context)
    }

    /// Decodes a block of a text that nobody has.
    fn warm_up(&mut self) -> Result<(), ModelError> {
        let nobody = SequenceId(u64::MAX);
        let row = Row {
            sequence: nobody,
            token: 0,
            position: 0,
            cell: 1,
            parent: None,
            logits: true,
        };
        self.draft(nobody, &row)?;
        self.drop_text(nobody)
    }

    /// Ends a forward that takes longer than this as a failure.
    pub fn give_up_after(&mut self, patience: Duration) {
        self.llama.give_up_after(patience);
    }

    /// The text of this name, which begins if it is not there.
    fn sequence(&mut self, sequence: SequenceId) -> Result<&mut BlockSequence, ModelError> {
        if !self.sequences.contains_key(&sequence) {
            let id = self.free.pop().ok_or_else(|| ModelError::Ids {
                model: "head".into(),
                sequence,
            })?;
            self.sequences.insert(sequence, BlockSequence::new(id));
        }
        let there = self.sequences.get_mut(&sequence);
        there.ok_or_else(|| unknown("a sequence"))
    }

    /// Answers the rows (their indices) of one text.
    fn answer(
        &mut self,
        sequence: SequenceId,
        rows: &[Row],
        of_it: &[usize],
    ) -> Result<(), ModelError> {
        let measured = self.store.is_none();
        let text = self.sequence(sequence)?;
        for &i in of_it {
            text.cells.insert(rows[i].cell, rows[i].position);
        }
        let root = text.draft.as_ref().map(|draft| draft.root);
        if let Some(root) = root.filter(|root| root + 1 == text.stem && !measured) {
            for &i in of_it {
                let depth = rows[i].position.saturating_sub(root) as usize;
                self.answers[i] = Some((sequence, depth));
            }
            return Ok(());
        }
        let last = of_it.iter().max_by_key(|&&i| rows[i].position);
        let Some(&last) = last else {
            return Ok(());
        };
        self.inject(sequence, rows[last].position)?;
        let text = self.sequence(sequence)?;
        // Behind a token whose state is not known yet nothing is drafted: it is a draft itself.
        if rows[last].logits && text.injected == rows[last].position {
            self.draft(sequence, &rows[last])?;
            self.answers[last] = Some((sequence, 0));
        }
        Ok(())
    }

    /// Makes keys and values of the states behind the tokens before `until` that were not read yet. A
    /// state that was forgotten is zeros; where the last one is not there, nothing is done.
    fn inject(&mut self, sequence: SequenceId, until: u32) -> Result<(), ModelError> {
        let measured = self.store.is_none();
        let text = self.sequence(sequence)?;
        let (id, mut from) = (text.id, text.injected);
        let store = self.store.clone();
        let known = |index: u32| measured || store.states().get(sequence, index).is_some();
        if until <= from || !known(until - 1) {
            return Ok(());
        }
        let most = self.limits.rows as u32;
        while from < until {
            let end = until.min(from + most);
            self.fill_states(sequence, id, from, end);
            let decoded = self.decode_states()?;
            check("head", decoded)?;
            from = end;
            self.sequence(sequence)?.injected = from;
        }
        self.store.states().forget_before(sequence, until);
        Ok(())
    }

    fn fill_states(&mut self, sequence: SequenceId, id: SeqId, from: u32, end: u32) {
        self.states.clear();
        let kept = self.store.states();
        let into = self.states.embeddings_mut((end - from) as usize);
        for (index, into) in (from..end).zip(into.chunks_exact_mut(self.width.max(1))) {
            match kept.get(sequence, index).filter(|s| s.len() == into.len()) {
                Some(state) => into.copy_from_slice(state),
                None => into.fill(0.0),
            }
        }
        for position in from..end {
            self.states.push(0, position, &[id], false);
        }
    }

    fn decode_states(&mut self) -> Result<Decoded, ModelError> {
        let turn = self.cores.take();
        let decoded = self.llama.decode(&self.states, turn.pool());
        drop(turn);
        decoded.map_err(|e| thrown("head", &e))
    }

    /// Decodes the block behind a token, and takes it out of the cache again.
    fn draft(&mut self, sequence: SequenceId, root: &Row) -> Result<(), ModelError> {
        let id = self.sequence(sequence)?.id;
        self.block.clear();
        for place in 0..self.shape.rows {
            let token = if place == 0 {
                root.token
            } else {
                self.shape.mask
            };
            self.block.push(token, root.position + place, &[id], true);
        }
        let turn = self.cores.take();
        let decoded = self.llama.decode(&self.block, turn.pool());
        drop(turn);
        check("head", decoded.map_err(|e| thrown("head", &e))?)?;
        let places = self.shape.first as usize..self.shape.rows as usize;
        let logits = places.map(|place| self.llama.logits(place).into());
        let draft = BlockDraft {
            root: root.position,
            logits: logits.collect(),
        };
        let removed = self.llama.remove(id, root.position);
        removed.map_err(|e| thrown("head", &e))?;
        self.sequence(sequence)?.draft = Some(draft);
        Ok(())
    }

    /// A text begins with the first `keep` tokens of another, whose keys and values are there up to
    /// `injected`.
    fn begin_with(
        &mut self,
        sequence: SequenceId,
        keep: u32,
        injected: u32,
    ) -> Result<(), ModelError> {
        let text = self.sequence(sequence)?;
        let id = text.id;
        text.stem = keep;
        text.injected = injected.min(keep);
        let start = text.injected;
        let removed = self.llama.remove(id, start);
        removed.map(|_| ()).map_err(|e| thrown("head", &e))
    }

    /// A text is over, or another takes its name.
    fn drop_text(&mut self, sequence: SequenceId) -> Result<(), ModelError> {
        if let Some(text) = self.sequences.remove(&sequence) {
            let removed = self.llama.remove(text.id, 0);
            removed.map_err(|e| thrown("head", &e))?;
            self.free.push(text.id);
        }
        Ok(())
    }
}

impl BlockSequence {
    fn new(id: SeqId) -> Self {
        BlockSequence {
            id,
            stem: 0,
            injected: 0,
            cells: HashMap::new(),
            draft: None,
        }
    }
}

fn unknown(what: &str) -> ModelError {
    ModelError::Failed(format!(
        "the head does not know {what} that it is asked about"
    ))
}

impl Logits for BlockContext {
    fn row(&self, i: usize) -> &[f32] {
        let answer = self.answers.get(i).copied().flatten();
        let logits = answer.and_then(|(sequence, depth)| {
            let draft = self.sequences.get(&sequence)?.draft.as_ref()?;
            draft.logits.get(depth)
        });
        logits.map_or(&[], |logits| &**logits)
    }
}

impl Model for BlockContext {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn vocab(&self) -> usize {
        self.vocab
    }

    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        match op {
            KvOp::Commit { sequence, tip, .. } => {
                let text = self.sequence(sequence)?;
                let position = text.cells.get(&tip).copied();
                let position = position.ok_or_else(|| unknown("a token"))?;
                text.stem = position.saturating_add(1);
                text.cells.clear();
                Ok(())
            }
            KvOp::Prune { sequence } => {
                if let Some(text) = self.sequences.get_mut(&sequence) {
                    text.cells.clear();
                    // What comes next is no draft behind this block's.
                    text.draft = None;
                }
                Ok(())
            }
            KvOp::Adopt {
                sequence,
                from,
                keep,
            } => {
                self.drop_text(sequence)?;
                self.store.states().forget(from);
                let Some(mut text) = self.sequences.remove(&from) else {
                    return Ok(());
                };
                let injected = text.injected;
                text.cells.clear();
                text.draft = None;
                self.sequences.insert(sequence, text);
                self.begin_with(sequence, keep, injected)
            }
            KvOp::Share {
                sequence,
                from,
                keep,
            } => {
                self.drop_text(sequence)?;
                let Some(text) = self.sequences.get(&from) else {
                    return Ok(());
                };
                let (theirs, injected) = (text.id, text.injected.min(keep));
                let id = self.sequence(sequence)?.id;
                let copied = self.llama.copy(theirs, id, 0, injected as i32);
                copied.map_err(|e| thrown("head", &e))?;
                self.begin_with(sequence, keep, injected)
            }
            KvOp::Release { sequence } => {
                self.store.states().forget(sequence);
                self.drop_text(sequence)
            }
            // A head saves no states of its own.
            KvOp::Save { .. } | KvOp::Resume { .. } | KvOp::Forget { .. } => Ok(()),
        }
    }

    fn reset(&mut self) -> Result<(), ModelError> {
        self.free = ids::all(self.free.len() + self.sequences.len());
        self.sequences.clear();
        self.answers.clear();
        self.llama.clear(true).map_err(|e| thrown("head", &e))
    }

    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        let rows = &forward.rows;
        if rows.is_empty() || rows.len() > self.limits.rows {
            return Err(ModelError::Failed(format!(
                "a forward of {} rows, and 1 to {} can be",
                rows.len(),
                self.limits.rows
            )));
        }
        self.answers = vec![None; rows.len()];
        let mut texts: Vec<(SequenceId, Vec<usize>)> = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            match texts
                .iter_mut()
                .find(|(sequence, _)| *sequence == row.sequence)
            {
                Some((_, of_it)) => of_it.push(i),
                None => texts.push((row.sequence, vec![i])),
            }
        }
        for (sequence, of_it) in texts {
            self.answer(sequence, rows, &of_it)?;
        }
        Ok(())
    }
}
