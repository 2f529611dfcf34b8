//! What is read from a model and its engine when somebody asks for the metrics.

use std::sync::{Mutex, PoisonError};

use card_engine::LaneTimes;
use prometheus::{Counter, IntGauge};

use super::registrar::Registrar;

/// What a model and its engine are doing, at the moment somebody asks.
#[derive(Clone, Copy, Default)]
pub(crate) struct Levels {
    /// Generations at work.
    pub(crate) running: usize,
    /// Generations that wait for a slot.
    pub(crate) waiting: usize,
    /// Work of the lanes.
    pub(crate) lanes: LaneTimes,
}

/// Gauges, and counters that follow those of the engine.
pub(super) struct LevelMetrics {
    running: IntGauge,
    waiting: IntGauge,
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
    /// What the engine's counts were the last time, by which the counters above follow them.
    followed: Mutex<[f64; 7]>,
}

impl LevelMetrics {
    /// All zero.
    pub(super) fn new(registrar: &Registrar) -> Result<Self, prometheus::Error> {
        let r = registrar;
        Ok(LevelMetrics {
            running: r.level("card_running", "Generations at work")?,
            waiting: r.level("card_waiting", "Requests in the line")?,
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
            followed: Mutex::default(),
        })
    }

    /// The engine counts from zero again.
    pub(super) fn restarted(&self) {
        *self.followed.lock().unwrap_or_else(PoisonError::into_inner) = [0.0; 7];
    }

    /// Takes over what was read.
    pub(super) fn set(&self, levels: &Levels) {
        self.running.set(levels.running as i64);
        self.waiting.set(levels.waiting as i64);
        let lanes = &levels.lanes;
        self.drafters.set(lanes.drafters as i64);
        self.states.set(lanes.states.kept as i64);
        self.state_bytes.set(lanes.states.bytes as i64);
        let now = [
            lanes.drafter_failures as f64,
            lanes.states.saved as f64,
            lanes.states.resumed as f64,
            lanes.states.forgotten as f64,
            lanes.target.as_secs_f64(),
            lanes.draft.as_secs_f64(),
            lanes.overhead.as_secs_f64(),
        ];
        let counters = [
            &self.drafter_failures,
            &self.states_saved,
            &self.states_resumed,
            &self.states_forgotten,
            &self.target_busy,
            &self.draft_busy,
            &self.engine_busy,
        ];
        // Two readers at the same time would add the same difference twice.
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        for ((counter, now), before) in counters.into_iter().zip(now).zip(&mut *followed) {
            counter.inc_by((now - *before).max(0.0));
            *before = before.max(now);
        }
    }
}
