//! A llama.cpp context: a model's KV cache, and what computes forwards.

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use llama_cpp_sys_2 as cpp;

use super::batch::Batch;
use super::cache_type::CacheTypes;
use super::deadline::Deadline;
use super::handle::Handle;
use super::log;
use super::lora::Adapters;
use super::memory::{MemoryOp, SeqId};
use super::model::ModelSizes;
use super::shim::{self, Thrown};
use super::threadpool::{ThreadPool, UsedPools};

/// Of what an id holds, only what cannot be taken back token by token: its recurrent state. It is
/// llama.cpp's `LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY`, which no bindings have; shim.cpp compares the
/// two.
const RECURRENT_STATE: cpp::llama_state_seq_flags = 1;

/// Which part of a model a context computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModelPart {
    /// All layers that make the model's text.
    Trunk,
    /// The layers of its head, which read the trunk's hidden states beside the tokens. llama.cpp
    /// ends the process if the model has no head that it can run, or it was not loaded.
    Head,
}

/// How large a context is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContextSettings {
    /// Which part of the model.
    pub(crate) part: ModelPart,
    /// KV cells of all sequences together; a multiple of 256.
    pub(crate) cells: u32,
    /// Most rows of a forward, at least one.
    pub(crate) rows: u32,
    /// Sequence ids, at most [`most_ids`].
    pub(crate) ids: usize,
    /// Rows of a forward whose states shall be kept, so that they can be left out of it; 0 for
    /// none. With more, a forward must have room for at least two rows beyond that.
    pub(crate) snapshots: u32,
    /// Threads that compute.
    pub(crate) threads: usize,
    /// Types of the numbers that the KV cache keeps.
    pub(crate) cache: CacheTypes,
}

/// How a decode ended that threw nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// All rows were computed.
    Whole,
    /// There is no room in the KV cache.
    Full,
    /// The deadline passed.
    GivenUp,
    /// llama.cpp failed with this code, and logged why.
    Failed { code: i32, why: String },
}

/// Most sequence ids a context can have.
pub(crate) fn most_ids() -> usize {
    // SAFETY: returns a number.
    unsafe { cpp::llama_max_parallel_sequences() }
}

/// Owns a `llama_context`, and all that it looks at.
///
/// Invariants: the model, the pools of threads and the deadline live until the context is freed
/// (`drop` frees it, and fields are dropped after that).
pub(crate) struct Context {
    raw: NonNull<cpp::llama_context>,
    rows: usize,
    ids: usize,
    part: ModelPart,
    sizes: ModelSizes,
    /// Threads that compute where there is no pool.
    threads: usize,
    /// Threads that llama.cpp was told of.
    told_threads: usize,
    /// The pools that the CPU backend may look at.
    pools: UsedPools,
    /// When forwards are given up, if ever.
    deadline: Option<Box<Deadline>>,
    model: Arc<Handle>,
}

// SAFETY: a llama_context may be used from any thread, by one at a time. The type is not `Sync`,
// so a shared reference, through which logits are read, stays on one thread.
unsafe impl Send for Context {}

impl Context {
    /// A context for `model`.
    ///
    /// # Errors
    /// If there is no memory for it; the words are llama.cpp's.
    pub(crate) fn new(model: &Arc<Handle>, settings: &ContextSettings) -> Result<Self, String> {
        // llama.cpp ends the process over this.
        if settings.snapshots > 0 && settings.rows < settings.snapshots + 2 {
            return Err(format!(
                "{} rows are too few for {} snapshots",
                settings.rows, settings.snapshots
            ));
        }
        // SAFETY: returns a plain struct.
        let mut params = unsafe { cpp::llama_context_default_params() };
        params.n_ctx = settings.cells;
        if settings.part == ModelPart::Head {
            params.ctx_type = cpp::LLAMA_CONTEXT_TYPE_MTP;
        }
        // llama.cpp gives up if a batch cannot have a row for each sequence id.
        params.n_batch = settings.rows.max(settings.ids as u32);
        params.n_ubatch = settings.rows;
        params.n_seq_max = settings.ids as u32;
        // A model that cannot do it has none then (`Context::snapshots`).
        params.n_rs_seq = settings.snapshots;
        // With a cache no larger than the window, a token that is taken back would leave a hole:
        // what it took the place of is gone.
        params.swa_full = true;
        params.n_threads = settings.threads as i32;
        params.n_threads_batch = settings.threads as i32;
        params.kv_unified = true;
        params.type_k = settings.cache.k.ggml();
        params.type_v = settings.cache.v.ggml();
        // Flash attention treats each row by itself, so that attention gives the same at every
        // size; plain attention is a matrix product, whose kernels depend on the number of rows.
        params.flash_attn_type = cpp::LLAMA_FLASH_ATTN_TYPE_AUTO;
        log::forget();
        // SAFETY: the model is loaded and kept alive by the Arc; params points to nothing.
        let raw = unsafe { shim::llama_init_from_model(model.raw(), params) };
        let raw = raw.map_err(|thrown| thrown.to_string())?;
        Ok(Context {
            raw: NonNull::new(raw).ok_or_else(log::reason)?,
            rows: settings.rows as usize,
            ids: settings.ids,
            part: settings.part,
            sizes: ModelSizes::of(model),
            threads: settings.threads,
            told_threads: settings.threads,
            pools: UsedPools::default(),
            deadline: None,
            model: model.clone(),
        })
    }

    /// Rows of a forward that can be left out of it, of a model that keeps a state per id: each
    /// decode allows one [`Context::remove`] of the last ones, and the first row has to stay.
    pub(crate) fn snapshots(&self) -> u32 {
        // SAFETY: the context is alive; returns a number.
        unsafe { cpp::llama_n_rs_seq(self.raw.as_ptr()) }
    }

    /// Has every forward from now on compute with these adapters.
    ///
    /// # Errors
    /// If they are another model's, or there is no memory; the words are llama.cpp's.
    pub(crate) fn adapt(&mut self, adapters: &Adapters) -> Result<(), String> {
        if !adapters.belong_to(&self.model) {
            return Err("the LoRA adapters are another model's".to_owned());
        }
        // SAFETY: the context is alive and used by nobody else, and the adapters are its model's.
        unsafe { adapters.apply(self.raw.as_ptr()) }
    }

    /// A batch of as many rows as a forward may have: of tokens, or of embeddings in their place;
    /// that of a head has a hidden state beside each token. `None` if there is no memory.
    pub(crate) fn batch(&self, embeddings: bool) -> Option<Batch> {
        if self.part == ModelPart::Head {
            return Batch::with_states(self.rows, self.ids, self.sizes.hidden);
        }
        let width = if embeddings { self.sizes.input } else { 0 };
        Batch::new(self.rows, self.ids, width)
    }

    /// Ends a forward that takes longer than this as a failure. What runs on the CPU is
    /// stopped between two operations; a device that hangs is not.
    pub(crate) fn give_up_after(&mut self, patience: Duration) {
        let earlier = self.deadline.take();
        let deadline = self.deadline.insert(Box::new(Deadline::new(patience)));
        let (callback, data) = deadline.callback();
        // SAFETY: the context is alive and used by nobody else; the data is boxed, and dropped
        // after the context, or when the next call has put another one in its place.
        unsafe { cpp::llama_set_abort_callback(self.raw.as_ptr(), callback, data) }
        drop(earlier);
    }

    /// Whether the next forwards give hidden states, of all their rows.
    pub(crate) fn give_hidden_states(&mut self, give: bool) -> Result<(), Thrown> {
        // SAFETY: the context is alive and used by nobody else.
        unsafe { shim::llama_set_embeddings(self.raw.as_ptr(), give) }
    }

    /// Has the next forwards give the hidden states that a head reads: of all rows, or of rows with
    /// logits only (`outputs`). Some heads give them rightly only if all rows of a forward have
    /// logits, and then with `outputs`.
    ///
    /// # Errors
    /// If this build of llama.cpp cannot do it.
    pub(crate) fn give_head_states(&mut self, outputs: bool) -> Result<(), Thrown> {
        // SAFETY: the context is alive and used by nobody else.
        unsafe { shim::llama_set_embeddings_nextn(self.raw.as_ptr(), true, outputs) }
    }

    /// Numbers of a hidden state.
    pub(crate) fn hidden_width(&self) -> usize {
        self.sizes.hidden
    }

    /// The hidden state for a head behind row `i` of the last forward, if it gave them
    /// ([`Context::give_head_states`]). A row without logits has none where only rows with logits
    /// have them, and must not be asked for.
    pub(crate) fn head_state(&self, i: usize) -> Option<&[f32]> {
        let row = i32::try_from(i).ok().filter(|_| i < self.rows)?;
        // SAFETY: the context is alive; llama.cpp gives null where there is no state.
        let p = unsafe { shim::llama_get_embeddings_nextn_ith(self.raw.as_ptr(), row) };
        let p = p.ok().filter(|p| !p.is_null())?;
        // SAFETY: as for `hidden_state`.
        Some(unsafe { std::slice::from_raw_parts(p, self.sizes.hidden) })
    }

    /// Computes the rows of a batch on the threads of `pool`, or on threads made for this forward
    /// if there is none. Nobody else uses the pool meanwhile.
    ///
    /// # Errors
    /// If llama.cpp threw something: the KV cache is unknown then.
    ///
    /// # Panics
    /// If the batch has more rows than a forward of this context.
    pub(crate) fn decode(
        &mut self,
        batch: &Batch,
        pool: Option<&Arc<ThreadPool>>,
    ) -> Result<Decoded, Thrown> {
        assert!(batch.len() <= self.rows, "a batch of another context");
        log::forget();
        self.pools.change(pool);
        if let Some(deadline) = &self.deadline {
            deadline.begin();
        }
        self.tell_threads(pool.map_or(self.threads, |pool| pool.threads()));
        let threads = pool.map_or(std::ptr::null_mut(), |pool| pool.raw());
        let raw = self.raw.as_ptr();
        // SAFETY: the batch is written as far as it says, the context is alive and used by
        // nobody else; the pool stays in `pools` as long as the context may look at it.
        let code = unsafe {
            cpp::llama_attach_threadpool(raw, threads, threads);
            let code = shim::llama_decode(raw, batch.raw())?;
            // A device may still be at work; the CPU's part is done with the logits.
            shim::llama_synchronize(raw)?;
            code
        };
        Ok(match code {
            0 => {
                self.pools.changed();
                Decoded::Whole
            }
            1 => Decoded::Full,
            2 => Decoded::GivenUp,
            code => Decoded::Failed {
                code,
                why: log::reason(),
            },
        })
    }

    /// Has the next forwards computed by so many threads: a pool may have fewer than the one before.
    fn tell_threads(&mut self, threads: usize) {
        if threads != self.told_threads {
            let count = threads as i32;
            // SAFETY: the context is alive and used by nobody else.
            unsafe { cpp::llama_set_n_threads(self.raw.as_ptr(), count, count) }
            self.told_threads = threads;
        }
    }

    /// The logits of row `i` of the last forward; none for a row without.
    pub(crate) fn logits(&self, i: usize) -> &[f32] {
        let Ok(row) = i32::try_from(i) else {
            return &[];
        };
        // SAFETY: the context is alive; llama.cpp waits for the device and gives null for
        // a row without logits.
        let p = unsafe { shim::llama_get_logits_ith(self.raw.as_ptr(), row) };
        let p = p.unwrap_or(std::ptr::null_mut());
        if p.is_null() {
            return &[];
        }
        // SAFETY: a row has as many logits as the model's own vocabulary has tokens. They stay
        // until the next decode, which needs `&mut self`.
        unsafe { std::slice::from_raw_parts(p, self.sizes.logits) }
    }

    /// The hidden state of row `i` of the last forward, if it gave them.
    pub(crate) fn hidden_state(&self, i: usize) -> Option<&[f32]> {
        let row = i32::try_from(i).ok()?;
        // SAFETY: the context is alive; llama.cpp gives null for a row without a hidden state.
        let p = unsafe { shim::llama_get_embeddings_ith(self.raw.as_ptr(), row) };
        let p = p.ok().filter(|p| !p.is_null())?;
        // SAFETY: a hidden state has as many numbers as the model says. They stay until the
        // next decode, which needs `&mut self`.
        Some(unsafe { std::slice::from_raw_parts(p, self.sizes.hidden) })
    }
}

/// The KV cache.
impl Context {
    fn memory(&self) -> cpp::llama_memory_t {
        // SAFETY: the context is alive.
        unsafe { cpp::llama_get_memory(self.raw.as_ptr()) }
    }

    /// llama.cpp ends the process over an id beyond those a context has.
    fn check_id(&self, id: SeqId) {
        assert!(
            usize::try_from(id).is_ok_and(|id| id < self.ids),
            "sequence id {id} of {}",
            self.ids
        );
    }

    /// Empties the cache; with its data, or only of what it says of it.
    pub(crate) fn clear(&mut self, data: bool) -> Result<(), Thrown> {
        // SAFETY: the memory is the context's own.
        unsafe { shim::llama_memory_clear(self.memory(), data) }
    }

    /// Cells of `from` at the positions `start..end` belong to `to` as well; up to the last if
    /// `end` is negative.
    ///
    /// # Panics
    /// If there is no such id.
    pub(crate) fn copy(
        &mut self,
        from: SeqId,
        to: SeqId,
        start: u32,
        end: i32,
    ) -> Result<(), Thrown> {
        self.check_id(from);
        self.check_id(to);
        // SAFETY: the memory is the context's own; ids are below n_seq_max, as was checked.
        unsafe { shim::llama_memory_seq_cp(self.memory(), from, to, start as i32, end) }
    }

    /// Cells of `id` from position `start` on no longer belong to it. `false` if llama.cpp cannot
    /// remove them.
    ///
    /// # Panics
    /// If there is no such id.
    pub(crate) fn remove(&mut self, id: SeqId, start: u32) -> Result<bool, Thrown> {
        self.check_id(id);
        // SAFETY: as above.
        unsafe { shim::llama_memory_seq_rm(self.memory(), id, start as i32, -1) }
    }

    /// Carries out a change; `false` if llama.cpp cannot remove these cells.
    ///
    /// # Panics
    /// If there is no such id.
    pub(crate) fn change(&mut self, op: MemoryOp) -> Result<bool, Thrown> {
        match op {
            MemoryOp::Copy { from, to, end } => {
                self.copy(from, to, 0, end as i32)?;
                Ok(true)
            }
            MemoryOp::CopyAll { from, to } => {
                self.copy(from, to, 0, -1)?;
                Ok(true)
            }
            MemoryOp::Remove { id, start } => self.remove(id, start),
        }
    }

    /// What the cache holds of an id.
    ///
    /// # Errors
    /// Says why llama.cpp cannot give it.
    pub(crate) fn save(&mut self, id: SeqId) -> Result<Vec<u8>, String> {
        self.check_id(id);
        log::forget();
        let raw = self.raw.as_ptr();
        // SAFETY: the context is alive and used by nobody else.
        let size = unsafe { shim::llama_state_seq_get_size(raw, id) };
        let size = size.map_err(|e| e.to_string())?;
        let mut bytes = vec![0u8; size];
        // SAFETY: as above; the buffer is as long as said.
        let n = unsafe { shim::llama_state_seq_get_data(raw, bytes.as_mut_ptr(), size, id) };
        match n.map_err(|e| e.to_string())? {
            0 => Err(log::reason()),
            n if n != size => Err(format!("{n} bytes of {size} came")),
            _ => Ok(bytes),
        }
    }

    /// Bytes of the recurrent state of an id when it is saved.
    ///
    /// # Errors
    /// Says why llama.cpp cannot say.
    pub(crate) fn state_size(&mut self, id: SeqId) -> Result<usize, String> {
        self.check_id(id);
        log::forget();
        let raw = self.raw.as_ptr();
        // SAFETY: the context is alive and used by nobody else.
        let size = unsafe { shim::llama_state_seq_get_size_ext(raw, id, RECURRENT_STATE) };
        match size.map_err(|e| e.to_string())? {
            0 => Err(log::reason()),
            size => Ok(size),
        }
    }

    /// The recurrent state of an id. The cells of attention, which a hybrid model has beside it, are
    /// not in it.
    ///
    /// # Errors
    /// Says why llama.cpp cannot give it, or that there is no memory.
    pub(crate) fn save_state(&mut self, id: SeqId) -> Result<Vec<u8>, String> {
        let size = self.state_size(id)?;
        let mut bytes = Vec::new();
        let room = bytes.try_reserve_exact(size);
        room.map_err(|_| format!("there is no memory for {size} bytes"))?;
        bytes.resize(size, 0u8);
        let (raw, into) = (self.raw.as_ptr(), bytes.as_mut_ptr());
        // SAFETY: the context is alive and used by nobody else; the buffer is as long as said.
        let n = unsafe { shim::llama_state_seq_get_data_ext(raw, into, size, id, RECURRENT_STATE) };
        match n.map_err(|e| e.to_string())? {
            0 => Err(log::reason()),
            n if n != size => Err(format!("{n} bytes of {size} came")),
            _ => Ok(bytes),
        }
    }

    /// Gives an id the recurrent state that [`Context::save_state`] gave, in place of its own.
    ///
    /// # Errors
    /// Says why llama.cpp cannot take it.
    pub(crate) fn restore_state(&mut self, id: SeqId, bytes: &[u8]) -> Result<(), String> {
        self.check_id(id);
        log::forget();
        let (raw, size) = (self.raw.as_ptr(), bytes.len());
        // SAFETY: the context is alive and used by nobody else; the bytes are as many as said.
        let n = unsafe {
            shim::llama_state_seq_set_data_ext(raw, bytes.as_ptr(), size, id, RECURRENT_STATE)
        };
        match n.map_err(|e| e.to_string())? {
            0 => Err(log::reason()),
            _ => Ok(()),
        }
    }

    /// Puts in again what [`Context::save`] gave.
    ///
    /// # Errors
    /// Says why llama.cpp cannot take it.
    pub(crate) fn restore(&mut self, id: SeqId, bytes: &[u8]) -> Result<(), String> {
        self.check_id(id);
        log::forget();
        let raw = self.raw.as_ptr();
        // SAFETY: the context is alive and used by nobody else; the bytes are as many as said.
        let n = unsafe { shim::llama_state_seq_set_data(raw, bytes.as_ptr(), bytes.len(), id) };
        match n.map_err(|e| e.to_string())? {
            0 => Err(log::reason()),
            _ => Ok(()),
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by llama_init_from_model and freed once; what it looks at is dropped after.
        unsafe { cpp::llama_free(self.raw.as_ptr()) }
    }
}
