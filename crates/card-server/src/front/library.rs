//! Models with their engines, loaded and unloaded by name.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;

use crate::admission::Admission;
use crate::app::{App, ModelSummary, ServerCommon};
use crate::config::ServerConfig;
use crate::metrics::{Levels, MetricsBook};
use crate::registry::{Library, ModelSource, Resident};
use crate::served::KeepLearned;

/// How long those who still look at a model are waited for when it is unloaded.
const LAST_LOOKS: Duration = Duration::from_secs(10);
/// How often it is looked whether they are gone.
const LOOK: Duration = Duration::from_millis(5);

/// A model that is loaded, with its engine.
pub(crate) struct ResidentModel {
    /// What all requests to it share.
    pub(crate) app: Arc<App>,
    /// Its paths, made when they are needed.
    pub(crate) router: OnceLock<Router>,
    keep: KeepLearned,
}

impl ResidentModel {
    /// Keeps what its engine has learned by now. An engine that hangs does not say, so this may
    /// take long.
    pub(crate) fn keep_learned(&self) {
        if let Ok(learned) = self.app.engine.learned() {
            (self.keep)(&learned);
        }
    }
}

impl Resident for ResidentModel {
    type Summary = ModelSummary;

    fn summary(&self) -> ModelSummary {
        self.app.summary()
    }

    fn at_work(&self) -> bool {
        self.app.admission.running() + self.app.admission.waiting() > 0
    }
}

/// Loads models from their source, and starts to serve them.
pub(crate) struct AppLibrary {
    /// Where the models come from.
    pub(super) source: Arc<dyn ModelSource>,
    /// What requests to all models share.
    pub(super) common: ServerCommon,
    pub(super) config: ServerConfig,
    /// What is counted of each model.
    pub(super) book: Arc<MetricsBook>,
    /// The line of each model, by its name.
    pub(super) lines: HashMap<String, Arc<Admission>>,
}

impl Library for AppLibrary {
    type Model = ResidentModel;

    fn load(&self, name: &str) -> Result<ResidentModel, String> {
        let line = self.lines.get(name);
        let line = line.ok_or_else(|| format!("{name} is not among the models"))?;
        let metrics = self.book.of_model(name).map_err(|e| e.to_string())?;
        let served = self.source.load(name)?;
        metrics.restarted();
        let keep = served.keep.clone();
        let app = App::new(served, &self.common, &self.config, line.clone(), metrics);
        Ok(ResidentModel {
            app: Arc::new(app),
            router: OnceLock::new(),
            keep,
        })
    }

    fn fits(&self, name: &str) -> bool {
        self.source.fits(name)
    }

    fn unload(&self, model: Arc<ResidentModel>) {
        model.keep_learned();
        let app = model.app.clone();
        let until = Instant::now() + LAST_LOOKS;
        // Whoever lets go of a model last waits for what is measured in its pauses. That is to be this
        // thread, and none that speaks HTTP.
        wait_until_alone(&model, until);
        drop(model);
        // The paths of a model hold it, too, and answers that were given up a moment ago.
        wait_until_alone(&app, until);
        let levels = app.levels();
        app.metrics.take_over(&levels);
        app.metrics.take_over(&Levels::default());
        tracing::info!("{} is unloaded", app.model.name);
        // The engine's threads end, and its memory is free, when this comes back.
        drop(app);
    }
}

/// Waits until nobody else holds this any more, at most until then.
fn wait_until_alone<T>(held: &Arc<T>, until: Instant) {
    while Arc::strong_count(held) > 1 && Instant::now() < until {
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_model_a_moment_longer_is_waited_for() {
        let model = Arc::new(5);
        let other = model.clone();
        let look = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            drop(other);
        });
        wait_until_alone(&model, Instant::now() + Duration::from_secs(20));
        assert_eq!(Arc::strong_count(&model), 1);
        assert!(look.join().is_ok());
        // Somebody who does not let go is not waited for without an end.
        let _other = model.clone();
        wait_until_alone(&model, Instant::now());
        assert_eq!(Arc::strong_count(&model), 2);
    }
}
