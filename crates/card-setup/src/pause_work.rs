//! Measuring in the pauses of an engine what its start left out, and again what turns out to be wrong.

use std::cell::Cell;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::scheduler::Shapes;
use card_engine::placement::Placement;
use card_engine::selftest::{Exactness, Means, SelfTestReport};
use card_engine::{DecodingRules, Engine, EngineUpdate, Options, Pauses};
use card_llama::{Kernels, KvShape, LlamaModel};

use crate::coarse::Unmeasured;
use crate::contexts::test_cells;
use crate::devices;
use crate::draft_model::DraftModel;
use crate::loader::{LoadedDraft, LoadedTarget, Loader};
use crate::models::store::Store;
use crate::placement::LoadedPair;
use crate::quiet::{Quiet, QuietWatch, SystemFiles};
use crate::room::Room;
use crate::seen_costs::{SeenCosts, SeenKey};
use crate::self_test::Look;
use crate::settings::{LaneChoice, Settings};
use crate::setup::{Setup, kernels_of};

/// Measurements that real forwards contradicted are made again so often in one run.
const MOST_AGAIN: u32 = 3;
/// How often to look whether forwards contradict what was measured.
const LOOK: Duration = Duration::from_millis(100);
/// How long a machine is watched before something is measured on it.
const WATCHED: Duration = Duration::from_secs(1);
/// Times that the first measurements wait for a machine to be quiet before they are made all the
/// same.
const PATIENCE: u32 = 30;

/// Work in the pauses of an engine. It ends when this is dropped, after the forward that it is at;
/// what forwards took is kept for the next start then.
pub struct PauseWork {
    pauses: Pauses,
    thread: Option<JoinHandle<()>>,
}

impl Drop for PauseWork {
    fn drop(&mut self) {
        self.pauses.end();
        if let Some(thread) = self.thread.take() {
            // A panic was said on standard error, and harms nobody else.
            let _ = thread.join();
        }
    }
}

impl Setup {
    /// Measures in the pauses of an engine of this setup, which was started as the settings say,
    /// what the start left out; and again, if real forwards take a third more or less than was
    /// measured. What is found is remembered, and the engine takes it up. `None` if there is
    /// nothing to do, or no thread to do it.
    ///
    /// A request never waits for it, but for at most one forward. It takes memory for a short
    /// context of each model, and does nothing if there is not that much.
    pub fn measure_in_pauses(&self, engine: &Engine) -> Option<PauseWork> {
        let plain = self.run().mode == Mode::Plain;
        let needless = plain && self.guarantee.means != Some(Means::PlainOnly);
        if self.emulation.is_some() || needless {
            return None;
        }
        let pauses = engine.pauses();
        let chores = Chores::of(self);
        let theirs = pauses.clone();
        let thread = std::thread::Builder::new().name("card-pauses".into());
        let thread = thread.spawn(move || chores.run(&theirs));
        let thread = thread
            .inspect_err(|e| tracing::warn!("nothing is measured in pauses: {e}"))
            .ok()?;
        Some(PauseWork {
            pauses,
            thread: Some(thread),
        })
    }
}

/// Waits for a pause in which other programs leave the cores alone, watching so many of them at the
/// most. `false` if the engine ends meanwhile.
fn wait_until_quiet(pauses: &Pauses, most: u32) -> bool {
    for _ in 0..most {
        if !pauses.wait(WATCHED) {
            return false;
        }
        let watch = QuietWatch::begin(&SystemFiles);
        let looks = WATCHED.as_millis() / LOOK.as_millis();
        for _ in 0..looks {
            std::thread::sleep(LOOK);
            if pauses.is_over() {
                return false;
            }
        }
        let quiet = watch.so_far(&SystemFiles);
        if !quiet.is_some_and(|q| q.is_busy()) {
            return true;
        }
    }
    pauses.wait(WATCHED)
}

/// What is done in pauses, and all that it takes.
struct Chores {
    settings: Settings,
    store: Store,
    target: LlamaModel,
    context: u32,
    kernels: Kernels,
    draft: Option<DraftModel>,
    /// Probability that a draft is right.
    top: f64,
    level: Exactness,
    /// The forwards that the engine runs, as far as it was told.
    shapes: Cell<Shapes>,
    /// Whether the engine runs the models in turns.
    in_turns: bool,
    unmeasured: Unmeasured,
    seen: Option<SeenKey>,
    watch: QuietWatch,
}

impl Chores {
    fn of(setup: &Setup) -> Self {
        let settings = setup.settings.clone();
        let placement = setup.placement(settings.lanes.chosen());
        Chores {
            store: setup.storage.store.clone(),
            target: setup.target.clone(),
            context: setup.context,
            kernels: setup.forwards.kernels,
            draft: setup.draft.clone(),
            top: setup.draft_top(),
            level: setup.guarantee.level,
            shapes: Cell::new(setup.forwards.shapes),
            in_turns: placement.is_none_or(|p| p.lanes == Lanes::Shared),
            unmeasured: setup.coarse_start.unwrap_or_default(),
            seen: setup.seen_key(),
            watch: QuietWatch::begin(&SystemFiles),
            settings,
        }
    }

    /// The thread's whole life.
    fn run(mut self, pauses: &Pauses) {
        if self.unmeasured.has_chores() && wait_until_quiet(pauses, PATIENCE) {
            self.try_measure(pauses, false);
        }
        for _ in 0..MOST_AGAIN {
            while pauses.deviation().is_none() && !pauses.is_over() {
                std::thread::sleep(LOOK);
            }
            // On a busy machine forwards take longer, and to measure them there is of no use.
            if !wait_until_quiet(pauses, u32::MAX) {
                break;
            }
            self.unmeasured = Unmeasured {
                target: true,
                draft: self.draft.is_some(),
                lanes: !self.in_turns,
                forms: false,
            };
            if !self.try_measure(pauses, true) {
                break;
            }
        }
        while !pauses.is_over() {
            std::thread::sleep(LOOK);
        }
        if let Some(key) = &self.seen {
            let quiet: Option<Quiet> = self.watch.so_far(&SystemFiles);
            key.keep(&self.store, SeenCosts::of(pauses), quiet);
        }
    }

    /// Measures, and says what came of it. Returns whether it did.
    fn try_measure(&mut self, pauses: &Pauses, again: bool) -> bool {
        let done = self.measure(pauses, again);
        match &done {
            Ok(()) => {
                tracing::info!("measured in pauses; costs are known in full now");
                if let (Some(key), true) = (&self.seen, again) {
                    key.forget(&self.store);
                }
                self.unmeasured = Unmeasured::default();
            }
            Err(_) if pauses.is_over() => {}
            Err(error) => tracing::info!("not measured in pauses: {error:#}"),
        }
        done.is_ok()
    }

    fn measure(&self, pauses: &Pauses, again: bool) -> Result<()> {
        self.ensure_room()?;
        let loader = Loader::new(&self.settings, &self.store).in_pauses(pauses.clone(), again);
        let mut target = LoadedTarget {
            model: self.target.clone(),
            context: self.context,
            kernels: self.kernels,
            report: None,
        };
        let look = match self.level {
            Exactness::Exact => Look::Everything,
            Exactness::Fast => Look::Costs,
        };
        if self.unmeasured.target {
            let report = loader.target_report(&target.model, target.kernels, look)?;
            self.pass_on_target(pauses, &report);
            target.report = Some(report);
        }
        let Some(model) = &self.draft else {
            return Ok(());
        };
        if !(self.unmeasured.draft || self.unmeasured.lanes) {
            return Ok(());
        }
        let report = loader.draft_report(model, &target, kernels_of(&model.llama))?;
        if self.in_turns {
            pauses.update(EngineUpdate {
                draft: report.cost().points().collect(),
                ..EngineUpdate::default()
            });
        }
        let draft = LoadedDraft {
            model: model.clone(),
            report,
        };
        if self.unmeasured.lanes && self.settings.lanes != LaneChoice::Shared {
            self.measure_lanes(pauses, &loader, &target, &draft)?;
        }
        Ok(())
    }

    /// Both models at work together, in each way to share out the threads. An engine that runs
    /// them so takes up what it costs; another one is made so at the next start, if it promises
    /// more.
    fn measure_lanes(
        &self,
        pauses: &Pauses,
        loader: &Loader,
        target: &LoadedTarget,
        draft: &LoadedDraft,
    ) -> Result<()> {
        let pair = LoadedPair {
            loader,
            target,
            draft: Some(draft),
            top: self.top,
        };
        let mut best: Option<Placement> = None;
        for threads in devices::splits(&self.settings) {
            let found = pair.together(draft, threads)?;
            let promise = |p: &Placement| p.promise(self.top).0;
            if best.as_ref().is_none_or(|b| promise(&found) > promise(b)) {
                best = Some(found);
            }
        }
        if let (Some(best), false) = (best, self.in_turns) {
            pauses.update(EngineUpdate {
                target: best.target,
                draft: best.draft,
                rules: None,
            });
        }
        Ok(())
    }

    /// Tells the engine what the self-test of the target found.
    fn pass_on_target(&self, pauses: &Pauses, report: &SelfTestReport) {
        let shapes = report.shapes(self.level);
        let rules = DecodingRules {
            shapes,
            near_tie: report.margin_bound().max(Options::default().near_tie),
            plain: false,
            reuses: self.level == Exactness::Fast || report.means() == Means::AnyShape,
        };
        let changed = shapes != self.shapes.replace(shapes);
        if changed {
            let means = report.means();
            tracing::info!("the self-test has run: from the next text on, {means}");
        }
        let cost = || report.cost().points().collect();
        pauses.update(EngineUpdate {
            target: if self.in_turns { cost() } else { Vec::new() },
            draft: Vec::new(),
            rules: changed.then_some(rules),
        });
    }

    /// Makes sure that there is memory for the contexts that are measured on.
    fn ensure_room(&self) -> Result<()> {
        let models = std::iter::once(&self.target).chain(self.draft.iter().map(|d| &d.llama));
        let mut needed: u64 = 0;
        for model in models {
            let shape = KvShape::of_file(model.path())?;
            needed = needed.saturating_add(shape.cache_bytes(test_cells(), model.cache()));
        }
        // Buffers of forwards come to about as much.
        let free = Room::now(&[]).here;
        ensure!(
            free.is_none_or(|free| free > needed.saturating_mul(2)),
            "there is no memory for the contexts that it takes"
        );
        Ok(())
    }
}
