//! What Prometheus reads at `/metrics`.

use std::sync::Mutex;

use card_core::engine::Round;
use card_core::types::Source;
use card_engine::LaneTimes;
use prometheus::core::Collector;
use prometheus::{
    Counter, Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, TextEncoder,
};

use crate::rollout::Rollout;

/// All of them.
pub struct Metrics {
    registry: Registry,
    /// The arms of a staged rollout.
    pub rollout: Rollout,
    /// Requests by path and status.
    pub requests: IntCounterVec,
    /// Seconds to the first token, queue included.
    pub first_token: Histogram,
    /// Seconds between commits that a client sees, per token.
    pub token_gap: Histogram,
    /// Tokens read.
    pub prompt_tokens: IntCounter,
    /// Tokens of prompts that an earlier generation had read.
    pub reused_tokens: IntCounter,
    /// Tokens written.
    pub tokens: IntCounter,
    /// Generations whose client went away.
    pub cancelled: IntCounter,
    /// Audit records that could not be written.
    pub audit_lost: IntCounter,
    rounds: IntCounter,
    round_tokens: IntCounter,
    hits: IntCounter,
    misses: IntCounter,
    offered: IntCounterVec,
    accepted: IntCounterVec,
    evicted: IntCounter,
    cache_bytes: IntGauge,
    near_ties: IntCounter,
    plain_seconds: Counter,
    decode_seconds: Counter,
    running: IntGauge,
    waiting: IntGauge,
    connections: IntGauge,
    drafters: IntGauge,
    drafter_failures: Counter,
    target_busy: Counter,
    draft_busy: Counter,
    engine_busy: Counter,
    /// Held while the counters above follow the engine's.
    following: Mutex<()>,
    uptime: Gauge,
}

impl Metrics {
    /// None counted yet. `canary` is the share of requests that speculate, if not all do.
    ///
    /// # Errors
    /// If two have the same name, which tests would show.
    pub fn new(canary: Option<f64>) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let r = &registry;
        let seconds = |name: &str, help: &str, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            registered(r, Histogram::with_opts(options)?)
        };
        let count = |name: &str, help: &str| registered(r, IntCounter::new(name, help)?);
        let level = |name: &str, help: &str| registered(r, IntGauge::new(name, help)?);
        let amount = |name: &str, help: &str| registered(r, Counter::new(name, help)?);
        let by = |name: &str, help: &str, labels: &[&str]| {
            registered(r, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        Ok(Metrics {
            requests: by(
                "card_requests_total",
                "Requests by path and status",
                &["path", "status"],
            )?,
            first_token: seconds(
                "card_time_to_first_token_seconds",
                "From the request to its first token, waiting included",
                &[0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 12.0, 25.0, 50.0],
            )?,
            token_gap: seconds(
                "card_inter_token_seconds",
                "Time per token after the first, commit by commit",
                &[
                    0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5,
                ],
            )?,
            prompt_tokens: count("card_prompt_tokens_total", "Tokens of prompts")?,
            reused_tokens: count(
                "card_prompt_tokens_reused_total",
                "Tokens of prompts, once per answer, that an earlier generation had read",
            )?,
            tokens: count("card_generated_tokens_total", "Tokens written")?,
            cancelled: count("card_cancelled_total", "Generations whose client went away")?,
            audit_lost: count(
                "card_audit_lost_total",
                "Audit records that could not be written",
            )?,
            rounds: count(
                "card_rounds_total",
                "Target forwards, per sequence; prefill left out",
            )?,
            round_tokens: count(
                "card_round_tokens_total",
                "Tokens of those rounds; divided by rounds: mean accepted length",
            )?,
            hits: count(
                "card_cache_hits_total",
                "Corrections that were in the candidate cache",
            )?,
            misses: count("card_cache_misses_total", "Corrections that were not")?,
            offered: by(
                "card_candidates_verified_total",
                "Candidates verified",
                &["source"],
            )?,
            accepted: by(
                "card_candidates_accepted_total",
                "Candidates accepted",
                &["source"],
            )?,
            evicted: count(
                "card_cache_evictions_total",
                "Candidates dropped for want of room",
            )?,
            cache_bytes: level(
                "card_cache_bytes",
                "Bytes of candidates of the sequence that was corrected last",
            )?,
            near_ties: count(
                "card_near_ties_total",
                "Decisions closer than the near-tie bound",
            )?,
            decode_seconds: registered(
                r,
                Counter::new(
                    "card_decode_seconds_total",
                    "Time of decoding, per sequence",
                )?,
            )?,
            plain_seconds: registered(
                r,
                Counter::new(
                    "card_plain_decode_seconds_total",
                    "What plain decoding would have taken for the same tokens, by the measured cost of \
                 its forwards; divided by decode seconds: the speed-up",
                )?,
            )?,
            running: level("card_running", "Generations at work")?,
            waiting: level("card_waiting", "Requests in the line")?,
            connections: level("card_connections", "Connections that are open")?,
            drafters: level("card_drafters", "Draft models at work")?,
            drafter_failures: amount("card_drafter_failures_total", "Times a draft model failed")?,
            target_busy: amount("card_target_busy_seconds_total", "Time in target forwards")?,
            draft_busy: amount("card_draft_busy_seconds_total", "Time in draft forwards")?,
            engine_busy: amount(
                "card_engine_busy_seconds_total",
                "Time the engine spent between forwards",
            )?,
            uptime: registered(
                r,
                Gauge::new("card_uptime_seconds", "Since the server started")?,
            )?,
            following: Mutex::new(()),
            rollout: Rollout::new(canary, &registry)?,
            registry,
        })
    }

    /// Counts a round.
    pub fn round(&self, round: &Round) {
        if round.prefill {
            return;
        }
        self.rounds.inc();
        self.round_tokens.inc_by(round.tokens.len() as u64);
        match round.hit {
            Some(true) => self.hits.inc(),
            Some(false) => self.misses.inc(),
            None => {}
        }
        for node in &round.nodes {
            for source in node.sources.iter() {
                let name = [source.name()];
                self.offered.with_label_values(&name).inc();
                if node.accepted {
                    self.accepted.with_label_values(&name).inc();
                }
            }
        }
        self.cache_bytes.set(round.cached_bytes as i64);
        self.evicted.inc_by(round.evicted as u64);
        self.near_ties.inc_by(round.near_ties.len() as u64);
        self.decode_seconds.inc_by(round.elapsed.as_secs_f64());
        if round.why.plain > 0.0 {
            let share = round.why.plain / round.why.sequences.max(1) as f64;
            self.plain_seconds
                .inc_by(round.tokens.len() as f64 / share / 1e3);
        }
    }

    /// All of them as text.
    ///
    /// # Errors
    /// If one cannot be written, which none should.
    pub fn text(&self, levels: Levels) -> Result<Vec<u8>, prometheus::Error> {
        self.running.set(levels.running as i64);
        self.waiting.set(levels.waiting as i64);
        self.connections.set(levels.connections as i64);
        let lanes = levels.lanes;
        self.drafters.set(lanes.drafters as i64);
        let following = self.following.lock();
        for (counter, now) in [
            (&self.drafter_failures, lanes.drafter_failures as f64),
            (&self.target_busy, lanes.target.as_secs_f64()),
            (&self.draft_busy, lanes.draft.as_secs_f64()),
            (&self.engine_busy, lanes.overhead.as_secs_f64()),
        ] {
            counter.inc_by((now - counter.get()).max(0.0));
        }
        drop(following);
        self.uptime.set(levels.uptime_s);
        // Sources nobody heard of yet are zero, not absent.
        for source in Source::ALL {
            self.offered.with_label_values(&[source.name()]);
            self.accepted.with_label_values(&[source.name()]);
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// What is looked at when somebody asks.
pub struct Levels {
    /// Generations at work.
    pub running: usize,
    /// Generations that wait for a slot.
    pub waiting: usize,
    /// Connections that are open.
    pub connections: usize,
    /// Work of the lanes.
    pub lanes: LaneTimes,
    /// Seconds since the start.
    pub uptime_s: f64,
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_dashboard_asks_for_what_there_is() {
        let dashboard = include_str!("../../../deploy/grafana/card.json");
        let parsed: serde_json::Value = serde_json::from_str(dashboard).unwrap();
        assert!(parsed["panels"].as_array().unwrap().len() > 8);
        let metrics = Metrics::new(None).unwrap();
        metrics.requests.with_label_values(&["/", "200"]).inc();
        let text = String::from_utf8(metrics.text(levels()).unwrap()).unwrap();
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
        let metrics = Metrics::new(None).unwrap();
        metrics
            .requests
            .with_label_values(&["/v1/models", "200"])
            .inc();
        let text = String::from_utf8(metrics.text(levels()).unwrap()).unwrap();
        assert!(text.contains("card_requests_total{path=\"/v1/models\",status=\"200\"} 1"));
        assert!(text.contains("card_candidates_accepted_total{source=\"suffix\"} 0"));
        assert!(text.contains("card_waiting 2"));
    }
}
