//! Devices we do not have: real models, real engine, paced forwards (DESIGN §8).
//!
//! Tokens and acceptance are the models' own. The time of a forward is the profile's,
//! dilated so that the real computation fits under it: the lane sleeps for the rest, so
//! two emulated devices fit on one small machine. A forward that took longer than its
//! paced time is an error, since then nothing is emulated.

use std::time::{Duration, Instant};

use card_core::cost::CostCurve;
use card_core::forward::{Forward, KvOp, Limits, Logits, Model, ModelError};
use serde::Deserialize;

/// What is emulated: figures somebody measured, and where they are from.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct EmulationProfile {
    /// Like "70B target, 1B drafter, A100s".
    pub title: String,
    /// Who published the figures, and what was added to them.
    pub source: String,
    /// How much longer than the published ones the emulated times are, so that the real
    /// computation fits.
    pub dilation: f64,
    /// The target's device.
    pub target: EmulatedDevice,
    /// The drafter's.
    pub draft: EmulatedDevice,
    /// Milliseconds a message takes between them, one way.
    #[serde(default)]
    pub latency_ms: f64,
}

/// An emulated device.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct EmulatedDevice {
    /// (rows, milliseconds of a forward), before dilation. It takes no more rows than the
    /// last of them, prompts included.
    pub forward_ms: Vec<(u32, f64)>,
}

impl EmulationProfile {
    /// Reads a profile.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let devices = [("target", &self.target), ("draft", &self.draft)];
        for (name, device) in devices {
            let sound = |p: &(u32, f64)| p.0 > 0 && p.1.is_finite() && p.1 > 0.0;
            if device.forward_ms.is_empty() || !device.forward_ms.iter().all(sound) {
                return Err(format!(
                    "{name}.forward_ms must be pairs of rows and milliseconds, both above 0"
                ));
            }
        }
        if !(self.dilation.is_finite() && self.dilation > 0.0) {
            return Err("dilation must be above 0".into());
        }
        if !(0.0..=60_000.0).contains(&self.latency_ms) {
            return Err("latency_ms must be between 0 and 60000".into());
        }
        Ok(())
    }

    /// Dilated cost of the target.
    pub fn target_cost(&self) -> CostCurve {
        self.dilated(&self.target)
    }

    /// Dilated cost of the drafter.
    pub fn draft_cost(&self) -> CostCurve {
        self.dilated(&self.draft)
    }

    /// Dilated latency, one way.
    pub fn latency(&self) -> Duration {
        Duration::from_secs_f64(self.latency_ms * self.dilation / 1e3)
    }

    fn dilated(&self, device: &EmulatedDevice) -> CostCurve {
        let points = device.forward_ms.iter();
        CostCurve::from_points(points.map(|&(rows, ms)| (rows, ms * self.dilation)))
    }
}

/// A model on an emulated device.
pub struct Emulated<M> {
    inner: M,
    cost: CostCurve,
}

impl<M: Model> Emulated<M> {
    /// `inner`, with forwards that take what `cost` says.
    pub fn new(inner: M, cost: CostCurve) -> Self {
        Emulated { inner, cost }
    }
}

impl<M: Model> Logits for Emulated<M> {
    fn row(&self, i: usize) -> &[f32] {
        self.inner.row(i)
    }
}

impl<M: Model> Model for Emulated<M> {
    fn limits(&self) -> Limits {
        let mut limits = self.inner.limits();
        let most = self.cost.points().map(|p| p.0 as usize).max();
        limits.rows = limits.rows.min(most.unwrap_or(limits.rows));
        limits
    }

    fn vocab(&self) -> usize {
        self.inner.vocab()
    }

    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        self.inner.apply(op)
    }

    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        let start = Instant::now();
        self.inner.forward(forward)?;
        let rows = forward.rows.len().max(forward.pad_to);
        let took = start.elapsed();
        let paced = Duration::from_secs_f64(self.cost.ms(rows as u32) / 1e3);
        match paced.checked_sub(took) {
            Some(rest) => {
                std::thread::sleep(rest);
                Ok(())
            }
            None => Err(ModelError::Failed(format!(
                "not emulated: a forward of {rows} rows took {:.0} ms here, but has {:.0} ms in the \
                 profile; raise its dilation",
                took.as_secs_f64() * 1e3,
                paced.as_secs_f64() * 1e3
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use card_core::synthetic::{Synthetic, SyntheticConfig};
    use card_core::types::SequenceId;

    use super::*;

    fn model() -> Synthetic {
        Synthetic::new(SyntheticConfig {
            vocab: 20,
            seed: 1,
            spread: 1.0,
            noise: 0.0,
            noise_seed: 2,
            limits: Limits {
                context: 100,
                rows: 16,
                leaves: 4,
            },
        })
    }

    #[test]
    fn a_forward_takes_at_least_its_paced_time() {
        let mut m = Emulated::new(model(), CostCurve::from_points([(1, 20.0)]));
        let start = Instant::now();
        m.forward(&Forward::chain(SequenceId(1), 0, &[1], 0))
            .unwrap();
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_forward_that_does_not_fit_fails_loudly() {
        let mut m = Emulated::new(model(), CostCurve::from_points([(1, 1e-6)]));
        let error = m.forward(&Forward::chain(SequenceId(1), 0, &[1], 0));
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("raise its dilation")
        );
    }
}
