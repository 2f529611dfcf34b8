//! A model that makes vectors of texts, by the settings of a server.

use anyhow::Result;
use card_llama::{EmbedderOptions, LlamaEmbedder, Pooling};

use crate::devices;
use crate::load_progress::LoadProgress;
use crate::loader::with_bar;
use crate::models::catalogue::Catalogue;
use crate::models::locate::ModelPlaces;
use crate::models::store::Store;
use crate::settings::Settings;

/// The model that `settings` name, fetched if it is not here, ready to make vectors. `pooling` says
/// how a text gets its vector; `None` is for what the model's file says. `told` hears how far it is.
///
/// # Errors
/// If the model cannot be found, fetched or loaded, or cannot do that.
pub fn load(
    settings: &Settings,
    catalogue: &Catalogue,
    pooling: Option<Pooling>,
    told: &LoadProgress,
) -> Result<LlamaEmbedder> {
    let store = Store::open()?;
    let models = ModelPlaces::new(catalogue, &store, settings.offline)?;
    let file = models.locate(&settings.model)?.file;
    let options = EmbedderOptions {
        context: settings.asked_context(),
        pooling,
        threads: devices::threads(settings.threads),
        gpu_layers: settings.gpu_layers,
        devices: settings.device.clone(),
    };
    with_bar("model", "loading the model", told, |progress| {
        LlamaEmbedder::load(&file, &options, progress)
    })
}
