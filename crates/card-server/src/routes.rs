//! The paths of the server.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use card_api::{self as api, ApiError};
use card_core::types::Token;
use futures_util::Stream;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use crate::app::{App, Shown, seconds};
use crate::caller::Caller;
use crate::guard::guard;
use crate::text::most_bytes;
use crate::{DRAFTER_HEADER, ServeError};

mod generate;

/// Text that `/tokenize` takes whatever the context, in bytes.
const LARGEST_TEXT: usize = 1 << 20;
/// Text that `/detokenize` gives, in bytes.
const LARGEST_ANSWER: usize = 4 << 20;
/// Seconds after which a page may ask again to look on.
const WATCHERS_RETRY_S: u32 = 10;

/// All paths.
pub(crate) fn router(app: Arc<App>) -> Result<Router, ServeError> {
    let mut router = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completion))
        .route("/v1/models", get(models))
        .route("/v1/models/{name}", get(model))
        .route("/tokenize", post(tokenize))
        .route("/detokenize", post(detokenize))
        .route("/openapi.json", get(openapi))
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
        .layer(DefaultBodyLimit::disable())
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
                .map(|o| o.trim_end_matches('/'))
                .map(|o| o.parse().map_err(|_| ServeError::Origin(o.to_owned())))
                .collect();
            AllowOrigin::list(parsed?)
        }
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("x-api-key"),
            HeaderName::from_static(DRAFTER_HEADER),
        ]);
    Ok(Some(layer))
}

/// The length of the body that the head announces.
fn announced(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.trim().parse().ok()
}

async fn chat(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    generate::answer(app, caller, request, api::parse_chat).await
}

async fn completion(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    generate::answer(app, caller, request, api::parse_completion).await
}

fn model_object(app: &App) -> Value {
    json!({
        "id": app.name,
        "object": "model",
        "created": seconds().saturating_sub(app.levels().uptime_s as u64),
        "owned_by": "card",
        "meta": { "context": app.context, "vocabulary": app.tokenizer.len(), "note": app.note },
    })
}

async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [model_object(&app)] }))
}

async fn model(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(name) = name.map_err(|e| ApiError::invalid(e.body_text()))?;
    match name == app.name {
        true => Ok(Json(model_object(&app))),
        false => Err(ApiError::not_found(format!(
            "there is no model {name:?}, only {:?}",
            app.name
        ))),
    }
}

/// Reads a small request and answers it in a workshop, admitted like any other.
async fn small<T: Serialize + Send + 'static>(
    app: Arc<App>,
    caller: Caller,
    request: Request,
    work: fn(&App, &[u8]) -> Result<T, ApiError>,
) -> Response {
    let path = request.uri().path().to_owned();
    let (parts, body) = request.into_parts();
    let mut body = Some(body);
    let deadline = app.deadline(caller.came);
    let answer = async {
        let place = app.admission.enter()?;
        let announced = announced(&parts.headers);
        let received = app.admission.receive(&mut body, announced, deadline);
        let received = received.await?;
        let shared = app.clone();
        // The answer is written there, too: a list of a million tokens takes a while.
        let work = move || {
            let answer = work(&shared, &received.bytes)?;
            serde_json::to_vec(&answer).map_err(|e| ApiError::internal(e.to_string()))
        };
        let json = app.admission.prepare(deadline, work).await??;
        Ok((json, place))
    };
    match answer.await {
        Ok((json, place)) => generate::held(json, place, deadline, caller.busy),
        Err(error) => {
            let id = app.request_id();
            app.refuse(&id, &caller, &path, body, error).await
        }
    }
}

async fn tokenize(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    #[derive(Serialize)]
    struct Answer {
        count: usize,
        max_model_len: u32,
        tokens: Vec<Token>,
    }
    small(app, caller, request, |app, body| {
        let api::Tokenize { text, special } = api::parse_tokenize(body)?;
        let most = most_bytes(app.context).max(LARGEST_TEXT);
        if text.len() > most {
            let why = format!(
                "the text has {} bytes; at most {most} are tokenized",
                text.len()
            );
            return Err(ApiError::field("content", why));
        }
        let tokens = app.tokenizer.tokenize(&text, special);
        let tokens = tokens.map_err(|why| ApiError::field("content", why))?;
        Ok(Answer {
            count: tokens.len(),
            max_model_len: app.context,
            tokens,
        })
    })
    .await
}

async fn detokenize(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    #[derive(Serialize)]
    struct Answer {
        content: String,
        prompt: String,
    }
    small(app, caller, request, |app, body| {
        let mut text = Vec::new();
        for token in api::parse_detokenize(body)? {
            app.check_token("tokens", token)?;
            text.extend(app.tokenizer.piece(token, true));
            if text.len() > LARGEST_ANSWER {
                let why = format!("these tokens make more than {LARGEST_ANSWER} bytes of text");
                return Err(ApiError::field("tokens", why));
            }
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(Answer {
            content: text.clone(),
            prompt: text,
        })
    })
    .await
}

async fn health(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let levels = app.levels();
    let dead = app.dead();
    let (status, word) = match (&dead, app.is_draining()) {
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
        "exactness": app.exactness,
    });
    (status, Json(body))
}

/// This API as clients and tools read it.
async fn openapi(State(app): State<Arc<App>>) -> Json<Value> {
    Json(api::openapi::document(&app.name, env!("CARGO_PKG_VERSION")))
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

/// What one's own generations do, as it happens.
async fn live(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let watching = app.watchers.clone().try_acquire_owned();
    let watching = watching.map_err(|_| ApiError::busy(WATCHERS_RETRY_S))?;
    let about = json!({
        "kind": "about",
        "model": app.name,
        "context": app.context,
        "note": app.note,
        "exactness": app.exactness,
        "version": env!("CARGO_PKG_VERSION"),
    });
    let watcher = Watcher {
        owner: caller.name,
        receiver: app.live.subscribe(),
        ends: app.draining.subscribe(),
        first: Some(about.to_string()),
        _watching: watching,
    };
    let events = futures_util::stream::unfold(watcher, |mut watcher| async move {
        Some((Ok(Event::default().data(watcher.next().await?)), watcher))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// A page that looks on.
struct Watcher {
    owner: Arc<str>,
    receiver: Receiver<Shown>,
    ends: watch::Receiver<bool>,
    first: Option<String>,
    _watching: OwnedSemaphorePermit,
}

impl Watcher {
    /// What comes next for it; `None` when the server ends.
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            let shown = tokio::select! {
                // An open page must not hold up a server that ends.
                _ = self.ends.wait_for(|end| *end) => return None,
                shown = self.receiver.recv() => shown,
            };
            match shown {
                Ok(shown) if shown.owner == self.owner => return Some(shown.text.to_string()),
                // Somebody else's; or a page that cannot keep up misses some.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
