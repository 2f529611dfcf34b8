//! The ways to run a pair on this machine, with what they cost: the models in turns, or at the
//! same time on devices and threads of their own.

use anyhow::{Context, Result};
use card_core::cost::CostCurve;
use card_core::protocol::Lanes;
use card_engine::emulate::EmulationProfile;
use card_engine::placement::{self, Placement};
use card_engine::selftest::SelfTestReport;
use card_llama::Cores;

use crate::contexts::test_context;
use crate::devices;
use crate::findings::{identity, known, remember, renew};
use crate::loader::{LoadedDraft, LoadedTarget, Loader};
use crate::progress;
use crate::self_test::PASSAGE;
use crate::settings::LaneChoice;

/// Promises whose quotient is above this are the same.
const ALIKE: f64 = 0.97;

/// A target and its drafter, whose placements are looked for.
pub struct LoadedPair<'a> {
    /// Where the models are, which threads there are, and where measurements are kept.
    pub loader: &'a Loader<'a>,
    /// The target.
    pub target: &'a LoadedTarget,
    /// The drafter, if there is one here.
    pub draft: Option<&'a LoadedDraft>,
    /// Probability that a draft is right, as far as is known of the pair.
    pub top: f64,
}

impl LoadedPair<'_> {
    /// Tokens per millisecond to expect of a placement.
    fn promise(&self, placement: &Placement) -> f64 {
        placement.promise(self.top).0
    }

    /// The ways to run the pair, the one that promises most first. There is at least one.
    ///
    /// # Errors
    /// If the models cannot be measured at work together.
    pub fn placements(&self, emulation: Option<&EmulationProfile>) -> Result<Vec<Placement>> {
        if let Some(profile) = emulation {
            let threads = devices::threads(self.loader.settings.threads);
            return Ok(emulated(profile, threads));
        }
        // The first is what the models take alone.
        let mut placements = vec![self.in_turns()];
        let Some(draft) = self.draft else {
            return Ok(placements);
        };
        let settings = self.loader.settings;
        if settings.lanes != LaneChoice::Shared {
            for threads in devices::splits(settings) {
                let together = match &self.loader.coarse {
                    None => Some(self.together(draft, threads)?),
                    Some(_) => self.known_together(draft, threads, &placements[0])?,
                };
                placements.extend(together.map(|t| t.completed(&placements[0])));
            }
        }
        placements.sort_by(|a, b| self.promise(b).total_cmp(&self.promise(a)));
        for p in &placements {
            tracing::info!("{p}: {:.0} tokens/s to expect", 1e3 * self.promise(p));
        }
        self.prefer_few_threads(&mut placements);
        Ok(placements)
    }

    /// What forwards of target and drafter take on this machine while both are at work, on the
    /// threads that emulated devices get; an empty curve for a drafter that is not there.
    ///
    /// # Errors
    /// If the models cannot be measured at work together.
    pub fn real_costs(&self) -> Result<(CostCurve, CostCurve)> {
        let turns = self.in_turns();
        let all = devices::threads(self.loader.settings.threads);
        let both = match (self.draft, &self.loader.coarse) {
            (None, _) => turns,
            (Some(draft), None) => {
                let together = self.together(draft, emulated_threads(all))?;
                together.completed(&turns)
            }
            // There is no time to measure: as if each had half of the threads.
            (Some(_), Some(_)) => {
                let half = (all / 2).max(1);
                estimated(&turns, (half, half), false)
            }
        };
        let curve = |points: Vec<(u32, f64)>| CostCurve::from_points(points);
        Ok((curve(both.target), curve(both.draft)))
    }

    /// The models in turns, each on all the threads that it can use.
    fn in_turns(&self) -> Placement {
        let (target_threads, draft_threads) = devices::threads_alone(self.loader.settings);
        let points = |report: &SelfTestReport| report.cost().points().collect();
        Placement {
            lanes: Lanes::Shared,
            target_threads,
            draft_threads,
            target: self.target.report.as_ref().map(points).unwrap_or_default(),
            draft: self.draft.map(|d| points(&d.report)).unwrap_or_default(),
        }
    }

    /// Both models at work at the same time, on (target, draft) threads: a remembered measurement,
    /// or one that is made now.
    ///
    /// # Errors
    /// If a file of the models is not there any more, or a model fails while it is measured.
    pub fn together(&self, draft: &LoadedDraft, threads: (usize, usize)) -> Result<Placement> {
        let key = self.together_key(draft, threads)?;
        let measure = || self.measured_together(draft, threads);
        if self.loader.again {
            renew(self.loader.store, key, measure)
        } else {
            remember(self.loader.store, key, measure)
        }
    }

    /// Both models at work at the same time, where there is no time to measure it: what is
    /// remembered, or an estimate where there has to be one, from what they take in turns.
    fn known_together(
        &self,
        draft: &LoadedDraft,
        threads: (usize, usize),
        turns: &Placement,
    ) -> Result<Option<Placement>> {
        let (settings, store) = (self.loader.settings, self.loader.store);
        let found = known(store, &self.together_key(draft, threads)?);
        if found.is_some() {
            return Ok(found);
        }
        if let Some(budget) = &self.loader.coarse {
            budget.leave_out(|u| u.lanes = true);
        }
        let apart = devices::apart(settings) && !devices::share_cores(settings);
        // On one processor the models take turns until lanes are measured, unless they must not.
        let wanted = apart || settings.lanes == LaneChoice::Disjoint;
        Ok(wanted.then(|| estimated(turns, threads, apart)))
    }

    fn together_key(&self, draft: &LoadedDraft, threads: (usize, usize)) -> Result<String> {
        let (target_threads, draft_threads) = threads;
        Ok(format!(
            "{} | {} | together {target_threads}+{draft_threads}, {}",
            identity(self.target.model.path())?,
            identity(draft.model.llama.path())?,
            devices::describe(self.loader.settings)
        ))
    }

    fn measured_together(
        &self,
        draft: &LoadedDraft,
        (target_threads, draft_threads): (usize, usize),
    ) -> Result<Placement> {
        let (target, draft) = (&self.target.model, &draft.model);
        let bar = if self.loader.is_silent() {
            progress::hidden()
        } else {
            progress::spinner("measuring both models at work together (once)")
        };
        let (cores, draft_cores) = Cores::two_lanes(target_threads, draft_threads);
        let target_context = test_context(target, "target", &cores)?;
        let mut target_context = self.loader.scratch(Box::new(target_context))?;
        let draft_context = test_context(&draft.llama, "draft", &draft_cores)?;
        let draft_context = draft.translated(Box::new(draft_context))?;
        let mut draft_context = self.loader.scratch(draft_context)?;
        let passage = target.vocab().tokenize(PASSAGE, false)?;
        let measured = placement::together(&mut *target_context, &mut *draft_context, &passage);
        bar.finish_and_clear();
        let (target, draft) = measured.context("measuring the lanes failed")?;
        Ok(Placement {
            lanes: Lanes::Disjoint,
            target_threads,
            draft_threads,
            target,
            draft,
        })
    }

    /// Of the placements that promise as much as the best, puts the one first that takes the
    /// fewest threads for the drafter on the same lanes.
    fn prefer_few_threads(&self, placements: &mut [Placement]) {
        let (lanes, most) = (placements[0].lanes, self.promise(&placements[0]));
        let alike = placements.iter().enumerate();
        let alike = alike.take_while(|(_, p)| self.promise(p) > ALIKE * most);
        let fewest = alike
            .filter(|(_, p)| p.lanes == lanes)
            .min_by_key(|(_, p)| p.draft_threads);
        if let Some((at, _)) = fewest {
            placements[..=at].rotate_right(1);
        }
    }
}

/// What both models at work are taken to cost on (target, draft) threads before that is measured:
/// on devices of their own as much as in turns; on one processor as many times more as they have
/// fewer threads.
fn estimated(
    turns: &Placement,
    (target_threads, draft_threads): (usize, usize),
    apart: bool,
) -> Placement {
    let scaled = |points: &[(u32, f64)], alone: usize, threads: usize| {
        let longer = if apart {
            1.0
        } else {
            (alone as f64 / threads.max(1) as f64).max(1.0)
        };
        points.iter().map(|&(n, ms)| (n, longer * ms)).collect()
    };
    Placement {
        lanes: Lanes::Disjoint,
        target_threads,
        draft_threads,
        target: scaled(&turns.target, turns.target_threads, target_threads),
        draft: scaled(&turns.draft, turns.draft_threads, draft_threads),
    }
}

/// The (target, draft) threads of emulated devices: the drafter's real work takes a quarter of them.
fn emulated_threads(threads: usize) -> (usize, usize) {
    ((threads - threads / 4).max(1), (threads / 4).max(1))
}

/// Both ways to run on emulated devices.
fn emulated(profile: &EmulationProfile, threads: usize) -> Vec<Placement> {
    let (target_threads, draft_threads) = emulated_threads(threads);
    let disjoint = Placement {
        lanes: Lanes::Disjoint,
        target_threads,
        draft_threads,
        target: profile.target_cost().points().collect(),
        draft: profile.draft_cost().points().collect(),
    };
    let turns = Placement {
        lanes: Lanes::Shared,
        ..disjoint.clone()
    };
    vec![disjoint, turns]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_that_were_not_measured_are_estimated_from_turns() {
        let turns = Placement {
            lanes: Lanes::Shared,
            target_threads: 4,
            draft_threads: 4,
            target: vec![(1, 10.0), (8, 16.0)],
            draft: vec![(1, 2.0)],
        };
        let halves = estimated(&turns, (2, 2), false);
        assert_eq!(halves.lanes, Lanes::Disjoint);
        assert_eq!(halves.target, [(1, 20.0), (8, 32.0)]);
        assert_eq!(halves.target_threads, 2);
        assert_eq!(halves.draft, [(1, 4.0)]);
        // Lanes of their own promise no more than turns on the same cores then.
        assert!(halves.promise(0.8).0 <= 1.05 * turns.promise(0.8).0);
        let apart = estimated(&turns, (1, 4), true);
        assert_eq!((apart.target, apart.draft), (turns.target, turns.draft));
    }
}
