//! Passes requests on to the server, and answers back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use card_api::ApiError;
use futures_util::StreamExt;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::headers::copy;
use crate::connections::Busy;
use crate::cryptography;
use crate::error::ServeError;
use crate::guard::site::Site;
use crate::headers::DRAFTER_HEADER;
use crate::protocols::openai::error::OpenAiError;

/// Requests that are passed on at a time; more are told to try again.
pub(super) const MOST_AT_A_TIME: usize = 32;
/// Most time for the body of a request to arrive.
const BODY: Duration = Duration::from_secs(30);
/// Most time for a connection to the server.
const CONNECT: Duration = Duration::from_secs(10);
/// A server that says nothing for so long is given up. An answer that is not streamed comes
/// when all of it is written, which may take as long as servers let requests take.
const SILENCE: Duration = Duration::from_secs(900);
/// Times a server that cannot be reached is tried before the client hears of it.
const TRIES: u32 = 4;

/// Settings of an edge endpoint.
#[derive(Clone)]
pub struct EdgeConfig {
    /// Address to listen on.
    pub address: SocketAddr,
    /// The server, like `https://cloud:8080`.
    pub upstream: String,
    /// Key for it, in place of what clients send.
    pub key: Option<String>,
    /// Name of the drafter here.
    pub scope: String,
    /// Largest body of a request.
    pub most_bytes: usize,
}

/// What all requests of an endpoint share.
struct Edge {
    config: EdgeConfig,
    /// What every request carries, in place of what its client says.
    stamps: HeaderMap,
    client: reqwest::Client,
    places: Arc<Semaphore>,
    drafting: Arc<AtomicBool>,
}

/// The paths of an endpoint: its health, and everything else, which is passed on.
///
/// # Errors
/// If a header cannot carry the key or the scope.
pub(super) fn router(config: EdgeConfig, drafting: Arc<AtomicBool>) -> Result<Router, ServeError> {
    cryptography::name_provider();
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        // A prompt goes to the server that was named and nowhere else.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(std::io::Error::other)?;
    let edge = Arc::new(Edge {
        stamps: stamps(&config)?,
        config,
        client,
        places: Arc::new(Semaphore::new(MOST_AT_A_TIME)),
        drafting,
    });
    Ok(Router::new()
        .route("/edge/health", get(health))
        .fallback(pass)
        .with_state(edge))
}

/// The headers by which the server knows the drafter here, and who pays.
pub(super) fn stamps(config: &EdgeConfig) -> Result<HeaderMap, ServeError> {
    let value = |text: &str| HeaderValue::from_str(text).map_err(std::io::Error::other);
    let mut stamps = HeaderMap::new();
    let scope = value(&config.scope)?;
    stamps.insert(HeaderName::from_static(DRAFTER_HEADER), scope);
    if let Some(key) = &config.key {
        let mut key = value(&format!("Bearer {key}"))?;
        key.set_sensitive(true);
        stamps.insert(header::AUTHORIZATION, key);
    }
    Ok(stamps)
}

/// Whether the endpoint works, and whether the drafter here is connected.
async fn health(State(edge): State<Arc<Edge>>, request: Request<Body>) -> Response {
    if let Err(error) = edge.check(&request.into_parts().0) {
        return refusal(error);
    }
    Json(json!({
        "status": "ok",
        "upstream": edge.config.upstream,
        "drafting": edge.drafting.load(Ordering::Relaxed),
    }))
    .into_response()
}

/// Passes a request on, and its answer back.
async fn pass(State(edge): State<Arc<Edge>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    if let Err(error) = edge.check(&parts) {
        return refusal(error);
    }
    // Before the body, which it bounds in number.
    let Ok(place) = edge.places.clone().try_acquire_owned() else {
        return refusal(ApiError::busy(1));
    };
    if let Some(busy) = parts.extensions.get::<Arc<Busy>>() {
        busy.begin();
    }
    let most = edge.config.most_bytes;
    let body = match tokio::time::timeout(BODY, axum::body::to_bytes(body, most)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return refusal(ApiError::too_large(most)),
        Err(_) => return refusal(ApiError::slow_body()),
    };
    match edge
        .ask(&parts.method, &parts.uri, &parts.headers, body)
        .await
    {
        Ok(answer) => passed_back(answer, place),
        Err(error) => {
            let (upstream, why) = (&edge.config.upstream, chain(&error));
            let why = format!("the server at {upstream} cannot be reached: {why}");
            refusal(ApiError::upstream(why))
        }
    }
}

/// The server's answer, as the client gets it.
fn passed_back(answer: reqwest::Response, place: OwnedSemaphorePermit) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    copy(answer.headers(), response.headers_mut());
    // The place is free when the answer has been passed on, or nobody wants it.
    let chunks = answer.bytes_stream().map(move |chunk| {
        let _held = &place;
        chunk
    });
    *response.body_mut() = Body::from_stream(chunks);
    response
}

/// An error with all its causes: "error sending request" alone helps nobody.
fn chain(error: &dyn std::error::Error) -> String {
    let mut why = error.to_string();
    let mut at = error;
    while let Some(source) = at.source() {
        why = format!("{why}: {source}");
        at = source;
    }
    why
}

/// An error of the endpoint itself.
fn refusal(error: ApiError) -> Response {
    OpenAiError(error).into_response()
}

impl Edge {
    /// Whether it is not a stranger's page that asks.
    fn check(&self, parts: &Parts) -> Result<(), ApiError> {
        let site = Site {
            local: self.config.address.ip().to_canonical().is_loopback(),
            names: &[],
            origins: &[],
        };
        site.check(&parts.method, &parts.uri, &parts.headers)
    }

    /// What goes to the server in place of what the client sent.
    fn headers(&self, theirs: &HeaderMap) -> HeaderMap {
        let mut sent = HeaderMap::new();
        copy(theirs, &mut sent);
        for (name, value) in &self.stamps {
            sent.insert(name.clone(), value.clone());
        }
        sent
    }

    /// Asks the server, again if no connection comes about: nothing was asked then.
    async fn ask(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<reqwest::Response, reqwest::Error> {
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let url = format!("{}{path}", self.config.upstream.trim_end_matches('/'));
        let sent = self.headers(headers);
        let mut pause = Duration::from_millis(200);
        for _ in 1..TRIES {
            let request = self.client.request(method.clone(), &url);
            let request = request.headers(sent.clone()).body(body.clone());
            match request.send().await {
                Err(error) if error.is_connect() => tokio::time::sleep(pause).await,
                answer => return answer,
            }
            pause *= 3;
        }
        let request = self.client.request(method.clone(), &url);
        request.headers(sent).body(body).send().await
    }
}
