//! From arguments to loaded models: find the files, load, self-test.

use std::path::PathBuf;

use anyhow::Result;
use card_engine::selftest::{Exactness, HEADS};
use card_llama::{
    ContextOptions, Cores, LlamaContext, LlamaError, LlamaModel, LoadOptions, check_vocabularies,
};

use crate::args::{DraftWeightsArg, ExactnessArg, ModeArg, ModelArgs};
use crate::devices;
use crate::lighter;
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

    /// The target, loaded the way the exactness level asks for.
    pub fn target(&self, files: &Files) -> Result<Target> {
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
            workers: self.args.rpc.clone(),
            repack,
        };
        let model = load(&files.target, &options, "target")?;
        let trained = model.info().trained_context;
        let context = self.args.ctx.unwrap_or(DEFAULT_CONTEXT.min(trained));
        if context > trained {
            tracing::warn!("the model was trained for {trained} tokens of context, not {context}");
        }
        let profile = match test {
            true => Some(profile::get(
                self.store,
                &model,
                || llama_context(&model, "target", context, &self.target_cores),
                &self.key(repack),
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

    /// A draft model, measured.
    pub fn draft(
        &self,
        path: &std::path::Path,
        target: &Target,
        context: u32,
    ) -> Result<(LlamaModel, Profile)> {
        let may_change = self.args.draft_weights == DraftWeightsArg::Auto
            && self.args.emulate.is_none()
            && path != target.model.path();
        let path = match may_change {
            true => lighter::choose(self, path, target, context),
            false => path.to_owned(),
        };
        let model = self.load_draft(&path, target)?;
        let profile = self.draft_profile(&model, context)?;
        Ok((model, profile))
    }

    /// A draft model, loaded, that speaks the target's vocabulary.
    pub fn load_draft(&self, path: &std::path::Path, target: &Target) -> Result<LlamaModel> {
        let options = LoadOptions {
            gpu_layers: self.args.draft_gpu_layers,
            devices: self.args.draft_device.clone(),
            workers: Vec::new(),
            repack: true,
        };
        let model =
            match path == target.model.path() && self.args.exactness == ExactnessArg::Default {
                // A model that drafts for itself is loaded once.
                true => target.model.clone(),
                false => load(path, &options, "draft")?,
            };
        check_vocabularies(&target.model.vocab(), &model.vocab())?;
        Ok(model)
    }

    /// What a draft model's forwards cost.
    pub fn draft_profile(&self, model: &LlamaModel, context: u32) -> Result<Profile> {
        profile::get(
            self.store,
            model,
            || llama_context(model, "draft", context, &self.draft_cores),
            &self.draft_key(),
            &HEADS[..1],
        )
    }

    /// Promises about bits are checked with a long context as well.
    fn heads(&self) -> &'static [usize] {
        match self.args.exactness {
            ExactnessArg::Default => &HEADS[..1],
            ExactnessArg::Strict | ExactnessArg::Bitwise => &HEADS,
        }
    }

    /// What measurements of the target depend on beside the model.
    pub fn key(&self, repack: bool) -> String {
        let workers = match self.args.rpc.is_empty() {
            true => String::new(),
            false => format!(", rpc {:?}", self.args.rpc),
        };
        format!(
            "{:?}, repack {repack}, {:?} {:?}{workers}",
            self.target_cores, self.args.device, self.args.gpu_layers
        )
    }

    /// What measurements of a draft model depend on.
    pub fn draft_key(&self) -> String {
        let args = self.args;
        let (device, layers) = (&args.draft_device, args.draft_gpu_layers);
        format!("{:?}, {device:?} {layers:?}", self.draft_cores)
    }
}

/// The target with its report, for `card selftest`.
pub fn selftest_target(args: &ModelArgs, catalogue: &Catalogue, repack: bool) -> Result<Target> {
    let store = Store::open()?;
    let files = find_files(args, catalogue, &store)?;
    let loader = Loader::new(args, &store);
    loader.load_target(&files, repack, true)
}

pub fn level(arg: ExactnessArg) -> Exactness {
    match arg {
        ExactnessArg::Default => Exactness::Default,
        ExactnessArg::Strict => Exactness::Strict,
        ExactnessArg::Bitwise => Exactness::Bitwise,
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

/// A context of a model for several sequences of full length.
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
            in_order: sequences > 1 && role == "target",
            cores: cores.clone(),
        },
    )
}

/// Threads in all: what was asked for, else all cores.
pub fn threads(asked: Option<u32>) -> usize {
    let there_are = std::thread::available_parallelism().map_or(1, usize::from);
    asked.map_or(there_are, |t| t as usize)
}

/// A model, with a progress bar.
pub fn load(path: &std::path::Path, options: &LoadOptions, role: &str) -> Result<LlamaModel> {
    let bar = progress::bar(100, "  {msg:32} {bar:24} {percent:>3} %");
    bar.set_message(format!("loading the {role} model"));
    let model = LlamaModel::load(path, options, &mut |part| {
        bar.set_position((part * 100.0) as u64);
    });
    bar.finish_and_clear();
    Ok(model?)
}
