//! Engines that run the models of a setup.

use std::time::Duration;

use anyhow::{Context, Result};
use card_core::cost::CostCurve;
use card_core::forward::Model;
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_engine::placement::Placement;
use card_engine::selftest::{Exactness, Means};
use card_engine::{Draft, Engine, MakeModel, Options};
use card_link::Terms;
use card_llama::{Cores, HiddenStore};

use crate::contexts::target_contexts;
use crate::devices;
use crate::draft_model::DraftModel;
use crate::drafting_head::DraftingHead;
use crate::link;
use crate::run::RunConfig;
use crate::settings::Settings;
use crate::setup::Setup;

/// A forward that takes longer hangs, whatever was measured.
const LONGEST_HANG: Duration = Duration::from_secs(3600);

/// Where the models of one engine run.
struct LanePlan<'a> {
    /// The way to run the pair that was measured, if one was.
    placement: Option<&'a Placement>,
    lanes: Lanes,
    /// Whether the draft models here propose.
    drafts_here: bool,
    target_cores: Cores,
    draft_cores: Cores,
}

/// A head that drafts, and the target's hidden states that it reads.
type HeadAndStates<'a> = (&'a DraftingHead, HiddenStore);

impl Setup {
    /// An engine that runs these models.
    ///
    /// # Errors
    /// If there is no memory for the contexts, or the system gives no threads.
    pub fn engine(&self, run: &RunConfig) -> Result<Engine> {
        let plan = self.lane_plan(run);
        let options = self.options(run, &plan);
        let (target, head) = self.target_model(run, &plan)?;
        let mut drafters = Vec::new();
        if plan.drafts_here {
            let second = self.others.second.iter().map(|d| &d.model);
            for model in self.draft.iter().chain(second) {
                drafters.push(self.drafter_here(model, run, &plan, options.drafter_hang)?);
            }
        }
        if let Some((head, states)) = head {
            let made = self.head_here(head, states, run, &plan, options.drafter_hang);
            drafters.push(made?);
        }
        let stand_in = run.drafter.iter().filter(|_| speculates(run));
        for url in self.settings.drafter.iter().chain(stand_in) {
            drafters.push(self.drafter_elsewhere(url, run, &options)?);
        }
        Engine::start(target, drafters, options).context("cannot start the engine's threads")
    }

    /// Where the models of a run are. Without a lane that a drafter elsewhere shares, the whole
    /// machine is the target's.
    fn lane_plan(&self, run: &RunConfig) -> LanePlan<'_> {
        let alone = run.drafter.is_some() && run.lanes.is_none();
        // Who does not speculate has all threads, too.
        let placement = self.placement(if alone || !speculates(run) {
            Some(Lanes::Shared)
        } else {
            run.lanes
        });
        let lanes = if alone || self.drafts_elsewhere() {
            Lanes::Disjoint
        } else {
            placement.map_or(Lanes::Shared, |p| p.lanes)
        };
        let drafts_here = self.draft.is_some() && speculates(run) && run.drafter.is_none();
        let two_at_work = drafts_here || run.drafter.is_some() || self.emulation.is_some();
        let (target_cores, draft_cores) = match placement {
            Some(p) if p.lanes == Lanes::Disjoint && two_at_work => {
                let (target, draft) = Cores::two_lanes(p.target_threads, p.draft_threads);
                if drafts_here && self.takes_over() {
                    target.may_take_over(&draft);
                }
                (target, draft)
            }
            _ => devices::cores(&Settings {
                threads: run.threads.or(self.settings.threads),
                ..self.settings.clone()
            }),
        };
        self.let_threads_change(&target_cores, &draft_cores);
        LanePlan {
            placement,
            lanes,
            drafts_here,
            target_cores,
            draft_cores,
        }
    }

    /// Lets lanes compute with fewer threads while other programs take their cores, where that
    /// changes no text.
    fn let_threads_change(&self, target: &Cores, draft: &Cores) {
        if self.threads_may_change() {
            target.adapt();
        }
        // Drafts may be rounded in any way.
        if self.emulation.is_none() && !draft.is_lane_of(target) {
            draft.adapt();
        }
    }

    fn options(&self, run: &RunConfig, plan: &LanePlan) -> Options {
        let mut options = Options {
            mode: run.mode,
            lanes: plan.lanes,
            draft_len: run.draft_len,
            shapes: self.forwards.shapes,
            plain_at_first: self.guarantee.means == Some(Means::PlainOnly),
            cache_bytes: run.cache_bytes,
            lookup: run.lookup,
            learned: run.learned.clone(),
            prefix_slots: if self.reuses() {
                run.sequences as usize
            } else {
                0
            },
            state_bytes: self.settings.cache_ram.saturating_mul(1 << 20),
            trace: run.trace,
            near_tie: run.near_tie.unwrap_or(self.forwards.near_tie),
            ..Options::default()
        };
        if let Some(p) = plan.placement {
            options.target_cost = CostCurve::from_points(p.target.iter().copied());
            options.draft_costs[0] = CostCurve::from_points(p.draft.iter().copied());
        }
        // On a slow machine a forward that reads a prompt takes a while, and does not hang.
        let longest = options.target_cost.ms(options.prefill_rows as u32).max(0.0) * 10.0;
        if let Ok(longest) = Duration::try_from_secs_f64(longest / 1e3) {
            options.target_hang = options.target_hang.max(longest.min(LONGEST_HANG));
        }
        if plan.drafts_here && plan.lanes == Lanes::Disjoint {
            options.target_cost_alone = self.target_cost_alone();
        }
        if let Some(second) = &self.others.second {
            options.draft_costs[1] = second.report.cost();
        }
        if let Some(cost) = &self.others.head_cost {
            options.head_cost = cost.clone();
        }
        if let Some(emulation) = &self.emulation {
            options.latency = emulation.profile.latency(run.latency_ms);
            options.draft_costs[1] = emulation.profile.draft_cost();
        }
        options
    }

    /// The best ways to run with a lane each, and taking turns, if both were measured here. Emulated
    /// lanes do not slow each other down, so of them there is nothing to compare.
    fn beside_and_alone(&self) -> Option<(&Placement, &Placement)> {
        let beside = self.placement(Some(Lanes::Disjoint))?;
        let alone = self.placement(Some(Lanes::Shared))?;
        self.emulation.is_none().then_some((beside, alone))
    }

    /// What target forwards take while the drafter on a lane beside is idle; `None` if that is
    /// not known, since the target has fewer threads there than alone and may not take over the
    /// drafter's.
    fn target_cost_alone(&self) -> Option<CostCurve> {
        let (beside, alone) = self.beside_and_alone()?;
        let known = alone.target_threads == beside.target_threads || self.takes_over();
        known.then(|| CostCurve::from_points(alone.target.iter().copied()))
    }

    /// Whether the target, with a lane beside it, computes with the drafter's threads while that one
    /// rests: together they are as many as the target has alone, and their number changes no text.
    fn takes_over(&self) -> bool {
        self.beside_and_alone().is_some_and(|(beside, alone)| {
            let together = beside.target_threads + beside.draft_threads;
            alone.target_threads == together && self.any_number_of_threads()
        })
    }

    /// Whether beginnings of prompts are reused.
    fn reuses(&self) -> bool {
        self.guarantee.reuses() && self.target.reuses_prefixes()
    }

    /// The target on its cores, paced if its device is emulated; and its head with the hidden states
    /// that it keeps for it, if that drafts in this run.
    fn target_model(
        &self,
        run: &RunConfig,
        plan: &LanePlan,
    ) -> Result<(Box<dyn Model + Send>, Option<HeadAndStates<'_>>)> {
        // Kept prefixes leave cells free when they go, before those of the sequences that run.
        let keeps = self.reuses() && self.guarantee.level == Exactness::Exact;
        let (context, sequences, cores) = (self.context, run.sequences, &plan.target_cores);
        let mut target = target_contexts(&self.target, context, sequences, keeps, cores)?;
        let drafts = speculates(run) && run.drafter.is_none();
        let head = self.others.head.as_ref().filter(|_| drafts);
        let head = head.map(|head| Ok::<_, anyhow::Error>((head, head.keep(&mut target)?)));
        let head = head.transpose()?;
        let target = match &self.emulation {
            None => Box::new(target) as Box<dyn Model + Send>,
            Some(emulation) => {
                let profile = &emulation.profile;
                emulation.pace(target, profile.target_cost(), &profile.target)
            }
        };
        Ok((target, head))
    }

    /// The target's head on the target's cores, and how it is made anew after a failure.
    fn head_here(
        &self,
        head: &DraftingHead,
        states: HiddenStore,
        run: &RunConfig,
        plan: &LanePlan,
        hang: Duration,
    ) -> Result<Draft> {
        let (head, cores) = (head.clone(), plan.target_cores.clone());
        let (context, sequences) = (self.context, run.sequences);
        let emulation = self.emulation.clone();
        let mut make: MakeModel = Box::new(move || {
            // Nobody else could end a forward that hangs.
            let patience = Some(hang);
            let made = head.contexts(context, sequences, &cores, states.clone(), patience);
            let made = made.map_err(|e| e.to_string())?;
            let paced = emulation.as_ref().and_then(|emulation| {
                let profile = &emulation.profile;
                Some((emulation, profile.head_cost()?, profile.head.as_ref()?))
            });
            Ok(match paced {
                None => made,
                Some((emulation, cost, device)) => emulation.pace(made, cost, device),
            })
        });
        Ok(Draft::head(make().map_err(anyhow::Error::msg)?, make))
    }

    /// A draft model on its cores, and how it is made anew after a failure.
    fn drafter_here(
        &self,
        model: &DraftModel,
        run: &RunConfig,
        plan: &LanePlan,
        hang: Duration,
    ) -> Result<Draft> {
        let (model, cores) = (model.clone(), plan.draft_cores.clone());
        let (context, sequences) = (self.context, run.sequences);
        let emulation = self.emulation.clone();
        let mut make: MakeModel = Box::new(move || {
            let made = model.contexts(context, sequences, &cores);
            let mut made = made.map_err(|e| e.to_string())?;
            // On a shared lane nobody else could end a forward that hangs.
            made.give_up_after(hang);
            let made = match &emulation {
                None => Box::new(made) as Box<dyn Model + Send>,
                Some(emulation) => {
                    let profile = &emulation.profile;
                    emulation.pace(made, profile.draft_cost(), &profile.draft)
                }
            };
            model.translated(made).map_err(|e| e.to_string())
        });
        Ok(Draft::new(make().map_err(anyhow::Error::msg)?, make))
    }

    /// A drafter on another machine.
    fn drafter_elsewhere(&self, url: &str, run: &RunConfig, options: &Options) -> Result<Draft> {
        let terms = self.terms(options, run.sequences);
        let runtime = link::runtime()?.handle().clone();
        let security = self.settings.link.client()?;
        Ok(Draft::remote(card_link::dial(
            url.to_owned(),
            terms,
            security,
            runtime,
        )))
    }

    /// Whether drafters on other machines are, or may come to be, at work.
    fn drafts_elsewhere(&self) -> bool {
        !self.settings.drafter.is_empty() || self.others.may_connect
    }

    /// What drafters on other machines are asked for.
    fn terms(&self, options: &Options, sequences: u32) -> Terms {
        Terms {
            vocabulary: link::vocabulary_of(&self.vocab),
            plan: options.draft_plan(),
            context: self.context,
            sequences,
        }
    }

    /// What drafters that connect by themselves are asked for, in a run like this.
    pub fn terms_of(&self, run: &RunConfig) -> Terms {
        let options = Options {
            mode: run.mode,
            draft_len: run.draft_len,
            cache_bytes: run.cache_bytes,
            prefix_slots: run.sequences as usize,
            ..Options::default()
        };
        self.terms(&options, run.sequences)
    }
}

/// Whether draft models may propose in a run.
fn speculates(run: &RunConfig) -> bool {
    run.drafts && run.mode != Mode::Plain
}
