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
    target_busy: Counter,
    draft_busy: Counter,
    engine_busy: Counter,
    /// What the engine's counts were the last time, by which the counters above follow them.
    followed: Mutex<[f64; 4]>,
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
        *self.followed.lock().unwrap_or_else(PoisonError::into_inner) = [0.0; 4];
    }

    /// Takes over what was read.
    pub(super) fn set(&self, levels: &Levels) {
        self.running.set(levels.running as i64);
        self.waiting.set(levels.waiting as i64);
        let lanes = &levels.lanes;
        self.drafters.set(lanes.drafters as i64);
        let now = [
            lanes.drafter_failures as f64,
            lanes.target.as_secs_f64(),
            lanes.draft.as_secs_f64(),
            lanes.overhead.as_secs_f64(),
        ];
        let counters = [
            &self.drafter_failures,
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
