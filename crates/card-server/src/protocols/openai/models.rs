//! `/v1/models`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use card_api::ApiError;
use card_api::openai::response::models::{ModelEntry, ModelMeta, ModelStatus, Models};

use super::error::OpenAiError;
use crate::front::{Front, ResidentModel};
use crate::registry::{ListedModel, LoadState, ModelState};

/// Which models there are.
pub(super) async fn models(State(front): State<Arc<Front>>) -> Json<Models> {
    let states = front.models.states().into_iter().enumerate();
    let entries = states.map(|(index, state)| entry(&front, index, state));
    Json(Models {
        object: "list".to_owned(),
        data: entries.collect(),
    })
}

/// What the model of this name is.
pub(super) async fn model(
    State(front): State<Arc<Front>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<ModelEntry>, OpenAiError> {
    let Path(name) = name.map_err(|e| ApiError::invalid(e.body_text()))?;
    let index = front.named(&name)?;
    let state = front.models.state(index);
    Ok(Json(entry(&front, index, state)))
}

fn entry(front: &Front, index: usize, state: ModelState<ResidentModel>) -> ModelEntry {
    let ListedModel {
        name,
        context,
        drafter,
    } = front.models.listed()[index].clone();
    let known = state.summary.as_ref();
    let is_default = front.models.default_model() == Some(index);
    // What flags say of a model is said of the default one.
    let told = is_default.then_some(&front.config.llama_server);
    ModelEntry {
        id: name,
        object: "model".to_owned(),
        created: front.started_s(),
        owned_by: "card".to_owned(),
        aliases: told.map(|told| told.aliases.clone()).unwrap_or_default(),
        tags: told.map(|told| told.tags.clone()).unwrap_or_default(),
        status: ModelStatus {
            value: word(state.state).to_owned(),
            failed: state.failed,
            progress: if state.state == LoadState::Loading {
                front.load_progress()
            } else {
                None
            },
        },
        capabilities: known.map(|k| k.capabilities()),
        meta: ModelMeta {
            context: known.map(|k| k.context).or(context),
            vocabulary: known.map(|k| k.vocabulary),
            note: known.and_then(|k| k.note.clone()),
            drafter: known.map_or(drafter, |k| k.drafter.clone()),
            default: is_default,
        },
    }
}

fn word(state: LoadState) -> &'static str {
    match state {
        LoadState::Unloaded => "unloaded",
        LoadState::Loading => "loading",
        LoadState::Loaded => "loaded",
    }
}
