//! From arguments to loaded models: find the files, load, self-test.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use card_core::engine::Shapes;
use card_engine::selftest::{Exactness, Report};
use card_llama::{
    ContextOptions, Cores, Kernels, LlamaContext, LlamaError, LlamaModel, LoadOptions,
    check_vocabularies,
};

use crate::args::{DraftWeightsArg, ExactnessArg, ModeArg, ModelArgs};
use crate::devices;
use crate::kernels;
use crate::lighter;
use crate::profile::{self, Look, Profile};
use card_setup::models::catalogue::Catalogue;
use card_setup::models::fetch;
use card_setup::models::store::Store;
use card_setup::progress;

/// KV cells for candidates beside the context.
const SPARE_CELLS: u32 = 512;
/// Rows of the largest forward.
const ROWS: u32 = 256;
const DEFAULT_CONTEXT: u32 = 4096;
/// Context of the self-tests: room for their longest passage, whatever `--ctx` says, since
/// what they find is remembered for any.
const TEST_CONTEXT: u32 = 1280;
/// Rows of a draft model's forwards.
const DRAFT_ROWS: usize = 8;

/// The files of a target and its drafter.
pub struct Files {
    pub target: PathBuf,
    pub draft: Option<PathBuf>,
    pub draft2: Option<PathBuf>,
}

/// Finds the files, fetching what the catalogue has and the user has not.
pub fn find_files(args: &ModelArgs, catalogue: &Catalogue, store: &Store) -> Result<Files> {
    let get = |name: &str| -> Result<(PathBuf, Option<PathBuf>)> {
        if let Some(file) = catalogue.file(name) {
            return Ok((file.to_owned(), None));
        }
        let (target, draft) = catalogue.resolve(name)?;
        let target = fetch::fetch(store, target)?;
        let wanted = args.mode != ModeArg::Plain && args.draft.is_none() && args.drafter.is_empty();
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

/// Loads the models of a pair.
pub struct Loader<'a> {
    pub args: &'a ModelArgs,
    pub store: &'a Store,
    /// Where the self-tests run.
    target_cores: Cores,
    pub draft_cores: Cores,
}

/// A target, ready.
pub struct Target {
    pub model: LlamaModel,
    /// Tokens of context it shall have.
    pub context: u32,
    /// Whose kernels its weights are laid out for.
    pub kernels: Kernels,
    pub profile: Option<Profile>,
}

impl<'a> Loader<'a> {
    /// A loader that puts them where `args` say.
    pub fn new(args: &'a ModelArgs, store: &'a Store) -> Self {
        let (target_cores, draft_cores) = devices::cores(args);
        Loader {
            args,
            store,
            target_cores,
            draft_cores,
        }
    }

    /// The target, laid out for the kernels that `--kernels` names, or for those that are
    /// faster here.
    pub fn target(&self, files: &Files) -> Result<Target> {
        let args = self.args;
        let exact = args.exactness == ExactnessArg::Exact;
        let layouts = kernels::layouts(args.kernels, exact, devices::target_elsewhere(args));
        let first = layouts.first().copied().unwrap_or(Kernels::Ggml);
        // Whoever speculates has to know costs. The text of plain decoding depends on the
        // kernels and on padding, so they must be those that speculation has.
        if args.mode == ModeArg::Plain && !exact {
            return self.load_target(files, first, None);
        }
        let look = match exact {
            true => Look::Everything,
            false => Look::Costs,
        };
        let level = level(args.exactness);
        let mut last = None;
        let chosen = match layouts.len() {
            1 => first,
            _ => {
                let key = format!(
                    "{} | kernels of the target, {level}, {}",
                    profile::identity(&files.target)?,
                    layouts
                        .iter()
                        .map(|&k| self.key(k))
                        .collect::<Vec<_>>()
                        .join(" or ")
                );
                profile::remember(self.store, key, || {
                    best(&layouts, |kernels| {
                        // Two copies of the weights may not fit.
                        last = None;
                        let target = self.load_target(files, kernels, Some(look))?;
                        let profile = target.profile.as_ref().context("no self-test")?;
                        let promise = profile.report.promise(&profile.report.shapes(level));
                        last = Some(target);
                        Ok(promise)
                    })
                })?
            }
        };
        match last.filter(|t: &Target| t.kernels == chosen) {
            Some(target) => Ok(target),
            None => self.load_target(files, chosen, Some(look)),
        }
    }

    fn load_target(&self, files: &Files, kernels: Kernels, look: Option<Look>) -> Result<Target> {
        let options = LoadOptions {
            gpu_layers: self.args.gpu_layers,
            devices: self.args.device.clone(),
            workers: self.args.rpc.clone(),
            kernels,
        };
        let model = load(&files.target, &options, "target")?;
        let trained = model.info().trained_context;
        let context = self.args.ctx.unwrap_or(DEFAULT_CONTEXT.min(trained));
        if context > trained {
            tracing::warn!("the model was trained for {trained} tokens of context, not {context}");
        }
        let profile = match look {
            Some(look) => Some(profile::get(
                self.store,
                &model,
                || test_context(&model, "target", &self.target_cores),
                &self.key(kernels),
                look,
            )?),
            None => None,
        };
        Ok(Target {
            model,
            context,
            kernels,
            profile,
        })
    }

    /// A draft model, measured.
    pub fn draft(
        &self,
        path: &Path,
        target: &Target,
        context: u32,
    ) -> Result<(LlamaModel, Profile)> {
        let may_change = self.args.draft_weights == DraftWeightsArg::Auto
            && self.args.emulate.is_none()
            && path != target.model.path();
        let layouts = self.draft_layouts(path, target);
        let first = layouts.first().copied().unwrap_or(Kernels::Ggml);
        let path = match may_change {
            true => lighter::choose(self, path, target, first, context),
            false => path.to_owned(),
        };
        let kernels = match layouts.len() {
            1 => first,
            _ => {
                let key = format!(
                    "{} | kernels of a drafter beside {:?}: {layouts:?}, {}",
                    profile::identity(&path)?,
                    target.kernels,
                    self.draft_key(first)
                );
                profile::remember(self.store, key, || {
                    best(&layouts, |kernels| {
                        let model = self.load_draft(&path, target, kernels)?;
                        Ok(draft_promise(&self.draft_profile(&model, kernels)?.report))
                    })
                })?
            }
        };
        let model = self.load_draft(&path, target, kernels)?;
        let profile = self.draft_profile(&model, kernels)?;
        Ok((model, profile))
    }

    /// The layouts that a draft model may have, the one that wins ties first.
    fn draft_layouts(&self, path: &Path, target: &Target) -> Vec<Kernels> {
        let args = self.args;
        if drafts_for_itself(path, target) {
            return vec![target.kernels];
        }
        // The own kernels bring their attention, for the whole process: a target that was
        // measured without it would compute otherwise than it does without a drafter.
        let apart = args.exactness == ExactnessArg::Exact
            && target.kernels != Kernels::Card
            && !devices::target_elsewhere(args);
        match apart {
            true => vec![Kernels::Ggml],
            // How drafts are rounded changes no text, so weights are repacked.
            false => kernels::layouts(args.kernels, false, devices::draft_elsewhere(args)),
        }
    }

    /// A draft model, loaded, that speaks the target's vocabulary.
    pub fn load_draft(&self, path: &Path, target: &Target, kernels: Kernels) -> Result<LlamaModel> {
        let options = LoadOptions {
            gpu_layers: self.args.draft_gpu_layers,
            devices: self.args.draft_device.clone(),
            workers: Vec::new(),
            kernels,
        };
        let model = match drafts_for_itself(path, target) {
            // It is loaded once.
            true => target.model.clone(),
            false => load(path, &options, "draft")?,
        };
        check_vocabularies(&target.model.vocab(), &model.vocab())?;
        Ok(model)
    }

    /// What a draft model's forwards cost.
    fn draft_profile(&self, model: &LlamaModel, kernels: Kernels) -> Result<Profile> {
        profile::get(
            self.store,
            model,
            || test_context(model, "draft", &self.draft_cores),
            &self.draft_key(kernels),
            Look::Costs,
        )
    }

    /// What measurements of the target depend on beside the model.
    pub fn key(&self, kernels: Kernels) -> String {
        let workers = match self.args.rpc.is_empty() {
            true => String::new(),
            false => format!(", rpc {:?}", self.args.rpc),
        };
        format!(
            "{:?}, {}, {:?} {:?}{workers}",
            self.target_cores,
            kernels::words(kernels),
            self.args.device,
            self.args.gpu_layers
        )
    }

    /// What measurements of a draft model depend on.
    pub fn draft_key(&self, kernels: Kernels) -> String {
        let args = self.args;
        let (device, layers) = (&args.draft_device, args.draft_gpu_layers);
        let kernels = kernels::words(kernels);
        format!("{:?}, {kernels}, {device:?} {layers:?}", self.draft_cores)
    }
}

/// Whether the draft model is the target itself, and its weights can be shared. Those that are
/// not repacked would draft slowly.
fn drafts_for_itself(path: &Path, target: &Target) -> bool {
    path == target.model.path() && target.kernels != Kernels::GgmlPlain
}

/// What a draft model with these costs can bring: all of its forwards are small.
fn draft_promise(report: &Report) -> f64 {
    report.promise(&Shapes {
        max_rows: DRAFT_ROWS,
        ..Shapes::FREE
    })
}

/// The layout that promises most; another than the first has to promise clearly more.
fn best(layouts: &[Kernels], mut promise: impl FnMut(Kernels) -> Result<f64>) -> Result<Kernels> {
    let mut best: Option<(Kernels, f64)> = None;
    for &kernels in layouts {
        let promise = promise(kernels)?;
        tracing::info!(
            "{}: {:.1} tokens/s if 4 of 5 drafts are right",
            kernels::words(kernels),
            1e3 * promise
        );
        if best.is_none_or(|(_, most)| promise > kernels::CLEARLY * most) {
            best = Some((kernels, promise));
        }
    }
    best.map(|b| b.0).context("no kernels to choose from")
}

/// The target with its whole report, for `card selftest`: once for each layout.
pub fn selftest_target(
    args: &ModelArgs,
    catalogue: &Catalogue,
    kernels: Kernels,
) -> Result<Target> {
    let store = Store::open()?;
    let files = find_files(args, catalogue, &store)?;
    let loader = Loader::new(args, &store);
    loader.load_target(&files, kernels, Some(Look::Everything))
}

pub fn level(arg: ExactnessArg) -> Exactness {
    match arg {
        ExactnessArg::Exact => Exactness::Exact,
        ExactnessArg::Fast => Exactness::Fast,
    }
}

/// A context of a model for one sequence.
pub fn llama_context(
    model: &LlamaModel,
    role: &'static str,
    context: u32,
    cores: &Cores,
) -> Result<LlamaContext, LlamaError> {
    llama_contexts(model, role, context, 1, cores)
}

/// A context of a model for several sequences of full length. The cells of each may come to lie
/// in any order, which is no matter for drafts.
pub fn llama_contexts(
    model: &LlamaModel,
    role: &'static str,
    context: u32,
    sequences: u32,
    cores: &Cores,
) -> Result<LlamaContext, LlamaError> {
    LlamaContext::new(
        model,
        &ContextOptions {
            role,
            context,
            sequences,
            spare_cells: SPARE_CELLS,
            rows: ROWS,
            in_order: false,
            cores: cores.clone(),
        },
    )
}

/// A context of a target for several sequences of full length. Where they share the cache, or
/// if it `keeps` those that are over, the cells of each stay in order.
pub fn target_contexts(
    model: &LlamaModel,
    context: u32,
    sequences: u32,
    keeps: bool,
    cores: &Cores,
) -> Result<LlamaContext, LlamaError> {
    LlamaContext::new(
        model,
        &ContextOptions {
            role: "target",
            context,
            sequences,
            spare_cells: SPARE_CELLS,
            rows: ROWS,
            in_order: sequences > 1 || keeps,
            cores: cores.clone(),
        },
    )
}

/// A context for a self-test, with room for another sequence beside its own. The test frees no
/// cell that lies before one it still needs, so they stay in order by themselves.
fn test_context(
    model: &LlamaModel,
    role: &'static str,
    cores: &Cores,
) -> Result<LlamaContext, LlamaError> {
    let trained = model.info().trained_context.max(64);
    llama_contexts(model, role, TEST_CONTEXT.min(trained), 2, cores)
}

/// Threads in all: what was asked for, else all cores.
pub fn threads(asked: Option<u32>) -> usize {
    let there_are = std::thread::available_parallelism().map_or(1, usize::from);
    asked.map_or(there_are, |t| t as usize)
}

/// A model, with a progress bar.
pub fn load(path: &Path, options: &LoadOptions, role: &str) -> Result<LlamaModel> {
    let bar = progress::bar(100, "  {msg:32} {bar:24} {percent:>3} %");
    bar.set_message(format!("loading the {role} model"));
    let model = LlamaModel::load(path, options, &mut |part| {
        bar.set_position((part * 100.0) as u64);
    });
    bar.finish_and_clear();
    Ok(model?)
}
