//! An endpoint on a small device: requests go on to a server in the cloud, with the name of
//! the drafter here, so that drafting happens on this device and verification there. The
//! text is the server's, whether or not the drafter is connected.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Method, Request, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use card_api::ApiError;
use serde_json::json;

use crate::guard::check_host;
use crate::{DRAFTER_HEADER, ServeError};

/// Largest body that is passed on.
const MOST_BYTES: usize = 64 << 20;
/// Times a server that cannot be reached is tried before the client hears of it.
const TRIES: u32 = 4;
/// Headers that belong to a connection, not to a message (RFC 9110, 7.6.1), or are made anew.
const OWN: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Settings of an edge endpoint.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// Address to listen on.
    pub address: SocketAddr,
    /// The server, like `https://cloud:8080`.
    pub upstream: String,
    /// Key for it, where the client brings none.
    pub key: Option<String>,
    /// Name of the drafter here.
    pub scope: String,
}

struct Edge {
    config: EdgeConfig,
    client: reqwest::Client,
    drafting: Arc<AtomicBool>,
}

/// Passes requests on until `shutdown` comes. `drafting` says whether the drafter here is
/// connected; `ready` hears the address.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn edge(
    config: EdgeConfig,
    drafting: Arc<AtomicBool>,
    shutdown: impl Future<Output = ()> + Send + 'static,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let address = config.address;
    let listen = |source| ServeError::Listen { address, source };
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let client = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .build()
        .map_err(std::io::Error::other)?;
    let edge = Arc::new(Edge {
        config,
        client,
        drafting,
    });
    let router = Router::new()
        .route("/edge/health", get(health))
        .fallback(pass)
        .with_state(edge);
    ready(address);
    let serving = axum::serve(listener, router);
    Ok(serving.with_graceful_shutdown(shutdown).await?)
}

async fn health(State(edge): State<Arc<Edge>>) -> Response {
    Json(json!({
        "status": "ok",
        "upstream": edge.config.upstream,
        "drafting": edge.drafting.load(Ordering::Relaxed),
    }))
    .into_response()
}

async fn pass(State(edge): State<Arc<Edge>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    if let Err(error) = check_host(edge.config.address.ip(), &parts.headers) {
        return error.into_response();
    }
    let body = match axum::body::to_bytes(body, MOST_BYTES).await {
        Ok(body) => body,
        Err(_) => return ApiError::too_large(MOST_BYTES).into_response(),
    };
    match edge
        .ask(&parts.method, &parts.uri, &parts.headers, body)
        .await
    {
        Ok(answer) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = answer.status();
            copy(answer.headers(), response.headers_mut());
            *response.body_mut() = Body::from_stream(answer.bytes_stream());
            response
        }
        Err(error) => {
            let upstream = &edge.config.upstream;
            // The whole chain: "error sending request" alone helps nobody.
            let mut why = error.to_string();
            let mut at: &dyn std::error::Error = &error;
            while let Some(source) = at.source() {
                why = format!("{why}: {source}");
                at = source;
            }
            ApiError::upstream(format!("the server at {upstream} cannot be reached: {why}"))
                .into_response()
        }
    }
}

impl Edge {
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
        let mut sent = HeaderMap::new();
        copy(headers, &mut sent);
        if let Ok(scope) = self.config.scope.parse() {
            sent.insert(HeaderName::from_static(DRAFTER_HEADER), scope);
        }
        if let Some(key) = &self.config.key
            && !sent.contains_key(header::AUTHORIZATION)
            && let Ok(value) = format!("Bearer {key}").parse()
        {
            sent.insert(header::AUTHORIZATION, value);
        }
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

fn copy(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        if !OWN.contains(&name.as_str()) {
            to.append(name.clone(), value.clone());
        }
    }
}
