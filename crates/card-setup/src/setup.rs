//! Loaded models and what is known of them: engines are made from it.

use std::path::Path;

use anyhow::Result;
use card_core::cost::CostCurve;
use card_core::forward::Model;
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::scheduler::{Learned, Shapes};
use card_core::types::Source;
use card_engine::Options;
use card_engine::placement::Placement;
use card_llama::{ChatTemplate, LlamaModel, Vocab};

use crate::chat_template::chat_template;
use crate::choice;
use crate::devices;
use crate::draft_choice;
use crate::draft_model::DraftModel;
use crate::emulation::Emulation;
use crate::files;
use crate::fit;
use crate::head;
use crate::holds::Holds;
use crate::learned::LearnedStore;
use crate::loader::{LoadedDraft, LoadedTarget, Loader};
use crate::models::catalogue::Catalogue;
use crate::models::drafters;
use crate::models::locate::Models;
use crate::models::store::Store;
use crate::placement::LoadedPair;
use crate::run::RunConfig;
use crate::sampling::SamplingSettings;
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
    /// The draft model, if there is one here.
    pub draft: Option<DraftModel>,
    /// The second draft model.
    pub(crate) draft2: Option<LoadedDraft>,
    /// What forwards of the target's head cost, if that drafts.
    pub(crate) head_cost: Option<CostCurve>,
    /// The devices that are emulated, if some are.
    pub emulation: Option<Emulation>,
    /// Ways to run the pair, best first. There is at least one.
    pub placements: Vec<Placement>,
    /// What earlier runs learned.
    pub learned: Learned,
    /// Where that is kept; `None` where nothing shall be.
    learned_store: Option<LearnedStore>,
    /// Which forwards the target may run, and which of its decisions are near-ties.
    pub(crate) rules: ForwardRules,
    /// What holds of the text, and by what.
    pub holds: Holds,
    /// Whether drafters on other machines may connect by themselves.
    pub accepts_drafters: bool,
    /// The settings by which the models are where they are.
    pub(crate) settings: Settings,
}

/// What the self-test says of the target's forwards.
pub(crate) struct ForwardRules {
    /// Forwards that the target may run.
    pub(crate) shapes: Shapes,
    /// Margin below which a decision is a near-tie, in logits.
    pub(crate) near_tie: f32,
}

impl Setup {
    /// Loads what `settings` ask for, and measures what is not known yet.
    ///
    /// # Errors
    /// If a model cannot be found, fetched, loaded or measured.
    pub fn load(settings: &Settings, catalogue: &Catalogue) -> Result<Setup> {
        let store = Store::open()?;
        let models = Models::new(catalogue, &store, settings.offline)?;
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
        let nobody = files.draft.is_none() && !files.finds_draft && !files.head;
        if nobody && settings.mode != Mode::Plain {
            tracing::info!("there is no draft model; only text that is at hand proposes");
        }
        let loader = Loader::new(settings, &store).beside(&expected);
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
        let mut setup = Setup::of_models(settings, &store, &target, first.as_ref())?;
        setup.emulation = emulation;
        setup.draft2 = second;
        if files.head {
            eprintln!("{}", head::told(first.is_none()));
            setup.head_cost = Some(loader.head_report(&target)?.cost());
        }
        setup.placements = setup.placements_with(&loader, &target, first.as_ref())?;
        let beside = devices::with_draft_beside(settings).zip(files.draft.as_deref());
        if let Some((settings, file)) = beside {
            let loader = Loader::new(&settings, &store);
            // Where it cannot be loaded there, it stays where it is, which works too.
            if let Err(e) = setup.try_draft_at(&loader, file, &target) {
                tracing::info!("the draft model stays with the target: {e:#}");
            }
        }
        Ok(setup)
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
    ) -> Result<Self> {
        let template = chat_template(settings, &target.model)?;
        let holds = Holds::of(settings, target);
        let mut rules = ForwardRules {
            shapes: Shapes::FREE,
            near_tie: Options::default().near_tie,
        };
        if let Some(report) = &target.report {
            rules.shapes = report.shapes(holds.level);
            rules.near_tie = report.margin_bound().max(rules.near_tie);
        }
        tracing::info!("{holds}");
        let draft = draft.map(|d| d.model.clone());
        let learns = !settings.no_memory && settings.mode != Mode::Plain;
        let drafter = draft.as_ref().map(|d| &d.llama);
        let learned_store = learns.then(|| LearnedStore::of(store, &target.model, drafter));
        let learned = learned_store.as_ref().map(LearnedStore::load);
        Ok(Setup {
            vocab: target.model.vocab(),
            template,
            context: target.context,
            sampling: SamplingSettings::of_model(&target.model),
            target: target.model.clone(),
            draft,
            draft2: None,
            head_cost: None,
            emulation: None,
            placements: Vec::new(),
            learned: learned.unwrap_or_default(),
            learned_store,
            rules,
            holds,
            accepts_drafters: false,
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
            settings: loader.settings,
            store: loader.store,
            target,
            draft,
            top: self.draft_top(),
        };
        pair.placements(self.emulation.as_ref().map(|e| &e.profile))
    }

    /// Moves the draft model to where this loader puts it, if that promises more.
    fn try_draft_at(&mut self, loader: &Loader, file: &Path, target: &LoadedTarget) -> Result<()> {
        let draft = choice::draft(loader, file, target)?;
        let found = self.placements_with(loader, target, Some(&draft))?;
        let top = self.draft_top();
        let promise = |placements: &[Placement]| placements.first().map(|p| p.promise(top).0);
        if promise(&found) > promise(&self.placements) {
            let devices = loader.settings.draft_device.join(", ");
            tracing::info!("the draft model is on {devices}");
            self.placements = found;
            self.draft = Some(draft.model);
            self.settings = loader.settings.clone();
        }
        Ok(())
    }

    /// Keeps what an engine learned for the next run, unless the user said not to.
    pub fn keep(&self, learned: &Learned) {
        if let Some(store) = &self.learned_store {
            store.save(learned);
        }
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

    /// Whether the target's own head drafts.
    pub fn has_head(&self) -> bool {
        self.head_cost.is_some()
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
