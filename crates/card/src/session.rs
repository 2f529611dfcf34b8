//! From arguments to a running engine: find the files, load, self-test, start.

use std::path::PathBuf;

use anyhow::{Context, Result};
use card_core::forward::Model as _;
use card_core::policy::{Lanes, Mode};
use card_engine::selftest::{Exactness, HEADS};
use card_engine::{Engine, Options};
use card_llama::{
    ChatTemplate, ContextOptions, Cores, LlamaContext, LlamaModel, LoadOptions, Vocab,
    check_vocabularies,
};

use crate::args::{ExactnessArg, LanesArg, ModeArg, ModelArgs};
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
    pub engine: Engine,
    pub vocab: Vocab,
    pub template: Option<ChatTemplate>,
    pub context: u32,
    pub drafting: bool,
}

/// The files of a target and its drafter.
pub struct Files {
    pub target: PathBuf,
    pub draft: Option<PathBuf>,
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
    if args.mode == ModeArg::Plain {
        draft = None;
    }
    Ok(Files { target, draft })
}

impl Session {
    /// Loads what `args` ask for.
    pub fn start(args: &ModelArgs, catalogue: &Catalogue, trace: bool) -> Result<Session> {
        let store = Store::open()?;
        let files = find_files(args, catalogue, &store)?;
        let mode = match args.mode {
            ModeArg::Plain => Mode::Plain,
            ModeArg::DraftThenVerify => Mode::DraftThenVerify,
            ModeArg::Card => Mode::Card,
            ModeArg::Auto => Mode::Auto,
        };
        if files.draft.is_none() && mode != Mode::Plain {
            tracing::info!("there is no draft model, so this is plain decoding");
        }
        let lanes = lanes(args, files.draft.is_some());
        let (cores, draft_cores) = cores(args, lanes, files.draft.is_some());

        let loader = Loader {
            args,
            store: &store,
            cores,
        };
        let target = loader.target(&files, mode)?;
        let context = target.context.limits().context;
        let draft = match &files.draft {
            Some(path) => Some(loader.draft(path, &target, context, &draft_cores)?),
            None => None,
        };
        let mut options = Options {
            mode,
            lanes,
            draft_len: args.draft_len,
            trace,
            ..Options::default()
        };
        if let Some(profile) = &target.profile {
            options.shapes = profile.report.shapes(level(args.exactness));
            options.target_cost = profile.report.cost();
            options.near_tie = profile.report.margin_bound().max(options.near_tie);
        }
        if args.exactness != ExactnessArg::Default {
            // A prefix that an earlier answer left was decoded token by token, a prompt is
            // decoded in one go: not the same arithmetic.
            options.parked = 0;
        }
        let vocab = target.model.vocab();
        let template = ChatTemplate::of(&target.model).ok();
        let drafting = draft.is_some();
        let draft_model = draft.map(|(context, profile)| {
            if let Some(profile) = profile {
                options.draft_cost = profile.report.cost();
            }
            Box::new(context) as Box<dyn card_core::forward::Model + Send>
        });
        let engine = Engine::start(Box::new(target.context), draft_model, options)
            .context("cannot start the engine's threads")?;
        Ok(Session {
            engine,
            vocab,
            template,
            context,
            drafting,
        })
    }
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
    fn target(&self, files: &Files, mode: Mode) -> Result<Target> {
        // Plain decoding needs to know its kernels only if padding may be asked for.
        let needs = files.draft.is_some() && mode != Mode::Plain
            || self.args.exactness == ExactnessArg::Bitwise;
        let first = self.load_target(files, true, needs)?;
        let Some(profile) = &first.profile else {
            return Ok(first);
        };
        /// Rows worth going without repacked weights for.
        const WIDE: usize = 8;
        let bitwise = self.args.exactness == ExactnessArg::Bitwise;
        let exact = profile.report.exact_rows();
        if !bitwise || exact >= WIDE {
            return Ok(first);
        }
        drop(first);
        let second = self.load_target(files, false, true)?;
        let better = second
            .profile
            .as_ref()
            .is_some_and(|p| p.report.exact_rows() > exact);
        match better {
            true => Ok(second),
            false => {
                drop(second);
                self.load_target(files, true, true)
            }
        }
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
        let mut context = LlamaContext::new(
            &model,
            &ContextOptions {
                role: "target",
                context,
                sequences: 1,
                spare_cells: SPARE_CELLS,
                rows: ROWS,
                cores: self.cores.clone(),
            },
        )?;
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
        cores: &Cores,
    ) -> Result<(LlamaContext, Option<Profile>)> {
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
        let mut context = LlamaContext::new(
            &model,
            &ContextOptions {
                role: "draft",
                context,
                sequences: 1,
                spare_cells: SPARE_CELLS,
                rows: ROWS,
                cores: cores.clone(),
            },
        )?;
        let profile = profile::get(
            self.store,
            &model,
            &mut context,
            &self.key(cores, true),
            &HEADS[..1],
        )?;
        Ok((context, Some(profile)))
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

/// What `card selftest` and `Session` have in common: the target with its report.
pub fn selftest_target(args: &ModelArgs, catalogue: &Catalogue, repack: bool) -> Result<Target> {
    let store = Store::open()?;
    let files = find_files(args, catalogue, &store)?;
    let (cores, _) = cores(args, Lanes::Shared, false);
    let loader = Loader {
        args,
        store: &store,
        cores,
    };
    loader.load_target(&files, repack, true)
}

pub fn level(arg: ExactnessArg) -> Exactness {
    match arg {
        ExactnessArg::Default => Exactness::Default,
        ExactnessArg::Strict => Exactness::Strict,
        ExactnessArg::Bitwise => Exactness::Bitwise,
    }
}

fn lanes(args: &ModelArgs, drafting: bool) -> Lanes {
    let separate = !args.draft_device.is_empty() && args.draft_device != args.device;
    match args.lanes {
        LanesArg::Shared => Lanes::Shared,
        LanesArg::Disjoint => Lanes::Disjoint,
        LanesArg::Auto if drafting && (separate || args.mode == ModeArg::Card) => Lanes::Disjoint,
        LanesArg::Auto => Lanes::Shared,
    }
}

/// The cores of the target and of the drafter.
fn cores(args: &ModelArgs, lanes: Lanes, drafting: bool) -> (Cores, Cores) {
    let there_are = std::thread::available_parallelism().map_or(1, usize::from);
    let all = args.threads.map_or(there_are, |t| t as usize);
    if lanes == Lanes::Shared || !drafting {
        let cores = Cores::one_lane(all);
        return (cores.clone(), cores);
    }
    // The drafter is small: a quarter of the threads, at least one.
    let draft = args.draft_threads.map_or(all / 4, |t| t as usize).max(1);
    Cores::two_lanes(all.saturating_sub(draft).max(1), draft)
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
