//! Loads target and drafter where the settings put them, and measures them there.

use std::path::Path;

use anyhow::Result;
use card_engine::selftest::SelfTestReport;
use card_llama::{Cores, Kernels, LlamaModel, LoadOptions, check_vocabularies};

use crate::contexts::test_context;
use crate::devices;
use crate::files;
use crate::kernels;
use crate::models::catalogue::Catalogue;
use crate::models::store::Store;
use crate::progress;
use crate::self_test::{self, Look};
use crate::settings::Settings;

/// Tokens of context where the settings do not say.
const DEFAULT_CONTEXT: u32 = 4096;

/// Loads the models of a pair.
pub struct Loader<'a> {
    /// What to load, and where.
    pub settings: &'a Settings,
    /// Where findings and copies are kept.
    pub store: &'a Store,
    /// The cores on which the target's self-tests run.
    target_cores: Cores,
    /// The cores on which draft models are measured.
    pub draft_cores: Cores,
}

/// A target, ready.
pub struct LoadedTarget {
    /// The model.
    pub model: LlamaModel,
    /// Tokens of context it shall have.
    pub context: u32,
    /// Whose kernels its weights are laid out for.
    pub kernels: Kernels,
    /// What its self-test found; `None` if there was none.
    pub report: Option<SelfTestReport>,
}

/// A draft model, ready.
pub struct LoadedDraft {
    /// The model.
    pub model: LlamaModel,
    /// What its self-test found.
    pub report: SelfTestReport,
}

impl<'a> Loader<'a> {
    /// A loader that puts the models where `settings` say.
    pub fn new(settings: &'a Settings, store: &'a Store) -> Self {
        let (target_cores, draft_cores) = devices::cores(settings);
        Loader {
            settings,
            store,
            target_cores,
            draft_cores,
        }
    }

    /// The target in `file`, laid out for `kernels`, and tested as `look` says.
    ///
    /// # Errors
    /// If it cannot be loaded or tested.
    pub fn target(
        &self,
        file: &Path,
        kernels: Kernels,
        look: Option<Look>,
    ) -> Result<LoadedTarget> {
        let options = LoadOptions {
            gpu_layers: self.settings.gpu_layers,
            devices: self.settings.device.clone(),
            workers: self.settings.rpc.clone(),
            kernels,
        };
        let model = load_model(file, &options, "target")?;
        let trained = model.info().trained_context;
        let context = self.settings.ctx.unwrap_or(DEFAULT_CONTEXT.min(trained));
        if context > trained {
            tracing::warn!("the model was trained for {trained} tokens of context, not {context}");
        }
        let report = match look {
            Some(look) => Some(self_test::report(
                self.store,
                &model,
                || test_context(&model, "target", &self.target_cores),
                &self.target_key(kernels),
                look,
            )?),
            None => None,
        };
        Ok(LoadedTarget {
            model,
            context,
            kernels,
            report,
        })
    }

    /// The draft model in `file`, laid out for `kernels`. It speaks the target's vocabulary.
    ///
    /// # Errors
    /// If it cannot be loaded, or has another vocabulary.
    pub fn draft(
        &self,
        file: &Path,
        target: &LoadedTarget,
        kernels: Kernels,
    ) -> Result<LlamaModel> {
        let options = LoadOptions {
            gpu_layers: self.settings.draft_gpu_layers,
            devices: self.settings.draft_device.clone(),
            workers: Vec::new(),
            kernels,
        };
        let model = if drafts_for_itself(file, target) {
            // The weights are in memory once.
            target.model.clone()
        } else {
            load_model(file, &options, "draft")?
        };
        check_vocabularies(&target.model.vocab(), &model.vocab())?;
        Ok(model)
    }

    /// What the forwards of a draft model cost.
    ///
    /// # Errors
    /// If they cannot be measured.
    pub fn draft_report(&self, model: &LlamaModel, kernels: Kernels) -> Result<SelfTestReport> {
        self_test::report(
            self.store,
            model,
            || test_context(model, "draft", &self.draft_cores),
            &self.draft_key(kernels),
            Look::Costs,
        )
    }

    /// What measurements of the target depend on beside the model.
    pub fn target_key(&self, kernels: Kernels) -> String {
        let Settings {
            rpc,
            device,
            gpu_layers,
            ..
        } = self.settings;
        let workers = if rpc.is_empty() {
            String::new()
        } else {
            format!(", rpc {rpc:?}")
        };
        let (cores, kernels) = (&self.target_cores, kernels::words(kernels));
        format!("{cores:?}, {kernels}, {device:?} {gpu_layers:?}{workers}")
    }

    /// What measurements of a draft model depend on beside the model.
    pub fn draft_key(&self, kernels: Kernels) -> String {
        let Settings {
            draft_device,
            draft_gpu_layers,
            ..
        } = self.settings;
        let (cores, kernels) = (&self.draft_cores, kernels::words(kernels));
        format!("{cores:?}, {kernels}, {draft_device:?} {draft_gpu_layers:?}")
    }
}

/// Whether the draft model is the target itself, and can share its weights. Weights that are not
/// repacked would draft slowly, so those are not shared.
pub fn drafts_for_itself(file: &Path, target: &LoadedTarget) -> bool {
    file == target.model.path() && target.kernels != Kernels::GgmlPlain
}

/// The target with its whole report, laid out for `kernels`.
///
/// # Errors
/// If it cannot be loaded or tested.
pub fn tested_target(
    settings: &Settings,
    catalogue: &Catalogue,
    kernels: Kernels,
) -> Result<LoadedTarget> {
    let store = Store::open()?;
    let files = files::find(settings, catalogue, &store)?;
    Loader::new(settings, &store).target(&files.target, kernels, Some(Look::Everything))
}

/// A model, with a progress bar. `role` is "target" or "draft".
///
/// # Errors
/// If it cannot be loaded.
pub fn load_model(file: &Path, options: &LoadOptions, role: &str) -> Result<LlamaModel> {
    let bar = progress::bar(100, "  {msg:32} {bar:24} {percent:>3} %");
    bar.set_message(format!("loading the {role} model"));
    let model = LlamaModel::load(file, options, &mut |part| {
        bar.set_position((part * 100.0) as u64);
    });
    bar.finish_and_clear();
    Ok(model?)
}
