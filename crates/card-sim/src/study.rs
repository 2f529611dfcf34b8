//! Schedules against each other, over a range of something.

use card_core::policy::Mode;

use crate::error::ScenarioError;
use crate::outcome::Outcome;
use crate::scenario::{LatencyBound, Scenario};
use crate::simulate::simulate;

/// Chain lengths of draft-then-verify; the best one counts.
const CHAINS: [u32; 4] = [2, 4, 7, 12];

/// What is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vary {
    /// One-way latency of the links.
    Latency,
    /// How often a draft is the target's first choice.
    Agreement,
    /// What a draft forward takes: the size of the drafter.
    DraftCost,
    /// Bytes for candidates.
    Cache,
    /// Nodes the drafter expands per forward (the paper's nodes per layer).
    Nodes,
    /// Requests at a time.
    Load,
    /// Drafters for each target.
    Drafters,
    /// Requests that arrive a second.
    Rate,
}

impl Vary {
    /// The values it takes.
    pub fn values(self) -> &'static [f64] {
        match self {
            Vary::Latency => &[0.0, 1.0, 5.0, 20.0, 50.0, 100.0, 200.0],
            Vary::Agreement => &[0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95],
            Vary::DraftCost => &[0.25, 0.5, 1.0, 2.0, 4.0, 8.0],
            Vary::Cache => &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 128.0],
            Vary::Nodes => &[1.0, 2.0, 5.0, 15.0, 45.0, 105.0, 205.0],
            Vary::Load => &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0],
            Vary::Drafters => &[1.0, 2.0, 3.0, 4.0],
            Vary::Rate => &[0.25, 0.5, 1.0, 1.5, 2.0],
        }
    }

    /// What they are, for people.
    pub fn unit(self) -> &'static str {
        match self {
            Vary::Latency => "ms of latency, one way",
            Vary::Agreement => "share of drafts that are right",
            Vary::DraftCost => "times the drafter's time per forward",
            Vary::Cache => "KiB of candidates per sequence",
            Vary::Nodes => "most nodes per draft forward",
            Vary::Load => "requests at a time on a target",
            Vary::Drafters => "drafters for each target",
            Vary::Rate => "times as many requests a second",
        }
    }

    /// The scenario with this value.
    #[must_use]
    pub fn apply(self, scenario: &Scenario, x: f64) -> Scenario {
        let mut s = scenario.clone();
        for d in &mut s.drafters {
            match self {
                Vary::Latency => d.link.latency_ms = x,
                Vary::Agreement => d.agreement = x,
                Vary::DraftCost => d.forward_ms.iter_mut().for_each(|p| p.1 *= x),
                Vary::Nodes => {
                    let cost = d.cost();
                    d.forward_ms.retain(|p| p.0 < x as u32);
                    d.forward_ms.push((x as u32, cost.ms(x as u32)));
                }
                Vary::Drafters => d.count = x as usize * s.target.count,
                Vary::Cache | Vary::Load | Vary::Rate => {}
            }
        }
        match self {
            Vary::Cache => s.policy.cache_bytes = x as usize * 1024,
            Vary::Rate => s.load.per_second *= x,
            Vary::Load => {
                s.load.parallel = x as usize;
                s.load.requests = s.load.requests.max(4 * x as usize * s.target.count);
            }
            _ => {}
        }
        s
    }
}

/// A schedule's result.
#[derive(Clone, Debug)]
pub struct StudyEntry {
    /// Which schedule.
    pub name: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// The results for one value of what is varied.
#[derive(Clone, Debug)]
pub struct StudyPoint {
    /// The value; `None` if nothing is varied.
    pub x: Option<f64>,
    /// A result for each schedule, plain decoding first.
    pub entries: Vec<StudyEntry>,
}

impl StudyPoint {
    /// The goodput of a schedule under this bound; `name` is how its name begins.
    pub fn goodput(&self, name: &str, bound: &LatencyBound) -> Option<f64> {
        let entry = self.entries.iter().find(|e| e.name.starts_with(name))?;
        Some(entry.outcome.goodput(bound))
    }

    /// How many times as fast as plain decoding a schedule was; `name` is how its name begins.
    pub fn speed_up(&self, name: &str) -> Option<f64> {
        let plain = self.entries.first()?.outcome.speed();
        let entry = self.entries.iter().find(|e| e.name.starts_with(name))?;
        (plain > 0.0).then(|| entry.outcome.speed() / plain)
    }
}

/// Plain decoding, the best draft-then-verify, card and auto on one scenario, in this order.
/// `done` hears of each simulation.
///
/// With a [bound on latency](Scenario::latency_bound) all have as many devices: plain decoding has
/// targets on those of the drafters too, draft-then-verify is tried that way and with drafters on
/// devices of their own, and what counts is goodput. Auto is there both ways.
///
/// # Errors
/// If the scenario makes no sense.
pub fn contest(
    scenario: &Scenario,
    done: &mut dyn FnMut(),
) -> Result<Vec<StudyEntry>, ScenarioError> {
    let mut run = |name: &str, scenario: Scenario| {
        let outcome = simulate(&scenario);
        done();
        outcome.map(|outcome| StudyEntry {
            name: name.to_owned(),
            outcome,
        })
    };
    let bound = scenario.latency_bound;
    let plain = match bound {
        Some(_) => scenario.alone(Mode::Plain),
        None => scenario.with_mode(Mode::Plain),
    };
    let mut entries = vec![run("plain", plain)?];
    if scenario.drafters.is_empty() {
        return Ok(entries);
    }
    let value = |entry: &StudyEntry| match &bound {
        Some(bound) => entry.outcome.goodput(bound),
        None => entry.outcome.speed(),
    };
    let mut best: Option<StudyEntry> = None;
    for (name, chained) in chains(scenario) {
        let entry = run(&name, chained)?;
        if best.as_ref().is_none_or(|b| value(&entry) > value(b)) {
            best = Some(entry);
        }
    }
    entries.extend(best);
    entries.push(run("card", scenario.with_mode(Mode::Card))?);
    entries.push(run("auto", scenario.with_mode(Mode::Auto))?);
    if bound.is_some() {
        let in_turns = scenario.alone(Mode::Auto);
        entries.push(run("in turns: auto", in_turns)?);
    }
    Ok(entries)
}

/// Draft-then-verify in every length that is tried.
fn chains(scenario: &Scenario) -> Vec<(String, Scenario)> {
    let of = |length: u32, place: &str, mut chained: Scenario| {
        chained.policy.draft_len = length;
        (format!("draft-then-verify {length}{place}"), chained)
    };
    let mode = Mode::DraftThenVerify;
    let apart = CHAINS.map(|length| of(length, "", scenario.with_mode(mode)));
    let mut all = Vec::from(apart);
    if scenario.latency_bound.is_some() {
        all.extend(CHAINS.map(|length| of(length, ", in turns", scenario.alone(mode))));
    }
    all
}

/// Simulations that [`contest`] runs.
pub fn runs(scenario: &Scenario) -> usize {
    let bounded = usize::from(scenario.latency_bound.is_some());
    if scenario.drafters.is_empty() {
        1
    } else {
        3 + bounded + chains(scenario).len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// 2 targets on 2 devices each and a drafter on 2.
    fn scenario() -> Scenario {
        let text = crate::builtin::scenario("published-70b-1b").unwrap();
        let mut scenario = Scenario::parse(text).unwrap();
        scenario.target.count = 2;
        scenario.target.devices = 2;
        scenario.drafters[0].devices = 2;
        scenario.load.requests = 4;
        scenario.load.output_tokens = 12;
        scenario.load.per_second = 4.0;
        scenario.load.parallel = 2;
        scenario.latency_bound = Some(LatencyBound {
            first_token_ms: 1000.0,
            token_ms: 60.0,
        });
        scenario
    }

    #[test]
    fn with_a_bound_on_latency_all_have_as_many_devices() {
        let scenario = scenario();
        assert_eq!(scenario.devices(), 6);
        let mut simulated = 0;
        let entries = contest(&scenario, &mut || simulated += 1).unwrap();
        assert_eq!(simulated, runs(&scenario));
        let targets = |name: &str| {
            let entry = entries.iter().find(|e| e.name.starts_with(name)).unwrap();
            entry.outcome.targets
        };
        assert_eq!((targets("plain"), targets("auto")), (3, 2));
        assert_eq!(targets("in turns: auto"), 3);
        assert!(entries.iter().all(|e| e.outcome.exact()));
        // Without, plain decoding has the scenario's targets.
        let unbounded = Scenario {
            latency_bound: None,
            ..scenario
        };
        let entries = contest(&unbounded, &mut || ()).unwrap();
        assert_eq!((entries.len(), entries[0].outcome.targets), (4, 2));
    }
}
