//! A llama.cpp context that gives embeddings: vectors that say what a text is about.

use std::ptr::NonNull;
use std::sync::Arc;

use card_core::types::Token;
use llama_cpp_sys_2 as cpp;

use super::batch::Batch;
use super::handle::Handle;
use super::pooling::Pooling;
use super::{log, shim};

/// KV cells come in multiples of this.
const CELLS: u32 = 256;

/// How large the context is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EmbeddingSettings {
    /// Most tokens of a text, at least one.
    pub(crate) tokens: u32,
    /// Threads that compute.
    pub(crate) threads: usize,
    /// How a text gets its vector; `None` for what the model's file says.
    pub(crate) pooling: Option<Pooling>,
}

/// Owns a `llama_context` that gives embeddings of one text at a time.
///
/// Invariant: the model lives until the context is freed (`drop` frees it, and fields are dropped
/// after that).
pub(crate) struct EmbeddingContext {
    raw: NonNull<cpp::llama_context>,
    batch: Batch,
    /// Most tokens of a text.
    tokens: usize,
    /// Numbers of a vector.
    width: usize,
    pooling: Pooling,
    _model: Arc<Handle>,
}

// SAFETY: a llama_context may be used from any thread, by one at a time. The type is not `Sync`.
unsafe impl Send for EmbeddingContext {}

impl EmbeddingContext {
    /// A context for `model`.
    ///
    /// # Errors
    /// If there is no memory for it, or the model pools in a way that is not known here; the words
    /// are llama.cpp's.
    pub(crate) fn new(model: &Arc<Handle>, settings: &EmbeddingSettings) -> Result<Self, String> {
        let rows = settings.tokens.max(1);
        let (cells, threads) = (rows.next_multiple_of(CELLS), settings.threads as i32);
        // SAFETY: returns a plain struct.
        let mut params = unsafe { cpp::llama_context_default_params() };
        params.n_ctx = cells;
        // A text is computed as a whole: tokens of encoders look at those behind them, too.
        params.n_batch = rows;
        params.n_ubatch = rows;
        params.n_seq_max = 1;
        params.n_threads = threads;
        params.n_threads_batch = threads;
        params.embeddings = true;
        params.swa_full = true;
        params.kv_unified = true;
        params.flash_attn_type = cpp::LLAMA_FLASH_ATTN_TYPE_AUTO;
        if let Some(pooling) = settings.pooling {
            params.pooling_type = pooling.raw();
        }
        log::forget();
        // SAFETY: the model is loaded and kept alive by the Arc; params points to nothing.
        let raw = unsafe { shim::llama_init_from_model(model.raw(), params) };
        let raw = raw.map_err(|thrown| thrown.to_string())?;
        let raw = NonNull::new(raw).ok_or_else(log::reason)?;
        let batch = Batch::new(rows as usize, 1, 0);
        // From here on the context is freed whatever happens.
        let mut context = EmbeddingContext {
            raw,
            batch: batch.ok_or_else(|| free(raw, "no memory for a batch"))?,
            tokens: rows as usize,
            width: 0,
            pooling: Pooling::None,
            _model: model.clone(),
        };
        // SAFETY: the context is alive; returns a number.
        let pooling = Pooling::of(unsafe { cpp::llama_pooling_type(raw.as_ptr()) });
        context.pooling = pooling.ok_or("the model pools in a way that is not known here")?;
        // SAFETY: the model is loaded; both return numbers.
        let (hidden, classes) = unsafe {
            (
                cpp::llama_model_n_embd_out(model.raw()).max(0) as usize,
                cpp::llama_model_n_cls_out(model.raw()) as usize,
            )
        };
        context.width = match context.pooling {
            Pooling::Rank => classes,
            _ => hidden,
        };
        Ok(context)
    }

    /// How a text gets its vector.
    pub(crate) fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// Most tokens of a text.
    pub(crate) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Numbers of a vector.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The vectors of a text: one, or one for each token if nothing is pooled.
    ///
    /// # Errors
    /// If the text has no token or too many, or llama.cpp fails; the words are llama.cpp's.
    pub(crate) fn embed(&mut self, tokens: &[Token]) -> Result<Vec<Vec<f32>>, String> {
        if tokens.is_empty() || tokens.len() > self.tokens {
            let (n, most) = (tokens.len(), self.tokens);
            return Err(format!("a text of {n} tokens is not within 1 to {most}"));
        }
        self.batch.clear();
        for (position, &token) in tokens.iter().enumerate() {
            self.batch.push(token, position as u32, &[0], true);
        }
        log::forget();
        let raw = self.raw.as_ptr();
        // SAFETY: the context is alive and used by nobody else; the memory is the context's own,
        // and may be null, which llama.cpp passes over; the batch is written as far as it says.
        let code = unsafe {
            shim::llama_memory_clear(cpp::llama_get_memory(raw), true)
                .and_then(|()| shim::llama_decode(raw, self.batch.raw()))
                .and_then(|code| shim::llama_synchronize(raw).map(|()| code))
        };
        match code {
            Ok(0) => self.read(tokens.len()),
            Ok(code) => Err(format!("llama.cpp gave {code}: {}", log::reason())),
            Err(thrown) => Err(thrown.to_string()),
        }
    }

    /// The vectors of the text of so many tokens that was computed last.
    fn read(&self, tokens: usize) -> Result<Vec<Vec<f32>>, String> {
        let raw = self.raw.as_ptr();
        let rows = match self.pooling {
            Pooling::None => tokens,
            _ => 1,
        };
        let vector = |row: usize| {
            // SAFETY: the context is alive; llama.cpp gives null where there is no vector.
            let p = unsafe {
                match self.pooling {
                    Pooling::None => shim::llama_get_embeddings_ith(raw, row as i32),
                    _ => shim::llama_get_embeddings_seq(raw, 0),
                }
            };
            let p = p.map_err(|thrown| thrown.to_string())?;
            if p.is_null() {
                return Err("llama.cpp gave no vector".to_owned());
            }
            // SAFETY: a vector has as many numbers as the model says, and a score of a reranker
            // one for each class. They stay until the next decode, which needs `&mut self`.
            Ok(unsafe { std::slice::from_raw_parts(p, self.width) }.to_vec())
        };
        (0..rows).map(vector).collect()
    }
}

/// Frees a context that nobody owns yet, and gives the reason back.
fn free(raw: NonNull<cpp::llama_context>, why: &str) -> String {
    // SAFETY: made by llama_init_from_model, and nobody has it.
    unsafe { cpp::llama_free(raw.as_ptr()) };
    why.to_owned()
}

impl Drop for EmbeddingContext {
    fn drop(&mut self) {
        // SAFETY: made by llama_init_from_model and freed once; the model is dropped after.
        unsafe { cpp::llama_free(self.raw.as_ptr()) }
    }
}
