//! What is counted of a model.

use std::collections::HashMap;

use card_core::scheduler::Round;
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, IntCounter, Registry};

use super::levels::{LevelMetrics, Levels};
use super::llama_server::LlamaServerMetrics;
use super::registrar::Registrar;
use super::rollout::RolloutMetrics;
use super::rounds::RoundMetrics;

/// The label that names a model.
const MODEL: &str = "model";

/// All metrics of a model. They go on when it is unloaded and loaded again.
pub(crate) struct Metrics {
    registry: Registry,
    /// The arms of a staged rollout.
    pub(crate) rollout: RolloutMetrics,
    /// Seconds to the first token, queue included.
    pub(crate) first_token: Histogram,
    /// Seconds between commits that a client sees, per token.
    pub(crate) token_gap: Histogram,
    /// Tokens read.
    pub(crate) prompt_tokens: IntCounter,
    /// Tokens of prompts that an earlier generation had read.
    pub(crate) reused_tokens: IntCounter,
    /// Tokens written.
    pub(crate) tokens: IntCounter,
    /// Generations whose client went away.
    pub(crate) cancelled: IntCounter,
    /// The same under llama-server's names.
    pub(crate) llama_server: LlamaServerMetrics,
    rounds: RoundMetrics,
    levels: LevelMetrics,
}

impl Metrics {
    /// None counted yet. With the name of a model, all of them have it as a label.
    ///
    /// # Errors
    /// If two have the same name, which tests would show.
    pub(crate) fn new(model: Option<&str>) -> Result<Self, prometheus::Error> {
        let label = model.map(|name| HashMap::from([(MODEL.to_owned(), name.to_owned())]));
        let registry = Registry::new_custom(None, label)?;
        let r = Registrar(&registry);
        Ok(Metrics {
            first_token: r.seconds(
                "card_time_to_first_token_seconds",
                "From the request to its first token, waiting included",
                &[0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 12.0, 25.0, 50.0],
            )?,
            token_gap: r.seconds(
                "card_inter_token_seconds",
                "Time per token after the first, commit by commit",
                &[
                    0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5,
                ],
            )?,
            prompt_tokens: r.count("card_prompt_tokens_total", "Tokens of prompts")?,
            reused_tokens: r.count(
                "card_prompt_tokens_reused_total",
                "Tokens of prompts, once per answer, that an earlier generation had read",
            )?,
            tokens: r.count("card_generated_tokens_total", "Tokens written")?,
            cancelled: r.count("card_cancelled_total", "Generations whose client went away")?,
            llama_server: LlamaServerMetrics::new(&r)?,
            rounds: RoundMetrics::new(&r)?,
            levels: LevelMetrics::new(&r)?,
            rollout: RolloutMetrics::new(&registry)?,
            registry,
        })
    }

    /// Counts a round.
    pub(crate) fn round(&self, round: &Round) {
        self.rounds.count(round);
        self.llama_server.round(round);
    }

    /// The model was loaded, and its engine counts from zero again.
    pub(crate) fn restarted(&self) {
        self.levels.restarted();
    }

    /// Takes over what the model and its engine are doing now.
    pub(crate) fn take_over(&self, levels: &Levels) {
        self.levels.set(levels);
        self.llama_server.set(levels);
    }

    /// All of them, as they are now.
    pub(super) fn families(&self) -> Vec<MetricFamily> {
        self.rounds.name_all_sources();
        self.registry.gather()
    }
}
