//! Loaded models and what is known of them: engines are made from it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use card_core::cost::CostCurve;
use card_core::engine::{Memory, Shapes};
use card_core::forward::Model;
use card_core::policy::{Lanes, Mode};
use card_core::types::Source;
use card_engine::emulate::{Emulated, EmulationProfile, Overruns};
use card_engine::placement::Placement;
use card_engine::selftest::Exactness;
use card_engine::{Draft, Engine, MakeModel, Options};
use card_link::Terms;
use card_llama::{ChatTemplate, Cores, LlamaContext, LlamaModel, Vocab};

use crate::args::{LanesArg, ModeArg, ModelArgs};
use crate::devices;
use crate::holds::Holds;
use crate::link;
use crate::loader::{
    Loader, Target, find_files, llama_context, llama_contexts, target_contexts, threads,
};
use crate::memory::Kept;
use crate::profile::{self, Profile};
use card_setup::emulation;
use card_setup::models::catalogue::Catalogue;
use card_setup::models::store::Store;

/// How one engine shall run the models of a [`Rig`].
#[derive(Clone, Debug)]
pub struct Run {
    pub mode: Mode,
    /// Where; `None` for what measurements say is best.
    pub lanes: Option<Lanes>,
    pub draft_len: u32,
    /// Whether draft models propose.
    pub drafts: bool,
    pub free_sources: bool,
    /// A drafter elsewhere in place of the draft models here; on another machine unless
    /// `lanes` says that it shares this one.
    pub drafter: Option<String>,
    /// Emulated latency of the link, one way, in place of the profile's.
    pub latency_ms: Option<f64>,
    pub cache_bytes: usize,
    pub trace: bool,
    /// Decisions closer than this are reported.
    pub near_tie: Option<f32>,
    pub memory: Memory,
    /// Sequences that run at a time.
    pub sequences: u32,
}

/// Loaded models and what is known of them: engines are made from it.
pub struct Rig {
    pub vocab: Vocab,
    pub template: Option<ChatTemplate>,
    pub context: u32,
    pub target: LlamaModel,
    pub draft: Option<LlamaModel>,
    draft2: Option<(LlamaModel, Profile)>,
    pub emulation: Option<EmulationProfile>,
    overruns: Overruns,
    /// Ways to run the pair, best first.
    pub placements: Vec<Placement>,
    /// What earlier runs learned.
    pub memory: Memory,
    kept: Option<Kept>,
    shapes: Shapes,
    near_tie: f32,
    /// What holds of the text, and by what.
    pub holds: Holds,
    /// Drafters may come by themselves.
    pub accepts: bool,
    args: ModelArgs,
}

/// A forward that takes longer hangs, whatever was measured.
const LONGEST_HANG: Duration = Duration::from_secs(3600);

impl Rig {
    /// Loads what `args` ask for, and measures what is not known yet.
    pub fn load(args: &ModelArgs, catalogue: &Catalogue) -> Result<Rig> {
        let store = Store::open()?;
        let files = find_files(args, catalogue, &store)?;
        let emulation = args
            .emulate
            .as_deref()
            .map(emulation::profile)
            .transpose()?;
        let speculates = args.mode != ModeArg::Plain;
        if files.draft.is_none() && speculates {
            tracing::info!("there is no draft model; only text that is at hand proposes");
        }
        let loader = Loader::new(args, &store);
        let target = loader.target(&files)?;
        let context = target.context;
        let draft = match &files.draft {
            Some(path) => Some(loader.draft(path, &target, context)?),
            None => None,
        };
        let draft2 = match &files.draft2 {
            Some(path) => Some(loader.draft(path, &target, context)?),
            None => None,
        };
        let holds = Holds::of(args, &target);
        let mut shapes = Shapes::FREE;
        let mut near_tie = Options::default().near_tie;
        if let Some(profile) = &target.profile {
            shapes = profile.report.shapes(holds.level);
            near_tie = profile.report.margin_bound().max(near_tie);
        }
        tracing::info!("{holds}");
        let kept = match args.no_memory || !speculates {
            true => None,
            false => Some(Kept::of(
                &store,
                &target.model,
                draft.as_ref().map(|d| &d.0),
            )),
        };
        let mut rig = Rig {
            vocab: target.model.vocab(),
            template: ChatTemplate::of(&target.model).ok(),
            context,
            placements: Vec::new(),
            memory: kept.as_ref().map(Kept::load).unwrap_or_default(),
            kept,
            shapes,
            near_tie,
            holds,
            emulation,
            overruns: Overruns::default(),
            accepts: false,
            args: args.clone(),
            draft: draft.as_ref().map(|d| d.0.clone()),
            draft2,
            target: target.model.clone(),
        };
        rig.placements = rig.find_placements(&store, &target, draft.as_ref())?;
        let elsewhere = devices::with_draft_beside(args).zip(files.draft.as_deref());
        if let Some((args, path)) = elsewhere {
            let loader = Loader::new(&args, &store);
            // It is well where it is, too.
            if let Err(e) = rig.try_draft_at(&loader, path, &target) {
                tracing::info!("the draft model stays with the target: {e:#}");
            }
        }
        Ok(rig)
    }

    /// Has the draft model where this loader puts it, if that promises more.
    fn try_draft_at(&mut self, loader: &Loader, path: &Path, target: &Target) -> Result<()> {
        let draft = loader.draft(path, target, self.context)?;
        let before = std::mem::replace(&mut self.args, loader.args.clone());
        let placements = self.find_placements(loader.store, target, Some(&draft));
        let top = self.draft_top();
        let promise = |placements: &[Placement]| placements.first().map(|p| p.promise(top).0);
        match placements {
            Ok(found) if promise(&found) > promise(&self.placements) => {
                tracing::info!(
                    "the draft model is on {}",
                    loader.args.draft_device.join(", ")
                );
                self.placements = found;
                self.draft = Some(draft.0);
                Ok(())
            }
            other => {
                self.args = before;
                other.map(|_| ())
            }
        }
    }

    /// Keeps what an engine learned for the next run, unless the user said not to.
    pub fn keep(&self, memory: &Memory) {
        if let Some(kept) = &self.kept {
            kept.save(memory);
        }
    }

    /// How to run, by the arguments it was loaded with.
    pub fn run(&self) -> Run {
        let args = &self.args;
        Run {
            mode: mode(args.mode),
            lanes: match args.lanes {
                LanesArg::Auto => None,
                LanesArg::Shared => Some(Lanes::Shared),
                LanesArg::Disjoint => Some(Lanes::Disjoint),
            },
            draft_len: args.draft_len,
            drafts: true,
            free_sources: true,
            drafter: None,
            latency_ms: None,
            cache_bytes: args.cache_kib.saturating_mul(1024),
            trace: false,
            near_tie: None,
            memory: Memory::default(),
            sequences: 1,
        }
    }

    /// An engine that runs these models.
    pub fn engine(&self, run: &Run) -> Result<Engine> {
        // Without a lane to share, the whole machine is the target's.
        let alone = run.drafter.is_some() && run.lanes.is_none();
        let placement = self.placement(if alone {
            Some(Lanes::Shared)
        } else {
            run.lanes
        });
        let lanes = match alone || self.drafts_elsewhere() {
            true => Lanes::Disjoint,
            false => placement.map_or(Lanes::Shared, |p| p.lanes),
        };
        let speculates = run.drafts && run.mode != Mode::Plain;
        let drafts = self.draft.is_some() && speculates && run.drafter.is_none();
        let elsewhere = run.drafter.iter().filter(|_| speculates);
        let (cores, draft_cores) = match placement {
            Some(p)
                if p.lanes == Lanes::Disjoint
                    && (drafts || run.drafter.is_some() || self.emulation.is_some()) =>
            {
                Cores::two_lanes(p.target_threads, p.draft_threads)
            }
            _ => devices::cores(&self.args),
        };
        let mut options = Options {
            mode: run.mode,
            lanes,
            draft_len: run.draft_len,
            shapes: self.shapes,
            cache_bytes: run.cache_bytes,
            free_sources: run.free_sources,
            memory: run.memory.clone(),
            parked: if self.holds.reuses() {
                run.sequences as usize
            } else {
                0
            },
            trace: run.trace,
            near_tie: run.near_tie.unwrap_or(self.near_tie),
            ..Options::default()
        };
        if let Some(p) = placement {
            options.target_cost = CostCurve::from_points(p.target.iter().copied());
            options.draft_costs[0] = CostCurve::from_points(p.draft.iter().copied());
        }
        // On a slow machine a forward that reads a prompt takes a while, and does not hang.
        let longest = options.target_cost.ms(options.prefill_rows as u32).max(0.0) * 10.0;
        if let Ok(longest) = Duration::try_from_secs_f64(longest / 1e3) {
            options.target_hang = options.target_hang.max(longest.min(LONGEST_HANG));
        }
        if drafts && lanes == Lanes::Disjoint {
            options.target_cost_alone = self.target_alone();
        }
        let n = run.sequences;
        // What is kept leaves cells free when it goes, before those of who runs.
        let keeps = self.holds.reuses() && self.holds.level == Exactness::Exact;
        let target = target_contexts(&self.target, self.context, n, keeps, &cores)?;
        if let Some((_, profile)) = &self.draft2 {
            options.draft_costs[1] = profile.report.cost();
        }
        let pace = |model, cost: CostCurve| paced(model, Some((cost, self.overruns.clone())));
        let target = match &self.emulation {
            None => Box::new(target) as Box<dyn Model + Send>,
            Some(e) => {
                options.latency = e.latency(run.latency_ms);
                options.draft_costs[1] = e.draft_cost();
                pace(target, e.target_cost())
            }
        };
        let mut contexts = Vec::new();
        for model in self.draft.iter().chain(self.draft2.iter().map(|d| &d.0)) {
            if !drafts {
                break;
            }
            let (model, cores, context) = (model.clone(), draft_cores.clone(), self.context);
            let hang = options.drafter_hang;
            let emulated = self.emulation.as_ref();
            let emulated = emulated.map(|e| (e.draft_cost(), self.overruns.clone()));
            let mut make: MakeModel = Box::new(move || {
                let made = llama_contexts(&model, "draft", context, n, &cores);
                let mut made = made.map_err(|e| e.to_string())?;
                // On a shared lane nobody else could end it.
                made.give_up_after(hang);
                Ok(paced(made, emulated.clone()))
            });
            contexts.push(Draft::new(make().map_err(anyhow::Error::msg)?, make));
        }
        for url in self.args.drafter.iter().chain(elsewhere) {
            let terms = self.terms(&options, n);
            let runtime = link::runtime()?.handle().clone();
            let dial = card_link::dial(url.clone(), terms, self.args.link.client()?, runtime);
            contexts.push(Draft::remote(dial));
        }
        Engine::start(target, contexts, options).context("cannot start the engine's threads")
    }

    /// What target forwards take while the drafter on a lane beside rests; `None` if that is
    /// not known, since it has fewer threads there than alone, or if lanes are emulated, which
    /// do not slow each other down.
    fn target_alone(&self) -> Option<CostCurve> {
        let beside = self.placement(Some(Lanes::Disjoint))?;
        let alone = self.placement(Some(Lanes::Shared))?;
        let same = alone.target_threads == beside.target_threads && self.emulation.is_none();
        same.then(|| CostCurve::from_points(alone.target.iter().copied()))
    }

    /// Whether drafters on other machines are, or may come to be, at work.
    fn drafts_elsewhere(&self) -> bool {
        !self.args.drafter.is_empty() || self.accepts
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

    /// What drafters that come by themselves are asked for, in a run like this.
    pub fn terms_of(&self, run: &Run) -> Terms {
        let options = Options {
            mode: run.mode,
            draft_len: run.draft_len,
            cache_bytes: run.cache_bytes,
            parked: run.sequences as usize,
            ..Options::default()
        };
        self.terms(&options, run.sequences)
    }

    /// The best way to run the pair on those lanes.
    pub fn placement(&self, lanes: Option<Lanes>) -> Option<&Placement> {
        let fits = |p: &&Placement| lanes.is_none_or(|l| l == p.lanes);
        self.placements.iter().find(fits)
    }

    /// Probability that a draft is right, as far as is known of the pair.
    pub fn draft_top(&self) -> f64 {
        self.memory.acceptance.top(Source::Draft).into()
    }

    /// Makes sure that what was emulated was.
    ///
    /// # Errors
    /// If a forward took longer here than on the emulated device.
    pub fn check_emulation(&self) -> Result<()> {
        /// Share of the time that stalls of the machine may add.
        const TOLERATED: f64 = 0.02;
        let share = self.overruns.share();
        anyhow::ensure!(
            share <= TOLERATED,
            "this machine is too slow for the emulation: forwards took {:.0} % longer than their paced \
             time, so the figures mean nothing; make `dilation` in the profile larger",
            100.0 * share
        );
        Ok(())
    }

    /// A context of the draft model beside the engines', on the whole machine.
    pub fn scratch_draft(&self) -> Result<Option<LlamaContext>> {
        let (_, cores) = devices::cores(&self.args);
        let context = |m| self.model_context(m, "draft", &cores);
        self.draft.as_ref().map(context).transpose()
    }

    /// Threads in all.
    pub fn threads(&self) -> usize {
        threads(self.args.threads)
    }

    /// Proposals of a drafter for one place.
    pub fn branch(&self) -> usize {
        Options::default().branch
    }

    fn model_context(
        &self,
        model: &LlamaModel,
        role: &'static str,
        cores: &Cores,
    ) -> Result<LlamaContext> {
        Ok(llama_context(model, role, self.context, cores)?)
    }

    /// The ways to run the pair with what they cost, the one that promises most first.
    fn find_placements(
        &self,
        store: &Store,
        target: &Target,
        draft: Option<&(LlamaModel, Profile)>,
    ) -> Result<Vec<Placement>> {
        let all = threads(self.args.threads);
        let (target_threads, draft_threads) = devices::threads_alone(&self.args);
        let points = |profile: &Profile| profile.report.cost().points().collect();
        let shared = Placement {
            lanes: Lanes::Shared,
            target_threads,
            draft_threads,
            target: target.profile.as_ref().map(points).unwrap_or_default(),
            draft: draft.map(|d| points(&d.1)).unwrap_or_default(),
        };
        if let Some(e) = &self.emulation {
            let disjoint = Placement {
                lanes: Lanes::Disjoint,
                target_threads: (all - all / 4).max(1),
                draft_threads: (all / 4).max(1),
                target: e.target_cost().points().collect(),
                draft: e.draft_cost().points().collect(),
            };
            let turns = Placement {
                lanes: Lanes::Shared,
                ..disjoint.clone()
            };
            return Ok(vec![disjoint, turns]);
        }
        let Some((draft_model, _)) = draft else {
            return Ok(vec![shared]);
        };
        let args = &self.args;
        let setup = devices::describe(args);
        // The first is what the models take alone.
        let mut placements = vec![shared];
        if args.lanes != LanesArg::Shared {
            for threads in devices::splits(args) {
                let together = profile::together(
                    store,
                    (&self.target, draft_model),
                    threads,
                    &setup,
                    &|model, role, cores| llama_context(model, role, self.context, cores),
                )?;
                placements.push(together.completed(&placements[0]));
            }
        }
        let top = self.draft_top();
        let promise = |p: &Placement| p.promise(top).0;
        placements.sort_by(|a, b| promise(b).total_cmp(&promise(a)));
        for p in &placements {
            tracing::info!("{p}: {:.0} tokens/s to expect", 1e3 * promise(p));
        }
        // Of those that are as good, the one that takes the fewest threads goes first.
        let (lanes, most) = (placements[0].lanes, promise(&placements[0]));
        let alike = placements.iter().enumerate();
        let alike = alike.take_while(|(_, p)| promise(p) > ALIKE * most);
        let fewest = alike
            .filter(|(_, p)| p.lanes == lanes)
            .min_by_key(|(_, p)| p.draft_threads);
        if let Some((at, _)) = fewest {
            placements[..=at].rotate_right(1);
        }
        Ok(placements)
    }
}

/// Promises this close are the same.
const ALIKE: f64 = 0.97;

/// A model, paced if it is to be.
fn paced(model: LlamaContext, cost: Option<(CostCurve, Overruns)>) -> Box<dyn Model + Send> {
    match cost {
        None => Box::new(model),
        Some((cost, overruns)) => Box::new(Emulated::new(model, cost, overruns)),
    }
}

pub fn mode(arg: ModeArg) -> Mode {
    match arg {
        ModeArg::Plain => Mode::Plain,
        ModeArg::DraftThenVerify => Mode::DraftThenVerify,
        ModeArg::Card => Mode::Card,
        ModeArg::Auto => Mode::Auto,
    }
}
