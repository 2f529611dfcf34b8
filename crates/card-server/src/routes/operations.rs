//! Paths for whoever operates the server: health, metrics, the description of the API.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use card_api::ApiError;
use card_api::loads::{EngineLoad, LoadsAnswer};
use card_api::openai::response::models::LoadStage;
use serde_json::json;

use crate::front::Front;
use crate::protocols::openai::error::OpenAiError;
use crate::protocols::told::say_when;
use crate::query::query_value;

/// Whether the server takes requests. While the default model is being loaded the answer is
/// llama-server's, which its clients and probes wait for.
pub(super) async fn health(State(front): State<Arc<Front>>) -> Response {
    if front.is_starting() {
        return loading(front.load_progress());
    }
    let levels = front.levels();
    let dead = front.dead();
    let (status, word) = match (&dead, front.common.is_leaving()) {
        (Some(_), _) => (StatusCode::SERVICE_UNAVAILABLE, "dead"),
        (None, true) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (None, false) => (StatusCode::OK, "ok"),
    };
    let body = json!({
        "status": word,
        // The reason may be about what somebody sent; it is in the log.
        "why": dead.map(|_| "the engine does not work any more"),
        "running": levels.running,
        "waiting": levels.waiting,
        "drafters": levels.lanes.drafters,
        "exactness": front.summary().map(|known| known.exactness),
    });
    (status, Json(body)).into_response()
}

/// How much there is to do, for gateways that choose among servers by that.
pub(super) async fn loads(State(front): State<Arc<Front>>) -> Json<LoadsAnswer> {
    let levels = front.levels();
    let slots = front.config.parallel * front.models.loaded().len().max(1);
    Json(LoadsAnswer {
        version: concat!("card-", env!("CARGO_PKG_VERSION")).to_owned(),
        dp_rank_count: 1,
        loads: vec![EngineLoad {
            dp_rank: 0,
            num_running_reqs: levels.running,
            num_waiting_reqs: levels.waiting,
            num_total_reqs: levels.running + levels.waiting,
            max_running_requests: slots,
            utilization: levels.running as f64 / slots.max(1) as f64,
        }],
    })
}

/// The answer while the default model is being loaded, with how far it is where that is known.
fn loading(progress: Option<LoadStage>) -> Response {
    let error = ApiError::loading();
    let mut body = json!({ "error": {
        "code": error.status.as_u16(),
        "message": error.message(),
        "type": error.kind(),
    } });
    if let Some(progress) = progress {
        body["error"]["progress"] = json!(progress);
    }
    let mut response = (error.status, Json(body)).into_response();
    say_when(&mut response, &error);
    response
}

/// The OpenAPI document: this API as clients and tools read it.
pub(super) async fn openapi(State(front): State<Arc<Front>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, front.document.clone()).into_response()
}

/// What Prometheus reads; with `model` in the query, of that model only.
pub(super) async fn metrics(
    State(front): State<Arc<Front>>,
    request: Request,
) -> Result<Response, OpenAiError> {
    if !front.config.llama_server.metrics {
        let why = "This server does not support metrics endpoint. Start it without `--no-metrics`";
        return Err(ApiError::not_supported(why).into());
    }
    let asked = query_value(request.uri().query(), "model");
    let asked = asked.filter(|name| !name.is_empty());
    let only = match asked.as_deref() {
        Some(name) => {
            let index = front.model_of(Some(name))?;
            Some(front.models.listed()[index].name.as_str())
        }
        None => None,
    };
    let text = front.metrics_text(only);
    let text = text.map_err(|e| ApiError::internal(e.to_string()))?;
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    // The header by which llama-server says since when it counts.
    let since = [("process-start-time-unix", front.started_s().to_string())];
    Ok((kind, since, text).into_response())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::connections::Connections;
    use crate::testing::{TestSetup, served};

    #[tokio::test]
    async fn the_document_is_made_once() {
        let (source, config) = served(&TestSetup::default());
        let connections = Connections::new(config.connections);
        let front = Arc::new(Front::new(source, config, connections).unwrap());
        let asked = async || {
            let answer = openapi(State(front.clone())).await;
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
            let body = axum::body::to_bytes(answer.into_body(), usize::MAX);
            body.await.unwrap()
        };
        let (first, second) = (asked().await, asked().await);
        assert_eq!(first.as_ptr(), second.as_ptr(), "the same bytes of memory");
        let document: serde_json::Value = serde_json::from_slice(&first).unwrap();
        assert_eq!(document["info"]["title"], "synthetic");
    }
}
