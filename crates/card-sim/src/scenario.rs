//! What is simulated, as a TOML file says it.

use std::sync::Arc;

use card_core::cost::CostCurve;
use card_core::policy::{Lanes, Mode};
use card_core::sampler::{Sampling, SamplingError, SamplingParams};
use serde::{Deserialize, Serialize};

use crate::Recording;

/// Why a scenario cannot be.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[error("{0}")]
pub struct ScenarioError(pub String);

/// A whole simulation.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is, for people.
    pub title: String,
    /// Where its figures are from.
    #[serde(default)]
    pub source: String,
    /// Decides everything that is left to chance.
    #[serde(default = "one")]
    pub seed: u64,
    /// The machines that run the target.
    pub target: Machines,
    /// The machines that run draft models.
    #[serde(default)]
    pub drafters: Vec<Drafters>,
    /// How the engine schedules.
    #[serde(default)]
    pub policy: Policy,
    /// What is asked of it.
    pub load: Load,
    /// Things that go wrong at a time.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// Things that go wrong now and then.
    #[serde(default)]
    pub chaos: Option<Chaos>,
    /// What drafters propose, as recorded; else [`Drafters::agreement`] says how often they
    /// are right.
    #[serde(skip)]
    pub recording: Option<Arc<Recording>>,
}

/// Machines of one kind.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Machines {
    /// How many.
    #[serde(default = "one_usize")]
    pub count: usize,
    /// (rows, milliseconds of a forward). No forward has more rows than the last of them.
    pub forward_ms: Vec<(u32, f64)>,
    /// What one costs, in any currency.
    #[serde(default)]
    pub price_per_hour: f64,
}

/// Machines that draft, and the links to them.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Drafters {
    /// How many. Target k of n uses those whose number is k modulo n; with fewer drafters
    /// than targets each serves several.
    #[serde(default = "one_usize")]
    pub count: usize,
    /// As for the target.
    pub forward_ms: Vec<(u32, f64)>,
    /// Share of places at which its first choice is the target's.
    pub agreement: f64,
    /// The way to it.
    #[serde(default)]
    pub link: Link,
    /// What one costs.
    #[serde(default)]
    pub price_per_hour: f64,
}

/// A link: messages arrive in order, since it is a TCP connection.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Link {
    /// Milliseconds, one way.
    pub latency_ms: f64,
    /// Up to so many milliseconds more.
    pub jitter_ms: f64,
    /// Share of messages that are sent again, which takes a retransmission time-out.
    pub loss: f64,
}

/// How the engine schedules.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// As `card --mode`.
    pub mode: Mode,
    /// Where drafters run: with a lane of their own, or (the first of them) on the target's.
    pub lanes: Lanes,
    /// Chain length of draft-then-verify.
    pub draft_len: u32,
    /// Bytes for candidates per sequence.
    pub cache_bytes: usize,
    /// Children proposed for each node.
    pub branch: usize,
    /// How far past the last committed token is drafted.
    pub max_depth: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            mode: Mode::Auto,
            lanes: Lanes::Disjoint,
            draft_len: 4,
            cache_bytes: 128 << 10,
            branch: 4,
            max_depth: 24,
        }
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Requests in all.
    pub requests: usize,
    /// Tokens of a prompt.
    pub prompt_tokens: usize,
    /// Tokens of an answer.
    pub output_tokens: u32,
    /// They arrive at random, so many a second; 0 for one whenever another is done.
    #[serde(default)]
    pub per_second: f64,
    /// Requests at a time on one target; the others wait.
    #[serde(default = "one_usize")]
    pub parallel: usize,
    /// Temperature they sample with.
    #[serde(default)]
    pub temperature: f32,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Seconds after the start.
    pub at_s: f64,
    /// What.
    pub kind: FaultKind,
    /// Number of the machine.
    #[serde(default)]
    pub which: usize,
    /// Seconds until it is over.
    pub for_s: f64,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// A drafter's process ends; connections are reset.
    DrafterCrash,
    /// Nothing gets through to a drafter and back, and nobody is told.
    Partition,
    /// A drafter becomes ten times slower.
    SlowDrafter,
    /// A drafter says things that make no sense, beside its drafts.
    Garbage,
    /// A target's process ends; what it was at is asked of another.
    TargetCrash,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [FaultKind; 5] = [
        FaultKind::DrafterCrash,
        FaultKind::Partition,
        FaultKind::SlowDrafter,
        FaultKind::Garbage,
        FaultKind::TargetCrash,
    ];
}

/// Faults at random times.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Chaos {
    /// Seconds between two faults, on average.
    pub every_s: f64,
    /// Seconds a fault lasts, on average.
    pub lasts_s: f64,
    /// Targets fail too.
    #[serde(default)]
    pub targets: bool,
}

fn one() -> u64 {
    1
}

fn one_usize() -> usize {
    1
}

impl Load {
    /// How a request of this seed samples.
    ///
    /// # Errors
    /// If the temperature is impossible.
    pub fn sampling(&self, seed: u64) -> Result<Sampling, SamplingError> {
        let params = SamplingParams {
            temperature: self.temperature,
            seed,
            ..SamplingParams::default()
        };
        params.checked()
    }
}

impl Machines {
    /// Milliseconds by rows.
    pub fn cost(&self) -> CostCurve {
        CostCurve::from_points(self.forward_ms.iter().copied())
    }
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Scenario, ScenarioError> {
        let scenario: Scenario =
            toml::from_str(text).map_err(|e| ScenarioError(e.to_string().trim().to_owned()))?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Makes sure that it makes sense.
    ///
    /// # Errors
    /// Says what does not.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let fail = |why: String| Err(ScenarioError(why));
        let curves = std::iter::once(("target", &self.target.forward_ms))
            .chain(self.drafters.iter().map(|d| ("drafters", &d.forward_ms)));
        for (name, points) in curves {
            let sound = |p: &(u32, f64)| p.0 > 0 && p.1.is_finite() && p.1 > 0.0;
            if points.is_empty() || !points.iter().all(sound) {
                return fail(format!(
                    "{name}.forward_ms must be pairs of rows and milliseconds, both above 0"
                ));
            }
        }
        if self.target.count == 0 || self.target.count > 1000 {
            return fail("target.count must be between 1 and 1000".into());
        }
        for d in &self.drafters {
            if !(0.1..=1.0).contains(&d.agreement) {
                return fail("drafters.agreement must be between 0.1 and 1".into());
            }
            if d.count == 0 || d.count > 1000 {
                return fail("drafters.count must be between 1 and 1000".into());
            }
            let Link {
                latency_ms,
                jitter_ms,
                loss,
            } = d.link;
            let time = |ms: f64| (0.0..=60_000.0).contains(&ms);
            if !time(latency_ms) || !time(jitter_ms) || !(0.0..=0.5).contains(&loss) {
                return fail(
                    "drafters.link: latency_ms and jitter_ms must be between 0 and 60000, loss between \
                     0 and 0.5"
                        .into(),
                );
            }
        }
        if self.policy.lanes == Lanes::Shared && self.drafters.len() > 1 {
            return fail("lanes = \"shared\" takes one kind of drafter".into());
        }
        let load = &self.load;
        if load.requests == 0 || load.prompt_tokens == 0 || load.output_tokens == 0 {
            return fail("load: requests, prompt_tokens and output_tokens must be above 0".into());
        }
        if load.parallel == 0 || load.parallel > 256 {
            return fail("load.parallel must be between 1 and 256".into());
        }
        if !(load.per_second.is_finite() && load.per_second >= 0.0) {
            return fail("load.per_second must not be negative".into());
        }
        if let Err(why) = load.sampling(0) {
            return fail(format!("load: {why}"));
        }
        if let Some(c) = &self.chaos
            && !(c.every_s > 0.0 && c.lasts_s > 0.0)
        {
            return fail("chaos: every_s and lasts_s must be above 0".into());
        }
        let bad_time = |f: &&Fault| !(f.at_s >= 0.0 && f.for_s > 0.0 && f.for_s.is_finite());
        if let Some(f) = self.faults.iter().find(bad_time) {
            return fail(format!(
                "fault {:?}: at_s and for_s must be above 0",
                f.kind
            ));
        }
        Ok(())
    }

    /// The same with another schedule.
    #[must_use]
    pub fn with_mode(&self, mode: Mode) -> Scenario {
        let mut other = self.clone();
        other.policy.mode = mode;
        other
    }
}
