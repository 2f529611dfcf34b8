//! Models are lent, and loaded and unloaded for that.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

use super::lease::ModelLease;
use super::library::Library;
use super::shelf::{ModelState, SharedShelf, Victim};
use super::source::ListedModel;
use crate::config::ModelLimits;

/// How often it is looked whether a model in use has come to rest.
const LOOK: Duration = Duration::from_millis(50);

/// Why a model is not lent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotLent {
    /// There was no room for it in time, beside those in use.
    NoRoom,
    /// It was not loaded in time; the load goes on.
    Late,
    /// It cannot be loaded; the reason is for the operator.
    Failed(String),
}

/// Why a model is not unloaded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotUnloaded {
    /// It is not loaded.
    NotLoaded,
    /// Somebody uses it, or another one was loaded all the time.
    InUse,
    /// Unloading failed.
    Failed,
}

/// The turn to load or unload: whoever has it is the only one who does.
type Turn = OwnedMutexGuard<()>;

/// What becomes of the turn of whoever makes room.
enum LoadTurn {
    /// There is room, and the turn is kept.
    Kept(Turn),
    /// So many models are loaded, all of them in use, and the turn was given back.
    GivenBack(usize),
}

/// The models of a server.
pub(crate) struct ModelRegistry<L: Library> {
    library: Arc<L>,
    listed: Vec<ListedModel>,
    default: Option<usize>,
    limits: ModelLimits,
    shelf: SharedShelf<L::Model>,
    turn: Arc<Mutex<()>>,
    /// For each model, whoever sees to it that it is loaded; others that wait for it only wait.
    seen_to: Vec<Mutex<()>>,
}

impl<L: Library> ModelRegistry<L> {
    /// These models, none of which is loaded. The default one is that of this name, if it is among
    /// them.
    pub(crate) fn new(
        library: L,
        listed: Vec<ListedModel>,
        default: Option<&str>,
        limits: ModelLimits,
    ) -> Self {
        let named = |name: &str| listed.iter().position(|m| m.name == name);
        ModelRegistry {
            library: Arc::new(library),
            default: default.and_then(named),
            limits,
            shelf: SharedShelf::new(listed.len()),
            turn: Arc::default(),
            seen_to: listed.iter().map(|_| Mutex::default()).collect(),
            listed,
        }
    }

    /// The models there are, by number.
    pub(crate) fn listed(&self) -> &[ListedModel] {
        &self.listed
    }

    /// The names of the models.
    pub(crate) fn names(&self) -> Vec<String> {
        self.listed.iter().map(|m| m.name.clone()).collect()
    }

    /// The number of the model that answers requests which name none, if there is one.
    pub(crate) fn default_model(&self) -> Option<usize> {
        self.default
    }

    /// Whether there is one model only, which answers whatever a request names.
    pub(crate) fn is_single(&self) -> bool {
        self.listed.len() == 1
    }

    /// The number of the model of this name. Ollama's clients name the newest of a model
    /// `NAME:latest`.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let position = |name: &str| self.listed.iter().position(|m| m.name == name);
        position(name).or_else(|| position(name.strip_suffix(":latest")?))
    }

    /// What each model is doing, by number.
    pub(crate) fn states(&self) -> Vec<ModelState<L::Model>> {
        self.shelf.lock().states()
    }

    /// What the model of this number is doing.
    pub(crate) fn state(&self, index: usize) -> ModelState<L::Model> {
        self.shelf.lock().state(index)
    }

    /// The models that are loaded, in the order in which they are listed.
    pub(crate) fn loaded(&self) -> Vec<Arc<L::Model>> {
        self.states().into_iter().filter_map(|s| s.model).collect()
    }

    /// How long a model stays loaded that nobody uses; `None` for as long as the server runs.
    pub(crate) fn idle_limit(&self) -> Option<Duration> {
        self.limits.idle
    }

    /// Why a model was not lent in time: it is being loaded, or has no room yet.
    fn not_in_time(&self, index: usize) -> NotLent {
        if self.shelf.lock().is_loading(index) {
            NotLent::Late
        } else {
            NotLent::NoRoom
        }
    }

    /// Lends a model, and loads it first if it is not loaded. Where it has no room, the idle models
    /// that were used longest ago are unloaded, and those in use are waited for. A model that is
    /// being loaded when nobody waits for it any more is loaded all the same.
    ///
    /// # Errors
    /// If there is no room before `until`, or it is not loaded by then, or it cannot be loaded.
    pub(crate) async fn lend(
        &self,
        index: usize,
        until: Instant,
    ) -> Result<ModelLease<L>, NotLent> {
        if let Some(lease) = self.at_hand(index) {
            return Ok(lease);
        }
        let seen_to = tokio::time::timeout_at(until, self.seen_to[index].lock()).await;
        let _seen_to = seen_to.map_err(|_| self.not_in_time(index))?;
        loop {
            // Whoever saw to it before may have loaded it.
            if let Some(lease) = self.at_hand(index) {
                return Ok(lease);
            }
            let turn = tokio::time::timeout_at(until, self.turn.clone().lock_owned()).await;
            let turn = turn.map_err(|_| self.not_in_time(index))?;
            // Whoever saw to it and left had it loaded all the same.
            if let Some(lease) = self.at_hand(index) {
                return Ok(lease);
            }
            if let Some(why) = self.shelf.lock().failed_just_now(index) {
                return Err(NotLent::Failed(why));
            }
            match self.make_room(index, until, turn).await? {
                LoadTurn::Kept(turn) => return in_time(until, self.load(index, turn)).await,
                LoadTurn::GivenBack(loaded) => self.wait_for_room(loaded, until).await?,
            }
        }
    }

    /// A lease of a model that is loaded.
    pub(crate) fn at_hand(&self, index: usize) -> Option<ModelLease<L>> {
        let model = self.shelf.lock().lend(index)?;
        Some(ModelLease::counted(self.shelf.clone(), index, model))
    }

    /// Whether a model is loaded.
    pub(crate) fn is_loaded(&self, index: usize) -> bool {
        self.shelf.lock().is_loaded(index)
    }

    /// Unloads a model now. One that is in use is not unloaded.
    ///
    /// # Errors
    /// If it is not loaded or is in use, or the turn does not come before `until`.
    pub(crate) async fn unload_idle(
        &self,
        index: usize,
        until: Instant,
    ) -> Result<(), NotUnloaded> {
        if self.shelf.lock().is_in_use(index) {
            return Err(NotUnloaded::InUse);
        }
        let turn = tokio::time::timeout_at(until, self.turn.clone().lock_owned()).await;
        let turn = turn.map_err(|_| NotUnloaded::InUse)?;
        let taken = self.shelf.lock().take_idle(index);
        let model = match taken {
            Victim::Taken(model) => model,
            Victim::AllInUse => return Err(NotUnloaded::InUse),
            Victim::Nothing => return Err(NotUnloaded::NotLoaded),
        };
        tracing::info!("{} is unloaded: it was asked for", self.listed[index].name);
        let unloaded = self.unload(model, turn).await;
        unloaded.map(drop).map_err(|_| NotUnloaded::Failed)
    }

    /// Unloads what nobody has used for long. A load that goes on now has the turn; what is unused
    /// is looked at the next time then.
    pub(crate) async fn unload_unused(&self) {
        let (Some(age), Ok(mut turn)) = (self.limits.idle, self.turn.clone().try_lock_owned())
        else {
            return;
        };
        loop {
            let unused = self.shelf.lock().take_unused(age);
            let Some((index, model)) = unused else {
                return;
            };
            tracing::info!("{} is unloaded: nobody uses it", self.listed[index].name);
            match self.unload(model, turn).await {
                Ok(back) => turn = back,
                Err(_) => return,
            }
        }
    }

    /// Unloads idle models until there is room for this one, or nothing is left to unload. Where all
    /// are in use the turn is given back, so that others may unload, or load what fits. But whoever
    /// has unloaded one keeps it and waits: else that one would be loaded again, and so on.
    async fn make_room(
        &self,
        index: usize,
        until: Instant,
        mut turn: Turn,
    ) -> Result<LoadTurn, NotLent> {
        let mut unloaded = false;
        while !self.has_room(index).await {
            let (victim, loaded) = {
                let mut shelf = self.shelf.lock();
                (shelf.take_oldest_idle(), shelf.count())
            };
            let model = match victim {
                Victim::Taken(model) => model,
                // Then it is loaded whatever was estimated; loading says what is wrong.
                Victim::Nothing => return Ok(LoadTurn::Kept(turn)),
                Victim::AllInUse if unloaded => {
                    self.wait_for_room(loaded, until).await?;
                    continue;
                }
                Victim::AllInUse => return Ok(LoadTurn::GivenBack(loaded)),
            };
            tracing::info!("{} needs room", self.listed[index].name);
            turn = in_time(until, self.unload(model, turn)).await?;
            unloaded = true;
        }
        Ok(LoadTurn::Kept(turn))
    }

    /// Waits until room may be made where all models that are loaded, so many, were in use.
    async fn wait_for_room(&self, loaded: usize, until: Instant) -> Result<(), NotLent> {
        while !self.shelf.lock().may_make_room(loaded) {
            if Instant::now() >= until {
                return Err(NotLent::NoRoom);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    async fn has_room(&self, index: usize) -> bool {
        let count = self.shelf.lock().count();
        if count == 0 {
            return true;
        }
        if count >= self.limits.most.max(1) {
            return false;
        }
        let (library, name) = (self.library.clone(), self.listed[index].name.clone());
        let fits = tokio::task::spawn_blocking(move || library.fits(&name)).await;
        // Where the estimate broke down, nobody knows.
        fits.unwrap_or(true)
    }

    /// Unloads a model that is off the shelf, and gives the turn back. It goes on if the caller
    /// leaves, so that the next one finds the memory free.
    async fn unload(&self, model: Arc<L::Model>, turn: Turn) -> Result<Turn, NotLent> {
        let library = self.library.clone();
        let unloading = tokio::spawn(async move {
            let done = tokio::task::spawn_blocking(move || library.unload(model)).await;
            if let Err(error) = done {
                tracing::error!("a model could not be unloaded: {error}");
            }
            turn
        });
        unloading
            .await
            .map_err(|error| NotLent::Failed(error.to_string()))
    }

    /// Loads a model and lends it. It goes on if the caller leaves.
    async fn load(&self, index: usize, turn: Turn) -> Result<ModelLease<L>, NotLent> {
        let (library, name) = (self.library.clone(), self.listed[index].name.clone());
        let shelf = self.shelf.clone();
        shelf.lock().begin_loading(index);
        let loading = tokio::spawn(async move {
            let loaded = tokio::task::spawn_blocking(move || library.load(&name)).await;
            let lent: Result<ModelLease<L>, NotLent> =
                match loaded.unwrap_or_else(|error| Err(error.to_string())) {
                    Ok(model) => {
                        let model = Arc::new(model);
                        shelf.lock().loaded(index, model.clone());
                        Ok(ModelLease::counted(shelf, index, model))
                    }
                    Err(why) => {
                        shelf.lock().failed(index, why.clone());
                        Err(NotLent::Failed(why))
                    }
                };
            drop(turn);
            lent
        });
        let lent = loading.await;
        lent.unwrap_or_else(|error| Err(NotLent::Failed(error.to_string())))
    }
}

/// What comes of loading or unloading a model, if that is done before `until`. It goes on if it is
/// not.
async fn in_time<T>(
    until: Instant,
    moving: impl Future<Output = Result<T, NotLent>>,
) -> Result<T, NotLent> {
    let moved = tokio::time::timeout_at(until, moving).await;
    moved.unwrap_or(Err(NotLent::Late))
}
