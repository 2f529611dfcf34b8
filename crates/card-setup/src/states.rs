//! What the state of a model takes here, of one that has a state per sequence.

use anyhow::{Context, Result};
use card_engine::selftest::{self, StateTimes};
use card_llama::{LlamaModel, on_own_thread};

use crate::contexts::llama_context;
use crate::devices;
use crate::self_test::PASSAGE;
use crate::settings::Settings;

/// Tokens of the context that it is measured in.
const CONTEXT: u32 = 64;

/// Measures what saving, putting back and taking back a state of this target takes; `None` if the
/// model has no such state.
///
/// # Errors
/// If there is no memory for a context, or the model fails.
pub fn state_times(settings: &Settings, target: &LlamaModel) -> Result<Option<StateTimes>> {
    let (cores, _) = devices::cores(settings);
    let mut context = llama_context(target, "target", CONTEXT, &cores)?;
    let passage = target.vocab().tokenize(PASSAGE, false)?;
    on_own_thread(|| selftest::state_times(&mut context, &passage))
        .context("measuring the model's states failed")
}
