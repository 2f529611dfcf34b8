//! What is simulated, as a TOML file says it. Each table of the file is a struct here.

use std::sync::Arc;

use card_core::cost::CostCurve;
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::sampler::{Sampling, SamplingError, SamplingParams};
use serde::{Deserialize, Serialize};

use crate::bursts::BurstSpec;
use crate::error::ScenarioError;
use crate::recording::Recording;

/// A whole simulation.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is, for people.
    pub title: String,
    /// Where its figures are from.
    #[serde(default)]
    pub source: String,
    /// The seed of all random draws: one seed, one outcome.
    #[serde(default = "one")]
    pub seed: u64,
    /// The machines that run the target.
    pub target: TargetSpecs,
    /// The machines that run draft models.
    #[serde(default)]
    pub drafters: Vec<DrafterSpecs>,
    /// How the targets schedule.
    #[serde(default)]
    pub policy: PolicySpec,
    /// What is asked of the targets.
    pub load: LoadSpec,
    /// Faults at given times.
    #[serde(default)]
    pub faults: Vec<FaultSpec>,
    /// Faults at random times.
    #[serde(default)]
    pub chaos: Option<ChaosSpec>,
    /// Drafts are right in runs, in place of [`DrafterSpecs::agreement`].
    #[serde(default)]
    pub bursts: Option<BurstSpec>,
    /// How fast a request has to be answered to count as goodput. With a bound, schedules are
    /// compared on as many devices ([`Scenario::alone`]).
    #[serde(default)]
    pub latency_bound: Option<LatencyBound>,
    /// What drafters propose, as recorded, or drawn by `bursts`; without a recording
    /// [`DrafterSpecs::agreement`] says how often they are right.
    #[serde(skip)]
    pub recording: Option<Arc<Recording>>,
}

/// The machines that run the target.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct TargetSpecs {
    /// How many.
    #[serde(default = "one_usize")]
    pub count: usize,
    /// (rows, milliseconds of a forward). No forward has more rows than the last of these
    /// points.
    pub forward_ms: Vec<(u32, f64)>,
    /// Price of one machine, in any currency.
    #[serde(default)]
    pub price_per_hour: f64,
    /// Devices (GPUs) of one machine.
    #[serde(default = "one_usize")]
    pub devices: usize,
}

/// Machines that draft, and the links to them.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct DrafterSpecs {
    /// How many. Target k of n uses those whose number is k modulo n; with fewer drafters
    /// than targets each serves several.
    #[serde(default = "one_usize")]
    pub count: usize,
    /// (rows, milliseconds of a forward), as for the target.
    pub forward_ms: Vec<(u32, f64)>,
    /// Share of places at which the drafter's first choice is the target's.
    pub agreement: f64,
    /// The link to each of them.
    #[serde(default)]
    pub link: LinkSpec,
    /// Price of one machine, in the same currency.
    #[serde(default)]
    pub price_per_hour: f64,
    /// Devices (GPUs) of one machine.
    #[serde(default = "one_usize")]
    pub devices: usize,
}

/// A link: messages arrive in order, since it is a TCP connection.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct LinkSpec {
    /// Milliseconds a message takes, one way.
    pub latency_ms: f64,
    /// Up to so many milliseconds more, drawn for each message.
    pub jitter_ms: f64,
    /// Share of messages that are lost and sent again after a retransmission time-out.
    pub loss: f64,
}

/// How the targets schedule.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySpec {
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

impl Default for PolicySpec {
    fn default() -> Self {
        PolicySpec {
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
pub struct LoadSpec {
    /// Requests in all.
    pub requests: usize,
    /// Tokens of a prompt.
    pub prompt_tokens: usize,
    /// Tokens of an answer.
    pub output_tokens: u32,
    /// Requests that arrive a second, at random; 0 for one whenever another is done.
    #[serde(default)]
    pub per_second: f64,
    /// Requests at a time on one target; the others wait.
    #[serde(default = "one_usize")]
    pub parallel: usize,
    /// Temperature that requests sample with.
    #[serde(default)]
    pub temperature: f32,
}

/// How fast a request has to be answered (the service level of DistServe, arXiv 2401.09670, §2).
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct LatencyBound {
    /// Most milliseconds from arrival to the first token.
    pub first_token_ms: f64,
    /// Most milliseconds per token after that, on average over the answer.
    pub token_ms: f64,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// Seconds after the start.
    pub at_s: f64,
    /// What goes wrong.
    pub kind: FaultKind,
    /// Number of the machine that it befalls.
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
pub struct ChaosSpec {
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

impl LoadSpec {
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

    fn check(&self) -> Result<(), ScenarioError> {
        if self.requests == 0 || self.prompt_tokens == 0 || self.output_tokens == 0 {
            return fail("load: requests, prompt_tokens and output_tokens must be above 0");
        }
        if self.parallel == 0 || self.parallel > 256 {
            return fail("load.parallel must be between 1 and 256");
        }
        if !(self.per_second.is_finite() && self.per_second >= 0.0) {
            return fail("load.per_second must not be negative");
        }
        if let Err(why) = self.sampling(0) {
            return fail(format!("load: {why}"));
        }
        Ok(())
    }
}

impl TargetSpecs {
    /// Milliseconds of a forward by rows.
    pub fn cost(&self) -> CostCurve {
        CostCurve::from_points(self.forward_ms.iter().copied())
    }
}

impl DrafterSpecs {
    /// Milliseconds of a forward by rows.
    pub fn cost(&self) -> CostCurve {
        CostCurve::from_points(self.forward_ms.iter().copied())
    }

    fn check(&self) -> Result<(), ScenarioError> {
        if !(0.1..=1.0).contains(&self.agreement) {
            return fail("drafters.agreement must be between 0.1 and 1");
        }
        if self.count == 0 || self.count > 1000 {
            return fail("drafters.count must be between 1 and 1000");
        }
        let LinkSpec {
            latency_ms,
            jitter_ms,
            loss,
        } = self.link;
        let time = |ms: f64| (0.0..=60_000.0).contains(&ms);
        if !time(latency_ms) || !time(jitter_ms) || !(0.0..=0.5).contains(&loss) {
            return fail(
                "drafters.link: latency_ms and jitter_ms must be between 0 and 60000, loss between \
                 0 and 0.5",
            );
        }
        Ok(())
    }
}

fn fail(why: impl Into<String>) -> Result<(), ScenarioError> {
    Err(ScenarioError(why.into()))
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Scenario, ScenarioError> {
        let mut scenario: Scenario =
            toml::from_str(text).map_err(|e| ScenarioError(e.to_string().trim().to_owned()))?;
        scenario.check()?;
        scenario.draw_bursts()?;
        Ok(scenario)
    }

    /// Draws where drafts are right, by the seed, if they are right in runs.
    ///
    /// # Errors
    /// If what is drawn is no recording.
    pub fn draw_bursts(&mut self) -> Result<(), ScenarioError> {
        if let Some(bursts) = &self.bursts {
            let tokens = self.load.output_tokens as usize;
            self.recording = Some(bursts.draw(self.load.requests, tokens, self.seed)?);
        }
        Ok(())
    }

    /// Checks that it can be simulated: every number is within its range.
    ///
    /// # Errors
    /// Names the first setting that is not, and its range.
    pub fn check(&self) -> Result<(), ScenarioError> {
        self.check_costs()?;
        if self.target.count == 0 || self.target.count > 1000 {
            return fail("target.count must be between 1 and 1000");
        }
        self.drafters.iter().try_for_each(DrafterSpecs::check)?;
        if self.policy.lanes == Lanes::Shared && self.drafters.len() > 1 {
            return fail("lanes = \"shared\" takes one kind of drafter");
        }
        self.load.check()?;
        if let Some(c) = &self.chaos
            && !(c.every_s > 0.0 && c.lasts_s > 0.0)
        {
            return fail("chaos: every_s and lasts_s must be above 0");
        }
        self.bursts.iter().try_for_each(BurstSpec::check)?;
        let sound = |b: &LatencyBound| b.first_token_ms > 0.0 && b.token_ms > 0.0;
        if !self.latency_bound.iter().all(sound) {
            return fail("latency_bound: first_token_ms and token_ms must be above 0");
        }
        if self.target.devices == 0 || self.drafters.iter().any(|d| d.devices == 0) {
            return fail("devices must be above 0");
        }
        let bad_time = |f: &&FaultSpec| !(f.at_s >= 0.0 && f.for_s > 0.0 && f.for_s.is_finite());
        if let Some(f) = self.faults.iter().find(bad_time) {
            return fail(format!(
                "fault {:?}: at_s and for_s must be above 0",
                f.kind
            ));
        }
        Ok(())
    }

    /// Makes sure that every machine's forwards take a time.
    fn check_costs(&self) -> Result<(), ScenarioError> {
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
        Ok(())
    }

    /// Devices of all machines.
    pub fn devices(&self) -> usize {
        let drafters = self.drafters.iter().map(|d| d.count * d.devices);
        self.target.count * self.target.devices + drafters.sum::<usize>()
    }

    /// The same devices with targets on all of them, as many as fit: drafters that are used share a
    /// lane with each target, on its devices.
    #[must_use]
    pub fn alone(&self, mode: Mode) -> Scenario {
        let mut other = self.with_mode(mode);
        other.target.count = (self.devices() / self.target.devices).max(1);
        other.policy.lanes = Lanes::Shared;
        other.drafters.truncate(1);
        other
    }

    /// The same scenario with another schedule.
    #[must_use]
    pub fn with_mode(&self, mode: Mode) -> Scenario {
        let mut other = self.clone();
        other.policy.mode = mode;
        other
    }
}
