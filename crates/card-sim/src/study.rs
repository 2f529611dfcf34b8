//! Schedules against each other, over a range of something.

use card_core::policy::Mode;

use crate::error::ScenarioError;
use crate::outcome::Outcome;
use crate::scenario::Scenario;
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
                Vary::Cache | Vary::Load => {}
            }
        }
        match self {
            Vary::Cache => s.policy.cache_bytes = x as usize * 1024,
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
/// # Errors
/// If the scenario makes no sense.
pub fn contest(
    scenario: &Scenario,
    done: &mut dyn FnMut(),
) -> Result<Vec<StudyEntry>, ScenarioError> {
    let mut run = |mode: Mode, draft_len: u32| {
        let mut s = scenario.with_mode(mode);
        s.policy.draft_len = draft_len;
        let outcome = simulate(&s);
        done();
        outcome
    };
    let mut entries = vec![StudyEntry {
        name: "plain".into(),
        outcome: run(Mode::Plain, 1)?,
    }];
    if scenario.drafters.is_empty() {
        return Ok(entries);
    }
    let mut best: Option<StudyEntry> = None;
    for length in CHAINS {
        let outcome = run(Mode::DraftThenVerify, length)?;
        if best
            .as_ref()
            .is_none_or(|b| outcome.speed() > b.outcome.speed())
        {
            best = Some(StudyEntry {
                name: format!("draft-then-verify {length}"),
                outcome,
            });
        }
    }
    entries.extend(best);
    for (name, mode) in [("card", Mode::Card), ("auto", Mode::Auto)] {
        entries.push(StudyEntry {
            name: name.into(),
            outcome: run(mode, 1)?,
        });
    }
    Ok(entries)
}

/// Simulations that [`contest`] runs.
pub fn runs(scenario: &Scenario) -> usize {
    if scenario.drafters.is_empty() {
        1
    } else {
        3 + CHAINS.len()
    }
}
