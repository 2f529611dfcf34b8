//! What is spoken, and which models there are: one.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::response::Response;
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
use crate::app::App;
use crate::caller::Caller;
use crate::clock::unix_seconds;
use crate::request::{Incoming, small};

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
pub(super) async fn tags(State(app): State<Arc<App>>) -> Json<OllamaTags> {
    let name = app.model.name.clone();
    let model = OllamaTag {
        model: name.clone(),
        name,
        modified_at: started(&app),
        size: 0,
        digest: digest(&app),
        details: details(),
    };
    Json(OllamaTags {
        models: vec![model],
    })
}

/// Which models are loaded.
pub(super) async fn running(State(app): State<Arc<App>>) -> Json<OllamaRunning> {
    let name = app.model.name.clone();
    let model = OllamaRunningModel {
        model: name.clone(),
        name,
        size: 0,
        digest: digest(&app),
        details: details(),
        expires_at: rfc3339(UNIX_EPOCH + Duration::from_secs(NEVER)),
        size_vram: 0,
        context_length: app.model.context,
    };
    Json(OllamaRunning {
        models: vec![model],
    })
}

/// What a model is.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let incoming = Incoming::new(caller, request);
    match small(app, incoming, shown).await {
        Ok(response) => response,
        Err(error) => error::response(&error),
    }
}

fn shown(app: &App, body: &[u8]) -> Result<OllamaShow, ApiError> {
    let name = parse_show(body)?;
    let own = &app.model.name;
    // Ollama's clients name the newest of a model so.
    if name.strip_suffix(":latest").unwrap_or(&name) != own.as_str() && name != *own {
        let why = format!("model {name:?} not found, there is only {own:?}");
        return Err(ApiError::not_found(why));
    }
    let template = app.text.template.as_ref();
    let mut capabilities = vec!["completion".to_owned()];
    if template.is_some_and(|template| template.knows_tools()) {
        capabilities.push("tools".to_owned());
    }
    if template.is_some_and(|template| template.switches_thinking()) {
        capabilities.push("thinking".to_owned());
    }
    Ok(OllamaShow {
        modelfile: String::new(),
        parameters: String::new(),
        template: String::new(),
        details: details(),
        model_info: facts(app),
        capabilities,
        modified_at: started(app),
    })
}

/// What is known of the model, by the names that clients look for.
fn facts(app: &App) -> Map<String, Value> {
    Map::from_iter([
        ("general.architecture".to_owned(), json!("card")),
        ("general.basename".to_owned(), json!(app.model.name)),
        ("card.context_length".to_owned(), json!(app.model.context)),
        (
            "card.vocab_size".to_owned(),
            json!(app.text.tokenizer.len()),
        ),
    ])
}

fn details() -> OllamaDetails {
    OllamaDetails {
        format: "gguf".to_owned(),
        ..OllamaDetails::default()
    }
}

/// When the server started.
fn started(app: &App) -> String {
    let seconds = unix_seconds().saturating_sub(app.levels().uptime_s as u64);
    rfc3339(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// A name for the model that is another one for another model: 64 hexadecimal digits, as clients
/// expect.
fn digest(app: &App) -> String {
    let digest = Sha256::new()
        .chain_update(&app.model.name)
        .chain_update([0_u8])
        .chain_update(&app.model.fingerprint)
        .finalize();
    let digits = digest.iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}
