//! Contexts of loaded models: how many cells and rows each kind of work gets.

use card_llama::{ContextOptions, Cores, KvShape, LlamaContext, LlamaError, LlamaModel};

/// KV cells for candidates, beside those of the context.
pub const SPARE_CELLS: u32 = 512;
/// Rows of the largest forward.
const ROWS: u32 = 256;
/// Context of the self-tests, in tokens: room for their longest passage, whatever `--ctx` says,
/// since what they find is remembered for any.
const TEST_CONTEXT: u32 = 1280;
/// Context of coarse measurements, in tokens.
const COARSE_CONTEXT: u32 = 64;

/// A context of a model for one sequence.
///
/// # Errors
/// If llama.cpp cannot make it, for want of memory, say.
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
/// If llama.cpp cannot make it, for want of memory, say.
pub fn llama_contexts(
    model: &LlamaModel,
    role: &'static str,
    context: u32,
    sequences: u32,
    cores: &Cores,
) -> Result<LlamaContext, LlamaError> {
    LlamaContext::new(model, &options(role, context, sequences, false, cores))
}

/// A context of a target for several sequences of full length. Where several sequences share the
/// cache, or if it `keeps` sequences that have ended, the cells of each sequence stay in order.
///
/// # Errors
/// If llama.cpp cannot make it, for want of memory, say.
pub fn target_contexts(
    model: &LlamaModel,
    context: u32,
    sequences: u32,
    keeps: bool,
    cores: &Cores,
) -> Result<LlamaContext, LlamaError> {
    let in_order = sequences > 1 || keeps;
    LlamaContext::new(
        model,
        &options("target", context, sequences, in_order, cores),
    )
}

/// The settings of a head's context, for several sequences of full length.
pub fn head_options(context: u32, sequences: u32, cores: &Cores) -> ContextOptions {
    options("head", context, sequences, false, cores)
}

/// Bytes of the recurrent states that an engine's context for so many sequences has; 0 for a model
/// that keeps none. `role` is "target" or "draft".
///
/// It counts as if the target kept its cells in order, for which it may have one id more.
pub fn state_bytes(shape: &KvShape, role: &'static str, sequences: u32) -> u64 {
    // Neither the length of the context nor the cores change how many states there are.
    let options = options(role, 0, sequences, role == "target", &Cores::one_lane(1));
    shape.state.saturating_mul(options.states(shape))
}

fn options(
    role: &'static str,
    context: u32,
    sequences: u32,
    in_order: bool,
    cores: &Cores,
) -> ContextOptions {
    ContextOptions {
        role,
        context,
        sequences,
        spare_cells: SPARE_CELLS,
        rows: ROWS,
        in_order,
        cores: cores.clone(),
    }
}

/// A context for a self-test, with room for another sequence beside its own. The test frees no
/// cell that lies before one it still needs, so the cells stay in order by themselves.
///
/// # Errors
/// If llama.cpp cannot make it, for want of memory, say.
pub fn test_context(
    model: &LlamaModel,
    role: &'static str,
    cores: &Cores,
) -> Result<LlamaContext, LlamaError> {
    llama_contexts(model, role, test_length(model), 2, cores)
}

/// Tokens of context of a self-test.
pub fn test_length(model: &LlamaModel) -> u32 {
    TEST_CONTEXT.min(model.info().trained_context.max(64))
}

/// KV cells of a context for a self-test, at the most.
pub fn test_cells() -> u64 {
    u64::from(2 * TEST_CONTEXT + SPARE_CELLS)
}

/// A small context for the few forwards of a coarse measurement.
///
/// # Errors
/// If llama.cpp cannot make it, for want of memory, say.
pub fn coarse_context(
    model: &LlamaModel,
    role: &'static str,
    cores: &Cores,
) -> Result<LlamaContext, LlamaError> {
    llama_context(model, role, COARSE_CONTEXT, cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_counted_by_role_and_number_of_sequences() {
        let hybrid = KvShape {
            keys: 64,
            values: 64,
            state: 1000,
            snapshots: true,
            layers: 4,
            bytes: 0,
        };
        // For each sequence three ids, one for the self-test and two of the context's own; each
        // with four snapshots.
        assert_eq!(state_bytes(&hybrid, "target", 1), 1000 * 6 * 5);
        assert_eq!(state_bytes(&hybrid, "target", 2), 1000 * 9 * 5);
        // A drafter has an id for each drafted token and no snapshots.
        assert_eq!(state_bytes(&hybrid, "draft", 1), 1000 * (5 + 16));
        let cells = KvShape { state: 0, ..hybrid };
        assert_eq!(state_bytes(&cells, "target", 64), 0);
        let huge = KvShape {
            state: u64::MAX,
            ..hybrid
        };
        assert_eq!(state_bytes(&huge, "target", 1), u64::MAX);
    }
}
