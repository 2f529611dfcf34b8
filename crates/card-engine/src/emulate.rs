//! Devices we do not have: real models, real engine, paced forwards.
//!
//! Tokens and acceptance are the models' own. The time of a forward is the profile's,
//! dilated so that the real computation fits into it: the lane sleeps for the rest, so that
//! two emulated devices fit on one small machine. The dilation is the least one at which the
//! forwards of this machine fit ([`EmulationProfile::fit`]). A run in which forwards took longer
//! than their paced times all the same emulates nothing; [`Overruns`] tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use card_core::cost::CostCurve;
use card_core::forward::{Forward, HiddenRow, KvOp, Limits, Logits, Model, ModelError};
use card_core::types::Rows;
use serde::Deserialize;

/// What is emulated: figures somebody measured, and where they are from.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct EmulationProfile {
    /// Like "70B target, 1B drafter, A100s".
    pub title: String,
    /// Who published the figures, and what was added to them.
    pub source: String,
    /// Factor by which the emulated times are longer than the published ones, so that the
    /// real computation fits. 0 if it is to be measured, as where a profile does not say.
    #[serde(default)]
    pub dilation: f64,
    /// The target's device.
    pub target: EmulatedDevice,
    /// The drafter's device.
    pub draft: EmulatedDevice,
    /// What forwards of the target's head take, on the target's device; `None` if the profile
    /// does not know.
    #[serde(default)]
    pub head: Option<EmulatedDevice>,
    /// Milliseconds a message takes between them, one way.
    #[serde(default)]
    pub latency_ms: f64,
}

/// An emulated device.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct EmulatedDevice {
    /// (rows, milliseconds of a forward), before dilation. No forward has more rows than the
    /// last of these points, prompts included.
    pub forward_ms: Vec<(u32, f64)>,
    /// Milliseconds, before dilation, that a forward takes longer if it has another number of rows
    /// than the one before it, as where a CUDA graph is made anew (docs/shapes.md).
    #[serde(default)]
    pub shape_change_ms: f64,
}

impl EmulationProfile {
    /// Reads a profile.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let devices = [("target", &self.target), ("draft", &self.draft)];
        let head = self.head.iter().map(|head| ("head", head));
        for (name, device) in devices.into_iter().chain(head) {
            let sound = |p: &(u32, f64)| p.0 > 0 && p.1.is_finite() && p.1 > 0.0;
            if device.forward_ms.is_empty() || !device.forward_ms.iter().all(sound) {
                return Err(format!(
                    "{name}.forward_ms must be pairs of rows and milliseconds, both above 0"
                ));
            }
            if !(0.0..=60_000.0).contains(&device.shape_change_ms) {
                return Err(format!(
                    "{name}.shape_change_ms must be between 0 and 60000"
                ));
            }
        }
        if !(self.dilation.is_finite() && self.dilation >= 0.0) {
            return Err("dilation must be above 0, or left out to have it measured".into());
        }
        if !(0.0..=60_000.0).contains(&self.latency_ms) {
            return Err("latency_ms must be between 0 and 60000".into());
        }
        Ok(())
    }

    /// Makes the dilation the least one that this machine's forwards fit in, with a margin for
    /// longer texts and for stalls, if the profile does not say one. `real` are the costs of the
    /// real forwards of target, drafter and head, while the others are at work too; an empty curve
    /// for one that does not run. Returns the least dilation without the margin.
    ///
    /// ```
    /// use card_core::cost::CostCurve;
    /// use card_engine::emulate::{EmulatedDevice, EmulationProfile};
    ///
    /// let device = |ms: f64| EmulatedDevice {
    ///     forward_ms: vec![(1, ms), (32, ms)],
    ///     shape_change_ms: 0.0,
    /// };
    /// let mut profile = EmulationProfile {
    ///     title: "a device".into(),
    ///     source: "made up".into(),
    ///     dilation: 0.0,
    ///     target: device(50.0),
    ///     draft: device(5.0),
    ///     head: None,
    ///     latency_ms: 0.0,
    /// };
    /// // 32 rows of the target take 1000 ms here, 20 times what they take there.
    /// let real = CostCurve::from_points([(1, 100.0), (32, 1000.0)]);
    /// let least = profile.fit([&real, &CostCurve::default(), &CostCurve::default()])?;
    /// assert_eq!(least, 20.0);
    /// assert!(profile.dilation > least && profile.dilation < 30.0);
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// If the profile says a dilation in which they do not fit.
    pub fn fit(&mut self, real: [&CostCurve; 3]) -> Result<f64, String> {
        /// How much longer than measured forwards may become.
        const MARGIN: f64 = 1.25;
        let devices = [Some(&self.target), Some(&self.draft), self.head.as_ref()];
        let needed = devices.into_iter().zip(real);
        let needed = needed.map(|(device, real)| device.map_or(0.0, |d| d.least_dilation(real)));
        let least = needed.fold(0.0, f64::max);
        if self.dilation == 0.0 {
            self.dilation = (10.0 * MARGIN * least).ceil().max(10.0) / 10.0;
        } else if least > self.dilation {
            return Err(format!(
                "this machine is too slow for the emulation: its forwards need a dilation of \
                 {least:.1}, and the profile says {}; leave `dilation` out, and it is measured",
                self.dilation
            ));
        }
        Ok(least)
    }

    /// Dilated cost of the target's head, if the profile knows it.
    pub fn head_cost(&self) -> Option<CostCurve> {
        self.head.as_ref().map(|head| self.dilated(head))
    }

    /// Dilated cost of the target.
    pub fn target_cost(&self) -> CostCurve {
        self.dilated(&self.target)
    }

    /// Dilated cost of the drafter.
    pub fn draft_cost(&self) -> CostCurve {
        self.dilated(&self.draft)
    }

    /// What a change of the number of rows costs on the device, dilated.
    pub fn shape_change(&self, device: &EmulatedDevice) -> Duration {
        Duration::from_secs_f64(device.shape_change_ms * self.dilation / 1e3)
    }

    /// The latency one way, dilated: `ms` milliseconds, or else the profile's.
    pub fn latency(&self, ms: Option<f64>) -> Duration {
        Duration::from_secs_f64(ms.unwrap_or(self.latency_ms) * self.dilation / 1e3)
    }

    fn dilated(&self, device: &EmulatedDevice) -> CostCurve {
        let points = device.forward_ms.iter();
        CostCurve::from_points(points.map(|&(rows, ms)| (rows, ms * self.dilation)))
    }
}

impl EmulatedDevice {
    /// The least dilation at which forwards that really take what `real` says fit into this
    /// device's times, whatever their number of rows; 0 if nothing is known of them.
    fn least_dilation(&self, real: &CostCurve) -> f64 {
        if real.is_empty() {
            return 0.0;
        }
        let device = CostCurve::from_points(self.forward_ms.iter().copied());
        let most = self.forward_ms.iter().map(|p| p.0).max().unwrap_or(1);
        let needed = |rows: u32| real.ms(rows) / device.ms(rows);
        (1..=most.min(Rows::MOST)).map(needed).fold(0.0, f64::max)
    }
}

/// Time that forwards took beyond their paced time. Shared by its clones.
#[derive(Clone, Debug, Default)]
pub struct Overruns(Arc<OverrunSums>);

#[derive(Debug, Default)]
struct OverrunSums {
    paced_us: AtomicU64,
    beyond_us: AtomicU64,
}

impl Overruns {
    /// Time beyond the paced one, as a share of it. A stall of the machine now and then is
    /// little; forwards that do not fit are much.
    pub fn share(&self) -> f64 {
        let of = |n: &AtomicU64| n.load(Ordering::Relaxed) as f64;
        of(&self.0.beyond_us) / of(&self.0.paced_us).max(1.0)
    }

    fn add(&self, paced: Duration, took: Duration) {
        let add = |n: &AtomicU64, d: Duration| n.fetch_add(d.as_micros() as u64, Ordering::Relaxed);
        add(&self.0.paced_us, paced);
        add(&self.0.beyond_us, took.saturating_sub(paced));
    }
}

/// A model on an emulated device.
pub struct Emulated<M> {
    inner: M,
    cost: CostCurve,
    /// What a forward takes longer that has another number of rows than the one before.
    shape_change: Duration,
    /// Rows of the last forward; 0 before the first.
    last_rows: usize,
    overruns: Overruns,
}

impl<M: Model> Emulated<M> {
    /// `inner`, with forwards that take what `cost` says.
    pub fn new(inner: M, cost: CostCurve, overruns: Overruns) -> Self {
        Emulated {
            inner,
            cost,
            shape_change: Duration::ZERO,
            last_rows: 0,
            overruns,
        }
    }

    /// The same on a device where a forward takes `longer` if it has another number of rows than the
    /// one before it.
    #[must_use]
    pub fn with_shape_change(mut self, longer: Duration) -> Self {
        self.shape_change = longer;
        self
    }

    /// What a forward of so many rows, padding included, takes on the device after those before it.
    fn paced(&mut self, rows: usize) -> Duration {
        let change = if rows == self.last_rows {
            Duration::ZERO
        } else {
            self.shape_change
        };
        self.last_rows = rows;
        Duration::from_secs_f64(self.cost.ms(rows as u32) / 1e3) + change
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

    fn state_bytes(&self) -> Option<usize> {
        self.inner.state_bytes()
    }

    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        self.inner.apply(op)
    }

    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        let start = Instant::now();
        self.inner.forward(forward)?;
        let rows = forward.rows.len().max(forward.pad_to);
        let took = start.elapsed();
        let paced = self.paced(rows);
        self.overruns.add(paced, took);
        std::thread::sleep(paced.saturating_sub(took));
        Ok(())
    }

    fn keeps_hidden(&self) -> bool {
        self.inner.keeps_hidden()
    }

    fn keep_hidden(&mut self, rows: &[HiddenRow]) {
        self.inner.keep_hidden(rows);
    }

    fn reset(&mut self) -> Result<(), ModelError> {
        self.inner.reset()
    }
}

#[cfg(test)]
mod tests {
    use card_core::forward::Rollback;
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
                cells: 100,
                rows: 16,
                leaves: 4,
                rollback: Rollback::Free,
            },
        })
    }

    #[test]
    fn the_first_forward_of_a_shape_takes_longer() {
        let cost = CostCurve::from_points([(1, 2.0), (4, 5.0)]);
        let change = Duration::from_micros(1500);
        let emulated = Emulated::new(model(), cost, Overruns::default());
        let mut m = emulated.with_shape_change(change);
        let took: Vec<f64> = [1, 1, 4, 4, 1]
            .map(|rows| m.paced(rows).as_secs_f64() * 1e3)
            .to_vec();
        let expected = [3.5, 2.0, 6.5, 5.0, 3.5];
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-6;
        assert!(took.iter().zip(&expected).all(near), "{took:?}");
    }

    #[test]
    fn forwards_are_paced_and_those_that_do_not_fit_are_told() {
        let forward = Forward::chain(SequenceId(1), 0, &[1], 0);
        let overruns = Overruns::default();
        let cost = CostCurve::from_points([(1, 20.0)]);
        let mut m = Emulated::new(model(), cost, overruns.clone());
        let start = Instant::now();
        m.forward(&forward).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert_eq!(overruns.share(), 0.0);
        let cost = CostCurve::from_points([(1, 1e-6)]);
        let mut m = Emulated::new(model(), cost, overruns.clone());
        m.forward(&forward).unwrap();
        assert!(overruns.share() > 0.0);
    }

    #[test]
    fn the_dilation_is_the_least_that_every_size_fits_in() {
        let device = |points: &[(u32, f64)]| EmulatedDevice {
            forward_ms: points.to_vec(),
            shape_change_ms: 0.0,
        };
        let profile = |dilation: f64| EmulationProfile {
            title: String::new(),
            source: String::new(),
            dilation,
            target: device(&[(1, 50.0), (32, 50.0)]),
            draft: device(&[(1, 7.0), (16, 7.0)]),
            head: Some(device(&[(1, 1.5)])),
            latency_ms: 0.0,
        };
        let curve = |points: &[(u32, f64)]| CostCurve::from_points(points.iter().copied());
        let (target, none) = (curve(&[(1, 80.0), (32, 900.0)]), CostCurve::default());
        // Of the drafter only small forwards were measured; its largest take longest.
        let draft = curve(&[(1, 20.0), (8, 90.0)]);
        let mut measured = profile(0.0);
        let least = measured.fit([&target, &draft, &none]).unwrap();
        assert!((least - 170.0 / 7.0).abs() < 1e-9, "{least}");
        assert!(measured.dilation >= 1.2 * least && measured.dilation < 1.4 * least);
        // The head's forwards count where it drafts.
        let head = curve(&[(1, 60.0)]);
        assert_eq!(profile(0.0).fit([&target, &draft, &head]), Ok(40.0));
        // What a profile says is believed, if it is enough.
        let mut said = profile(30.0);
        assert!(said.fit([&target, &draft, &none]).is_ok());
        assert_eq!(said.dilation, 30.0);
        let refused = profile(20.0).fit([&target, &draft, &none]).unwrap_err();
        assert!(refused.contains("too slow for the emulation"), "{refused}");
        // No device is emulated faster than it is.
        let mut fast = profile(0.0);
        assert!(fast.fit([&none, &none, &none]).is_ok());
        assert_eq!(fast.dilation, 1.0);
    }
}
