//! Models that are lent, in virtual time.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::shelf::SharedShelf;
use super::{Library, ListedModel, LoadState, ModelRegistry, NotLent, NotUnloaded, Resident};
use crate::config::ModelLimits;

/// A model that may be at work without a lease.
struct Toy {
    name: String,
    at_work: Arc<AtomicBool>,
}

impl Resident for Toy {
    type Summary = String;

    fn summary(&self) -> String {
        format!("{} was here", self.name)
    }

    fn at_work(&self) -> bool {
        self.at_work.load(Ordering::SeqCst)
    }
}

/// Toys, and what was done with them.
#[derive(Clone, Default)]
struct Toys {
    /// Loads and unloads, in their order.
    done: Arc<Mutex<Vec<String>>>,
    /// How many fit the memory; 0 for any number.
    room: usize,
    /// This one fits always.
    small: Option<&'static str>,
    loaded: Arc<AtomicUsize>,
    at_work: Arc<AtomicBool>,
    /// A load waits for a message, if there is this.
    gate: Option<Arc<Mutex<Receiver<()>>>>,
}

impl Toys {
    fn note(&self, what: String) {
        self.done.lock().unwrap().push(what);
    }

    fn done(&self) -> Vec<String> {
        std::mem::take(&mut *self.done.lock().unwrap())
    }

    /// Toys whose loading waits for a message each.
    fn gated() -> (Toys, Sender<()>) {
        let (open, gate) = channel();
        let toys = Toys {
            gate: Some(Arc::new(Mutex::new(gate))),
            ..Toys::default()
        };
        (toys, open)
    }
}

impl Library for Toys {
    type Model = Toy;

    fn load(&self, name: &str) -> Result<Toy, String> {
        self.note(format!("load {name}"));
        if let Some(gate) = &self.gate {
            let _ = gate.lock().unwrap().recv();
        }
        match name {
            "broken" => return Err("it is broken".to_owned()),
            "panics" => panic!("a synthetic breakdown"),
            _ => {}
        }
        self.loaded.fetch_add(1, Ordering::SeqCst);
        Ok(Toy {
            name: name.to_owned(),
            at_work: self.at_work.clone(),
        })
    }

    fn fits(&self, name: &str) -> bool {
        self.small == Some(name) || self.room == 0 || self.loaded.load(Ordering::SeqCst) < self.room
    }

    fn unload(&self, model: Arc<Toy>) {
        self.loaded.fetch_sub(1, Ordering::SeqCst);
        self.note(format!("unload {}", model.name));
    }
}

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const BROKEN: usize = 3;
const PANICS: usize = 4;

fn registry(toys: &Toys, most: usize) -> ModelRegistry<Toys> {
    let listed = ["a", "b", "c", "broken", "panics"].map(|name| ListedModel {
        name: name.to_owned(),
        ..ListedModel::default()
    });
    let limits = ModelLimits {
        most,
        idle: Some(Duration::from_secs(60)),
    };
    ModelRegistry::new(toys.clone(), listed.to_vec(), Some("b"), limits)
}

fn in_seconds(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

/// Lends a model and gives it back.
async fn use_once(registry: &ModelRegistry<Toys>, index: usize) {
    assert!(registry.lend(index, in_seconds(5)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_model_is_found_by_its_name() {
    let registry = registry(&Toys::default(), 2);
    assert_eq!(registry.find("a"), Some(A));
    assert_eq!(registry.find("c:latest"), Some(C));
    assert_eq!(registry.find("d"), None);
    assert_eq!(registry.default_model(), Some(B));
    assert!(!registry.is_single());
}

#[tokio::test(start_paused = true)]
async fn the_idle_model_that_was_used_longest_ago_makes_room() {
    let toys = Toys::default();
    let registry = registry(&toys, 2);
    for index in [A, B, A, C] {
        use_once(&registry, index).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(toys.done(), ["load a", "load b", "unload b", "load c"]);
    let states = registry.states();
    assert_eq!(states[B].state, LoadState::Unloaded);
    assert_eq!(states[B].summary.as_deref(), Some("b was here"));
    assert!(states[B].idle.is_none());
    assert!(states[C].idle >= Some(Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn memory_bounds_the_models_too() {
    let toys = Toys {
        room: 1,
        ..Toys::default()
    };
    let registry = registry(&toys, 9);
    use_once(&registry, A).await;
    use_once(&registry, B).await;
    assert_eq!(toys.done(), ["load a", "unload a", "load b"]);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_left_to_unload_it_is_tried_all_the_same() {
    let toys = Toys {
        room: 1,
        ..Toys::default()
    };
    // Somebody else has the memory.
    toys.loaded.store(5, Ordering::SeqCst);
    let registry = registry(&toys, 9);
    use_once(&registry, A).await;
    use_once(&registry, B).await;
    assert_eq!(toys.done(), ["load a", "unload a", "load b"]);
}

#[tokio::test(start_paused = true)]
async fn a_model_in_use_is_waited_for_and_never_unloaded() {
    let toys = Toys::default();
    let registry = registry(&toys, 1);
    let lease = registry.lend(A, in_seconds(5)).await.ok().unwrap();
    assert_eq!(lease.model.name, "a");
    let asked = Instant::now();
    let late = registry.lend(B, in_seconds(3)).await;
    assert_eq!(late.err(), Some(NotLent::NoRoom));
    assert!(asked.elapsed() >= Duration::from_secs(3));
    // Who uses it already is not kept waiting by that.
    use_once(&registry, A).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    registry.unload_unused().await;
    assert_eq!(toys.done(), ["load a"]);
    drop(lease);
    // What goes on in it without a lease counts as well.
    toys.at_work.store(true, Ordering::SeqCst);
    let late = registry.lend(B, in_seconds(3)).await;
    assert_eq!(late.err(), Some(NotLent::NoRoom));
    toys.at_work.store(false, Ordering::SeqCst);
    use_once(&registry, B).await;
    assert_eq!(toys.done(), ["unload a", "load b"]);
}

/// Toys of which one fits, beside the small one `c`.
fn one_and_a_small_one() -> Toys {
    Toys {
        room: 1,
        small: Some("c"),
        ..Toys::default()
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_keeps_no_other_from_it() {
    let toys = one_and_a_small_one();
    let registry = registry(&toys, 9);
    let lease = registry.lend(A, in_seconds(5)).await.ok();
    let waiting = registry.lend(B, in_seconds(3600));
    tokio::pin!(waiting);
    let other = tokio::select! {
        biased;
        _ = &mut waiting => None,
        other = registry.lend(C, in_seconds(60)) => other.ok(),
    };
    assert!(lease.is_some() && other.is_some());
    assert_eq!(toys.done(), ["load a", "load c"]);
    // Whatever goes on, a model in use is not unloaded.
    let asked = Instant::now();
    let unloaded = registry.unload_idle(A, in_seconds(60)).await;
    assert_eq!(unloaded, Err(NotUnloaded::InUse));
    assert_eq!(asked.elapsed(), Duration::ZERO);
    drop((lease, other));
    assert!(waiting.await.is_ok());
    assert_eq!(toys.done().pop().as_deref(), Some("load b"));
}

#[tokio::test(start_paused = true)]
async fn what_was_unloaded_to_make_room_is_not_loaded_before() {
    let toys = one_and_a_small_one();
    let registry = registry(&toys, 9);
    let lease = registry.lend(A, in_seconds(5)).await.ok();
    use_once(&registry, C).await;
    let waiting = registry.lend(B, in_seconds(3600));
    tokio::pin!(waiting);
    let early = tokio::time::timeout(Duration::from_secs(1), &mut waiting).await;
    assert!(early.is_err());
    let other = tokio::select! {
        biased;
        _ = &mut waiting => None,
        other = registry.lend(C, in_seconds(60)) => other.err(),
    };
    assert_eq!(other, Some(NotLent::NoRoom));
    assert_eq!(toys.done(), ["load a", "load c", "unload c"]);
    drop(lease);
    assert!(waiting.await.is_ok());
    assert_eq!(toys.done(), ["unload a", "load b"]);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_uses_is_unloaded_after_a_while() {
    let toys = Toys::default();
    let registry = registry(&toys, 3);
    use_once(&registry, A).await;
    tokio::time::sleep(Duration::from_secs(40)).await;
    use_once(&registry, B).await;
    registry.unload_unused().await;
    assert_eq!(toys.done(), ["load a", "load b"]);
    tokio::time::sleep(Duration::from_secs(20)).await;
    registry.unload_unused().await;
    assert_eq!(toys.done(), ["unload a"]);
    tokio::time::sleep(Duration::from_secs(40)).await;
    registry.unload_unused().await;
    assert_eq!(toys.done(), ["unload b"]);
    assert!(registry.loaded().is_empty());
}

#[tokio::test]
async fn one_load_at_a_time_and_each_model_once() {
    let (toys, open) = Toys::gated();
    let registry = registry(&toys, 3);
    let until = in_seconds(60);
    let first = registry.lend(A, until);
    let same = registry.lend(A, until);
    let other = registry.lend(B, until);
    tokio::pin!(first, same, other);
    assert!(futures_util::poll!(first.as_mut()).is_pending());
    assert!(futures_util::poll!(same.as_mut()).is_pending());
    assert!(futures_util::poll!(other.as_mut()).is_pending());
    assert_eq!(registry.states()[A].state, LoadState::Loading);
    assert_eq!(registry.states()[B].state, LoadState::Unloaded);
    open.send(()).unwrap();
    open.send(()).unwrap();
    let (first, same, other) = tokio::join!(first, same, other);
    assert!(first.is_ok() && same.is_ok() && other.is_ok());
    assert_eq!(toys.done(), ["load a", "load b"]);
}

#[tokio::test]
async fn a_load_that_nobody_waits_for_any_more_is_not_lost() {
    let (toys, open) = Toys::gated();
    let registry = registry(&toys, 3);
    {
        let given_up = registry.lend(A, in_seconds(60));
        tokio::pin!(given_up);
        assert!(futures_util::poll!(given_up.as_mut()).is_pending());
    }
    open.send(()).unwrap();
    use_once(&registry, A).await;
    assert_eq!(toys.done(), ["load a"]);
    // Nobody holds it.
    assert!(registry.states()[A].idle.is_some());
}

#[tokio::test]
async fn a_load_is_waited_for_no_longer_than_was_said() {
    let (toys, open) = Toys::gated();
    let registry = registry(&toys, 3);
    let soon = Instant::now() + Duration::from_millis(20);
    let (first, second) = tokio::join!(registry.lend(A, soon), registry.lend(A, soon));
    assert_eq!(first.err(), Some(NotLent::Late));
    assert_eq!(second.err(), Some(NotLent::Late));
    // It is loaded all the same.
    open.send(()).unwrap();
    use_once(&registry, A).await;
    assert_eq!(toys.done(), ["load a"]);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_cannot_be_loaded_is_tried_again_later() {
    let toys = Toys::default();
    let registry = registry(&toys, 2);
    for _ in 0..2 {
        let failed = registry.lend(BROKEN, in_seconds(5)).await;
        assert_eq!(failed.err(), Some(NotLent::Failed("it is broken".into())));
    }
    assert_eq!(toys.done(), ["load broken"]);
    assert!(registry.states()[BROKEN].failed);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(registry.lend(BROKEN, in_seconds(5)).await.is_err());
    assert_eq!(toys.done(), ["load broken"]);
    // A panic is a failure, and the turn goes on.
    assert!(registry.lend(PANICS, in_seconds(5)).await.is_err());
    use_once(&registry, A).await;
    assert_eq!(registry.loaded().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_fails_late_is_left_alone_as_long_as_that_took() {
    let shelf = SharedShelf::<Toy>::new(1);
    for (took, pause) in [(1, 10), (60, 60)] {
        shelf.lock().begin_loading(A);
        tokio::time::advance(Duration::from_secs(took)).await;
        shelf.lock().failed(A, "it is broken".into());
        tokio::time::advance(Duration::from_secs(pause - 1)).await;
        assert!(shelf.lock().failed_just_now(A).is_some(), "after {took} s");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(shelf.lock().failed_just_now(A), None, "after {took} s");
    }
}

#[tokio::test]
async fn a_model_is_unloaded_when_it_is_asked_for_and_nobody_uses_it() {
    let toys = Toys::default();
    let registry = registry(&toys, 3);
    let until = in_seconds(5);
    assert_eq!(
        registry.unload_idle(A, until).await,
        Err(NotUnloaded::NotLoaded)
    );
    let lease = registry.lend(A, until).await.ok();
    assert!(lease.is_some() && registry.is_loaded(A));
    assert_eq!(
        registry.unload_idle(A, until).await,
        Err(NotUnloaded::InUse)
    );
    drop(lease);
    assert_eq!(registry.unload_idle(A, until).await, Ok(()));
    assert!(!registry.is_loaded(A));
    assert_eq!(toys.done(), ["load a", "unload a"]);
}
