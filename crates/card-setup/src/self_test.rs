//! The self-test of a model here, run once and remembered.

use std::time::Instant;

use anyhow::{Context, Result};
use card_core::forward::Model;
use card_core::types::Token;
use card_engine::selftest::{self, HEADS, SelfTestReport};
use card_llama::{LlamaError, LlamaModel, on_own_thread};

use crate::coarse::MeasurementDeadline;
use crate::findings::{identity, known, remember, remember_quiet, renew};
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

/// How a self-test is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TestManner {
    /// It is done whatever is remembered.
    pub again: bool,
    /// Nothing is shown of it.
    pub silent: bool,
}

/// The name of what a self-test finds. `setup` names the threads, devices and kernels that it
/// depends on.
fn key(model: &LlamaModel, setup: &str, look: Look) -> Result<String> {
    Ok(format!("{} | {setup} {look:?}", identity(model.path())?))
}

/// The report on a model that is remembered, if one is.
///
/// # Errors
/// If the file of the model is not there any more.
pub fn remembered(
    store: &Store,
    model: &LlamaModel,
    setup: &str,
    look: Look,
) -> Result<Option<SelfTestReport>> {
    Ok(known(store, &key(model, setup, look)?))
}

/// The report on a model: a remembered one, or that of a self-test now, on the tokens of the
/// passage and in a context made for it. `setup` names the threads, devices and kernels that the
/// report depends on.
///
/// # Errors
/// If the test cannot run.
pub fn report(
    store: &Store,
    model: &LlamaModel,
    passage: impl FnOnce() -> Result<Vec<Token>, LlamaError>,
    context: impl FnOnce() -> Result<Box<dyn Model + Send>>,
    setup: &str,
    look: Look,
    manner: TestManner,
) -> Result<SelfTestReport> {
    let key = key(model, setup, look)?;
    let find_out = || measure(passage()?, &mut *context()?, look, manner);
    if manner.again {
        renew(store, key, find_out)
    } else {
        remember(store, key, find_out)
    }
}

/// The coarse report on a model: a remembered one, or what `measure` finds now.
///
/// # Errors
/// Those of `measure`.
pub fn coarse_report(
    store: &Store,
    model: &LlamaModel,
    setup: &str,
    look: Look,
    measure: impl FnOnce() -> Result<SelfTestReport>,
) -> Result<SelfTestReport> {
    let key = format!("{} | coarse", key(model, setup, look)?);
    remember_quiet(store, key, measure)
}

/// What a few forwards cost, and whether a wide one gives the logits of single ones. `any_shape`
/// says that every shape gives the same logits by the way they are computed.
///
/// # Errors
/// If the model fails.
pub fn coarse(
    passage: &[Token],
    context: &mut (dyn Model + Send),
    any_shape: bool,
    deadline: MeasurementDeadline,
) -> Result<SelfTestReport> {
    let clock = Instant::now();
    let report = on_own_thread(|| {
        let mut now = || clock.elapsed();
        selftest::coarse(context, passage, any_shape, deadline.left(), &mut now)
    });
    report.context("the first forwards failed")
}

fn measure(
    mut passage: Vec<Token>,
    context: &mut (dyn Model + Send),
    look: Look,
    manner: TestManner,
) -> Result<SelfTestReport> {
    passage.truncate(POSITIONS);
    let bar = if manner.silent {
        progress::hidden()
    } else {
        progress::bar(1, "  {msg:32} {bar:24} {percent:>3} % {eta:>4}")
    };
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
