//! Loads target and drafter where the settings put them, and measures them there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Error, Result};
use card_core::forward::Model;
use card_core::types::Token;
use card_engine::selftest::SelfTestReport;
use card_engine::{Patient, Pauses};
use card_llama::{Cores, HeadModel, Kernels, KvShape, LlamaError, LlamaModel, LoadOptions};

use crate::coarse::{CoarseBudget, MeasurementDeadline, Unmeasured};
use crate::contexts::{coarse_context, test_context};
use crate::devices;
use crate::draft_model::DraftModel;
use crate::drafting_head::DraftingHead;
use crate::files::{self, ModelFiles};
use crate::head;
use crate::kernels;
use crate::load_progress::LoadProgress;
use crate::models::catalogue::Catalogue;
use crate::models::locate::ModelPlaces;
use crate::models::store::Store;
use crate::progress;
use crate::room::{self, Occupant, Room, Wish};
use crate::self_test::{self, Look, TestManner};
use crate::settings::Settings;

/// Share of the time for coarse measurements that the target gets.
const TARGET_SHARE: f64 = 0.65;
/// How long nothing must have run before something is measured in a pause.
const QUIET: Duration = Duration::from_millis(500);

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
    /// The files of draft models that will be loaded beside the target.
    drafts: Vec<PathBuf>,
    /// The file of one that may be, if there is room for it.
    likely_draft: Option<PathBuf>,
    /// The time for measurements, if the start does not wait for all of them.
    pub coarse: Option<CoarseBudget>,
    /// The engine in whose pauses measurements are made, if there is one.
    pauses: Option<Pauses>,
    /// Whether measurements are made anew whatever is remembered.
    pub again: bool,
    /// Hears how far a file is.
    told: LoadProgress,
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
    pub model: DraftModel,
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
            drafts: Vec::new(),
            likely_draft: None,
            coarse: None,
            pauses: None,
            again: false,
            told: LoadProgress::default(),
        }
    }

    /// The same loader; `told` hears how much of each file is loaded.
    pub fn telling(mut self, told: &LoadProgress) -> Self {
        self.told = told.clone();
        self
    }

    /// The same loader. With a `budget` it measures coarsely what is not remembered.
    pub fn coarsely(mut self, budget: Option<CoarseBudget>) -> Self {
        self.coarse = budget;
        self
    }

    /// The same loader. It measures in the pauses of an engine, shows nothing of that, and measures
    /// what is remembered too if `again`.
    pub fn in_pauses(mut self, pauses: Pauses, again: bool) -> Self {
        (self.pauses, self.again) = (Some(pauses), again);
        self
    }

    /// A context to measure on: if that happens in pauses, its forwards wait for them.
    ///
    /// # Errors
    /// If the engine ends meanwhile.
    pub fn scratch(&self, context: Box<dyn Model + Send>) -> Result<Box<dyn Model + Send>> {
        let Some(pauses) = self.pauses.clone() else {
            return Ok(context);
        };
        let patient = Patient::new(context, Box::new(move || pauses.wait(QUIET)))?;
        Ok(Box::new(patient))
    }

    /// Whether nothing is shown of measurements.
    pub fn is_silent(&self) -> bool {
        self.pauses.is_some()
    }

    fn manner(&self) -> TestManner {
        TestManner {
            again: self.again,
            silent: self.is_silent(),
        }
    }

    /// The same, for a target that leaves memory to the draft models of `files`. To a drafter that
    /// nobody named it does so only if there is room for a context then.
    pub fn beside(mut self, files: &ModelFiles) -> Self {
        let (likely, named) = if files.finds_draft {
            (files.draft.clone(), None)
        } else {
            (None, files.draft.as_ref())
        };
        let others = files.draft2.iter().chain(&files.head_file);
        self.drafts = named.into_iter().chain(others).cloned().collect();
        self.likely_draft = likely;
        self
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
            adapters: self.settings.adapters().map_err(Error::msg)?,
            places: self.settings.places().map_err(Error::msg)?,
            head: head::may_draft(self.settings),
            ..self.where_target_is(kernels)
        };
        let model = load_model(file, &options, "target", &self.told)?;
        let trained = model.info().trained_context;
        let context = self.context(&model, kernels)?;
        if context > trained {
            tracing::warn!("the model was trained for {trained} tokens of context, not {context}");
        }
        let report = look.map(|look| self.target_report(&model, kernels, look));
        let report = report.transpose()?;
        Ok(LoadedTarget {
            model,
            context,
            kernels,
            report,
        })
    }

    /// The devices and kernels of the target.
    fn where_target_is(&self, kernels: Kernels) -> LoadOptions {
        LoadOptions {
            gpu_layers: self.settings.gpu_layers,
            devices: self.settings.device.clone(),
            workers: self.settings.rpc.clone(),
            kernels,
            cache: self.settings.target_cache(),
            ..LoadOptions::default()
        }
    }

    /// The head in a file of its own, for this target and where it is.
    ///
    /// # Errors
    /// If it was made for another model, or cannot be loaded.
    pub fn head(&self, file: &Path, target: &LoadedTarget) -> Result<HeadModel> {
        let options = LoadOptions {
            cache: self.settings.draft_cache(),
            ..self.where_target_is(target.kernels)
        };
        with_bar("head", "head", &self.told, |progress| {
            HeadModel::load(file, &target.model, &options, progress)
        })
    }

    /// The self-test of a target, remembered or made now; a coarse one where there is no time for
    /// more.
    ///
    /// # Errors
    /// If it cannot be tested.
    pub fn target_report(
        &self,
        model: &LlamaModel,
        kernels: Kernels,
        look: Look,
    ) -> Result<SelfTestReport> {
        let setup = self.target_key(kernels);
        let passage = || model.vocab().tokenize(self_test::PASSAGE, false);
        let cores = &self.target_cores;
        if let Some(budget) = &self.coarse {
            let left_out = |u: &mut Unmeasured| u.target = true;
            let measure = || self.coarse_target(model, budget);
            return self.known_or_coarse(budget, model, &setup, look, left_out, measure);
        }
        let context = || -> Result<Box<dyn Model + Send>> {
            self.scratch(Box::new(test_context(model, "target", cores)?))
        };
        let (store, manner) = (self.store, self.manner());
        self_test::report(store, model, passage, context, &setup, look, manner)
    }

    /// The whole report on a model if it is remembered, else a coarse one; `left_out` notes what that
    /// leaves to be measured.
    fn known_or_coarse(
        &self,
        budget: &CoarseBudget,
        model: &LlamaModel,
        setup: &str,
        look: Look,
        left_out: impl FnOnce(&mut Unmeasured),
        measure: impl FnOnce() -> Result<SelfTestReport>,
    ) -> Result<SelfTestReport> {
        if let Some(known) = self_test::remembered(self.store, model, setup, look)? {
            return Ok(known);
        }
        budget.leave_out(left_out);
        self_test::coarse_report(self.store, model, setup, look, measure)
    }

    /// What a few forwards of a target say. Where card's kernels compute all of it, every shape of
    /// forward gives the same logits, unless what is compared here contradicts that.
    fn coarse_target(&self, model: &LlamaModel, budget: &CoarseBudget) -> Result<SelfTestReport> {
        let settings = self.settings;
        let here = devices::target_on_cpu(settings) && !devices::partly_here(settings);
        budget.spend(TARGET_SHARE, |deadline| {
            let passage = model.vocab().tokenize(self_test::PASSAGE, false)?;
            let mut context = coarse_context(model, "target", &self.target_cores)?;
            let any_shape = here && model.is_all_card();
            self_test::coarse(&passage, &mut context, any_shape, deadline)
        })
    }

    /// Tokens of context of the target, now that its weights are in memory.
    fn context(&self, model: &LlamaModel, kernels: Kernels) -> Result<u32> {
        let settings = self.settings;
        let info = model.info();
        let wish = Wish {
            context: settings.ctx,
            trained: info.trained_context,
            sequences: settings.parallel,
        };
        // Pages of a file count as free, though the weights in them are needed. Who asks for a
        // context may want them to be read again and again.
        let in_file = kernels == Kernels::GgmlPlain && settings.asked_context().is_none();
        let missing = if in_file { info.bytes } else { 0 };
        let target = KvShape::of_file(model.path());
        let target = target.map(|shape| Occupant::target(settings, shape, missing));
        let draft = |file: &PathBuf| Occupant::draft(settings, file, model.path());
        // What is wrong with a file is said when it is loaded.
        let drafts = self.drafts.iter().map(draft);
        let sure: Vec<Occupant> = std::iter::once(target).chain(drafts).flatten().collect();
        let likely = self.likely_draft.as_ref().and_then(|file| draft(file).ok());
        room::context_beside(wish, &sure, likely, Room::of(settings))
    }

    /// The draft model in `file`, laid out for `kernels`. If it has another vocabulary than the
    /// target, it is translated.
    ///
    /// # Errors
    /// If it cannot be loaded, or has another vocabulary of which nearly nothing could be proposed.
    pub fn draft(
        &self,
        file: &Path,
        target: &LoadedTarget,
        kernels: Kernels,
    ) -> Result<DraftModel> {
        if drafts_for_itself(file, target) {
            // The weights are in memory once.
            return Ok(DraftModel::itself(&target.model));
        }
        let options = LoadOptions {
            gpu_layers: self.settings.draft_gpu_layers,
            devices: self.settings.draft_device.clone(),
            kernels,
            cache: self.settings.draft_cache(),
            ..LoadOptions::default()
        };
        let model = load_model(file, &options, "draft", &self.told)?;
        DraftModel::new(&target.model.vocab(), model)
    }

    /// What the forwards of a draft model cost. Those of one that is translated are measured with
    /// the translation: a token of the target may be several of its own.
    ///
    /// # Errors
    /// If they cannot be measured.
    pub fn draft_report(
        &self,
        model: &DraftModel,
        target: &LoadedTarget,
        kernels: Kernels,
    ) -> Result<SelfTestReport> {
        let vocab = target.model.vocab();
        let (store, look) = (self.store, Look::Costs);
        let setup = format!("{}{}", self.draft_key(kernels), model.key(&vocab));
        let passage = || model.tokenize(&vocab, self_test::PASSAGE);
        if let Some(budget) = &self.coarse {
            let left_out = |u: &mut Unmeasured| u.draft = true;
            let spend = |deadline: MeasurementDeadline| -> Result<SelfTestReport> {
                self.coarse_draft(model, &passage()?, deadline)
            };
            let measure = || budget.spend(1.0, spend);
            return self.known_or_coarse(budget, &model.llama, &setup, look, left_out, measure);
        }
        let context = || -> Result<Box<dyn Model + Send>> {
            let made = test_context(&model.llama, "draft", &self.draft_cores)?;
            self.scratch(model.translated(Box::new(made))?)
        };
        let manner = self.manner();
        self_test::report(store, &model.llama, passage, context, &setup, look, manner)
    }

    fn coarse_draft(
        &self,
        model: &DraftModel,
        passage: &[Token],
        deadline: MeasurementDeadline,
    ) -> Result<SelfTestReport> {
        let made = coarse_context(&model.llama, "draft", &self.draft_cores)?;
        let mut context = model.translated(Box::new(made))?;
        // How drafts are rounded changes no text.
        self_test::coarse(passage, &mut *context, false, deadline)
    }

    /// What the forwards of the target's head cost.
    ///
    /// # Errors
    /// If they cannot be measured.
    pub fn head_report(
        &self,
        head: &DraftingHead,
        target: &LoadedTarget,
    ) -> Result<SelfTestReport> {
        let model = head.model();
        let (store, look) = (self.store, Look::Costs);
        let setup = format!("{}, its head", self.target_key(target.kernels));
        let passage = || model.vocab().tokenize(self_test::PASSAGE, false);
        let context = || head.test_context(&self.target_cores);
        if let Some(budget) = &self.coarse {
            let spend = |deadline: MeasurementDeadline| -> Result<SelfTestReport> {
                self_test::coarse(&passage()?, &mut *context()?, false, deadline)
            };
            let measure = || budget.spend(1.0, spend);
            // Real forwards make its costs finer; no pause is used for them.
            return self.known_or_coarse(budget, model, &setup, look, |_| {}, measure);
        }
        let context = || -> Result<Box<dyn Model + Send>> { Ok(context()?) };
        let manner = self.manner();
        self_test::report(store, model, passage, context, &setup, look, manner)
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
        let changes = devices::target_changes(self.settings);
        format!("{cores:?}, {kernels}, {device:?} {gpu_layers:?}{workers}{changes}")
    }

    /// What measurements of a draft model depend on beside the model.
    pub fn draft_key(&self, kernels: Kernels) -> String {
        let Settings {
            draft_device,
            draft_gpu_layers,
            ..
        } = self.settings;
        let (cores, kernels) = (&self.draft_cores, kernels::words(kernels));
        let changes = devices::draft_changes(self.settings);
        format!("{cores:?}, {kernels}, {draft_device:?} {draft_gpu_layers:?}{changes}")
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
    let models = ModelPlaces::new(catalogue, &store, settings.offline)?;
    let files = files::find(settings, &models)?;
    Loader::new(settings, &store).target(&files.target, kernels, Some(Look::Everything))
}

/// A model, with a progress bar. `role` is "target" or "draft"; `told` hears how far it is.
///
/// # Errors
/// If it cannot be loaded.
pub fn load_model(
    file: &Path,
    options: &LoadOptions,
    role: &'static str,
    told: &LoadProgress,
) -> Result<LlamaModel> {
    let message = format!("loading the {role} model");
    with_bar(role, &message, told, |progress| {
        LlamaModel::load(file, options, progress)
    })
}

/// What `load` loads, with a progress bar. `told` hears how far it is, as `what`.
pub(crate) fn with_bar<T>(
    what: &'static str,
    message: &str,
    told: &LoadProgress,
    load: impl FnOnce(&mut dyn FnMut(f32)) -> Result<T, LlamaError>,
) -> Result<T> {
    let bar = progress::bar(100, "  {msg:32} {bar:24} {percent:>3} %");
    bar.set_message(message.to_owned());
    told.tell(what, 0.0);
    let loaded = load(&mut |part: f32| {
        bar.set_position((part * 100.0) as u64);
        told.tell(what, part);
    });
    told.end();
    bar.finish_and_clear();
    Ok(loaded?)
}

#[cfg(test)]
mod tests {
    use card_engine::selftest::{Exactness, Means};
    use card_llama::tiny::zoo;

    use super::*;

    /// What loaders of a start that waits, or does not, find of a target.
    fn report(store: &Store, file: &Path, kernels: Kernels, waits: bool) -> (SelfTestReport, bool) {
        let settings = Settings {
            threads: Some(1),
            ..Settings::default()
        };
        let budget = (!waits).then(CoarseBudget::whole);
        let loader = Loader::new(&settings, store).coarsely(budget);
        let target = loader
            .target(file, kernels, Some(Look::Everything))
            .unwrap();
        let left_out = loader.coarse.is_some_and(|b| b.unmeasured().target);
        (target.report.unwrap(), left_out)
    }

    #[test]
    fn a_start_that_does_not_wait_times_coarsely_until_there_is_a_whole_self_test() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        let file = zoo::write(zoo::find("llama").unwrap(), 7).unwrap();
        let (coarse, left_out) = report(&store, &file, Kernels::Ggml, false);
        assert!(coarse.coarse && left_out && coarse.sizes.len() <= 2);
        assert_eq!(coarse.means(), Means::PlainOnly);
        assert!(coarse.shapes(Exactness::Exact).alone);
        // It is not mistaken for a whole one, which counts from then on.
        let (whole, _) = report(&store, &file, Kernels::Ggml, true);
        assert!(!whole.coarse && whole.sizes.len() > 2);
        let (again, left_out) = report(&store, &file, Kernels::Ggml, false);
        assert!(!again.coarse && !left_out);
        assert_eq!(again.sizes.len(), whole.sizes.len());
        // The own kernels give the same logits for every shape by the way they are made.
        if kernels::own().is_some() && devices::target_on_cpu(&Settings::default()) {
            let (own, _) = report(&store, &file, Kernels::Card, false);
            assert!(own.coarse);
            assert_eq!(own.means(), Means::AnyShape);
        }
        let _ = std::fs::remove_file(file);
    }
}
