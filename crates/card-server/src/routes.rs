//! The paths of the server.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, body::Bytes, middleware};
use card_api::{self as api, ApiError};
use card_core::types::Token;
use futures_util::Stream;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use crate::app::{App, seconds};
use crate::guard::guard;
use crate::{DRAFTER_HEADER, ServeError};

mod generate;

/// All paths.
pub(crate) fn router(app: Arc<App>) -> Result<Router, ServeError> {
    let mut router = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completion))
        .route("/v1/models", get(models))
        .route("/v1/models/{name}", get(model))
        .route("/tokenize", post(tokenize))
        .route("/detokenize", post(detokenize))
        .route("/health", get(health))
        .route("/metrics", get(metrics));
    if app.config.page {
        router = router.route("/", get(page)).route("/live", get(live));
    }
    let router = router
        .fallback(async || ApiError::not_found("no such path; docs/serving.md lists them"))
        .method_not_allowed_fallback(async || {
            ApiError::method("the path does not take this method")
        })
        .layer(DefaultBodyLimit::max(app.config.max_request_bytes))
        .layer(middleware::from_fn_with_state(app.clone(), guard));
    Ok(match cors(&app.config.cors)? {
        Some(cors) => router.layer(cors),
        None => router,
    }
    .with_state(app))
}

fn cors(origins: &[String]) -> Result<Option<CorsLayer>, ServeError> {
    if origins.is_empty() {
        return Ok(None);
    }
    let allowed = match origins.iter().any(|o| o == "*") {
        true => AllowOrigin::from(Any),
        false => {
            let parsed: Result<Vec<HeaderValue>, _> = origins
                .iter()
                .map(|o| o.parse().map_err(|_| ServeError::Origin(o.clone())))
                .collect();
            AllowOrigin::list(parsed?)
        }
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE]);
    Ok(Some(layer))
}

type Body = Result<Bytes, BytesRejection>;

fn bytes(app: &App, body: Body) -> Result<Bytes, ApiError> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(app.config.max_request_bytes),
        _ => ApiError::invalid(rejection.body_text()),
    })
}

async fn chat(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    answer(app, &headers, body, api::parse_chat).await
}

async fn completion(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    answer(app, &headers, body, api::parse_completion).await
}

type Parse = fn(&[u8]) -> Result<api::Job, ApiError>;

async fn answer(app: Arc<App>, headers: &HeaderMap, body: Body, parse: Parse) -> Response {
    let came = Instant::now();
    match bytes(&app, body).and_then(|b| parse(&b)) {
        Ok(mut job) => {
            let drafter = headers.get(DRAFTER_HEADER);
            job.drafter = drafter.and_then(|d| d.to_str().ok()).map(str::to_owned);
            generate::answer(app, job, came).await
        }
        Err(error) => error.into_response(),
    }
}

fn model_object(app: &App) -> Value {
    json!({
        "id": app.name,
        "object": "model",
        "created": seconds().saturating_sub(app.levels().uptime_s as u64),
        "owned_by": "card",
        "meta": { "context": app.context, "vocabulary": app.vocab.len(), "note": app.note },
    })
}

async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [model_object(&app)] }))
}

async fn model(
    State(app): State<Arc<App>>,
    axum::extract::Path(name): axum::extract::Path<String>,
) -> Result<Json<Value>, ApiError> {
    match name == app.name {
        true => Ok(Json(model_object(&app))),
        false => Err(ApiError::not_found(format!(
            "there is no model {name:?}, only {:?}",
            app.name
        ))),
    }
}

async fn tokenize(State(app): State<Arc<App>>, body: Body) -> Result<Json<Value>, ApiError> {
    let body = object(&app, body)?;
    // `content` is llama.cpp's word, `prompt` vLLM's.
    let text = body["content"].as_str().or(body["prompt"].as_str());
    let text = text.ok_or_else(|| ApiError::field("content", "`content` must be text"))?;
    let special = body["parse_special"].as_bool().unwrap_or(true);
    let tokens = app.vocab.tokenize(text, special);
    let tokens = tokens.map_err(|e| ApiError::invalid(e.to_string()))?;
    Ok(Json(
        json!({ "tokens": tokens, "count": tokens.len(), "max_model_len": app.context }),
    ))
}

async fn detokenize(State(app): State<Arc<App>>, body: Body) -> Result<Json<Value>, ApiError> {
    let body = object(&app, body)?;
    let wrong = || ApiError::field("tokens", "`tokens` must be a list of numbers of tokens");
    let tokens = body["tokens"].as_array().ok_or_else(wrong)?;
    let mut text = Vec::new();
    for token in tokens {
        let token = token.as_u64().filter(|&t| (t as usize) < app.vocab.len());
        text.extend(app.vocab.piece(token.ok_or_else(wrong)? as Token, true));
    }
    let text = String::from_utf8_lossy(&text);
    Ok(Json(json!({ "content": text, "prompt": text })))
}

fn object(app: &App, body: Body) -> Result<Value, ApiError> {
    let body = bytes(app, body)?;
    serde_json::from_slice(&body)
        .map_err(|e| ApiError::invalid(format!("the body is not JSON: {e}")))
}

async fn health(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let levels = app.levels();
    let (status, word) = match app.is_draining() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        false => (StatusCode::OK, "ok"),
    };
    let body = json!({
        "status": word,
        "running": levels.running,
        "waiting": levels.waiting,
        "drafters": levels.lanes.drafters,
    });
    (status, Json(body))
}

async fn metrics(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let text = app
        .metrics
        .text(app.levels())
        .map_err(|e| ApiError::internal(e.to_string()))?;
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    Ok((kind, text).into_response())
}

async fn page() -> Response {
    let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                  img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                  frame-ancestors 'none'";
    let headers = [(header::CONTENT_SECURITY_POLICY, policy)];
    (headers, Html(crate::explain::live_page())).into_response()
}

/// What every generation does, as it happens.
async fn live(State(app): State<Arc<App>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (receiver, ends) = (app.live.subscribe(), app.draining.subscribe());
    let about = json!({
        "kind": "about",
        "model": app.name,
        "context": app.context,
        "note": app.note,
        "version": env!("CARGO_PKG_VERSION"),
    });
    let first = Event::default().data(about.to_string());
    let state = (receiver, ends, Some(first));
    let events =
        futures_util::stream::unfold(state, |(mut receiver, mut ends, first)| async move {
            if let Some(first) = first {
                return Some((Ok(first), (receiver, ends, None)));
            }
            loop {
                let round = tokio::select! {
                    // An open page must not hold up a server that ends.
                    _ = ends.wait_for(|end| *end) => return None,
                    round = receiver.recv() => round,
                };
                match round {
                    Ok(text) => {
                        let event = Event::default().data(text.as_str());
                        return Some((Ok(event), (receiver, ends, None)));
                    }
                    // A page that cannot keep up misses some.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
    Sse::new(events).keep_alive(KeepAlive::default())
}
