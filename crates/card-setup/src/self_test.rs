//! The self-test of a model here, run once and remembered.

use anyhow::{Context, Result};
use card_engine::selftest::{self, HEADS, SelfTestReport};
use card_llama::{LlamaContext, LlamaError, LlamaModel, on_own_thread};

use crate::findings::{identity, remember};
use crate::models::store::Store;
use crate::progress;

/// The text that is measured on. Any will do that is neither one word over and over nor rare
/// words only.
pub const PASSAGE: &str = "To find the largest number in a list, look at each element once and \
    remember the best one so far. In Python: def largest(xs): best = xs[0]; for x in xs: best = \
    max(best, x); return best. The loop runs n times, so its cost grows linearly.";
/// Positions compared: enough that a class of kernels shows.
const POSITIONS: usize = 40;

/// What a self-test looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// What forwards cost.
    Costs,
    /// What forwards cost, and which of them give the same logits: in long contexts, among other
    /// sequences, and for prompts that are read in pieces.
    Everything,
}

/// The report on a model: a remembered one, or that of a self-test now, in a context made for
/// it. `setup` names the threads, devices and kernels that the report depends on.
///
/// # Errors
/// If the test cannot run.
pub fn report(
    store: &Store,
    model: &LlamaModel,
    context: impl FnOnce() -> Result<LlamaContext, LlamaError>,
    setup: &str,
    look: Look,
) -> Result<SelfTestReport> {
    let key = format!("{} | {setup} {look:?}", identity(model.path())?);
    remember(store, key, || measure(model, &mut context()?, look))
}

fn measure(model: &LlamaModel, context: &mut LlamaContext, look: Look) -> Result<SelfTestReport> {
    let mut passage = model.vocab().tokenize(PASSAGE, false)?;
    passage.truncate(POSITIONS);
    let bar = progress::bar(1, "  {msg:32} {bar:24} {percent:>3} % {eta:>4}");
    bar.set_message("measuring this model here (once)");
    let mut progress = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let report = on_own_thread(|| match look {
        Look::Costs => selftest::costs(context, &passage, &mut progress),
        Look::Everything => selftest::run(context, &passage, &HEADS, &mut progress),
    })
    .context("the self-test failed");
    bar.finish_and_clear();
    report
}
