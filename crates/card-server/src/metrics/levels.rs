//! What is read from the server and its engine when somebody asks for the metrics.

use std::sync::Mutex;

use card_engine::LaneTimes;
use prometheus::{Counter, Gauge, IntGauge};

use super::registrar::Registrar;

/// What the server and its engine are doing, at the moment somebody asks.
pub(crate) struct Levels {
    /// Generations at work.
    pub(crate) running: usize,
    /// Generations that wait for a slot.
    pub(crate) waiting: usize,
    /// Connections that are open.
    pub(crate) connections: usize,
    /// Work of the lanes.
    pub(crate) lanes: LaneTimes,
    /// Seconds since the start.
    pub(crate) uptime_s: f64,
}

/// Gauges, and counters that follow those of the engine.
pub(super) struct LevelMetrics {
    running: IntGauge,
    waiting: IntGauge,
    connections: IntGauge,
    drafters: IntGauge,
    drafter_failures: Counter,
    states: IntGauge,
    state_bytes: IntGauge,
    states_saved: Counter,
    states_resumed: Counter,
    states_forgotten: Counter,
    target_busy: Counter,
    draft_busy: Counter,
    engine_busy: Counter,
    /// Held while the counters above follow the engine's: two readers at the same time would
    /// add the same difference twice.
    following: Mutex<()>,
    uptime: Gauge,
}

impl LevelMetrics {
    /// All zero.
    pub(super) fn new(registrar: &Registrar) -> Result<Self, prometheus::Error> {
        let r = registrar;
        Ok(LevelMetrics {
            running: r.level("card_running", "Generations at work")?,
            waiting: r.level("card_waiting", "Requests in the line")?,
            connections: r.level("card_connections", "Connections that are open")?,
            drafters: r.level("card_drafters", "Draft models at work")?,
            drafter_failures: r
                .amount("card_drafter_failures_total", "Times a draft model failed")?,
            states: r.level("card_saved_states", "States of the target that are saved")?,
            state_bytes: r.level("card_saved_state_bytes", "Bytes of these")?,
            states_saved: r.amount("card_states_saved_total", "States that were saved")?,
            states_resumed: r.amount(
                "card_states_resumed_total",
                "Prompts that went on from a saved state",
            )?,
            states_forgotten: r.amount(
                "card_states_forgotten_total",
                "Saved states that were given up",
            )?,
            target_busy: r.amount("card_target_busy_seconds_total", "Time in target forwards")?,
            draft_busy: r.amount("card_draft_busy_seconds_total", "Time in draft forwards")?,
            engine_busy: r.amount(
                "card_engine_busy_seconds_total",
                "Time the engine spent between forwards",
            )?,
            uptime: r.gauge("card_uptime_seconds", "Since the server started")?,
            following: Mutex::new(()),
        })
    }

    /// Takes over what was read.
    pub(super) fn set(&self, levels: &Levels) {
        self.running.set(levels.running as i64);
        self.waiting.set(levels.waiting as i64);
        self.connections.set(levels.connections as i64);
        let lanes = &levels.lanes;
        self.drafters.set(lanes.drafters as i64);
        self.states.set(lanes.states.kept as i64);
        self.state_bytes.set(lanes.states.bytes as i64);
        let following = self.following.lock();
        for (counter, now) in [
            (&self.drafter_failures, lanes.drafter_failures as f64),
            (&self.states_saved, lanes.states.saved as f64),
            (&self.states_resumed, lanes.states.resumed as f64),
            (&self.states_forgotten, lanes.states.forgotten as f64),
            (&self.target_busy, lanes.target.as_secs_f64()),
            (&self.draft_busy, lanes.draft.as_secs_f64()),
            (&self.engine_busy, lanes.overhead.as_secs_f64()),
        ] {
            counter.inc_by((now - counter.get()).max(0.0));
        }
        drop(following);
        self.uptime.set(levels.uptime_s);
    }
}
