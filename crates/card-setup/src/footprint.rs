//! Whether a model would fit the memory that is free now.

use anyhow::Result;
use card_llama::KvShape;

use crate::files;
use crate::models::catalogue::Catalogue;
use crate::models::drafters;
use crate::models::locate::ModelPlaces;
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
    let models = ModelPlaces::new(catalogue, &store, settings.offline)?;
    let found = files::find(settings, &models)?;
    let plan = found
        .finds_draft
        .then(|| drafters::plan(&found.target, &models));
    let found = found.with_likely_draft(&plan.unwrap_or_default());
    let target = KvShape::of_file(&found.target)?;
    let mut all = vec![Occupant::target(settings, target, target.bytes)];
    let drafts = found.draft.iter().chain(&found.draft2);
    for file in drafts.chain(&found.head_file) {
        all.push(Occupant::draft(settings, file, &found.target)?);
    }
    let wish = Wish {
        context: Some(settings.asked_context().unwrap_or(DEFAULT_CONTEXT)),
        trained: u32::MAX,
        sequences: settings.parallel,
    };
    Ok(room::context(wish, &all, Room::of(settings)).is_ok())
}
