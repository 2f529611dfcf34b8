//! What is spoken, and which models there are.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use card_api::ApiError;
use card_api::ollama::request::parse_show;
use card_api::ollama::response::models::{
    OllamaDetails, OllamaRunning, OllamaRunningModel, OllamaShow, OllamaTag, OllamaTags,
    OllamaVersion,
};
use card_api::ollama::response::rfc3339;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::error;
use crate::app::ModelSummary;
use crate::caller::Caller;
use crate::front::{Front, ReadBody, ResidentModel};
use crate::registry::{LoadState, ModelState};

/// The version of Ollama whose API is spoken. Clients look whether it is new enough for them.
const OLLAMA_VERSION: &str = "0.12.11";
/// When a model is unloaded that stays as long as the server runs: seconds from 1970 to the end
/// of the year 9999.
const NEVER: u64 = 253_402_300_799;

/// Which version is spoken.
pub(super) async fn version() -> Json<OllamaVersion> {
    Json(OllamaVersion {
        version: OLLAMA_VERSION.to_owned(),
        card: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Which models there are.
pub(super) async fn tags(State(front): State<Arc<Front>>) -> Json<OllamaTags> {
    let named = front.models.listed().iter().zip(front.models.states());
    let models = named.map(|(listed, state)| OllamaTag {
        name: listed.name.clone(),
        model: listed.name.clone(),
        modified_at: started(&front),
        size: 0,
        digest: digest(&listed.name, state.summary.as_ref()),
        details: details(),
    });
    Json(OllamaTags {
        models: models.collect(),
    })
}

/// Which models are loaded.
pub(super) async fn running(State(front): State<Arc<Front>>) -> Json<OllamaRunning> {
    let named = front.models.listed().iter().zip(front.models.states());
    let models = named.filter_map(|(listed, state)| running_model(&front, &listed.name, &state));
    Json(OllamaRunning {
        models: models.collect(),
    })
}

/// A model, if it is loaded.
fn running_model(
    front: &Front,
    name: &str,
    state: &ModelState<ResidentModel>,
) -> Option<OllamaRunningModel> {
    let known = state
        .summary
        .as_ref()
        .filter(|_| state.state == LoadState::Loaded)?;
    Some(OllamaRunningModel {
        name: name.to_owned(),
        model: name.to_owned(),
        size: 0,
        digest: digest(name, Some(known)),
        details: details(),
        expires_at: rfc3339(expires(front.idle_limit(), state.idle)),
        size_vram: 0,
        context_length: known.context,
    })
}

/// When a model is unloaded that nobody has used for `idle`, if nobody asks for it again.
fn expires(limit: Option<Duration>, idle: Option<Duration>) -> SystemTime {
    match limit {
        Some(limit) => SystemTime::now() + limit.saturating_sub(idle.unwrap_or_default()),
        None => UNIX_EPOCH + Duration::from_secs(NEVER),
    }
}

/// What a model is. It is not loaded for that.
pub(super) async fn show(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    match shown(&front, &caller, request).await {
        Ok(shown) => Json(shown).into_response(),
        Err(error) => {
            front.common.refused(&caller, &path, &error);
            error::response(&error)
        }
    }
}

async fn shown(front: &Front, caller: &Caller, request: Request) -> Result<OllamaShow, ApiError> {
    let deadline = front.deadline(caller.came);
    let body = ReadBody::read(&front.admission, request, deadline).await?;
    let bytes = body.bytes();
    let parse = move || parse_show(&bytes);
    let name = front.admission.prepare(deadline, parse).await??;
    let index = front.named(&name)?;
    let known = front.models.state(index).summary;
    let listed = &front.models.listed()[index];
    let capabilities = known.as_ref().map(ModelSummary::capabilities);
    Ok(OllamaShow {
        modelfile: String::new(),
        parameters: String::new(),
        template: String::new(),
        details: details(),
        model_info: facts(
            &listed.name,
            known.as_ref().map(|k| k.context).or(listed.context),
            known.as_ref().map(|k| k.vocabulary),
        ),
        capabilities: capabilities.unwrap_or_else(|| vec!["completion".to_owned()]),
        modified_at: started(front),
    })
}

/// What is known of a model, by the names that clients look for.
fn facts(name: &str, context: Option<u32>, vocabulary: Option<usize>) -> Map<String, Value> {
    let mut facts = Map::from_iter([
        ("general.architecture".to_owned(), json!("card")),
        ("general.basename".to_owned(), json!(name)),
    ]);
    if let Some(context) = context {
        facts.insert("card.context_length".to_owned(), json!(context));
    }
    if let Some(vocabulary) = vocabulary {
        facts.insert("card.vocab_size".to_owned(), json!(vocabulary));
    }
    facts
}

fn details() -> OllamaDetails {
    OllamaDetails {
        format: "gguf".to_owned(),
        ..OllamaDetails::default()
    }
}

/// When the server started.
fn started(front: &Front) -> String {
    rfc3339(UNIX_EPOCH + Duration::from_secs(front.started_s()))
}

/// A name for the model that is another one for another model: 64 hexadecimal digits, as clients
/// expect.
fn digest(name: &str, known: Option<&ModelSummary>) -> String {
    let fingerprint = known.map_or("", |k| k.fingerprint.as_str());
    let digest = Sha256::new()
        .chain_update(name)
        .chain_update([0_u8])
        .chain_update(fingerprint)
        .finalize();
    let digits = digest.iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_used_stays_for_the_whole_time() {
        let (limit, half) = (Duration::from_secs(600), Duration::from_secs(300));
        let left = |idle| {
            let at = expires(Some(limit), idle);
            at.duration_since(SystemTime::now()).unwrap_or_default()
        };
        assert!(left(None) > half && left(Some(half)) <= half);
        assert!(left(Some(limit * 2)).is_zero());
        assert!(expires(None, None) > SystemTime::now() + 1000 * limit);
    }
}
