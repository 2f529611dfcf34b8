//! A model with a KV cache: llama.cpp behind the core's [`Model`].

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use card_core::forward::{Forward, KvOp, Limits, Logits, Model, ModelError};
use llama_cpp_sys_2 as sys;

use crate::cores::Pools;
use crate::deadline::Deadline;
use crate::kernels::Alive;
use crate::kv::{Id, KvTrees, MemoryOp, Refusal};
use crate::model::Handle;
use crate::shim::{self, Thrown};
use crate::trim::Widener;
use crate::{Cores, LlamaError, LlamaModel, log};

/// How to set up a context.
#[derive(Clone, Debug)]
pub struct ContextOptions {
    /// "target" or "draft", for messages.
    pub role: &'static str,
    /// Most tokens of one sequence.
    pub context: u32,
    /// Sequences it must hold at full length.
    pub sequences: u32,
    /// KV cells beyond that, for candidates.
    pub spare_cells: u32,
    /// Most rows of a forward.
    pub rows: u32,
    /// Keep the cells of each sequence in the order of their positions, whatever the others
    /// do, so that attention sums as if it were alone (docs/exactness.md).
    pub in_order: bool,
    /// The lane it runs on.
    pub cores: Cores,
}

/// Leaves of the trees of all sequences; each takes a sequence id of llama.cpp.
const LEAVES: usize = 64;
/// Ids that no sequence gets: of padding, and of what [`ContextOptions::in_order`] keeps.
const OWN_IDS: usize = 2;
/// Rows of a forward there may be at most. A mask has a number for each row and cell.
const MOST_ROWS: u32 = 1 << 16;

/// Sequence ids for a context of so many sequences that run at a time: for each of them and
/// the stem of one that is over and kept, for the leaves, and our own. llama.cpp has
/// `most` (256), which is enough for 95 sequences; each costs it room for a row of logits.
fn ids(sequences: u32, most: usize) -> usize {
    const FEWEST: usize = 128;
    let stems = 2 * sequences.min(1 << 16) as usize;
    (stems + LEAVES + OWN_IDS).max(FEWEST).min(most)
}

/// A model with its KV cache.
pub struct LlamaContext {
    raw: NonNull<sys::llama_context>,
    batch: sys::llama_batch,
    /// Sequence ids there are.
    ids: usize,
    // Dropped after the context, which uses it.
    _model: Arc<Handle>,
    // Attention stays what it is as long as the context needs it.
    _kernels: Option<Arc<Alive>>,
    trees: KvTrees,
    in_order: bool,
    /// Cells that are taken, dead ones included.
    used: usize,
    cells: usize,
    limits: Limits,
    vocab: usize,
    role: &'static str,
    cores: Cores,
    // Dropped after the context as well: its backend looks at them.
    pools: Pools,
    memory_ops: Vec<MemoryOp>,
    /// Between the tokens of the core and those a trimmed model has.
    widener: Option<Widener>,
    // Dropped after the context as well: its forwards look at it.
    deadline: Option<Box<Deadline>>,
}

// SAFETY: a llama_context may be used from any thread, by one at a time; `&mut self`
// guards what changes it, and reading logits changes nothing.
unsafe impl Send for LlamaContext {}

impl LlamaContext {
    /// A context for `model`, warmed up.
    ///
    /// # Errors
    /// If there is no memory for it, or a forward of so many rows cannot be.
    pub fn new(model: &LlamaModel, options: &ContextOptions) -> Result<Self, LlamaError> {
        let fail = |why: String| LlamaError::Context {
            context: options.context,
            why,
        };
        if !(1..=MOST_ROWS).contains(&options.rows) {
            return Err(fail(format!(
                "a forward has 1 to {MOST_ROWS} rows, not {}",
                options.rows
            )));
        }
        // SAFETY: returns a number.
        let ids = ids(options.sequences, unsafe {
            sys::llama_max_parallel_sequences()
        });
        let cells = options
            .context
            .saturating_mul(options.sequences.max(1))
            .saturating_add(options.spare_cells);
        // SAFETY: returns a plain struct.
        let mut params = unsafe { sys::llama_context_default_params() };
        params.n_ctx = cells
            .checked_next_multiple_of(256)
            .ok_or_else(|| fail("that many cells cannot be counted".into()))?;
        // llama.cpp gives up if a batch cannot have a row for each sequence id.
        params.n_batch = options.rows.max(ids as u32);
        params.n_ubatch = options.rows;
        params.n_seq_max = ids as u32;
        params.n_threads = options.cores.threads() as i32;
        params.n_threads_batch = options.cores.threads() as i32;
        params.kv_unified = true;
        // It treats each row by itself, so that attention gives the same at every size;
        // plain attention is a matrix product, whose kernels depend on the number of rows.
        params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_AUTO;
        log::forget();
        // SAFETY: the model is loaded and kept alive by the Arc; params points to nothing.
        let raw = unsafe { shim::llama_init_from_model(model.handle.0.as_ptr(), params) };
        let raw = raw.map_err(|e| fail(e.to_string()))?;
        let raw = NonNull::new(raw).ok_or_else(|| fail(log::reason()))?;
        let widener = model.trimmed.clone().map(Widener::new);
        let width = widener.as_ref().map_or(0, Widener::width);
        // SAFETY: freed in drop; every token has room for every id, and for its embedding if
        // it is that which goes in.
        let batch = unsafe { sys::llama_batch_init(options.rows as i32, width as i32, ids as i32) };
        if !batch.embd.is_null() {
            // SAFETY: there is room for so many embeddings; zeros are numbers, and what malloc
            // gives is not.
            unsafe { batch.embd.write_bytes(0, options.rows as usize * width) };
        }
        let mut context = LlamaContext {
            raw,
            batch,
            ids,
            _model: model.handle.clone(),
            _kernels: model.kernels.clone(),
            trees: KvTrees::new(ids - OWN_IDS),
            in_order: options.in_order,
            used: 0,
            cells: params.n_ctx as usize,
            limits: Limits {
                context: options.context,
                cells: (options.context as usize) * options.sequences.max(1) as usize,
                rows: options.rows as usize,
                leaves: LEAVES,
            },
            vocab: model.vocab().len(),
            role: options.role,
            cores: options.cores.clone(),
            pools: Pools::default(),
            memory_ops: Vec::new(),
            widener,
            deadline: None,
        };
        if !context.batch_is_whole() {
            return Err(fail("there is no memory for a batch".into()));
        }
        // The first forward pays for page faults and buffers; it shall not be a measurement.
        on_own_thread(|| context.run(&[], &[], 1)).map_err(|e| fail(e.to_string()))?;
        Ok(context)
    }

    /// Whether llama.cpp had memory for all parts of the batch; it does not say.
    fn batch_is_whole(&self) -> bool {
        let b = &self.batch;
        let parts = b.token.is_null() == b.embd.is_null()
            || b.pos.is_null()
            || b.n_seq_id.is_null()
            || b.seq_id.is_null()
            || b.logits.is_null();
        // SAFETY: the list is as long as the batch has rows.
        !parts && (0..self.limits.rows).all(|i| unsafe { !(*b.seq_id.add(i)).is_null() })
    }

    /// Id of the rows that fill a forward up.
    fn scratch(&self) -> Id {
        self.ids as Id - 1
    }

    /// Id of the cells that [`ContextOptions::in_order`] keeps.
    fn dead(&self) -> Id {
        self.ids as Id - 2
    }

    /// Empties the KV cache: every sequence begins anew.
    ///
    /// # Errors
    /// If llama.cpp cannot even do that; the context is of no use then.
    pub fn reset_cache(&mut self) -> Result<(), ModelError> {
        self.trees = KvTrees::new(self.ids - OWN_IDS);
        self.memory_ops.clear();
        self.used = 0;
        let memory = self.memory();
        // SAFETY: the memory is the context's own, and nothing in it is wanted any more.
        unsafe { shim::llama_memory_clear(memory, true) }.map_err(|e| self.thrown(&e))
    }

    /// The cache is not what the books say, so nothing in it may be believed: it is emptied,
    /// and whoever names a sequence that was there gets an error.
    fn lost(&mut self, why: &str) -> ModelError {
        let role = self.role;
        match self.reset_cache() {
            Ok(()) => ModelError::Failed(format!(
                "the KV cache of the {role} model was lost: {why}. Running generations end; ask again"
            )),
            Err(e) => e,
        }
    }

    fn thrown(&self, thrown: &Thrown) -> ModelError {
        ModelError::Failed(format!("the {} model: {thrown}", self.role))
    }

    fn refused(&self, refusal: Refusal, what: impl std::fmt::Debug) -> ModelError {
        match refusal {
            Refusal::NoIds(sequence) => ModelError::Ids {
                model: self.role.into(),
                sequence,
            },
            Refusal::Unknown(_) => ModelError::Failed(format!(
                "{} KV cache: {what:?} names what is not there",
                self.role
            )),
        }
    }

    /// Ends a forward that takes longer than this as a failure. What runs on the CPU is
    /// stopped between two operations; a device that hangs is not.
    pub fn give_up_after(&mut self, patience: Duration) {
        let deadline = self.deadline.insert(Box::new(Deadline::new(patience)));
        let (callback, data) = deadline.callback();
        // SAFETY: the context is alive and used by nobody else; the data is boxed, and
        // dropped after the context or when the next one has taken its place here.
        unsafe { sys::llama_set_abort_callback(self.raw.as_ptr(), callback, data) }
    }

    fn memory(&self) -> sys::llama_memory_t {
        // SAFETY: the context is alive.
        unsafe { sys::llama_get_memory(self.raw.as_ptr()) }
    }

    /// Carries out what the books say.
    fn change_memory(&mut self) -> Result<(), ModelError> {
        let (memory, dead) = (self.memory(), self.dead());
        let change = |op: MemoryOp| match op {
            // SAFETY: the memory is the context's own; ids are below n_seq_max.
            MemoryOp::Copy { from, to, end } => unsafe {
                shim::llama_memory_seq_cp(memory, from, to, 0, end as i32).map(|()| true)
            },
            // SAFETY: as above.
            MemoryOp::Remove { id, start } => unsafe {
                // llama.cpp puts the next token into the first free cell. One that
                // becomes free before the last of another sequence must not be it.
                let kept = match self.in_order {
                    true => shim::llama_memory_seq_cp(memory, id, dead, start as i32, -1),
                    false => Ok(()),
                };
                kept.and_then(|()| shim::llama_memory_seq_rm(memory, id, start as i32, -1))
            },
        };
        let ops = std::mem::take(&mut self.memory_ops);
        let failed = ops.iter().find_map(|&op| match change(op) {
            Ok(true) => None,
            Ok(false) => Some("llama.cpp cannot remove these cells".to_owned()),
            Err(thrown) => Some(thrown.to_string()),
        });
        match failed {
            None => {
                // The list keeps its memory.
                self.memory_ops = ops;
                self.memory_ops.clear();
                Ok(())
            }
            Some(why) => Err(self.lost(&why)),
        }
    }

    /// Gives the cells of the dead back, if there are many or `rows` more do not fit: the
    /// stems are taken out and put in again, one behind the other.
    fn compact(&mut self, rows: usize) -> Result<(), ModelError> {
        const FEW: usize = 128;
        if !self.in_order {
            return Ok(());
        }
        let Some(stems) = self.trees.stems() else {
            return Ok(());
        };
        let live: usize = stems.iter().map(|s| s.1 as usize).sum();
        let full = self.used + rows > self.cells;
        if self.used == live || !(full || self.used > live + FEW.max(live / 4)) {
            return Ok(());
        }
        let mut saved = Vec::with_capacity(stems.len());
        for &(id, length) in stems.iter().filter(|s| s.1 > 0) {
            match self.save(id) {
                Ok(bytes) => saved.push((id, length, bytes)),
                // Nothing has changed yet. Cells are left, so this can wait.
                Err(_) if !full => return Ok(()),
                Err(why) => {
                    return Err(ModelError::Failed(format!(
                        "the KV cache of the {} model is full of what is over, and its stems \
                         cannot be moved: {why}",
                        self.role
                    )));
                }
            }
        }
        let memory = self.memory();
        // SAFETY: the memory is the context's own; what is still wanted was copied.
        if let Err(thrown) = unsafe { shim::llama_memory_clear(memory, false) } {
            return Err(self.lost(&thrown.to_string()));
        }
        self.used = live;
        for (id, length, bytes) in saved {
            if let Err(why) = self.restore(id, &bytes) {
                // The stems after this one are empty in the cache, and those before may be
                // cut off. llama.cpp would go on without their text.
                let why = format!("{length} tokens cannot be put back ({why})");
                return Err(self.lost(&why));
            }
        }
        Ok(())
    }

    /// What the cache holds of an id.
    fn save(&mut self, id: Id) -> Result<Vec<u8>, String> {
        log::forget();
        let context = self.raw.as_ptr();
        // SAFETY: the context is alive and used by nobody else.
        let size = unsafe { shim::llama_state_seq_get_size(context, id) };
        let size = size.map_err(|e| e.to_string())?;
        let mut bytes = vec![0u8; size];
        // SAFETY: as above; the buffer is as long as said.
        let n = unsafe { shim::llama_state_seq_get_data(context, bytes.as_mut_ptr(), size, id) };
        match n.map_err(|e| e.to_string())? {
            0 => Err(log::reason()),
            n if n != size => Err(format!("{n} bytes of {size} came")),
            _ => Ok(bytes),
        }
    }

    /// Puts that in again.
    fn restore(&mut self, id: Id, bytes: &[u8]) -> Result<(), String> {
        log::forget();
        let context = self.raw.as_ptr();
        // SAFETY: the context is alive and used by nobody else; the bytes came from it, and
        // are as many as said.
        let n = unsafe { shim::llama_state_seq_set_data(context, bytes.as_ptr(), bytes.len(), id) };
        match n.map_err(|e| e.to_string())? {
            0 => Err(log::reason()),
            _ => Ok(()),
        }
    }

    /// Decodes rows with their ids, and padding up to `pad_to` rows in a sequence of its own.
    fn run(
        &mut self,
        rows: &[card_core::forward::Row],
        ids: &[Vec<Id>],
        pad_to: usize,
    ) -> Result<(), ModelError> {
        let padding = pad_to.saturating_sub(rows.len());
        let all = rows.len() + padding;
        let scratch = self.scratch();
        let raw = self.raw.as_ptr();
        let role = self.role;
        let failed = |thrown: Thrown| ModelError::Failed(format!("the {role} model: {thrown}"));
        let b = &mut self.batch;
        let mut embedded = false;
        let mut hidden = false;
        if let Some(widener) = &mut self.widener {
            // SAFETY: the batch was made for embeddings of this width, which are zeros at
            // first, and at least so many rows (the callers check).
            let into = unsafe { std::slice::from_raw_parts_mut(b.embd, all * widener.width()) };
            let padding = std::iter::repeat_n(0, padding);
            widener.embed(rows.iter().map(|r| r.token).chain(padding), into)?;
            embedded = true;
            hidden = Widener::wants_hidden(rows);
            // SAFETY: the context is alive and used by nobody else.
            unsafe { shim::llama_set_embeddings(raw, hidden) }.map_err(failed)?;
        }
        let mut n = 0;
        let mut add = |token: i32, position: u32, ids: &[Id], logits: bool| {
            // SAFETY: n is below the rows the batch was made for (checked by the callers),
            // and ids are different ones of those there are, for which each row has room. A
            // batch has tokens or embeddings.
            unsafe {
                if !embedded {
                    *b.token.add(n) = token;
                }
                *b.pos.add(n) = position as i32;
                *b.n_seq_id.add(n) = ids.len() as i32;
                let list = *b.seq_id.add(n);
                for (i, id) in ids.iter().enumerate() {
                    *list.add(i) = *id;
                }
                // Hidden states are given for all rows or none.
                *b.logits.add(n) = i8::from(logits || hidden);
            }
            n += 1;
        };
        for (row, ids) in rows.iter().zip(ids) {
            add(row.token as i32, row.position, ids, row.logits);
        }
        for i in 0..padding {
            add(0, i as u32, &[scratch], true);
        }
        self.batch.n_tokens = n as i32;
        self.used += n;
        log::forget();
        let turn = self.cores.take();
        self.pools.change(turn.pool.as_ref());
        if let Some(deadline) = &self.deadline {
            deadline.begin();
        }
        let pool = turn.raw();
        // SAFETY: the batch holds n tokens, the context is alive and used by nobody else;
        // the pool is ours until `turn` is dropped, and stays in `pools` as long as the
        // context may look at it.
        let code = unsafe {
            sys::llama_attach_threadpool(raw, pool, pool);
            let code = shim::llama_decode(raw, self.batch);
            // A device may still be at work; the CPU's part is done with the logits.
            code.and_then(|code| shim::llama_synchronize(raw).map(|()| code))
        };
        drop(turn);
        let code = match code {
            Ok(code) => code,
            // Nobody knows how far it came.
            Err(thrown) => return Err(self.lost(&thrown.to_string())),
        };
        if code == 0 {
            self.pools.changed();
        }
        if padding > 0 {
            self.memory_ops.push(MemoryOp::Remove {
                id: scratch,
                start: 0,
            });
            self.change_memory()?;
        }
        match code {
            0 => {
                self.widen(rows, hidden);
                Ok(())
            }
            1 => Err(ModelError::Full {
                model: self.role.into(),
            }),
            2 => Err(ModelError::Failed(format!(
                "the {} model took too long over a forward",
                self.role
            ))),
            _ => Err(ModelError::Failed(format!(
                "the {} model failed to decode (code {code}: {})",
                self.role,
                log::reason()
            ))),
        }
    }

    /// Puts the logits of a trimmed model where the whole vocabulary has them.
    fn widen(&mut self, rows: &[card_core::forward::Row], hidden: bool) {
        let Some(mut widener) = self.widener.take() else {
            return;
        };
        for (i, _) in rows.iter().enumerate().filter(|(_, row)| row.logits) {
            // SAFETY: the context is alive; a row that was asked for has a hidden state, which
            // is as long as the table is wide (`Trimmed::open` checks), until the next decode.
            let state = unsafe {
                let state = match hidden {
                    true => shim::llama_get_embeddings_ith(self.raw.as_ptr(), i as i32)
                        .unwrap_or(std::ptr::null_mut()),
                    false => std::ptr::null_mut(),
                };
                (!state.is_null()).then(|| std::slice::from_raw_parts(state, widener.width()))
            };
            widener.put(i, self.logits(i, widener.logits()), state);
        }
        self.widener = Some(widener);
    }

    /// The logits llama.cpp has for row `i`, as many as said; none for a row without.
    fn logits(&self, i: usize, length: usize) -> &[f32] {
        // SAFETY: the context is alive; llama.cpp waits for the device and gives null for
        // a row without logits.
        let p = unsafe { shim::llama_get_logits_ith(self.raw.as_ptr(), i as i32) };
        let p = p.unwrap_or(std::ptr::null_mut());
        if p.is_null() {
            return &[];
        }
        // SAFETY: a row has as many logits as the model's own vocabulary has tokens, which is
        // what callers say (`Trimmed::open` checks it for a trimmed one), and stays until the
        // next decode, which needs `&mut self`.
        unsafe { std::slice::from_raw_parts(p, length) }
    }
}

/// Runs `work` on a thread that ends with it.
///
/// A thread that decodes becomes a worker of the lane's pool and is pinned with it. So
/// whoever decodes outside of a lane's own thread does it here.
pub fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

impl Logits for LlamaContext {
    fn row(&self, i: usize) -> &[f32] {
        match &self.widener {
            Some(widener) => widener.row(i),
            None => self.logits(i, self.vocab),
        }
    }
}

impl Model for LlamaContext {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn vocab(&self) -> usize {
        self.vocab
    }

    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        let done = self.trees.apply(op, &mut self.memory_ops);
        done.map_err(|refusal| self.refused(refusal, op))?;
        self.change_memory()
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
        self.compact(rows)?;
        let mut before = Vec::new();
        let ids = self.trees.place(&forward.rows, &mut before);
        let ids = ids.map_err(|refusal| self.refused(refusal, "a row"))?;
        self.memory_ops.extend_from_slice(&before);
        self.change_memory()?;
        let done = self.run(&forward.rows, &ids, forward.pad_to);
        if done.is_err() {
            let mut undo = std::mem::take(&mut self.memory_ops);
            // A cache that was lost has no books to put right.
            self.trees.undo(&forward.rows, &before, &mut undo);
            self.memory_ops = undo;
            self.change_memory()?;
        }
        done
    }
}

impl Drop for LlamaContext {
    fn drop(&mut self) {
        // SAFETY: both were made in `new` and are freed once.
        unsafe {
            sys::llama_batch_free(self.batch);
            sys::llama_free(self.raw.as_ptr());
        }
    }
}

#[cfg(test)]
mod tests {
    use card_core::forward::Row;
    use card_core::types::SequenceId;

    use super::*;
    use crate::LoadOptions;
    use crate::tiny::Tiny;

    const MOST: usize = 256;

    #[test]
    fn there_are_ids_for_all_that_run_and_as_many_that_are_kept() {
        assert_eq!(ids(1, MOST), 128);
        for sequences in 1..=95 {
            let needed = 2 * sequences as usize + LEAVES + OWN_IDS;
            let there = ids(sequences, MOST);
            assert!((needed..=MOST).contains(&there), "{sequences}");
        }
        assert_eq!(ids(u32::MAX, MOST), MOST);
    }

    fn model(name: &str) -> LlamaModel {
        let file = Tiny::model(name, 64).write();
        let model = LlamaModel::load(&file, &LoadOptions::default(), &mut |_| {}).unwrap();
        let _ = std::fs::remove_file(file);
        model
    }

    fn options(sequences: u32, in_order: bool) -> ContextOptions {
        ContextOptions {
            role: "target",
            context: 256,
            sequences,
            spare_cells: 0,
            rows: 32,
            in_order,
            cores: Cores::one_lane(2),
        }
    }

    /// Tokens from `at` on, which then belong to the stem. Returns the last logits.
    fn read(
        context: &mut LlamaContext,
        sequence: u64,
        at: usize,
        tokens: &[u32],
    ) -> Result<Vec<f32>, ModelError> {
        let sequence = SequenceId(sequence);
        context.forward(&Forward::chain(sequence, at, tokens, 0))?;
        let logits = context.row(tokens.len() - 1).to_vec();
        context.apply(KvOp::Commit {
            sequence,
            tip: (at + tokens.len()) as u64,
            keep_descendants: false,
        })?;
        Ok(logits)
    }

    /// Sums over cells in another order differ in the last bits.
    fn near(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3)
    }

    #[test]
    fn a_context_of_few_rows_has_ids_all_the_same() {
        let model = model("rows");
        for rows in [1, 2, 32] {
            let options = ContextOptions {
                rows,
                ..options(1, false)
            };
            let mut context = LlamaContext::new(&model, &options).unwrap();
            let logits = read(&mut context, 1, 0, &[1]).unwrap();
            assert_eq!(logits.len(), model.vocab().len());
        }
        for rows in [0, MOST_ROWS + 1] {
            let options = ContextOptions {
                rows,
                ..options(1, false)
            };
            assert!(LlamaContext::new(&model, &options).is_err());
        }
    }

    #[test]
    fn as_many_sequences_run_and_are_kept_as_were_asked_for() {
        let model = model("many");
        let mut context = LlamaContext::new(&model, &options(64, false)).unwrap();
        for sequence in 0..2 * 64 {
            read(&mut context, sequence, 0, &[1, 2]).unwrap();
        }
        // And a tree of as many leaves as there may be.
        let row = |cell: u64| Row {
            sequence: SequenceId(0),
            token: 3,
            position: 2,
            cell: 100 + cell,
            parent: None,
            logits: true,
        };
        for part in 0..2 {
            let rows = (0..32).map(|i| row(32 * part + i)).collect();
            context.forward(&Forward { rows, pad_to: 0 }).unwrap();
        }
    }

    #[test]
    fn who_runs_goes_on_when_ids_run_out() {
        let model = model("out-of-ids");
        let mut context = LlamaContext::new(&model, &options(1, false)).unwrap();
        let mut last = 0;
        let error = loop {
            match read(&mut context, last, 0, &[1]) {
                Ok(_) => last += 1,
                Err(e) => break e,
            }
        };
        let wanted = SequenceId(last);
        assert!(
            matches!(error, ModelError::Ids { sequence, .. } if sequence == wanted),
            "{error}"
        );
        read(&mut context, 0, 1, &[2]).unwrap();
        let release = KvOp::Release {
            sequence: SequenceId(1),
        };
        context.apply(release).unwrap();
        read(&mut context, last, 0, &[1]).unwrap();
    }

    #[test]
    fn a_cache_that_was_emptied_answers_as_a_new_one() {
        let model = model("reset");
        let mut context = LlamaContext::new(&model, &options(2, true)).unwrap();
        let first = read(&mut context, 1, 0, &[5, 6, 7]).unwrap();
        read(&mut context, 2, 0, &[8, 9]).unwrap();
        context.reset_cache().unwrap();
        // What was there is not believed any more.
        assert!(read(&mut context, 1, 3, &[8]).is_err());
        assert!(read(&mut context, 2, 2, &[8]).is_err());
        let again = read(&mut context, 1, 0, &[5, 6, 7]).unwrap();
        assert!(near(&first, &again));
    }

    #[test]
    fn stems_that_are_moved_keep_their_text_and_what_is_lost_is_not_believed() {
        let model = model("moved");
        let mut alone = LlamaContext::new(&model, &options(2, true)).unwrap();
        read(&mut alone, 1, 0, &[5, 6, 7]).unwrap();
        let expected = read(&mut alone, 1, 3, &[8]).unwrap();

        let mut context = LlamaContext::new(&model, &options(2, true)).unwrap();
        read(&mut context, 1, 0, &[5, 6, 7]).unwrap();
        for other in 2..40 {
            let tokens: Vec<u32> = (1..30).collect();
            read(&mut context, other, 0, &tokens).unwrap();
            let sequence = SequenceId(other);
            context.apply(KvOp::Release { sequence }).unwrap();
        }
        let moved = read(&mut context, 1, 3, &[8]).unwrap();
        assert!(near(&expected, &moved));

        assert!(context.restore(0, b"no state at all").is_err());
        let lost = context.lost("a test").to_string();
        assert!(lost.contains("ask again"), "{lost}");
        assert!(read(&mut context, 1, 4, &[9]).is_err());
        read(&mut context, 1, 0, &[5]).unwrap();
    }

    #[test]
    fn rows_that_cannot_be_are_errors() {
        let model = model("wrong-rows");
        let mut context = LlamaContext::new(&model, &options(1, false)).unwrap();
        for token in [97, 1 << 20, u32::MAX] {
            assert!(read(&mut context, 1, 0, &[token]).is_err(), "{token}");
        }
        assert!(read(&mut context, 1, 5, &[1]).is_err());
        assert!(read(&mut context, 1, 0, &[1; 33]).is_err());
        assert!(context.forward(&Forward::default()).is_err());
        // None of them left anything behind.
        read(&mut context, 1, 0, &[1, 2]).unwrap();
    }

    #[test]
    fn contexts_that_come_and_go_leave_no_threads_behind() {
        let model = model("threads");
        let options = options(1, false);
        let threads = || {
            let status = std::fs::read_to_string("/proc/self/status").ok()?;
            let line = status.lines().find_map(|l| l.strip_prefix("Threads:"))?;
            line.trim().parse::<usize>().ok()
        };
        let before = threads();
        for _ in 0..200 {
            // Made on one thread, used on another, as for each connection of a drafter.
            let mut context = LlamaContext::new(&model, &options).unwrap();
            on_own_thread(|| read(&mut context, 1, 0, &[1, 2]).map(|_| ())).unwrap();
            on_own_thread(|| read(&mut context, 1, 2, &[3]).map(|_| ())).unwrap();
        }
        // Tests beside this one have threads too, but not hundreds.
        if let (Some(before), Some(after)) = (before, threads()) {
            assert!(after < before + 100, "{before} threads, then {after}");
        }
    }
}
