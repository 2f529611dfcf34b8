//! From arguments to a running engine: find the files, load, self-test, start.

use std::path::PathBuf;

use anyhow::{Context, Result};
use card_core::cost::CostCurve;
use card_core::engine::{Memory, Shapes};
use card_core::forward::Model;
use card_core::policy::{Lanes, Mode};
use card_engine::emulate::{Emulated, EmulationProfile, Overruns};
use card_engine::placement::Placement;
use card_engine::selftest::{Exactness, HEADS};
use card_engine::{Engine, Options};
use card_llama::{
    ChatTemplate, ContextOptions, Cores, LlamaContext, LlamaError, LlamaModel, LoadOptions, Vocab,
    check_vocabularies,
};

use crate::args::{ExactnessArg, LanesArg, ModeArg, ModelArgs};
use crate::memory::Kept;
use crate::models::catalogue::Catalogue;
use crate::models::fetch;
use crate::models::store::Store;
use crate::profile::{self, Profile};
use crate::progress;

/// KV cells for candidates beside the context.
const SPARE_CELLS: u32 = 512;
/// Rows of the largest forward.
const ROWS: u32 = 256;
const DEFAULT_CONTEXT: u32 = 4096;

/// A loaded pair with its engine.
pub struct Session {
    pub rig: Rig,
    pub engine: Engine,
}

/// The files of a target and its drafter.
pub struct Files {
    pub target: PathBuf,
    pub draft: Option<PathBuf>,
    pub draft2: Option<PathBuf>,
}

/// Finds the files, fetching what the catalogue has and the user has not.
pub fn find_files(args: &ModelArgs, catalogue: &Catalogue, store: &Store) -> Result<Files> {
    let is_file = |name: &str| name.ends_with(".gguf") || std::path::Path::new(name).exists();
    let get = |name: &str| -> Result<(PathBuf, Option<PathBuf>)> {
        if is_file(name) {
            return Ok((PathBuf::from(name), None));
        }
        let (target, draft) = catalogue.resolve(name)?;
        let target = fetch::fetch(store, target)?;
        let wanted = args.mode != ModeArg::Plain && args.draft.is_none();
        let draft = match draft.filter(|_| wanted) {
            Some(model) => Some(fetch::fetch(store, model)?),
            None => None,
        };
        Ok((target, draft))
    };
    let (target, mut draft) = get(&args.model)?;
    match args.draft.as_deref() {
        None => {}
        Some("none") => draft = None,
        Some(name) => draft = Some(get(name)?.0),
    }
    let mut draft2 = match &args.draft2 {
        Some(name) => Some(get(name)?.0),
        None => None,
    };
    if args.mode == ModeArg::Plain {
        (draft, draft2) = (None, None);
    }
    Ok(Files {
        target,
        draft,
        draft2,
    })
}

impl Session {
    /// Loads what `args` ask for and starts its engine.
    pub fn start(args: &ModelArgs, catalogue: &Catalogue, trace: bool) -> Result<Session> {
        let rig = Rig::load(args, catalogue)?;
        let engine = rig.engine(&Run {
            trace,
            memory: rig.memory.clone(),
            ..rig.run(args)
        })?;
        Ok(Session { rig, engine })
    }

    /// Ends the engine and keeps what was learned.
    pub fn end(self) {
        if let (Some(kept), Some(memory)) = (&self.rig.kept, self.engine.stop()) {
            kept.save(&memory);
        }
    }
}

/// How one engine shall run the models of a [`Rig`].
#[derive(Clone, Debug)]
pub struct Run {
    pub mode: Mode,
    /// Where; `None` for what measurements say is best.
    pub lanes: Option<Lanes>,
    pub draft_len: u32,
    pub free_sources: bool,
    pub cache_bytes: usize,
    pub trace: bool,
    /// Decisions closer than this are reported.
    pub near_tie: Option<f32>,
    pub memory: Memory,
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
    parked: usize,
    args: ModelArgs,
}

/// Probability that a draft is right, before anything is known of a pair.
pub const TOP: f64 = 0.85;

impl Rig {
    /// Loads what `args` ask for, and measures what is not known yet.
    pub fn load(args: &ModelArgs, catalogue: &Catalogue) -> Result<Rig> {
        let store = Store::open()?;
        let files = find_files(args, catalogue, &store)?;
        let emulation = args.emulate.as_deref().map(emulation).transpose()?;
        let speculates = args.mode != ModeArg::Plain;
        if files.draft.is_none() && speculates {
            tracing::info!("there is no draft model; only text that is at hand proposes");
        }
        let cores = Cores::one_lane(threads(args));
        let loader = Loader {
            args,
            store: &store,
            cores,
        };
        let target = loader.target(&files)?;
        let context = target.context.limits().context;
        let draft = match &files.draft {
            Some(path) => Some(loader.draft(path, &target, context)?),
            None => None,
        };
        let draft2 = match &files.draft2 {
            Some(path) => Some(loader.draft(path, &target, context)?),
            None => None,
        };
        let mut shapes = Shapes::FREE;
        let mut near_tie = Options::default().near_tie;
        if let Some(profile) = &target.profile {
            shapes = profile.report.shapes(level(args.exactness));
            near_tie = profile.report.margin_bound().max(near_tie);
        }
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
            // A prefix that an earlier answer left was decoded token by token, a prompt is
            // decoded in one go: not the same arithmetic.
            parked: usize::from(args.exactness == ExactnessArg::Default),
            emulation,
            overruns: Overruns::default(),
            args: args.clone(),
            draft: draft.as_ref().map(|d| d.0.clone()),
            draft2,
            target: target.model.clone(),
        };
        rig.placements = rig.find_placements(&store, &target, draft.as_ref())?;
        Ok(rig)
    }

    /// What `args` say of how to run.
    pub fn run(&self, args: &ModelArgs) -> Run {
        Run {
            mode: mode(args.mode),
            lanes: match args.lanes {
                LanesArg::Auto => None,
                LanesArg::Shared => Some(Lanes::Shared),
                LanesArg::Disjoint => Some(Lanes::Disjoint),
            },
            draft_len: args.draft_len,
            free_sources: true,
            cache_bytes: args.cache_kib.saturating_mul(1024),
            trace: false,
            near_tie: None,
            memory: Memory::default(),
        }
    }

    /// An engine that runs these models.
    pub fn engine(&self, run: &Run) -> Result<Engine> {
        let placement = self.placement(run.lanes);
        let lanes = placement.map_or(Lanes::Shared, |p| p.lanes);
        let drafts = self.draft.is_some() && run.mode != Mode::Plain;
        let (cores, draft_cores) = match placement {
            Some(p) if p.lanes == Lanes::Disjoint && (drafts || self.emulation.is_some()) => {
                Cores::two_lanes(p.target_threads, p.draft_threads)
            }
            _ => {
                let cores = Cores::one_lane(threads(&self.args));
                (cores.clone(), cores)
            }
        };
        let mut options = Options {
            mode: run.mode,
            lanes,
            draft_len: run.draft_len,
            shapes: self.shapes,
            cache_bytes: run.cache_bytes,
            free_sources: run.free_sources,
            memory: run.memory.clone(),
            parked: self.parked,
            trace: run.trace,
            near_tie: run.near_tie.unwrap_or(self.near_tie),
            ..Options::default()
        };
        if let Some(p) = placement {
            options.target_cost = CostCurve::from_points(p.target.iter().copied());
            options.draft_costs[0] = CostCurve::from_points(p.draft.iter().copied());
        }
        let target = self.model_context(&self.target, "target", &cores)?;
        let mut contexts = Vec::new();
        for model in self.draft.iter().chain(self.draft2.iter().map(|d| &d.0)) {
            if drafts {
                contexts.push(self.model_context(model, "draft", &draft_cores)?);
            }
        }
        if let Some((_, profile)) = &self.draft2 {
            options.draft_costs[1] = profile.report.cost();
        }
        let boxed = |model: LlamaContext| Box::new(model) as Box<dyn Model + Send>;
        let (target, draft): (_, Vec<_>) = match &self.emulation {
            None => (boxed(target), contexts.into_iter().map(boxed).collect()),
            Some(e) => {
                options.latency = e.latency();
                options.draft_costs[1] = e.draft_cost();
                let target = Emulated::new(target, e.target_cost(), self.overruns.clone());
                let paced = |d| Emulated::new(d, e.draft_cost(), self.overruns.clone());
                let boxed = |d| Box::new(paced(d)) as Box<dyn Model + Send>;
                (Box::new(target), contexts.into_iter().map(boxed).collect())
            }
        };
        Engine::start(target, draft, options).context("cannot start the engine's threads")
    }

    /// The best way to run the pair on those lanes.
    pub fn placement(&self, lanes: Option<Lanes>) -> Option<&Placement> {
        let fits = |p: &&Placement| lanes.is_none_or(|l| l == p.lanes);
        self.placements.iter().find(fits)
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
        let cores = Cores::one_lane(threads(&self.args));
        let context = |m| self.model_context(m, "draft", &cores);
        self.draft.as_ref().map(context).transpose()
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
        let all = threads(&self.args);
        let points = |profile: &Profile| profile.report.cost().points().collect();
        let shared = Placement {
            lanes: Lanes::Shared,
            target_threads: all,
            draft_threads: all,
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
        let separate =
            !self.args.draft_device.is_empty() && self.args.draft_device != self.args.device;
        if separate {
            // Devices of their own do not slow each other down.
            let apart = Placement {
                lanes: Lanes::Disjoint,
                ..shared.clone()
            };
            return Ok(vec![apart, shared]);
        }
        let mut placements = vec![shared];
        if self.args.lanes != LanesArg::Shared {
            for draft_threads in splits(&self.args, all) {
                placements.push(profile::together(
                    store,
                    (&self.target, draft_model),
                    (all.saturating_sub(draft_threads).max(1), draft_threads),
                    &|model, role, cores| llama_context(model, role, self.context, cores),
                )?);
            }
        }
        placements.sort_by(|a, b| b.promise(TOP).0.total_cmp(&a.promise(TOP).0));
        Ok(placements)
    }
}

/// How many threads the drafter might get for itself.
fn splits(args: &ModelArgs, all: usize) -> Vec<usize> {
    if let Some(threads) = args.draft_threads {
        return vec![threads as usize];
    }
    let mut splits = vec![1, all / 4, all / 2];
    splits.retain(|&n| n > 0);
    splits.dedup();
    splits
}

fn threads(args: &ModelArgs) -> usize {
    let there_are = std::thread::available_parallelism().map_or(1, usize::from);
    args.threads.map_or(there_are, |t| t as usize)
}

fn emulation(file: &std::path::Path) -> Result<EmulationProfile> {
    let shown = file.display();
    let text = match file.to_str().and_then(built_in) {
        Some(text) if !file.exists() => text.to_owned(),
        _ => std::fs::read_to_string(file).with_context(|| {
            format!(
                "cannot read the profile {shown}; built in are: {}",
                built_in_names()
            )
        })?,
    };
    let profile: EmulationProfile =
        toml::from_str(&text).with_context(|| format!("{shown} is no emulation profile"))?;
    profile
        .check()
        .map_err(|why| anyhow::anyhow!("{shown} is no emulation profile: {why}"))?;
    Ok(profile)
}

const PROFILES: [(&str, &str); 3] = [
    ("a100-70b-1b", include_str!("../profiles/a100-70b-1b.toml")),
    ("a100-70b-8b", include_str!("../profiles/a100-70b-8b.toml")),
    (
        "edge-cloud-70b-1b",
        include_str!("../profiles/edge-cloud-70b-1b.toml"),
    ),
];

fn built_in(name: &str) -> Option<&'static str> {
    PROFILES.iter().find(|p| p.0 == name).map(|p| p.1)
}

fn built_in_names() -> String {
    PROFILES.map(|p| p.0).join(", ")
}

fn llama_context(
    model: &LlamaModel,
    role: &'static str,
    context: u32,
    cores: &Cores,
) -> Result<LlamaContext, LlamaError> {
    LlamaContext::new(
        model,
        &ContextOptions {
            role,
            context,
            sequences: 1,
            spare_cells: SPARE_CELLS,
            rows: ROWS,
            cores: cores.clone(),
        },
    )
}

struct Loader<'a> {
    args: &'a ModelArgs,
    store: &'a Store,
    cores: Cores,
}

/// A target, ready.
pub struct Target {
    pub model: LlamaModel,
    pub context: LlamaContext,
    pub profile: Option<Profile>,
}

impl Loader<'_> {
    fn target(&self, files: &Files) -> Result<Target> {
        // Plain decoding needs to know its kernels only if padding may be asked for.
        let needs =
            self.args.mode != ModeArg::Plain || self.args.exactness == ExactnessArg::Bitwise;
        let first = self.load_target(files, true, needs)?;
        if self.args.exactness != ExactnessArg::Bitwise {
            return Ok(first);
        }
        // Weights that are not repacked use other kernels: the faster of the two is taken.
        let promise = |target: &Target| {
            let report = target.profile.as_ref().map(|p| &p.report);
            report.map(|r| r.promise(&r.shapes(Exactness::Bitwise)))
        };
        let repacked = promise(&first);
        drop(first);
        let second = self.load_target(files, false, true)?;
        if promise(&second) > repacked {
            return Ok(second);
        }
        drop(second);
        self.load_target(files, true, true)
    }

    fn load_target(&self, files: &Files, repack: bool, test: bool) -> Result<Target> {
        let options = LoadOptions {
            gpu_layers: self.args.gpu_layers,
            devices: self.args.device.clone(),
            repack,
        };
        let model = load(&files.target, &options, "target")?;
        let trained = model.info().trained_context;
        let context = self.args.ctx.unwrap_or(DEFAULT_CONTEXT.min(trained));
        if context > trained {
            tracing::warn!("the model was trained for {trained} tokens of context, not {context}");
        }
        let mut context = llama_context(&model, "target", context, &self.cores)?;
        let profile = match test {
            true => Some(profile::get(
                self.store,
                &model,
                &mut context,
                &self.key(&self.cores, repack),
                self.heads(),
            )?),
            false => None,
        };
        Ok(Target {
            model,
            context,
            profile,
        })
    }

    fn draft(
        &self,
        path: &std::path::Path,
        target: &Target,
        context: u32,
    ) -> Result<(LlamaModel, Profile)> {
        let options = LoadOptions {
            gpu_layers: self.args.draft_gpu_layers,
            devices: self.args.draft_device.clone(),
            repack: true,
        };
        let model =
            match path == target.model.path() && self.args.exactness == ExactnessArg::Default {
                // A model that drafts for itself is loaded once.
                true => target.model.clone(),
                false => load(path, &options, "draft")?,
            };
        check_vocabularies(&target.model.vocab(), &model.vocab())?;
        let mut context = llama_context(&model, "draft", context, &self.cores)?;
        let profile = profile::get(
            self.store,
            &model,
            &mut context,
            &self.key(&self.cores, true),
            &HEADS[..1],
        )?;
        Ok((model, profile))
    }

    /// Promises about bits are checked with a long context as well.
    fn heads(&self) -> &'static [usize] {
        match self.args.exactness {
            ExactnessArg::Default => &HEADS[..1],
            ExactnessArg::Strict | ExactnessArg::Bitwise => &HEADS,
        }
    }

    fn key(&self, cores: &Cores, repack: bool) -> String {
        format!(
            "{cores:?}, repack {repack}, {:?} {:?}",
            self.args.device, self.args.gpu_layers
        )
    }
}

/// The target with its report, for `card selftest`.
pub fn selftest_target(args: &ModelArgs, catalogue: &Catalogue, repack: bool) -> Result<Target> {
    let store = Store::open()?;
    let files = find_files(args, catalogue, &store)?;
    let loader = Loader {
        args,
        store: &store,
        cores: Cores::one_lane(threads(args)),
    };
    loader.load_target(&files, repack, true)
}

pub fn mode(arg: ModeArg) -> Mode {
    match arg {
        ModeArg::Plain => Mode::Plain,
        ModeArg::DraftThenVerify => Mode::DraftThenVerify,
        ModeArg::Card => Mode::Card,
        ModeArg::Auto => Mode::Auto,
    }
}

pub fn level(arg: ExactnessArg) -> Exactness {
    match arg {
        ExactnessArg::Default => Exactness::Default,
        ExactnessArg::Strict => Exactness::Strict,
        ExactnessArg::Bitwise => Exactness::Bitwise,
    }
}

fn load(path: &std::path::Path, options: &LoadOptions, role: &str) -> Result<LlamaModel> {
    let bar = progress::bar(100, "  {msg:32} {bar:24} {percent:>3} %");
    bar.set_message(format!("loading the {role} model"));
    let model = LlamaModel::load(path, options, &mut |part| {
        bar.set_position((part * 100.0) as u64);
    });
    bar.finish_and_clear();
    Ok(model?)
}
