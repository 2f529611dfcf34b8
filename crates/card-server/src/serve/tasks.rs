//! What goes on beside the requests.

use std::sync::Arc;
use std::time::Duration;

use card_core::scheduler::Learned;
use tokio::task::JoinHandle;

use crate::app::App;

/// How often what was learned is kept.
const KEEP: Duration = Duration::from_secs(300);
/// How often the engine is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How often refusals of strangers are written down.
const LOG: Duration = Duration::from_secs(1);

/// Keeps what the engine learned.
#[derive(Clone)]
pub(super) struct Keeper {
    app: Arc<App>,
    keep: Arc<dyn Fn(&Learned) + Send + Sync>,
}

impl Keeper {
    /// Keeps it by `keep`.
    pub(super) fn new(app: Arc<App>, keep: impl Fn(&Learned) + Send + Sync + 'static) -> Self {
        let keep = Arc::new(keep);
        Keeper { app, keep }
    }

    /// Keeps what the engine has learned by now. This is done on a thread of its own, apart from
    /// what watches the engine: an engine that hangs does not say what it learned.
    pub(super) fn keep(&self) -> JoinHandle<()> {
        let Keeper { app, keep } = self.clone();
        tokio::task::spawn_blocking(move || {
            if let Ok(learned) = app.engine.learned() {
                keep(&learned);
            }
        })
    }
}

/// Keeps what was learned, now and then.
pub(super) async fn keep_now_and_then(keeper: Keeper) {
    let mut every = tokio::time::interval(KEEP);
    every.tick().await;
    loop {
        every.tick().await;
        let _ = keeper.keep().await;
    }
}

/// Writes down what strangers were refused, now and then.
pub(super) async fn log_strangers(app: Arc<App>) {
    let mut every = tokio::time::interval(LOG);
    loop {
        every.tick().await;
        app.audit.add_strangers();
    }
}

/// Comes back when the engine can serve no more, and says why.
pub(super) async fn dead(app: &App) -> String {
    let mut every = tokio::time::interval(LOOK);
    loop {
        every.tick().await;
        if let Some(why) = app.dead() {
            return why;
        }
    }
}
