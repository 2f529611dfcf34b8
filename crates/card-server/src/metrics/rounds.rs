//! What rounds of the engine did.

use card_core::scheduler::Round;
use card_core::types::Source;
use prometheus::{Counter, IntCounter, IntCounterVec, IntGauge};

use super::registrar::Registrar;

/// Counters of rounds. Rounds that only read a prompt are left out.
pub(super) struct RoundMetrics {
    rounds: IntCounter,
    round_tokens: IntCounter,
    hits: IntCounter,
    misses: IntCounter,
    offered: IntCounterVec,
    accepted: IntCounterVec,
    evicted: IntCounter,
    refused: IntCounter,
    cache_bytes: IntGauge,
    near_ties: IntCounter,
    plain_seconds: Counter,
    decode_seconds: Counter,
}

impl RoundMetrics {
    /// None counted yet.
    pub(super) fn new(registrar: &Registrar) -> Result<Self, prometheus::Error> {
        let r = registrar;
        Ok(RoundMetrics {
            rounds: r.count(
                "card_rounds_total",
                "Target forwards, per sequence; prefill left out",
            )?,
            round_tokens: r.count(
                "card_round_tokens_total",
                "Tokens of those rounds; divided by rounds: mean accepted length",
            )?,
            hits: r.count(
                "card_cache_hits_total",
                "Corrections that were in the candidate cache",
            )?,
            misses: r.count("card_cache_misses_total", "Corrections that were not")?,
            offered: r.count_by(
                "card_candidates_verified_total",
                "Candidates verified",
                &["source"],
            )?,
            accepted: r.count_by(
                "card_candidates_accepted_total",
                "Candidates accepted",
                &["source"],
            )?,
            evicted: r.count(
                "card_cache_evictions_total",
                "Candidates dropped for want of room",
            )?,
            refused: r.count(
                "card_candidates_refused_total",
                "Proposals that were no candidates, since the grammar of the text refuses them",
            )?,
            cache_bytes: r.level(
                "card_cache_bytes",
                "Bytes of candidates of the sequence that was corrected last",
            )?,
            near_ties: r.count(
                "card_near_ties_total",
                "Decisions closer than the near-tie bound",
            )?,
            decode_seconds: r.amount(
                "card_decode_seconds_total",
                "Time of decoding, per sequence",
            )?,
            plain_seconds: r.amount(
                "card_plain_decode_seconds_total",
                "What plain decoding would have taken for the same tokens, by the measured cost of \
                 its forwards; divided by decode seconds: the speed-up",
            )?,
        })
    }

    /// Counts a round.
    pub(super) fn count(&self, round: &Round) {
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
        self.refused.inc_by(round.refused as u64);
        self.near_ties.inc_by(round.near_ties.len() as u64);
        self.decode_seconds.inc_by(round.elapsed.as_secs_f64());
        if round.why.plain > 0.0 {
            let share = round.why.plain / round.why.sequences.max(1) as f64;
            self.plain_seconds
                .inc_by(round.tokens.len() as f64 / share / 1e3);
        }
    }

    /// Makes the counters of all sources, so that those of which nothing came yet are zero and
    /// not absent.
    pub(super) fn name_all_sources(&self) {
        for source in Source::ALL {
            self.offered.with_label_values(&[source.name()]);
            self.accepted.with_label_values(&[source.name()]);
        }
    }
}
