//! A llama.cpp context: a model's KV cache, and what computes forwards.

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use llama_cpp_sys_2 as cpp;

use super::batch::Batch;
use super::cache_type::CacheTypes;
use super::deadline::ForwardDeadline;
use super::handle::Handle;
use super::log;
use super::lora::Adapters;
use super::model::ModelSizes;
use super::shim::{self, Thrown};
use super::threadpool::{ThreadPool, UsedPools};

/// Which part of a model a context computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModelPart {
    /// All layers that make the model's text.
    Trunk,
    /// The layers of its head, which read the trunk's hidden states beside the tokens. llama.cpp
    /// ends the process if the model has no head that it can run, or it was not loaded.
    Head,
    /// All of a model that is a head by itself, and reads hidden states beside the tokens.
    HeadFile,
}

impl ModelPart {
    /// Whether it reads hidden states beside the tokens.
    pub(crate) fn is_head(self) -> bool {
        self != ModelPart::Trunk
    }
}

/// What a context has a batch computed by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// The model, which puts keys and values into the cache.
    Decode,
    /// What a head makes the target's states into the states that it reads by.
    Encode,
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
/// Invariants: the model, the pools of threads, the deadline and the context it borrows from live
/// until the context is freed (`drop` frees it, and fields are dropped after that). `tapped` says
/// that the last thing that was done is a forward which gave the inputs of all layers of `taps`.
pub(crate) struct Context {
    pub(super) raw: NonNull<cpp::llama_context>,
    rows: usize,
    pub(super) ids: usize,
    part: ModelPart,
    sizes: ModelSizes,
    /// Threads that compute where there is no pool.
    threads: usize,
    /// Threads that llama.cpp was told of.
    told_threads: usize,
    /// The pools that the CPU backend may look at.
    pools: UsedPools,
    /// When forwards are given up, if ever.
    deadline: Option<Box<ForwardDeadline>>,
    /// Layers whose inputs forwards give ([`Context::tap`]).
    taps: Vec<u32>,
    tapped: bool,
    /// Tokens at the beginning of each text that are not decoded here ([`Context::skip`]).
    skipped: u32,
    /// A context of the model whose tensors this one borrows.
    _lender: Option<Box<Context>>,
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
        Self::borrowing(model, settings, None)
    }

    /// A context for a model that may lack embeddings or the output layer: it borrows them from the
    /// model of the lender. Where a model lacks them and there is no lender, that is an error.
    ///
    /// # Errors
    /// As [`Context::new`].
    pub(crate) fn borrowing(
        model: &Arc<Handle>,
        settings: &ContextSettings,
        lender: Option<Context>,
    ) -> Result<Self, String> {
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
        let lender = lender.map(Box::new);
        if let Some(lender) = &lender {
            params.ctx_other = lender.raw.as_ptr();
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
        // SAFETY: the model is loaded and kept alive by the Arc; params points to the lender at most,
        // which is kept as long as the context, and which llama.cpp asks for its model only.
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
            taps: Vec::new(),
            tapped: false,
            skipped: 0,
            _lender: lender,
            model: model.clone(),
        })
    }

    /// Whether it is a context of this model.
    pub(crate) fn is_of(&self, model: &Arc<Handle>) -> bool {
        Arc::ptr_eq(&self.model, model)
    }

    /// Has the next forwards give the inputs of these layers, of all their rows. The model must be of
    /// an architecture whose graph names them ([`TAPPED`](super::head_file::TAPPED)); of another,
    /// llama.cpp ends the process.
    ///
    /// # Errors
    /// If the model has no such layer, or this build of llama.cpp cannot do it.
    pub(crate) fn tap(&mut self, layers: &[u32]) -> Result<(), Thrown> {
        // SAFETY: the model is loaded.
        let all = unsafe { cpp::llama_model_n_layer(self.model.raw()) };
        if let Some(layer) = layers.iter().find(|&&l| i64::from(l) >= i64::from(all)) {
            return Err(Thrown(format!("there is no layer {layer} of {all}")));
        }
        for &layer in layers {
            // SAFETY: the context is alive and used by nobody else, and the layer is there.
            unsafe { shim::llama_set_embeddings_layer_inp(self.raw.as_ptr(), layer, true) }?;
        }
        self.taps = layers.to_vec();
        self.tapped = false;
        Ok(())
    }

    /// The inputs of the tapped layers at row `i` of the last forward, one behind the other; `None`
    /// if it gave none.
    pub(crate) fn layer_inputs(&self, i: usize) -> Option<Vec<f32>> {
        if !self.tapped || i >= self.rows {
            return None;
        }
        let width = self.sizes.width;
        let mut inputs = Vec::with_capacity(self.taps.len() * width);
        for &layer in &self.taps {
            // SAFETY: the context is alive, and the last forward gave the inputs of this layer.
            let p = unsafe { shim::llama_get_embeddings_layer_inp(self.raw.as_ptr(), layer) };
            let p = p.ok().filter(|p| !p.is_null())?;
            // SAFETY: there is a state of so many numbers for each row that a forward may have.
            let state = unsafe { std::slice::from_raw_parts(p.add(i * width), width) };
            inputs.extend_from_slice(state);
        }
        Some(inputs)
    }

    /// Has each row attend to all rows of its forward, those behind it too.
    pub(crate) fn attend_both_ways(&mut self) {
        // SAFETY: the context is alive and used by nobody else; this sets a field.
        unsafe { cpp::llama_set_causal_attn(self.raw.as_ptr(), false) }
    }

    /// The first tokens of each text, so many, are not decoded here: positions count from the token
    /// behind them. To be said before anything is decoded.
    pub(crate) fn skip(&mut self, tokens: u32) {
        self.skipped = tokens;
    }

    /// The position of the token at this index of its text.
    pub(crate) fn position(&self, token: u32) -> u32 {
        token.saturating_sub(self.skipped)
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
        let beside = match self.part {
            ModelPart::Trunk => None,
            ModelPart::Head => Some(self.sizes.hidden),
            ModelPart::HeadFile => Some(self.sizes.width),
        };
        match beside {
            Some(width) => Batch::with_states(self.rows, self.ids, width),
            None if embeddings => Batch::new(self.rows, self.ids, self.sizes.input),
            None => Batch::new(self.rows, self.ids, 0),
        }
    }

    /// Ends a forward that takes longer than this as a failure. What runs on the CPU is
    /// stopped between two operations; a device that hangs is not.
    pub(crate) fn give_up_after(&mut self, patience: Duration) {
        let earlier = self.deadline.take();
        let deadline = self
            .deadline
            .insert(Box::new(ForwardDeadline::new(patience)));
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

    /// A batch of as many rows as a forward may have, of states of `width` numbers each, for
    /// [`Context::encode`]. `None` if there is no memory.
    pub(crate) fn states_batch(&self, width: usize) -> Option<Batch> {
        Batch::new(self.rows, 1, width)
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
        self.compute(Pass::Decode, batch, pool)
    }

    /// Has the encoder of a head make states of those of a batch, whose rows are as long as the
    /// encoder takes them, at positions from 0 on of an id that holds nothing. They are then where
    /// hidden states are ([`Context::head_state`]). The cache stays as it is.
    ///
    /// # Errors
    /// If llama.cpp threw something.
    ///
    /// # Panics
    /// If the batch has more rows than a forward of this context.
    pub(crate) fn encode(
        &mut self,
        batch: &Batch,
        pool: Option<&Arc<ThreadPool>>,
    ) -> Result<Decoded, Thrown> {
        self.compute(Pass::Encode, batch, pool)
    }

    fn compute(
        &mut self,
        pass: Pass,
        batch: &Batch,
        pool: Option<&Arc<ThreadPool>>,
    ) -> Result<Decoded, Thrown> {
        assert!(batch.len() <= self.rows, "a batch of another context");
        log::forget();
        self.tapped = false;
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
            let code = match pass {
                Pass::Decode => shim::llama_decode(raw, batch.raw())?,
                Pass::Encode => shim::llama_encode(raw, batch.raw())?,
            };
            // A device may still be at work; the CPU's part is done with the logits.
            shim::llama_synchronize(raw)?;
            code
        };
        Ok(match code {
            0 => {
                self.pools.changed();
                self.tapped = pass == Pass::Decode && !self.taps.is_empty();
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

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by llama_init_from_model and freed once; what it looks at is dropped after.
        unsafe { cpp::llama_free(self.raw.as_ptr()) }
    }
}
