//! The state of each model, and which one goes when another needs its room.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::library::Resident;

/// How long a model that could not be loaded is not tried again, at the least. It is as long as the
/// attempt took, so that one that fails late does not keep others from being loaded.
const PAUSE: Duration = Duration::from_secs(10);

/// Whether a model is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadState {
    /// It is not.
    Unloaded,
    /// It is being loaded.
    Loading,
    /// It is.
    Loaded,
}

/// What a model is doing now.
pub(crate) struct ModelState<M: Resident> {
    /// Whether it is loaded.
    pub(crate) state: LoadState,
    /// Whether it could not be loaded the last time.
    pub(crate) failed: bool,
    /// What is known of it since it was loaded for the first time.
    pub(crate) summary: Option<M::Summary>,
    /// The model, if it is loaded.
    pub(crate) model: Option<Arc<M>>,
    /// For how long nobody has used it, if it is loaded and nobody does.
    pub(crate) idle: Option<Duration>,
}

/// A place for one model.
struct ModelSlot<M: Resident> {
    model: Option<Arc<M>>,
    /// Since when it is being loaded, if it is.
    loading: Option<Instant>,
    /// Leases that are out.
    users: usize,
    /// When the last of them was given back.
    used: Instant,
    summary: Option<M::Summary>,
    /// Until when it is not tried again, since it could not be loaded, and why.
    failed: Option<(Instant, String)>,
}

impl<M: Resident> ModelSlot<M> {
    fn empty() -> Self {
        ModelSlot {
            model: None,
            loading: None,
            users: 0,
            used: Instant::now(),
            summary: None,
            failed: None,
        }
    }

    /// Whether it could be unloaded.
    fn is_idle(&self) -> bool {
        let at_rest = self.model.as_ref().is_some_and(|model| !model.at_work());
        at_rest && self.users == 0
    }

    /// What the model is doing.
    fn state(&self) -> ModelState<M> {
        ModelState {
            state: match (&self.model, self.loading) {
                (Some(_), _) => LoadState::Loaded,
                (None, Some(_)) => LoadState::Loading,
                (None, None) => LoadState::Unloaded,
            },
            failed: self.failed.is_some(),
            summary: self.summary.clone(),
            model: self.model.clone(),
            idle: self.is_idle().then(|| self.used.elapsed()),
        }
    }
}

/// What can be unloaded to make room.
pub(super) enum Victim<M> {
    /// This one, which is not on the shelf any more.
    Taken(Arc<M>),
    /// Nothing now: all that are loaded are in use.
    AllInUse,
    /// Nothing is loaded.
    Nothing,
}

/// The models of a registry, by number.
pub(super) struct Shelf<M: Resident> {
    slots: Vec<ModelSlot<M>>,
}

impl<M: Resident> Shelf<M> {
    /// A lease more for a model that is loaded.
    pub(super) fn lend(&mut self, index: usize) -> Option<Arc<M>> {
        let slot = &mut self.slots[index];
        let model = slot.model.clone()?;
        slot.users += 1;
        Some(model)
    }

    /// A lease was given back.
    pub(super) fn given_back(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.users = slot.users.saturating_sub(1);
        slot.used = Instant::now();
    }

    /// Why a model cannot be loaded, if that was found a moment ago.
    pub(super) fn failed_just_now(&self, index: usize) -> Option<String> {
        let (until, why) = self.slots[index].failed.as_ref()?;
        (Instant::now() < *until).then(|| why.clone())
    }

    /// Whether a model is being loaded.
    pub(super) fn is_loading(&self, index: usize) -> bool {
        self.slots[index].loading.is_some()
    }

    /// A model is being loaded from now on.
    pub(super) fn begin_loading(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.loading = Some(Instant::now());
        slot.failed = None;
    }

    /// A model was loaded, and is lent to who asked for it.
    pub(super) fn loaded(&mut self, index: usize, model: Arc<M>) {
        let slot = &mut self.slots[index];
        slot.loading = None;
        slot.summary = Some(model.summary());
        slot.model = Some(model);
        slot.users += 1;
        slot.used = Instant::now();
    }

    /// A model could not be loaded.
    pub(super) fn failed(&mut self, index: usize, why: String) {
        let slot = &mut self.slots[index];
        let took = slot.loading.take().map_or(PAUSE, |since| since.elapsed());
        slot.failed = Some((Instant::now() + took.max(PAUSE), why));
    }

    /// Whether room may be made now where it could not be while so many models were loaded, all of
    /// them in use.
    pub(super) fn may_make_room(&self, loaded: usize) -> bool {
        self.count() != loaded || self.slots.iter().any(ModelSlot::is_idle)
    }

    /// How many models are loaded.
    pub(super) fn count(&self) -> usize {
        self.slots.iter().filter(|s| s.model.is_some()).count()
    }

    /// Takes the idle model that was used longest ago off the shelf.
    pub(super) fn take_oldest_idle(&mut self) -> Victim<M> {
        let idle = self.slots.iter_mut().filter(|slot| slot.is_idle());
        let oldest = idle.min_by_key(|slot| slot.used);
        match oldest.and_then(|slot| slot.model.take()) {
            Some(model) => Victim::Taken(model),
            None if self.count() == 0 => Victim::Nothing,
            None => Victim::AllInUse,
        }
    }

    /// Whether a model is loaded.
    pub(super) fn is_loaded(&self, index: usize) -> bool {
        self.slots[index].model.is_some()
    }

    /// Whether a model is loaded and cannot be unloaded now.
    pub(super) fn is_in_use(&self, index: usize) -> bool {
        let slot = &self.slots[index];
        slot.model.is_some() && !slot.is_idle()
    }

    /// Takes this model off the shelf, if nobody uses it.
    pub(super) fn take_idle(&mut self, index: usize) -> Victim<M> {
        let slot = &mut self.slots[index];
        let idle = slot.is_idle();
        match &slot.model {
            None => Victim::Nothing,
            Some(_) if !idle => Victim::AllInUse,
            Some(model) => {
                let model = model.clone();
                slot.model = None;
                Victim::Taken(model)
            }
        }
    }

    /// Takes a model off the shelf that nobody has used for so long, with its number.
    pub(super) fn take_unused(&mut self, age: Duration) -> Option<(usize, Arc<M>)> {
        let mut slots = self.slots.iter_mut().enumerate();
        let (index, slot) = slots.find(|(_, s)| s.is_idle() && s.used.elapsed() >= age)?;
        Some((index, slot.model.take()?))
    }

    /// What each model is doing, by number.
    pub(super) fn states(&self) -> Vec<ModelState<M>> {
        self.slots.iter().map(ModelSlot::state).collect()
    }

    /// What the model of this number is doing.
    pub(super) fn state(&self, index: usize) -> ModelState<M> {
        self.slots[index].state()
    }
}

/// The shelf, shared with who holds a lease.
pub(super) struct SharedShelf<M: Resident>(Arc<Mutex<Shelf<M>>>);

impl<M: Resident> Clone for SharedShelf<M> {
    fn clone(&self) -> Self {
        SharedShelf(self.0.clone())
    }
}

impl<M: Resident> SharedShelf<M> {
    /// A shelf for so many models, none of which is loaded.
    pub(super) fn new(models: usize) -> Self {
        let slots = (0..models).map(|_| ModelSlot::empty()).collect();
        SharedShelf(Arc::new(Mutex::new(Shelf { slots })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Shelf<M>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
