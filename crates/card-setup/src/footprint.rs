//! Whether a model would fit the memory that is free now.

use anyhow::Result;
use card_llama::{CacheTypes, KvShape};

use crate::devices;
use crate::files;
use crate::models::catalogue::Catalogue;
use crate::models::drafters;
use crate::models::locate::Models;
use crate::models::store::Store;
use crate::room::{self, DEFAULT_CONTEXT, Occupant, Room, Wish};
use crate::settings::Settings;

/// Whether the models that `settings` ask for would fit the memory that is free now, with a context
/// of the length that was asked for, or the usual one, for each sequence. It is an estimate: weights
/// count with their bytes in the file, and buffers of forwards do not count. Where nobody knows how
/// much memory there is, they fit. A model that is not here is fetched.
///
/// # Errors
/// If a model cannot be found or fetched, or its file cannot be read.
pub fn room_for(settings: &Settings, catalogue: &Catalogue) -> Result<bool> {
    let store = Store::open()?;
    let models = Models::new(catalogue, &store, settings.offline)?;
    let found = files::find(settings, &models)?;
    let plan = found
        .finds_draft
        .then(|| drafters::plan(&found.target, &models));
    let found = found.with_likely_draft(&plan.unwrap_or_default());
    let target = KvShape::of_file(&found.target)?;
    let on_cpu = devices::target_on_cpu(settings);
    let mut all = vec![occupant(
        "target",
        target,
        settings.target_cache(),
        settings.gpu_layers,
        on_cpu,
    )];
    for file in found.draft.iter().chain(&found.draft2) {
        let shape = KvShape::of_file(file)?;
        let on_cpu = devices::draft_on_cpu(settings);
        let cache = settings.draft_cache();
        let layers = settings.draft_gpu_layers;
        let mut draft = occupant("draft", shape, cache, layers, on_cpu);
        if *file == found.target {
            // The weights are in memory once.
            draft.missing = 0;
        }
        all.push(draft);
    }
    let wish = Wish {
        context: Some(settings.ctx.unwrap_or(DEFAULT_CONTEXT)),
        trained: u32::MAX,
        sequences: settings.parallel,
    };
    let room = if settings.rpc.is_empty() {
        Room::now(&devices::named(settings))
    } else {
        // Layers are on machines whose memory is not known.
        Room::unknown()
    };
    Ok(room::context(wish, &all, room).is_ok())
}

fn occupant(
    role: &'static str,
    shape: KvShape,
    cache: CacheTypes,
    gpu_layers: Option<u32>,
    on_cpu: bool,
) -> Occupant {
    Occupant {
        role,
        shape,
        cache,
        gpu_layers,
        on_cpu,
        missing: shape.bytes,
    }
}
