//! The ways to run a pair on this machine, with what they cost: the models in turns, or at the
//! same time on devices and threads of their own.

use anyhow::{Context, Result};
use card_core::protocol::Lanes;
use card_engine::emulate::EmulationProfile;
use card_engine::placement::{self, Placement};
use card_engine::selftest::SelfTestReport;
use card_llama::Cores;

use crate::contexts::llama_context;
use crate::devices;
use crate::findings::{identity, remember};
use crate::loader::{LoadedDraft, LoadedTarget};
use crate::models::store::Store;
use crate::progress;
use crate::self_test::PASSAGE;
use crate::settings::{LaneChoice, Settings};

/// Promises whose quotient is above this are the same.
const ALIKE: f64 = 0.97;

/// A target and its drafter, whose placements are looked for.
pub struct LoadedPair<'a> {
    /// Where the models are, and which threads there are.
    pub settings: &'a Settings,
    /// Where measurements are kept.
    pub store: &'a Store,
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
            return Ok(emulated(profile, devices::threads(self.settings.threads)));
        }
        // The first is what the models take alone.
        let mut placements = vec![self.in_turns()];
        let Some(draft) = self.draft else {
            return Ok(placements);
        };
        if self.settings.lanes != LaneChoice::Shared {
            for threads in devices::splits(self.settings) {
                let together = self.together(draft, threads)?;
                placements.push(together.completed(&placements[0]));
            }
        }
        placements.sort_by(|a, b| self.promise(b).total_cmp(&self.promise(a)));
        for p in &placements {
            tracing::info!("{p}: {:.0} tokens/s to expect", 1e3 * self.promise(p));
        }
        self.prefer_few_threads(&mut placements);
        Ok(placements)
    }

    /// The models in turns, each on all the threads that it can use.
    fn in_turns(&self) -> Placement {
        let (target_threads, draft_threads) = devices::threads_alone(self.settings);
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
    fn together(
        &self,
        draft: &LoadedDraft,
        (target_threads, draft_threads): (usize, usize),
    ) -> Result<Placement> {
        let (target, draft) = (&self.target.model, &draft.model);
        let key = format!(
            "{} | {} | together {target_threads}+{draft_threads}, {}",
            identity(target.path())?,
            identity(draft.path())?,
            devices::describe(self.settings)
        );
        remember(self.store, key, || {
            let bar = progress::spinner("measuring both models at work together (once)");
            let (cores, draft_cores) = Cores::two_lanes(target_threads, draft_threads);
            let context = self.target.context;
            let mut target_context = llama_context(target, "target", context, &cores)?;
            let mut draft_context = llama_context(draft, "draft", context, &draft_cores)?;
            let passage = target.vocab().tokenize(PASSAGE, false)?;
            let measured = placement::together(&mut target_context, &mut draft_context, &passage);
            bar.finish_and_clear();
            let (target, draft) = measured.context("measuring the lanes failed")?;
            Ok(Placement {
                lanes: Lanes::Disjoint,
                target_threads,
                draft_threads,
                target,
                draft,
            })
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

/// Both ways to run on emulated devices. The drafter's real work takes a quarter of the threads.
fn emulated(profile: &EmulationProfile, threads: usize) -> Vec<Placement> {
    let disjoint = Placement {
        lanes: Lanes::Disjoint,
        target_threads: (threads - threads / 4).max(1),
        draft_threads: (threads / 4).max(1),
        target: profile.target_cost().points().collect(),
        draft: profile.draft_cost().points().collect(),
    };
    let turns = Placement {
        lanes: Lanes::Shared,
        ..disjoint.clone()
    };
    vec![disjoint, turns]
}
