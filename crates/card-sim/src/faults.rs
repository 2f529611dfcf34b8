//! The faults of a simulation: those of the scenario and those drawn at random, in time.

use std::time::Duration;

use crate::scenario::{ChaosSpec, FaultKind, FaultSpec, Scenario};

/// Random faults that are drawn: as many as can matter. Those after the last answer do not
/// happen.
const DRAWN: usize = 1000;

/// When faults begin and end.
pub(crate) struct FaultPlan {
    /// Faults to come, the next one last.
    coming: Vec<FaultSpec>,
    /// Faults that are on: (when it is over, which).
    on: Vec<(Duration, FaultSpec)>,
}

impl FaultPlan {
    /// The faults of a scenario; random ones are drawn.
    pub(crate) fn draw(scenario: &Scenario, rng: &mut fastrand::Rng) -> Self {
        let mut coming = scenario.faults.clone();
        if let Some(chaos) = scenario.chaos {
            coming.extend(random(chaos, rng));
        }
        coming.sort_by(|a, b| b.at_s.total_cmp(&a.at_s));
        FaultPlan {
            coming,
            on: Vec::new(),
        }
    }

    /// When the next fault begins or ends.
    pub(crate) fn next(&self) -> Option<Duration> {
        let begins = self.coming.last().map(begin);
        let ends = self.on.iter().map(|e| e.0).min();
        begins.into_iter().chain(ends).min()
    }

    /// The next fault that begins now.
    pub(crate) fn begun(&mut self, now: Duration) -> Option<FaultSpec> {
        self.coming.pop_if(|f| begin(f) <= now)
    }

    /// The fault is on until then.
    pub(crate) fn lasts(&mut self, until: Duration, fault: FaultSpec) {
        self.on.push((until, fault));
    }

    /// The next fault that is over now.
    pub(crate) fn ended(&mut self, now: Duration) -> Option<FaultSpec> {
        let i = self.on.iter().rposition(|e| e.0 <= now)?;
        Some(self.on.swap_remove(i).1)
    }

    /// Whether another fault of this kind is on at the same machine.
    pub(crate) fn is_on(&self, fault: &FaultSpec) -> bool {
        let same = |e: &(Duration, FaultSpec)| e.1.kind == fault.kind && e.1.which == fault.which;
        self.on.iter().any(same)
    }
}

fn begin(fault: &FaultSpec) -> Duration {
    Duration::from_secs_f64(fault.at_s)
}

/// Faults at random times (a Poisson process), of random kinds and lengths.
fn random(chaos: ChaosSpec, rng: &mut fastrand::Rng) -> Vec<FaultSpec> {
    let mut at = 0.0;
    let mut exponential = |mean: f64| -mean * (1.0 - rng.f64()).ln();
    let mut faults = Vec::with_capacity(DRAWN);
    for _ in 0..DRAWN {
        at += exponential(chaos.every_s);
        let for_s = exponential(chaos.lasts_s).max(0.01);
        faults.push(FaultSpec {
            at_s: at,
            kind: FaultKind::DrafterCrash,
            which: 0,
            for_s,
        });
    }
    // The last kind is the one that befalls targets.
    let kinds = if chaos.targets {
        FaultKind::ALL.len()
    } else {
        FaultKind::ALL.len() - 1
    };
    for fault in &mut faults {
        fault.kind = FaultKind::ALL[rng.usize(..kinds)];
        // Cut to the number of machines when the fault begins.
        fault.which = rng.usize(..1 << 20);
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(at_s: f64, which: usize) -> FaultSpec {
        FaultSpec {
            at_s,
            kind: FaultKind::DrafterCrash,
            which,
            for_s: 1.0,
        }
    }

    #[test]
    fn faults_begin_and_end_in_the_order_of_time() {
        let at = Duration::from_secs;
        let mut plan = FaultPlan {
            coming: vec![fault(5.0, 2), fault(2.0, 1)],
            on: Vec::new(),
        };
        assert_eq!(plan.next(), Some(at(2)));
        assert_eq!(plan.begun(at(1)), None);
        let first = plan.begun(at(2)).expect("one begins");
        assert_eq!((first.which, plan.begun(at(2))), (1, None));
        plan.lasts(at(3), first);
        assert_eq!(plan.next(), Some(at(3)));
        assert!(plan.is_on(&first) && !plan.is_on(&fault(2.0, 2)));
        assert_eq!(plan.ended(at(2)), None);
        assert_eq!(plan.ended(at(3)), Some(first));
        assert!(!plan.is_on(&first));
        assert_eq!(plan.next(), Some(at(5)));
    }

    #[test]
    fn random_faults_befall_targets_only_if_they_may() {
        let mut chaos = ChaosSpec {
            every_s: 1.0,
            lasts_s: 1.0,
            targets: false,
        };
        let crashes = |chaos| {
            let drawn = random(chaos, &mut fastrand::Rng::with_seed(1));
            let targets = drawn.iter().filter(|f| f.kind == FaultKind::TargetCrash);
            targets.count()
        };
        assert_eq!(crashes(chaos), 0);
        chaos.targets = true;
        assert!(crashes(chaos) > 0);
    }
}
