//! Contexts of loaded models: how many cells and rows each kind of work gets.

use card_llama::{ContextOptions, Cores, LlamaContext, LlamaError, LlamaModel};

/// KV cells for candidates, beside those of the context.
const SPARE_CELLS: u32 = 512;
/// Rows of the largest forward.
const ROWS: u32 = 256;
/// Context of the self-tests, in tokens: room for their longest passage, whatever `--ctx` says,
/// since what they find is remembered for any.
const TEST_CONTEXT: u32 = 1280;

/// A context of a model for one sequence.
///
/// # Errors
/// If llama.cpp cannot make it, for want of memory say.
pub fn llama_context(
    model: &LlamaModel,
    role: &'static str,
    context: u32,
    cores: &Cores,
) -> Result<LlamaContext, LlamaError> {
    llama_contexts(model, role, context, 1, cores)
}

/// A context of a model for several sequences of full length. The cells of each may come to lie
/// in any order, which changes how sums are rounded: drafts may be rounded in any way.
///
/// # Errors
/// If llama.cpp cannot make it, for want of memory say.
pub fn llama_contexts(
    model: &LlamaModel,
    role: &'static str,
    context: u32,
    sequences: u32,
    cores: &Cores,
) -> Result<LlamaContext, LlamaError> {
    LlamaContext::new(
        model,
        &ContextOptions {
            role,
            context,
            sequences,
            spare_cells: SPARE_CELLS,
            rows: ROWS,
            in_order: false,
            cores: cores.clone(),
        },
    )
}

/// A context of a target for several sequences of full length. Where several sequences share the
/// cache, or if it `keeps` sequences that have ended, the cells of each sequence stay in order.
///
/// # Errors
/// If llama.cpp cannot make it, for want of memory say.
pub fn target_contexts(
    model: &LlamaModel,
    context: u32,
    sequences: u32,
    keeps: bool,
    cores: &Cores,
) -> Result<LlamaContext, LlamaError> {
    LlamaContext::new(
        model,
        &ContextOptions {
            role: "target",
            context,
            sequences,
            spare_cells: SPARE_CELLS,
            rows: ROWS,
            in_order: sequences > 1 || keeps,
            cores: cores.clone(),
        },
    )
}

/// A context for a self-test, with room for another sequence beside its own. The test frees no
/// cell that lies before one it still needs, so the cells stay in order by themselves.
///
/// # Errors
/// If llama.cpp cannot make it, for want of memory say.
pub fn test_context(
    model: &LlamaModel,
    role: &'static str,
    cores: &Cores,
) -> Result<LlamaContext, LlamaError> {
    let trained = model.info().trained_context.max(64);
    llama_contexts(model, role, TEST_CONTEXT.min(trained), 2, cores)
}
