//! What all requests of a server share, whatever their model.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use card_api::openai::response::models::LoadStage;
use card_api::{ApiError, document};

use super::known_paths::KnownPaths;
use super::library::{AppLibrary, ResidentModel};
use crate::admission::Admission;
use crate::app::{ModelSummary, ServerCommon};
use crate::clock::{LONGEST, RequestDeadline, unix_seconds};
use crate::config::{ModelLimits, ServerConfig};
use crate::connections::Connections;
use crate::error::ServeError;
use crate::metrics::{Levels, MetricsBook, ServerLevels, ServerMetrics};
use crate::registry::{
    ListedModel, LoadState, ModelLease, ModelRegistry, ModelSource, ModelState, NotLent,
    NotUnloaded,
};

/// The models of a server.
pub(crate) type ServerModels = ModelRegistry<AppLibrary>;
/// The right to use one of them.
pub(crate) type AppLease = ModelLease<AppLibrary>;

/// What all requests of a server share, whatever their model.
pub(crate) struct Front {
    /// What they share with those that reached a model.
    pub(crate) common: ServerCommon,
    /// The models.
    pub(crate) models: ServerModels,
    /// Bounds the requests whose body is read here.
    pub(crate) admission: Admission,
    /// The line of each model, by number.
    lines: Vec<Arc<Admission>>,
    /// What is counted of the server itself.
    pub(crate) metrics: ServerMetrics,
    /// Which paths need a model.
    pub(crate) paths: Arc<KnownPaths>,
    /// The OpenAPI document as it is sent. It is made once, since making it takes milliseconds.
    pub(crate) document: Bytes,
    pub(crate) config: ServerConfig,
    source: Arc<dyn ModelSource>,
    book: Arc<MetricsBook>,
    connections: Arc<Connections>,
    started: Instant,
    /// Whether the default model is still being loaded.
    starting: AtomicBool,
}

impl Front {
    /// The front of a server of these models. None is loaded yet.
    ///
    /// # Errors
    /// If the audit log cannot be opened, or the source has no model.
    pub(crate) fn new(
        source: Arc<dyn ModelSource>,
        config: ServerConfig,
        connections: Arc<Connections>,
    ) -> Result<Self, ServeError> {
        let listed = source.list();
        if listed.is_empty() {
            return Err(ServeError::Load("there is no model to serve".to_owned()));
        }
        let metrics = ServerMetrics::new()?;
        let common = ServerCommon::new(&config, &metrics)?;
        let several = listed.len() > 1;
        let book = Arc::new(MetricsBook::new(several));
        let default = source.default_model();
        let limits = ModelLimits {
            // One model only is there for as long as the server runs.
            idle: config.models.idle.filter(|_| several),
            ..config.models
        };
        let line = |_: &ListedModel| Arc::new(Admission::of(&config));
        let lines: Vec<Arc<Admission>> = listed.iter().map(line).collect();
        let names = listed.iter().map(|model| model.name.clone());
        let library = AppLibrary {
            lines: names.zip(lines.iter().cloned()).collect(),
            source: source.clone(),
            common: common.clone(),
            config: config.clone(),
            book: book.clone(),
        };
        let models = ModelRegistry::new(library, listed, default.as_deref(), limits);
        let document = document::document(&server_name(&models), env!("CARGO_PKG_VERSION"));
        Ok(Front {
            models,
            admission: Admission::of(&config),
            lines,
            common,
            metrics,
            paths: Arc::new(KnownPaths::of(&document)),
            document: document.to_string().into(),
            config,
            source,
            book,
            connections,
            started: Instant::now(),
            starting: AtomicBool::new(true),
        })
    }

    /// Loads the default model, if there is one. Until this comes back, requests that need a model
    /// are refused.
    ///
    /// # Errors
    /// If it cannot be loaded.
    pub(crate) async fn start(&self) -> Result<(), ServeError> {
        if let Some(default) = self.models.default_model() {
            let until = tokio::time::Instant::now() + LONGEST;
            match self.models.lend(default, until).await {
                Ok(lease) => drop(lease),
                Err(NotLent::Failed(why)) => return Err(ServeError::Load(why)),
                Err(NotLent::NoRoom | NotLent::Late) => {
                    return Err(ServeError::Load("it takes too long".into()));
                }
            }
        }
        self.starting.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Whether the default model is still being loaded.
    pub(crate) fn is_starting(&self) -> bool {
        self.starting.load(Ordering::SeqCst)
    }

    /// How far the model is that is being loaded, if one is and that is known.
    pub(crate) fn load_progress(&self) -> Option<LoadStage> {
        self.source.progress()
    }

    /// When a request that came at `came` has to be answered.
    pub(crate) fn deadline(&self, came: Instant) -> RequestDeadline {
        RequestDeadline::new(came, self.config.request_timeout)
    }

    /// The number of the model that a request is for, by what it names.
    ///
    /// # Errors
    /// If there is no such model, or it has to name one.
    pub(crate) fn model_of(&self, name: Option<&str>) -> Result<usize, ApiError> {
        let models = &self.models;
        if models.is_single() {
            return Ok(0);
        }
        match name.filter(|name| !name.is_empty()) {
            Some(name) => self.named(name),
            None => {
                let none = || ApiError::no_model_named(&models.names());
                models.default_model().ok_or_else(none)
            }
        }
    }

    /// The number of the model that has this name; the default one has other names, too, where flags
    /// give it some.
    ///
    /// # Errors
    /// If there is no such model.
    pub(crate) fn named(&self, name: &str) -> Result<usize, ApiError> {
        let other_name = || {
            let mut named = self.config.llama_server.aliases.iter();
            let is_named = named.any(|alias| alias == name);
            self.models.default_model().filter(|_| is_named)
        };
        let found = self.models.find(name).or_else(other_name);
        found.ok_or_else(|| ApiError::model_not_found(name, &self.models.names()))
    }

    /// The line of a model. Whoever waits until it is loaded has a place there, and not in the way
    /// of requests to models that are loaded.
    pub(crate) fn line(&self, index: usize) -> &Admission {
        &self.lines[index]
    }

    /// Lends a model, loading it first if it is not loaded.
    ///
    /// # Errors
    /// If it cannot be had before `deadline`, or the server ends.
    pub(crate) async fn lend(
        &self,
        index: usize,
        deadline: RequestDeadline,
    ) -> Result<AppLease, ApiError> {
        let name = &self.models.listed()[index].name;
        let lending = self.models.lend(index, deadline.at.into());
        let mut ends = self.common.draining.subscribe();
        let lent = tokio::select! {
            // A model that is loaded is lent to those whose request was on its way, too.
            biased;
            lent = lending => lent,
            _ = ends.wait_for(|end| *end) => return Err(ApiError::draining()),
        };
        lent.map_err(|why| match why {
            NotLent::NoRoom => ApiError::no_room_for_model(name),
            NotLent::Late => deadline.passed(),
            NotLent::Failed(why) => ApiError::model_not_loaded(name, why),
        })
    }

    /// Lends the model that a request names. It is loaded first, unless requests load none here.
    ///
    /// # Errors
    /// As [`Front::lend`]; or if it is not loaded and no request loads it.
    pub(crate) async fn lend_named(
        &self,
        index: usize,
        deadline: RequestDeadline,
    ) -> Result<AppLease, ApiError> {
        if !self.config.llama_server.autoload && !self.models.is_loaded(index) {
            let name = &self.models.listed()[index].name;
            let why = format!("the model {name:?} is not loaded; POST /models/load loads it");
            return Err(ApiError::field("model", why));
        }
        self.lend(index, deadline).await
    }

    /// Unloads a model that nobody uses.
    ///
    /// # Errors
    /// If it is not loaded or is in use, or is the only one.
    pub(crate) async fn unload(
        &self,
        index: usize,
        deadline: RequestDeadline,
    ) -> Result<(), ApiError> {
        let name = &self.models.listed()[index].name;
        if self.models.is_single() {
            let why = "this server has one model, which is loaded as long as it runs";
            return Err(ApiError::not_supported(why));
        }
        let unloaded = self.models.unload_idle(index, deadline.at.into()).await;
        unloaded.map_err(|why| match why {
            NotUnloaded::NotLoaded => {
                ApiError::field("model", format!("the model {name:?} is not loaded"))
            }
            NotUnloaded::InUse => {
                let why = format!("the model {name:?} is in use; ask again when its answers end");
                ApiError::field("model", why)
            }
            NotUnloaded::Failed => ApiError::internal(format!("{name} could not be unloaded")),
        })
    }

    /// Why a model that is loaded can serve no more, if one cannot.
    pub(crate) fn dead(&self) -> Option<String> {
        let loaded = self.models.loaded();
        loaded.iter().find_map(|model| model.app.dead())
    }

    /// What all models that are loaded are doing now, together.
    pub(crate) fn levels(&self) -> Levels {
        let mut all = Levels::default();
        for model in self.models.loaded() {
            let of_model = model.app.levels();
            all.running += of_model.running;
            all.waiting += of_model.waiting;
            all.lanes.drafters += of_model.lanes.drafters;
        }
        all
    }

    /// What is known of the default model; else of the first one that is loaded.
    pub(crate) fn summary(&self) -> Option<ModelSummary> {
        let default = self.models.default_model();
        let known = default.and_then(|index| self.models.state(index).summary);
        known.or_else(|| self.models.states().into_iter().find_map(loaded_summary))
    }

    /// The name of the default model; the names of all, if there is none.
    pub(crate) fn name(&self) -> String {
        server_name(&self.models)
    }

    /// When the server started, in seconds since 1970.
    pub(crate) fn started_s(&self) -> u64 {
        unix_seconds().saturating_sub(self.started.elapsed().as_secs())
    }

    /// All metrics as text, or those of one model beside the server's own.
    ///
    /// # Errors
    /// If one cannot be written, which none should.
    pub(crate) fn metrics_text(&self, only: Option<&str>) -> Result<Vec<u8>, prometheus::Error> {
        let loaded = self.models.loaded();
        for model in &loaded {
            model.app.metrics.take_over(&model.app.levels());
        }
        self.metrics.take_over(&ServerLevels {
            connections: self.connections.count(),
            models: loaded.len(),
            uptime_s: self.started.elapsed().as_secs_f64(),
        });
        self.book.text(&self.metrics, only)
    }

    /// How long a model stays loaded that nobody uses.
    pub(crate) fn idle_limit(&self) -> Option<Duration> {
        self.models.idle_limit()
    }
}

/// The name of the default model of these; the names of all, if there is none.
fn server_name(models: &ServerModels) -> String {
    match models.default_model() {
        Some(index) => models.listed()[index].name.clone(),
        None => models.names().join(", "),
    }
}

fn loaded_summary(state: ModelState<ResidentModel>) -> Option<ModelSummary> {
    state.summary.filter(|_| state.state == LoadState::Loaded)
}
