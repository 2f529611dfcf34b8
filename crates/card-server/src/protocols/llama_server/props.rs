//! `/props`: what the server is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use card_api::ApiError;
use card_api::llama_server::completion::NativeDefaults;
use card_api::llama_server::response::{Modalities, Props};
use serde_json::{Map, Value, json};

use super::error::NativeErrorResponse;
use super::native_job;
use super::settings::sampling;
use crate::app::App;

/// What the server is.
pub(super) async fn props(State(app): State<Arc<App>>) -> Result<Json<Props>, NativeErrorResponse> {
    let begin = app.text.begin_tokens()?;
    let config = &app.config.llama_server;
    let template = app.text.template.as_ref().and_then(|t| t.source());
    let mut settings = Map::new();
    settings.insert("params".into(), default_params(&native_job::defaults(&app)));
    settings.insert("n_ctx".into(), app.model.context.into());
    let end = app.text.end_tokens.get(..1).unwrap_or_default();
    Ok(Json(Props {
        default_generation_settings: settings,
        total_slots: app.config.parallel,
        model_alias: app.model.name.clone(),
        model_path: config.model_path.clone(),
        modalities: Modalities::default(),
        endpoint_slots: config.slots,
        endpoint_props: false,
        endpoint_metrics: config.metrics,
        chat_template: template.unwrap_or_default(),
        bos_token: app.text.shown(begin),
        eos_token: app.text.shown(end),
        build_info: app.model.fingerprint.clone(),
        is_sleeping: false,
    }))
}

/// What holds where a native request says nothing.
fn default_params(defaults: &NativeDefaults) -> Value {
    let mut all = sampling(&defaults.params);
    let most = defaults.n_predict.map_or(-1, i64::from);
    // llama-server's seed for "a new one each time".
    let seed = defaults.seed.unwrap_or(u64::from(u32::MAX));
    let more = [
        ("seed", json!(seed)),
        ("max_tokens", json!(most)),
        ("n_predict", json!(most)),
        ("ignore_eos", json!(false)),
        ("stream", json!(true)),
        ("n_probs", json!(0)),
    ];
    all.extend(more.map(|(name, value)| (name.to_owned(), value)));
    Value::Object(all)
}

/// Nothing of it can be changed.
pub(super) async fn change() -> NativeErrorResponse {
    NativeErrorResponse(ApiError::not_supported(
        "this server's properties cannot be changed while it runs; start it with other flags",
    ))
}
