//! A model with a KV cache: llama.cpp behind the core's [`Model`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use card_core::forward::{Forward, HiddenRow, KvOp, Limits, Logits, Model, ModelError, Row};
use card_core::types::SequenceId;

use super::context_options::{ContextOptions, MOST_ROWS};
use super::cores::{Cores, on_own_thread};
use super::feature_encoder::FeatureEncoder;
use super::head::HeadReader;
use super::head_model::HeadModel;
use super::hidden_store::HiddenStore;
use super::kv::books::MemoryKind;
use super::kv::cache::{KvCache, PlacedRows, check, thrown};
use super::model::LlamaModel;
use super::state_keeper::{ReadStates, StateKeeper};
use super::trim::widen::Widener;
use crate::error::LlamaError;
use crate::kernels::AttentionGuard;
use crate::sys::batch::Batch;
use crate::sys::context::{Context, ContextSettings, Decoded, ModelPart};
use crate::sys::memory::SeqId;

/// A model with its KV cache.
pub struct LlamaContext {
    llama: Context,
    batch: Batch,
    kv: KvCache,
    // Attention stays what it is as long as the context needs it: dropped after the context.
    _kernels: Option<Arc<AttentionGuard>>,
    /// Between the tokens of the core and those a trimmed model has.
    widener: Option<Widener>,
    /// The logits by row of a forward that was decoded in several parts.
    apart: Option<HashMap<usize, Vec<f32>>>,
    /// The hidden states that the head of this target reads.
    keeper: Option<StateKeeper>,
    /// What this context reads beside tokens, if it is that of a head.
    reader: Option<HeadReader>,
    cores: Cores,
    role: &'static str,
    limits: Limits,
    /// Logits of a row, as the core sees them.
    vocab: usize,
    /// Bytes of a saved state, if states can be saved.
    state_bytes: Option<usize>,
}

impl LlamaContext {
    /// A context for `model`, warmed up.
    ///
    /// # Errors
    /// If there is no memory for it, or a forward of so many rows cannot be.
    pub fn new(model: &LlamaModel, options: &ContextOptions) -> Result<Self, LlamaError> {
        Self::of_part(model, options, ModelPart::Trunk, None)
    }

    /// A context for the head of `model`, warmed up. It drafts for a target context of the same model
    /// that keeps hidden states in `states` ([`LlamaContext::keep_states`]).
    ///
    /// # Errors
    /// If the model was loaded without a head, there is no memory, or a forward of so many rows
    /// cannot be.
    pub fn of_head(
        model: &LlamaModel,
        options: &ContextOptions,
        states: HiddenStore,
    ) -> Result<Self, LlamaError> {
        if !model.has_head() {
            return Err(LlamaError::Unsupported {
                path: model.path().display().to_string(),
                why: "it was loaded without a head".into(),
            });
        }
        let mut context = Self::of_part(model, options, ModelPart::Head, None)?;
        context.reader = Some(HeadReader::new(states));
        Ok(context)
    }

    /// A context for a head in a file of its own, warmed up. It drafts for a target context that keeps
    /// the states of the layers it reads in `states` ([`LlamaContext::keep_layers`]).
    ///
    /// # Errors
    /// If there is no memory, or a forward of so many rows cannot be.
    pub fn of_head_file(
        head: &HeadModel,
        options: &ContextOptions,
        states: HiddenStore,
    ) -> Result<Self, LlamaError> {
        let lender = head.lender();
        let lender = lender.map_err(|why| no_context(options.context, why))?;
        let mut context = Self::of_part(head.model(), options, ModelPart::HeadFile, lender)?;
        let encoder = FeatureEncoder::new(&context.llama, head.features());
        let encoder = encoder.ok_or_else(|| no_context(options.context, NO_BATCH.into()))?;
        let reader = HeadReader::encoding(states, encoder);
        context.llama.skip(reader.skipped());
        context.reader = Some(reader);
        Ok(context)
    }

    /// Has the context keep the hidden states that a head of its model reads. Returns where they
    /// are kept.
    ///
    /// # Errors
    /// If this build of llama.cpp gives no hidden states.
    pub fn keep_states(&mut self) -> Result<HiddenStore, LlamaError> {
        let given = self.llama.give_head_states(false);
        given.map_err(|thrown| no_context(self.limits.context, thrown.to_string()))?;
        let store = HiddenStore::new(self.llama.hidden_width());
        self.keeper = Some(StateKeeper::new(store.clone(), ReadStates::Last));
        Ok(store)
    }

    /// Has the context keep the states that a head in a file of its own reads: the inputs of some
    /// layers. Returns where they are kept.
    ///
    /// # Errors
    /// If the head was loaded for another target, or this build of llama.cpp gives no hidden states.
    pub fn keep_layers(&mut self, head: &HeadModel) -> Result<HiddenStore, LlamaError> {
        if !self.llama.is_of(head.target().handle()) {
            return Err(LlamaError::Unsupported {
                path: head.file().path().display().to_string(),
                why: "it was loaded for another target".into(),
            });
        }
        let tapped = self.llama.tap(head.layers());
        tapped.map_err(|thrown| no_context(self.limits.context, thrown.to_string()))?;
        let layers = head.layers().len();
        let store = HiddenStore::of_layers(head.features() / layers.max(1), layers);
        self.keeper = Some(StateKeeper::new(store.clone(), ReadStates::Inputs));
        // llama.cpp plans its graphs anew, which shall not be a measurement.
        let done = on_own_thread(|| self.warm_up(false));
        done.map_err(|e| no_context(self.limits.context, e.to_string()))?;
        Ok(store)
    }

    /// A context for a part of `model`, which may borrow tensors.
    fn of_part(
        model: &LlamaModel,
        options: &ContextOptions,
        part: ModelPart,
        lender: Option<Context>,
    ) -> Result<Self, LlamaError> {
        let fail = |why: String| no_context(options.context, why);
        if !(1..=MOST_ROWS).contains(&options.rows) {
            return Err(fail(format!(
                "a forward has 1 to {MOST_ROWS} rows, not {}",
                options.rows
            )));
        }
        let head = part.is_head();
        // A head has attention only, whatever the other layers have.
        let kind = options.memory(!head && model.keeps_states(), model.is_hybrid());
        if model.keeps_states() && model.trimmed().is_some() {
            return Err(fail(
                "a recurrent model with a part of its vocabulary".into(),
            ));
        }
        let settings = ContextSettings {
            part,
            cells: options
                .cells()
                .ok_or_else(|| fail("that many cells cannot be counted".into()))?,
            rows: options.rows,
            ids: options.ids(kind),
            snapshots: match kind {
                MemoryKind::Cells { .. } => 0,
                MemoryKind::States { snapshots, .. } => snapshots,
            },
            threads: options.cores.threads(),
            cache: model.cache(),
        };
        let made = Context::borrowing(model.handle(), &settings, lender);
        let mut llama = made.map_err(fail)?;
        if head {
            let given = llama.give_head_states(true);
            given.map_err(|thrown| fail(thrown.to_string()))?;
        }
        if let Some(adapters) = model.adapters() {
            llama.adapt(adapters).map_err(fail)?;
        }
        let kind = match kind {
            // Not every model that keeps states can leave rows out.
            MemoryKind::States { in_order, .. } => MemoryKind::States {
                snapshots: llama.snapshots(),
                in_order,
            },
            cells => cells,
        };
        let widener = model.trimmed().cloned().map(Widener::new);
        let batch = llama
            .batch(widener.is_some())
            .ok_or_else(|| fail(NO_BATCH.into()))?;
        let cells = settings.cells as usize;
        let mut context = LlamaContext {
            llama,
            batch,
            kv: KvCache::new(options.role, settings.ids, cells, kind),
            _kernels: model.kernels().cloned(),
            widener,
            apart: None,
            keeper: None,
            reader: None,
            cores: options.cores.clone(),
            role: options.role,
            limits: options.limits(kind),
            vocab: model.vocab().len(),
            state_bytes: None,
        };
        let saves = kind.has_states() && model.saves_states() && !options.drafts();
        on_own_thread(|| context.warm_up(saves)).map_err(|e| fail(e.to_string()))?;
        Ok(context)
    }

    /// The first forward pays for page faults and buffers; it shall not be a measurement. If states
    /// are to be saved, another one says how large they are; nobody asks a draft model to save one.
    fn warm_up(&mut self, saves: bool) -> Result<(), ModelError> {
        self.run(&[], &PlacedRows::none(), 1)?;
        if saves {
            self.state_bytes = Some(self.weigh_state()?);
        }
        Ok(())
    }

    /// Empties the KV cache: every sequence begins anew.
    ///
    /// # Errors
    /// If llama.cpp cannot even do that; the context is of no use then.
    pub fn reset_cache(&mut self) -> Result<(), ModelError> {
        if let Some(reader) = &mut self.reader {
            reader.reset();
        }
        self.kv.reset(&mut self.llama)
    }

    /// Bytes of a saved state: a token is read for it, and the cache is empty afterwards.
    fn weigh_state(&mut self) -> Result<usize, ModelError> {
        let sequence = SequenceId(0);
        self.forward(&Forward::chain(sequence, 0, &[0], 0))?;
        self.apply(KvOp::Commit {
            sequence,
            tip: 1,
            keep_descendants: false,
        })?;
        let bytes = self.kv.weigh_state(&mut self.llama, sequence)?;
        self.reset_cache()?;
        Ok(bytes)
    }

    /// Ends a forward that takes longer than this as a failure. What runs on the CPU is
    /// stopped between two operations; a device that hangs is not.
    pub fn give_up_after(&mut self, patience: Duration) {
        self.llama.give_up_after(patience);
    }

    /// Decodes rows with their ids, part by part, and padding up to `pad_to` rows in a sequence of
    /// its own, with the first part.
    fn run(&mut self, rows: &[Row], placed: &PlacedRows, pad_to: usize) -> Result<(), ModelError> {
        self.apart = None;
        if let Some(keeper) = &mut self.keeper {
            keeper.begin();
        }
        let of_head = self.reader.as_ref().map(|reader| reader.parts(rows));
        let parts = of_head.as_ref().unwrap_or(&placed.parts);
        let all: usize = parts.iter().map(Vec::len).sum();
        // Rows that are left out give the others other places.
        let several = parts.len() > 1 || all < rows.len();
        if several {
            self.apart = Some(HashMap::new());
        }
        let mut padding = pad_to.saturating_sub(rows.len());
        for (n, part) in parts.iter().enumerate() {
            match self.run_part(rows, &placed.ids, part, padding) {
                // The rows before are decoded, and what they changed has no copy.
                Err(ModelError::Full { .. }) if n > 0 && placed.change_a_stem => {
                    let why = "there was room for a part of a forward";
                    return Err(self.kv.lost(&mut self.llama, why));
                }
                done => done?,
            }
            padding = 0;
            if several {
                self.set_apart(rows, part);
            }
        }
        if let Some(reader) = &mut self.reader {
            reader.note_skipped(rows);
        }
        Ok(())
    }

    /// Decodes the rows of one part (their indices), and so many rows of padding.
    fn run_part(
        &mut self,
        rows: &[Row],
        ids: &[Vec<SeqId>],
        part: &[usize],
        padding: usize,
    ) -> Result<(), ModelError> {
        self.encode(rows, part)?;
        let hidden = self.fill(rows, ids, part, padding)?;
        let decoded = self.decode()?;
        if padding > 0 {
            self.kv.drop_padding(&mut self.llama)?;
        }
        check(self.role, decoded)?;
        self.widen(rows, part, hidden);
        if let Some(reader) = &mut self.reader {
            reader.note_part(rows, part, &self.llama);
        }
        Ok(())
    }

    /// Has a head's encoder make the states that the rows of a part are read with, where it has one.
    fn encode(&mut self, rows: &[Row], part: &[usize]) -> Result<(), ModelError> {
        let scratch = self.kv.scratch();
        let Some(reader) = &mut self.reader else {
            return Ok(());
        };
        let Some(batch) = reader.gathered(rows, part, scratch) else {
            return Ok(());
        };
        let turn = self.cores.take();
        let encoded = self.llama.encode(batch, turn.pool());
        drop(turn);
        let encoded = encoded.map_err(|e| thrown(self.role, &e))?;
        check(self.role, encoded)?;
        if let Some(reader) = &mut self.reader {
            reader.take_encoded(&self.llama);
        }
        Ok(())
    }

    /// Copies the logits of a part's rows, and their hidden states if they may be wanted, which the
    /// next part would take the place of.
    fn set_apart(&mut self, rows: &[Row], part: &[usize]) {
        if let Some(keeper) = &mut self.keeper {
            keeper.set_apart(part, &self.llama);
        }
        let apart = self.apart.get_or_insert_default();
        for (i, &row) in part.iter().enumerate() {
            if rows[row].logits {
                apart.insert(row, self.llama.logits(i).to_vec());
            }
        }
    }

    /// Writes the rows of a part and the padding into the batch. Returns whether the forward gives
    /// hidden states.
    fn fill(
        &mut self,
        rows: &[Row],
        ids: &[Vec<SeqId>],
        part: &[usize],
        padding: usize,
    ) -> Result<bool, ModelError> {
        self.batch.clear();
        let mut hidden = false;
        if let Some(widener) = &mut self.widener {
            let into = self.batch.embeddings_mut(part.len() + padding);
            let padding = std::iter::repeat_n(0, padding);
            let tokens = part.iter().map(|&i| rows[i].token);
            widener.embed(tokens.chain(padding), into)?;
            hidden = Widener::wants_hidden(rows);
            let given = self.llama.give_hidden_states(hidden);
            given.map_err(|e| thrown(self.role, &e))?;
        }
        // A head's states are given for all rows or none, and hidden states too.
        let all = hidden || self.reader.is_some() && HeadReader::has_logits(rows, part);
        for (place, &i) in part.iter().enumerate() {
            let row = &rows[i];
            let logits = row.logits || all;
            let position = self.llama.position(row.position);
            self.batch.push(row.token, position, &ids[i], logits);
            if let Some(reader) = &self.reader {
                reader.read(row, self.batch.state_mut(place));
            }
        }
        let scratch = self.kv.scratch();
        for i in 0..padding {
            self.batch.push(0, i as u32, &[scratch], true);
        }
        Ok(hidden)
    }

    /// Decodes the batch when the cores of the lane are free.
    fn decode(&mut self) -> Result<Decoded, ModelError> {
        self.kv.take_cells(self.batch.len());
        let turn = self.cores.take();
        let decoded = self.llama.decode(&self.batch, turn.pool());
        drop(turn);
        // Of a forward that threw something nobody knows how far it came.
        decoded.map_err(|thrown| self.kv.lost(&mut self.llama, &thrown.to_string()))
    }

    /// Puts the logits of a trimmed model where the whole vocabulary has them.
    fn widen(&mut self, rows: &[Row], part: &[usize], hidden: bool) {
        let Some(widener) = &mut self.widener else {
            return;
        };
        for (i, &row) in part.iter().enumerate().filter(|(_, i)| rows[**i].logits) {
            let state = if hidden {
                self.llama.hidden_state(i)
            } else {
                None
            };
            widener.put(row, self.llama.logits(i), state);
        }
    }
}

/// Why there is no batch.
const NO_BATCH: &str = "there is no memory for a batch";

/// The error where a context cannot be had.
fn no_context(context: u32, why: String) -> LlamaError {
    LlamaError::Context { context, why }
}

impl Logits for LlamaContext {
    fn row(&self, i: usize) -> &[f32] {
        match (&self.widener, &self.apart) {
            (Some(widener), _) => widener.row(i),
            (None, Some(apart)) => apart.get(&i).map_or(&[], Vec::as_slice),
            (None, None) => self.llama.logits(i),
        }
    }
}

impl Model for LlamaContext {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn drafters_rest(&mut self, rest: bool) {
        self.cores.others_rest(rest);
    }

    fn vocab(&self) -> usize {
        self.vocab
    }

    fn state_bytes(&self) -> Option<usize> {
        self.state_bytes
    }

    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        if let Some(reader) = &mut self.reader {
            reader.apply(op);
        }
        if let Some(keeper) = &self.keeper {
            keeper.apply(op);
        }
        self.kv.apply(&mut self.llama, op)
    }

    fn keeps_hidden(&self) -> bool {
        self.keeper.is_some()
    }

    fn keep_hidden(&mut self, rows: &[HiddenRow]) {
        if let Some(keeper) = &self.keeper {
            keeper.keep(rows, &self.llama);
        }
    }

    fn reset(&mut self) -> Result<(), ModelError> {
        self.reset_cache()
    }

    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        let rows = forward.rows.len().max(forward.pad_to);
        if rows == 0 {
            return Err(ModelError::Failed("a forward of no rows".into()));
        }
        if rows > self.limits.rows {
            return Err(ModelError::Failed(format!(
                "a forward of {rows} rows, but {} fit",
                self.limits.rows
            )));
        }
        self.kv.compact(&mut self.llama, rows)?;
        let placed = self.kv.place(&mut self.llama, &forward.rows)?;
        let done = self.run(&forward.rows, &placed, forward.pad_to);
        if done.is_err() {
            self.kv.take_back(&mut self.llama, &forward.rows, &placed)?;
        }
        done
    }
}

#[cfg(test)]
#[path = "context_tests.rs"]
mod tests;
