//! A model with a KV cache: llama.cpp behind the core's [`Model`].

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use card_core::forward::{Forward, KvOp, Limits, Logits, Model, ModelError};
use llama_cpp_sys_2 as sys;

use crate::deadline::Deadline;
use crate::kv::{Id, KvTrees, MemoryOp};
use crate::model::Handle;
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

/// Sequence ids of llama.cpp a context has; each leaf of a tree takes one.
const IDS: usize = 128;
/// Ids that no sequence gets: of padding, and of what [`ContextOptions::in_order`] keeps.
const SCRATCH: Id = IDS as Id - 1;
const DEAD: Id = IDS as Id - 2;

/// A model with its KV cache.
pub struct LlamaContext {
    raw: NonNull<sys::llama_context>,
    batch: sys::llama_batch,
    // Dropped after the context, which uses it.
    _model: Arc<Handle>,
    trees: KvTrees,
    in_order: bool,
    /// Cells that are taken, dead ones included.
    used: usize,
    cells: usize,
    limits: Limits,
    vocab: usize,
    role: &'static str,
    cores: Cores,
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
    /// If there is no memory for it.
    pub fn new(model: &LlamaModel, options: &ContextOptions) -> Result<Self, LlamaError> {
        let cells = options
            .context
            .saturating_mul(options.sequences.max(1))
            .saturating_add(options.spare_cells);
        // SAFETY: returns a plain struct.
        let mut params = unsafe { sys::llama_context_default_params() };
        params.n_ctx = cells.next_multiple_of(256);
        params.n_batch = options.rows;
        params.n_ubatch = options.rows;
        params.n_seq_max = IDS as u32;
        params.n_threads = options.cores.threads() as i32;
        params.n_threads_batch = options.cores.threads() as i32;
        params.kv_unified = true;
        // It treats each row by itself, so that attention gives the same at every size;
        // plain attention is a matrix product, whose kernels depend on the number of rows.
        params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_AUTO;
        log::forget();
        // SAFETY: the model is loaded and kept alive by the Arc; params points to nothing.
        let raw = unsafe { sys::llama_init_from_model(model.handle.0.as_ptr(), params) };
        let raw = NonNull::new(raw).ok_or_else(|| LlamaError::Context {
            context: options.context,
            why: log::reason(),
        })?;
        let widener = model.trimmed.clone().map(Widener::new);
        let width = widener.as_ref().map_or(0, Widener::width);
        // SAFETY: freed in drop; every token has room for every id, and for its embedding if
        // it is that which goes in.
        let batch = unsafe { sys::llama_batch_init(options.rows as i32, width as i32, IDS as i32) };
        let mut context = LlamaContext {
            raw,
            batch,
            _model: model.handle.clone(),
            trees: KvTrees::new(IDS - 2),
            in_order: options.in_order,
            used: 0,
            cells: params.n_ctx as usize,
            limits: Limits {
                context: options.context,
                cells: (options.context as usize) * options.sequences.max(1) as usize,
                rows: options.rows as usize,
                // Some ids stay free for stems.
                leaves: IDS / 2,
            },
            vocab: model.vocab().len(),
            role: options.role,
            cores: options.cores.clone(),
            memory_ops: Vec::new(),
            widener,
            deadline: None,
        };
        // The first forward pays for page faults and buffers; it shall not be a measurement.
        on_own_thread(|| context.run(&[], &[], 1)).map_err(|e| LlamaError::Context {
            context: options.context,
            why: e.to_string(),
        })?;
        Ok(context)
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

    fn change_memory(&mut self) {
        let memory = self.memory();
        for op in self.memory_ops.drain(..) {
            match op {
                // SAFETY: the memory is the context's own; ids are below n_seq_max.
                MemoryOp::Copy { from, to, end } => unsafe {
                    sys::llama_memory_seq_cp(memory, from, to, 0, end as i32);
                },
                // SAFETY: as above.
                MemoryOp::Remove { id, start } => unsafe {
                    // llama.cpp puts the next token into the first free cell. One that
                    // becomes free before the last of another sequence must not be it.
                    if self.in_order {
                        sys::llama_memory_seq_cp(memory, id, DEAD, start as i32, -1);
                    }
                    sys::llama_memory_seq_rm(memory, id, start as i32, -1);
                },
            }
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
        let context = self.raw.as_ptr();
        let mut saved = Vec::with_capacity(stems.len());
        for &(id, length) in stems.iter().filter(|s| s.1 > 0) {
            // SAFETY: the context is alive and used by nobody else; the buffer is as long as
            // said.
            let bytes = unsafe {
                let mut bytes = vec![0u8; sys::llama_state_seq_get_size(context, id)];
                let n = sys::llama_state_seq_get_data(context, bytes.as_mut_ptr(), bytes.len(), id);
                bytes.truncate(n);
                bytes
            };
            saved.push((id, length, bytes));
        }
        let memory = self.memory();
        // SAFETY: the memory is the context's own; what is still wanted was copied.
        unsafe { sys::llama_memory_clear(memory, false) };
        self.used = live;
        for (id, length, bytes) in saved {
            // SAFETY: as above; the bytes came from this context.
            let n =
                unsafe { sys::llama_state_seq_set_data(context, bytes.as_ptr(), bytes.len(), id) };
            if n == 0 {
                return Err(ModelError::Failed(format!(
                    "the KV cache of {length} tokens cannot be moved: {}",
                    log::reason()
                )));
            }
        }
        Ok(())
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
        let b = &mut self.batch;
        let mut embedded = false;
        let mut hidden = false;
        if let Some(widener) = &mut self.widener {
            // SAFETY: the batch was made for embeddings of this width and at least so many rows.
            let into = unsafe { std::slice::from_raw_parts_mut(b.embd, all * widener.width()) };
            let padding = std::iter::repeat_n(0, padding);
            widener.embed(rows.iter().map(|r| r.token).chain(padding), into)?;
            embedded = true;
            hidden = Widener::wants_hidden(rows);
            // SAFETY: the context is alive and used by nobody else.
            unsafe { sys::llama_set_embeddings(self.raw.as_ptr(), hidden) };
        }
        let mut n = 0;
        let mut add = |token: i32, position: u32, ids: &[Id], logits: bool| {
            // SAFETY: n is below the rows the batch was made for (checked by the callers),
            // and ids are at most IDS many. A batch has tokens or embeddings.
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
            add(0, i as u32, &[SCRATCH], true);
        }
        self.batch.n_tokens = n as i32;
        self.used += n;
        log::forget();
        let turn = self.cores.take();
        if let Some(deadline) = &self.deadline {
            deadline.begin();
        }
        // SAFETY: the batch holds n tokens, the context is alive and used by nobody else;
        // the pool is ours until `turn` is dropped, and lives as long as the context.
        let code = unsafe {
            if !turn.pool.is_null() {
                sys::llama_attach_threadpool(self.raw.as_ptr(), turn.pool, turn.pool);
            }
            let code = sys::llama_decode(self.raw.as_ptr(), self.batch);
            // A device may still be at work; the CPU's part is done with the logits.
            sys::llama_synchronize(self.raw.as_ptr());
            code
        };
        drop(turn);
        if padding > 0 {
            self.memory_ops.push(MemoryOp::Remove {
                id: SCRATCH,
                start: 0,
            });
            self.change_memory();
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
            // SAFETY: the context is alive; a row that was asked for has a hidden state as
            // long as an embedding, which stays until the next decode.
            let state = unsafe {
                let state = match hidden {
                    true => sys::llama_get_embeddings_ith(self.raw.as_ptr(), i as i32),
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
        let p = unsafe { sys::llama_get_logits_ith(self.raw.as_ptr(), i as i32) };
        if p.is_null() {
            return &[];
        }
        // SAFETY: a row has as many logits as the model has tokens, and stays until the next
        // decode, which needs `&mut self`.
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
        if !self.trees.apply(op, &mut self.memory_ops) {
            return Err(ModelError::Failed(format!(
                "{} KV cache: {op:?} names what is not there",
                self.role
            )));
        }
        self.change_memory();
        Ok(())
    }

    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        let rows = forward.rows.len().max(forward.pad_to);
        if rows > self.limits.rows {
            return Err(ModelError::Failed(format!(
                "a forward of {rows} rows, but {} fit",
                self.limits.rows
            )));
        }
        self.compact(rows)?;
        let mut before = Vec::new();
        let Some(ids) = self.trees.place(&forward.rows, &mut before) else {
            return Err(ModelError::Full {
                model: self.role.into(),
            });
        };
        self.memory_ops.extend_from_slice(&before);
        self.change_memory();
        let done = self.run(&forward.rows, &ids, forward.pad_to);
        if done.is_err() {
            let mut undo = std::mem::take(&mut self.memory_ops);
            self.trees.undo(&forward.rows, &before, &mut undo);
            self.memory_ops = undo;
            self.change_memory();
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
