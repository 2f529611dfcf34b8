//! What Prometheus reads at `/metrics`. A file counts one subject.

mod levels;
mod llama_server;
mod registrar;
mod rollout;
mod rounds;

use card_core::scheduler::Round;
use prometheus::{Encoder, Histogram, IntCounter, IntCounterVec, Registry, TextEncoder};

pub(crate) use levels::Levels;
pub(crate) use llama_server::GenerationSample;
pub(crate) use rollout::{ArmSample, RolloutMetrics};

use levels::LevelMetrics;
use llama_server::LlamaServerMetrics;
use registrar::Registrar;
use rounds::RoundMetrics;

/// All metrics of a server.
pub(crate) struct Metrics {
    registry: Registry,
    /// The arms of a staged rollout.
    pub(crate) rollout: RolloutMetrics,
    /// Requests by path and status.
    pub(crate) requests: IntCounterVec,
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
    /// Audit records that could not be written.
    pub(crate) audit_lost: IntCounter,
    /// The same under llama-server's names.
    pub(crate) llama_server: LlamaServerMetrics,
    rounds: RoundMetrics,
    levels: LevelMetrics,
}

impl Metrics {
    /// None counted yet.
    ///
    /// # Errors
    /// If two have the same name, which tests would show.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let r = Registrar(&registry);
        Ok(Metrics {
            requests: r.count_by(
                "card_requests_total",
                "Requests by path and status",
                &["path", "status"],
            )?,
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
            audit_lost: r.count(
                "card_audit_lost_total",
                "Audit records that could not be written",
            )?,
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

    /// All of them as text.
    ///
    /// # Errors
    /// If one cannot be written, which none should.
    pub(crate) fn text(&self, levels: &Levels) -> Result<Vec<u8>, prometheus::Error> {
        self.levels.set(levels);
        self.llama_server.set(levels);
        self.rounds.name_all_sources();
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use card_engine::LaneTimes;

    use super::*;

    #[test]
    fn the_dashboard_asks_for_what_there_is() {
        let dashboard = include_str!("../../../../deploy/grafana/card.json");
        let parsed: serde_json::Value = serde_json::from_str(dashboard).unwrap();
        assert!(parsed["panels"].as_array().unwrap().len() > 8);
        let metrics = Metrics::new().unwrap();
        metrics.requests.with_label_values(&["/", "200"]).inc();
        let text = String::from_utf8(metrics.text(&levels()).unwrap()).unwrap();
        let word = |c: char| c.is_ascii_lowercase() || c == '_';
        for name in dashboard
            .split(|c| !word(c))
            .filter(|w| w.starts_with("card_"))
        {
            assert!(
                text.contains(&format!("\n{name}")),
                "{name} is not exported"
            );
        }
    }

    fn levels() -> Levels {
        Levels {
            running: 1,
            waiting: 2,
            connections: 3,
            lanes: LaneTimes::default(),
            uptime_s: 1.0,
        }
    }

    #[test]
    fn every_name_is_there_once() {
        let metrics = Metrics::new().unwrap();
        metrics
            .requests
            .with_label_values(&["/v1/models", "200"])
            .inc();
        let text = String::from_utf8(metrics.text(&levels()).unwrap()).unwrap();
        assert!(text.contains("card_requests_total{path=\"/v1/models\",status=\"200\"} 1"));
        assert!(text.contains("card_candidates_accepted_total{source=\"prompt_lookup\"} 0"));
        assert!(text.contains("card_waiting 2"));
    }
}
