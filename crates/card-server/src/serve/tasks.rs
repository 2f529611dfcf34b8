//! What goes on beside the requests.

use std::sync::Arc;
use std::time::Duration;

use crate::front::Front;

/// How often what was learned is kept.
const KEEP: Duration = Duration::from_secs(300);
/// How often the engines are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How often refusals of strangers are written down.
const LOG: Duration = Duration::from_secs(1);
/// How often it is looked whether a model is used.
const USED: Duration = Duration::from_secs(5);

/// Keeps what the engines have learned by now. This is done on threads of their own, apart from what
/// watches the engines: an engine that hangs does not say what it learned.
pub(super) async fn keep_all(front: &Front) {
    for model in front.models.loaded() {
        let _ = tokio::task::spawn_blocking(move || model.keep_learned()).await;
    }
}

/// Keeps what was learned, now and then.
pub(super) async fn keep_now_and_then(front: Arc<Front>) {
    let mut every = tokio::time::interval(KEEP);
    every.tick().await;
    loop {
        every.tick().await;
        keep_all(&front).await;
    }
}

/// Writes down what strangers were refused, now and then.
pub(super) async fn log_strangers(front: Arc<Front>) {
    let mut every = tokio::time::interval(LOG);
    loop {
        every.tick().await;
        front.common.audit.add_strangers();
    }
}

/// Unloads models that nobody has used for long.
pub(super) async fn unload_now_and_then(front: Arc<Front>) {
    let mut every = tokio::time::interval(USED);
    loop {
        every.tick().await;
        front.models.unload_unused().await;
    }
}

/// Comes back when an engine can serve no more, and says why.
pub(super) async fn dead(front: &Front) -> String {
    let mut every = tokio::time::interval(LOOK);
    loop {
        every.tick().await;
        if let Some(why) = front.dead() {
            return why;
        }
    }
}
