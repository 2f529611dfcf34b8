//! Loaded models and what is known of them: engines are made from it.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use card_core::cost::CostCurve;
use card_core::forward::Model;
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::scheduler::{Learned, Shapes};
use card_core::types::Source;
use card_engine::placement::Placement;
use card_engine::selftest::{Exactness, Means};
use card_engine::{Options, Pauses};
use card_llama::{ChatTemplate, Kernels, LlamaModel, Vocab};

use crate::chat_template::chat_template;
use crate::choice;
use crate::coarse::{CoarseBudget, Unmeasured};
use crate::devices;
use crate::draft_choice;
use crate::draft_model::DraftModel;
use crate::drafting_head::DraftingHead;
use crate::emulation::Emulation;
use crate::files;
use crate::findings;
use crate::fit;
use crate::guarantee::TextGuarantee;
use crate::learned::LearnedStore;
use crate::load_progress::LoadProgress;
use crate::loader::{LoadedDraft, LoadedTarget, Loader};
use crate::models::catalogue::Catalogue;
use crate::models::drafters;
use crate::models::locate::ModelPlaces;
use crate::models::store::Store;
use crate::placement::LoadedPair;
use crate::quiet::{Quiet, QuietWatch, SystemFiles};
use crate::run::RunConfig;
use crate::sampling::SamplingSettings;
use crate::seen_costs::{SeenCosts, SeenKey, pair_key};
use crate::settings::Settings;

/// Loaded models and what is known of them. [`Setup::engine`] makes engines from it.
pub struct Setup {
    /// The target's vocabulary.
    pub vocab: Vocab,
    /// The target's chat template, if it has one.
    pub template: Option<ChatTemplate>,
    /// Tokens of context of one sequence.
    pub context: u32,
    /// How the target is sampled where nobody says, by its file.
    pub sampling: SamplingSettings,
    /// The target.
    pub target: LlamaModel,
    /// What is known of its forwards.
    pub(crate) forwards: TargetForwards,
    /// The draft model, if there is one here.
    pub draft: Option<DraftModel>,
    /// Who drafts beside it, or in its place.
    pub(crate) others: OtherDrafters,
    /// The devices that are emulated, if some are.
    pub emulation: Option<Emulation>,
    /// Ways to run the pair, best first. There is at least one.
    pub placements: Vec<Placement>,
    /// What earlier runs learned.
    pub learned: Learned,
    /// What is guaranteed of the text, and by which means.
    pub guarantee: TextGuarantee,
    /// What a start that did not wait for measurements left out. `None` after one that did: engines
    /// are compared then, and no lane changes its threads, since the threads of one engine would be
    /// taken for another program's.
    pub(crate) coarse_start: Option<Unmeasured>,
    /// Where the next start finds what this one learns.
    pub(crate) storage: Storage,
    /// The settings by which the models are where they are.
    pub(crate) settings: Settings,
}

/// What is known of the target's forwards, by its file and the self-test.
pub(crate) struct TargetForwards {
    /// Whose kernels its weights are laid out for.
    pub(crate) kernels: Kernels,
    /// Forwards that it may run.
    pub(crate) shapes: Shapes,
    /// Margin below which a decision is a near-tie, in logits.
    pub(crate) near_tie: f32,
    /// How far the times of like forwards lay apart when they were measured.
    spread: Option<f64>,
}

/// Drafters beside the draft model.
#[derive(Default)]
pub(crate) struct OtherDrafters {
    /// The second draft model.
    pub(crate) second: Option<LoadedDraft>,
    /// The head that drafts, if one does.
    pub(crate) head: Option<DraftingHead>,
    /// What its forwards cost.
    pub(crate) head_cost: Option<CostCurve>,
    /// Whether drafters on other machines may connect by themselves.
    pub(crate) may_connect: bool,
}

/// Where findings and what was learned are kept.
pub(crate) struct Storage {
    /// What was measured.
    pub(crate) store: Store,
    /// What was learned of the pair; `None` where nothing shall be kept.
    learned: Option<LearnedStore>,
    /// How quiet the machine is while the setup is in use.
    watch: QuietWatch,
}

impl Setup {
    /// Loads what `settings` ask for, and measures what is not known yet.
    ///
    /// # Errors
    /// If a model cannot be found, fetched, loaded or measured.
    pub fn load(settings: &Settings, catalogue: &Catalogue) -> Result<Setup> {
        Setup::load_with(settings, catalogue, None, &LoadProgress::default())
    }

    /// Loads what `settings` ask for. What is not known yet is timed coarsely, for two seconds at
    /// the most, and a line on standard error says so: costs get finer with each forward, and in
    /// the pauses of an engine ([`Setup::measure_in_pauses`]). The text is plain decoding's at
    /// every moment: where nobody knows yet which shapes of forward give the same logits, the
    /// engine decodes plainly.
    ///
    /// # Errors
    /// If a model cannot be found, fetched, loaded or run.
    pub fn start(settings: &Settings, catalogue: &Catalogue) -> Result<Setup> {
        Setup::start_telling(settings, catalogue, &LoadProgress::default())
    }

    /// The same as [`Setup::start`]; `told` hears how far each file is that is loaded.
    ///
    /// # Errors
    /// The same as those of [`Setup::start`].
    pub fn start_telling(
        settings: &Settings,
        catalogue: &Catalogue,
        told: &LoadProgress,
    ) -> Result<Setup> {
        Setup::load_with(settings, catalogue, Some(CoarseBudget::whole()), told)
    }

    fn load_with(
        settings: &Settings,
        catalogue: &Catalogue,
        budget: Option<CoarseBudget>,
        told: &LoadProgress,
    ) -> Result<Setup> {
        let store = Store::open()?;
        let models = ModelPlaces::new(catalogue, &store, settings.offline)?;
        let mut files = files::find(settings, &models)?;
        // The models among which the drafter is chosen later, if none was named.
        let plan = files
            .finds_draft
            .then(|| drafters::plan(&files.target, &models));
        let plan = plan.unwrap_or_default();
        let expected = files.with_likely_draft(&plan);
        let fitted = fit::fitted(settings, &expected);
        let settings = fitted.as_ref().unwrap_or(settings);
        let emulation = settings.emulate.as_deref().map(Emulation::load);
        let emulation = emulation.transpose()?;
        let has_head = files.head || files.head_file.is_some();
        let nobody = files.draft.is_none() && !files.finds_draft && !has_head;
        if nobody && settings.mode != Mode::Plain {
            tracing::info!("there is no draft model; only sources without a model propose");
        }
        let loader = Loader::new(settings, &store).beside(&expected);
        let loader = loader.coarsely(budget).telling(told);
        let target = choice::target(&loader, &files.target)?;
        let draft = |file: &Path| choice::draft(&loader, file, &target);
        let first = if files.finds_draft {
            let found = draft_choice::find(&loader, plan, &target);
            found.map(|(file, draft)| {
                files.draft = Some(file);
                draft
            })
        } else {
            files.draft.as_deref().map(draft).transpose()?
        };
        let second = files.draft2.as_deref().map(draft).transpose()?;
        let head = match &files.head_file {
            Some(file) => {
                let head = loader.head(file, &target)?;
                Some(DraftingHead::File(Box::new(head)))
            }
            None => files.head.then(|| DraftingHead::Own(target.model.clone())),
        };
        let mut setup = Setup::of_models(settings, &store, &target, first.as_ref(), head.as_ref())?;
        setup.emulation = emulation;
        setup.others.second = second;
        if let Some(head) = &head {
            eprintln!("{}", head.told(first.is_none()));
            let emulated = setup.emulation.as_ref();
            emulated.map_or(Ok(()), Emulation::check_head)?;
            setup.others.head_cost = Some(loader.head_report(head, &target)?.cost());
        }
        setup.others.head = head;
        setup.fit_emulation(&loader, &target, first.as_ref())?;
        setup.placements = setup.placements_with(&loader, &target, first.as_ref())?;
        let beside = devices::with_draft_beside(settings).zip(files.draft.as_deref());
        if let Some((settings, file)) = beside {
            setup.look_beside(&settings, file, &target, loader.coarse.as_ref())?;
        }
        setup.correct_costs()?;
        if let Some(budget) = &loader.coarse {
            setup.coarse_start = Some(budget.unmeasured());
            setup.tell_of_coarse_start(budget.unmeasured(), budget.spent());
        }
        Ok(setup)
    }

    /// Dilates the times of emulated devices so that the forwards of this machine fit, before
    /// anything is paced by them.
    ///
    /// # Errors
    /// If they do not fit, or cannot be measured.
    fn fit_emulation(
        &mut self,
        loader: &Loader,
        target: &LoadedTarget,
        draft: Option<&LoadedDraft>,
    ) -> Result<()> {
        let top = self.draft_top();
        let Some(emulation) = &mut self.emulation else {
            return Ok(());
        };
        let pair = LoadedPair {
            loader,
            target,
            draft,
            top,
        };
        let (target, draft) = pair.real_costs()?;
        let head_cost = &mut self.others.head_cost;
        let head = head_cost.clone().unwrap_or_default();
        emulation.fit([&target, &draft, &head])?;
        if head_cost.is_some() {
            *head_cost = emulation.profile.head_cost();
        }
        Ok(())
    }

    /// Moves the draft model to where `settings` put it, beside the target's device, if it works
    /// faster there. At a start that does not wait for measurements what was found before counts.
    fn look_beside(
        &mut self,
        settings: &Settings,
        file: &Path,
        target: &LoadedTarget,
        budget: Option<&CoarseBudget>,
    ) -> Result<()> {
        let store = self.storage.store.clone();
        let key = format!(
            "{} | {} | the draft model beside it is faster, {}",
            findings::identity(target.model.path())?,
            findings::identity(file)?,
            devices::describe(settings)
        );
        if let Some(budget) = budget {
            let faster = findings::known::<bool>(&store, &key);
            budget.leave_out(|u| u.forms |= faster.is_none());
            if faster != Some(true) {
                return Ok(());
            }
        }
        let loader = Loader::new(settings, &store);
        let loader = loader.coarsely(budget.map(|_| CoarseBudget::whole()));
        match self.try_draft_at(&loader, file, target) {
            Ok(faster) if budget.is_none() => findings::keep(&store, key, faster, None),
            Ok(_) => {}
            // Where it cannot be loaded there, it stays where it is, which works too.
            Err(e) => tracing::info!("the draft model stays with the target: {e:#}"),
        }
        Ok(())
    }

    /// Corrects the costs of the placements by what earlier runs saw.
    fn correct_costs(&mut self) -> Result<()> {
        if self.emulation.is_some() {
            return Ok(());
        }
        let pair = self.pair_key()?;
        for placement in &mut self.placements {
            SeenKey::new(&pair, placement).correct(&self.storage.store, placement);
        }
        Ok(())
    }

    /// Says what a start left for later.
    fn tell_of_coarse_start(&self, unmeasured: Unmeasured, spent: Duration) {
        let plain = self.guarantee.means == Some(Means::PlainOnly);
        if unmeasured.forms {
            tracing::info!("`card calibrate` compares kernels, draft copies and drafters");
        }
        if !unmeasured.has_chores() {
            return;
        }
        let seconds = spent.as_secs_f64();
        let later = if plain {
            // Forwards of a self-test, of which most have few rows.
            const FORWARDS: f64 = 600.0;
            let one = self.placements.first().and_then(|p| p.target.first());
            let time = FORWARDS * one.map_or(0.0, |p| p.1) / 1e3;
            format!(
                "it decodes plainly until a self-test of about {time:.0} s has run, in pauses of a \
                 chat or a server, or at once by `card calibrate`"
            )
        } else {
            "costs get finer with each forward and in pauses; `card calibrate` measures all at once"
                .to_owned()
        };
        if spent.is_zero() && !plain {
            // Nothing was waited for: earlier runs know what forwards take.
            tracing::info!("these models were not measured in full here: {later}");
        } else {
            eprintln!("these models were not measured here yet: timed in {seconds:.1} s; {later}");
        }
    }

    /// A setup of a target and its drafter, without placements yet.
    ///
    /// # Errors
    /// If the chat template cannot be used.
    fn of_models(
        settings: &Settings,
        store: &Store,
        target: &LoadedTarget,
        draft: Option<&LoadedDraft>,
        head: Option<&DraftingHead>,
    ) -> Result<Self> {
        let template = chat_template(settings, &target.model)?;
        let guarantee = TextGuarantee::of(settings, target);
        let mut forwards = TargetForwards {
            kernels: target.kernels,
            shapes: Shapes::FREE,
            near_tie: Options::default().near_tie,
            spread: None,
        };
        if let Some(report) = &target.report {
            forwards.shapes = report.shapes(guarantee.level);
            forwards.near_tie = report.margin_bound().max(forwards.near_tie);
            forwards.spread = report.spread;
        }
        tracing::info!("{guarantee}");
        let draft = draft.map(|d| d.model.clone());
        let learns = !settings.no_memory && settings.mode != Mode::Plain;
        let drafter = draft.as_ref().map(|d| &d.llama);
        let drafter = drafter.or_else(|| head.and_then(DraftingHead::own_file));
        let learned_store = learns.then(|| LearnedStore::of(store, &target.model, drafter));
        let learned = learned_store.as_ref().map(LearnedStore::load);
        Ok(Setup {
            vocab: target.model.vocab(),
            template,
            context: target.context,
            sampling: SamplingSettings::of_model(&target.model),
            target: target.model.clone(),
            forwards,
            draft,
            others: OtherDrafters::default(),
            emulation: None,
            placements: Vec::new(),
            learned: learned.unwrap_or_default(),
            guarantee,
            coarse_start: None,
            storage: Storage {
                store: store.clone(),
                learned: learned_store,
                watch: QuietWatch::begin(&SystemFiles),
            },
            settings: settings.clone(),
        })
    }

    /// The ways to run the pair with the models where this loader puts them.
    fn placements_with(
        &self,
        loader: &Loader,
        target: &LoadedTarget,
        draft: Option<&LoadedDraft>,
    ) -> Result<Vec<Placement>> {
        let pair = LoadedPair {
            loader,
            target,
            draft,
            top: self.draft_top(),
        };
        pair.placements(self.emulation.as_ref().map(|e| &e.profile))
    }

    /// Moves the draft model to where this loader puts it, if that promises more. Returns whether
    /// it does.
    fn try_draft_at(
        &mut self,
        loader: &Loader,
        file: &Path,
        target: &LoadedTarget,
    ) -> Result<bool> {
        let draft = choice::draft(loader, file, target)?;
        let found = self.placements_with(loader, target, Some(&draft))?;
        let top = self.draft_top();
        let promise = |placements: &[Placement]| placements.first().map(|p| p.promise(top).0);
        let faster = promise(&found) > promise(&self.placements);
        if faster {
            let devices = loader.settings.draft_device.join(", ");
            tracing::info!("the draft model is on {devices}");
            self.placements = found;
            self.draft = Some(draft.model);
            self.settings = loader.settings.clone();
        }
        Ok(faster)
    }

    /// Keeps what an engine learned for the next run, unless the user said not to.
    pub fn keep(&self, learned: &Learned) {
        if let Some(store) = &self.storage.learned {
            store.save(learned);
        }
    }

    /// Keeps what the forwards of an engine took, for the costs of the next start.
    pub fn keep_costs(&self, pauses: &Pauses) {
        let seen = SeenCosts::of(pauses);
        let quiet = self.storage.watch.so_far(&SystemFiles);
        if let Some(key) = self.seen_key() {
            key.keep(&self.storage.store, seen, quiet);
        }
    }

    /// Where that is kept; `None` where nothing shall be.
    pub(crate) fn seen_key(&self) -> Option<SeenKey> {
        let keeps = self.emulation.is_none() && self.storage.learned.is_some();
        let placement = self
            .placement(self.settings.lanes.chosen())
            .filter(|_| keeps)?;
        Some(SeenKey::new(&self.pair_key().ok()?, placement))
    }

    /// The key of all that the costs of the pair depend on.
    fn pair_key(&self) -> Result<String> {
        let loader = Loader::new(&self.settings, &self.storage.store);
        let draft = self.draft.as_ref().map(|d| &d.llama);
        let draft = draft.map(|llama| {
            let key = loader.draft_key(kernels_of(llama));
            (llama.path(), key)
        });
        let draft = draft.as_ref().map(|(path, key)| (*path, key.as_str()));
        let target_key = loader.target_key(self.forwards.kernels);
        pair_key(self.target.path(), &target_key, draft)
    }

    /// How quiet the machine was while the target was measured, at the worst; `None` if that is not
    /// known.
    ///
    /// # Errors
    /// If the target's file is not there any more.
    pub fn noise(&self) -> Result<Option<Quiet>> {
        findings::noise_about(&self.storage.store, self.target.path())
    }

    /// How far the times of like forwards of the target lay apart when they were measured: the middle
    /// half of them, as a share of the median.
    pub fn spread(&self) -> Option<f64> {
        self.forwards.spread
    }

    /// Forgets all that was measured of the models that `settings` ask for, alone and beside
    /// others. Returns how many measurements that were.
    ///
    /// # Errors
    /// If a model cannot be found or fetched.
    pub fn forget_measurements(settings: &Settings, catalogue: &Catalogue) -> Result<usize> {
        let store = Store::open()?;
        let models = ModelPlaces::new(catalogue, &store, settings.offline)?;
        let files = files::find(settings, &models)?;
        let drafts = files.draft.iter().chain(&files.draft2);
        let drafts = drafts.chain(&files.head_file);
        let mut forgotten = 0;
        for file in std::iter::once(&files.target).chain(drafts) {
            forgotten += findings::forget_about(&store, file)?;
        }
        // Copies of the draft model are known by their names only, so all of them are meant.
        let copies = std::fs::read_dir(store.drafters()).into_iter().flatten();
        for copy in copies.flatten() {
            forgotten += findings::forget_about(&store, &copy.path())?;
        }
        Ok(forgotten)
    }

    /// Whether the number of threads may change between forwards of the target: if it changes no
    /// logits, or if those may change.
    pub(crate) fn threads_may_change(&self) -> bool {
        self.coarse_start.is_some() && self.emulation.is_none() && self.any_number_of_threads()
    }

    /// Whether the text is the same with any number of threads, or need not be.
    pub(crate) fn any_number_of_threads(&self) -> bool {
        let same = self.guarantee.means == Some(Means::AnyShape) && self.target.has_card_kernels();
        same || self.guarantee.level == Exactness::Fast
    }

    /// How to run, by the settings it was loaded with.
    pub fn run(&self) -> RunConfig {
        RunConfig::of(&self.settings)
    }

    /// The best way to run the pair on those lanes; on any if `None`.
    pub fn placement(&self, lanes: Option<Lanes>) -> Option<&Placement> {
        let fits = |p: &&Placement| lanes.is_none_or(|l| l == p.lanes);
        self.placements.iter().find(fits)
    }

    /// Whether a head of the target drafts.
    pub fn has_head(&self) -> bool {
        self.others.head_cost.is_some()
    }

    /// Says whether drafters on other machines may connect by themselves.
    pub fn let_drafters_connect(&mut self, may_connect: bool) {
        self.others.may_connect = may_connect;
    }

    /// Probability that a draft is right, as far as is known of the pair.
    pub fn draft_top(&self) -> f64 {
        self.learned.acceptance.top(Source::Draft).into()
    }

    /// Makes sure that what was emulated was.
    ///
    /// # Errors
    /// If a forward took longer here than on the emulated device.
    pub fn check_emulation(&self) -> Result<()> {
        self.emulation.as_ref().map_or(Ok(()), Emulation::check)
    }

    /// The draft model in a context beside the engines', on the whole machine. It takes the
    /// target's tokens.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn scratch_draft(&self) -> Result<Option<Box<dyn Model + Send>>> {
        let (_, cores) = devices::cores(&self.settings);
        let draft = self.draft.as_ref();
        draft.map(|d| d.model(self.context, &cores)).transpose()
    }

    /// Threads in all.
    pub fn threads(&self) -> usize {
        devices::threads(self.settings.threads)
    }

    /// Proposals of a drafter for one place.
    pub fn branch(&self) -> usize {
        Options::default().branch
    }
}

/// Whose kernels a draft model was loaded for.
pub(crate) fn kernels_of(draft: &LlamaModel) -> Kernels {
    if draft.has_card_kernels() {
        Kernels::Card
    } else {
        Kernels::Ggml
    }
}
