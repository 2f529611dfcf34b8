//! An endpoint on a small device: requests go on to a server in the cloud, with the name of
//! the drafter here, so that drafting happens on this device and verification there. The
//! text is the server's, whether or not the drafter is connected.

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
use tokio::sync::{Semaphore, watch};

use crate::connections::Busy;
use crate::connections::{ConnectionLimits, Connections};
use crate::guard::Site;
use crate::{DRAFTER_HEADER, ServeError};

/// Requests that are passed on at a time; more are told to try again.
const MOST_AT_A_TIME: usize = 32;
/// Most time for the body of a request to arrive.
const BODY: Duration = Duration::from_secs(30);
/// Most time for a connection to the server.
const CONNECT: Duration = Duration::from_secs(10);
/// A server that says nothing for so long is given up. An answer that is not streamed comes
/// when all of it is written, which may take as long as servers let requests take.
const SILENCE: Duration = Duration::from_secs(900);
/// Running answers get so long to finish when the endpoint is stopped.
const DRAIN: Duration = Duration::from_secs(30);
/// Bounds of connections.
const CONNECTIONS: ConnectionLimits = ConnectionLimits {
    most: 128,
    idle: Duration::from_secs(75),
    stalled: Duration::from_secs(60),
};
/// Times a server that cannot be reached is tried before the client hears of it.
const TRIES: u32 = 4;
/// Headers that belong to a connection, not to a message (RFC 9110, 7.6.1), or are made anew.
/// Those that `Connection` names belong to it too.
const OWN: [&str; 11] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

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

struct Edge {
    config: EdgeConfig,
    /// What every request carries, in place of what its client says.
    stamps: HeaderMap,
    client: reqwest::Client,
    places: Arc<Semaphore>,
    drafting: Arc<AtomicBool>,
}

/// Passes requests on until `shutdown` comes. `drafting` says whether the drafter here is
/// connected; `ready` hears the address.
///
/// # Errors
/// If the address cannot be listened on, or a header cannot carry the key or the scope.
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
    let router = router(config, drafting)?;
    let (end, ends) = watch::channel(false);
    ready(address);
    let connections = Connections::new(CONNECTIONS);
    let serving = connections.serve(listener, None, router, ends, DRAIN);
    let stopping = async {
        shutdown.await;
        end.send_replace(true);
        std::future::pending::<()>().await
    };
    tokio::select! {
        () = serving => {}
        () = stopping => {}
    }
    Ok(())
}

fn router(config: EdgeConfig, drafting: Arc<AtomicBool>) -> Result<Router, ServeError> {
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
fn stamps(config: &EdgeConfig) -> Result<HeaderMap, ServeError> {
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

async fn health(State(edge): State<Arc<Edge>>, request: Request<Body>) -> Response {
    if let Err(error) = edge.check(&request.into_parts().0) {
        return error.into_response();
    }
    Json(json!({
        "status": "ok",
        "upstream": edge.config.upstream,
        "drafting": edge.drafting.load(Ordering::Relaxed),
    }))
    .into_response()
}

async fn pass(State(edge): State<Arc<Edge>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    if let Err(error) = edge.check(&parts) {
        return error.into_response();
    }
    // Before the body, which it bounds in number.
    let Ok(place) = edge.places.clone().try_acquire_owned() else {
        return ApiError::busy(1).into_response();
    };
    if let Some(busy) = parts.extensions.get::<Arc<Busy>>() {
        busy.begin();
    }
    let most = edge.config.most_bytes;
    let body = match tokio::time::timeout(BODY, axum::body::to_bytes(body, most)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return ApiError::too_large(most).into_response(),
        Err(_) => return ApiError::slow_body().into_response(),
    };
    match edge
        .ask(&parts.method, &parts.uri, &parts.headers, body)
        .await
    {
        Ok(answer) => {
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
    /// Whether it is not a stranger's page that asks.
    fn check(&self, parts: &Parts) -> Result<(), ApiError> {
        let site = Site {
            listens: self.config.address.ip(),
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

/// Copies the headers that belong to the message.
pub(crate) fn copy(from: &HeaderMap, to: &mut HeaderMap) {
    let named = from.get_all(header::CONNECTION).iter();
    let named = named.filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> = named
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for (name, value) in from {
        if !OWN.contains(&name.as_str()) && !named.contains(name) {
            to.append(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use axum::http::StatusCode;
    use tower::ServiceExt;

    fn config(upstream: &str) -> EdgeConfig {
        EdgeConfig {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            upstream: upstream.into(),
            key: None,
            scope: "laptop".into(),
            most_bytes: 1000,
        }
    }

    fn endpoint(config: EdgeConfig) -> Router {
        router(config, Arc::default()).unwrap()
    }

    /// A server that answers with what it was sent, or as `answer` says; its address.
    async fn upstream(answer: fn(Parts) -> Response) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let handler = move |request: Request<Body>| async move { answer(request.into_parts().0) };
        let router = Router::new().fallback(handler);
        let (end, ends) = watch::channel(false);
        let connections = Connections::new(ConnectionLimits::default());
        tokio::spawn(async move {
            connections
                .serve(listener, None, router, ends, Duration::ZERO)
                .await;
            drop(end);
        });
        format!("http://{address}")
    }

    /// The headers as JSON, with one that belongs to the connection.
    fn mirror(parts: Parts) -> Response {
        let headers: serde_json::Map<String, serde_json::Value> = parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
            .collect();
        let mut response = Json(headers).into_response();
        let own = HeaderValue::from_static("x-hop");
        response.headers_mut().insert(header::CONNECTION, own);
        let secret = HeaderValue::from_static("1");
        response.headers_mut().insert("x-hop", secret);
        response
    }

    fn post(headers: &[(&str, &str)], body: &'static str) -> Request<Body> {
        let mut request = Request::post("/v1/completions")
            .body(Body::from(body))
            .unwrap();
        let usual = [("host", "127.0.0.1"), ("content-type", "application/json")];
        for (name, value) in usual.iter().chain(headers) {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        request
    }

    #[tokio::test]
    async fn headers_of_a_connection_are_not_passed_on_either_way() {
        let endpoint = endpoint(config(&upstream(mirror).await));
        let request = post(
            &[
                ("connection", "keep-alive, X-Mine ,te"),
                ("x-mine", "1"),
                ("te", "trailers"),
                ("proxy-authorization", "Basic eA=="),
                ("x-other", "2"),
                ("authorization", "Bearer own"),
                (DRAFTER_HEADER, "another"),
            ],
            "{}",
        );
        let response = endpoint.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(!response.headers().contains_key("x-hop"));
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        let sent: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(sent["x-other"], "2");
        // Who asks stays who asks; which drafter it is, is for the endpoint to say.
        assert_eq!(sent["authorization"], "Bearer own");
        assert_eq!(sent[DRAFTER_HEADER], "laptop");
        for own in ["x-mine", "te", "proxy-authorization"] {
            assert!(sent.get(own).is_none(), "{own}: {sent}");
        }
    }

    #[tokio::test]
    async fn a_key_of_the_endpoint_stands_in_for_what_clients_send() {
        let config = EdgeConfig {
            key: Some("ours".into()),
            ..config(&upstream(mirror).await)
        };
        let endpoint = endpoint(config);
        let dummy = [("authorization", "Bearer dummy")];
        for theirs in [&dummy[..0], &dummy[..]] {
            let response = endpoint.clone().oneshot(post(theirs, "{}")).await.unwrap();
            let body = to_bytes(response.into_body(), 10_000).await.unwrap();
            let sent: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(sent["authorization"], "Bearer ours");
        }
    }

    #[tokio::test]
    async fn a_prompt_goes_nowhere_but_to_the_server() {
        let away = |_: Parts| {
            let to = [(header::LOCATION, "http://127.0.0.1:9/elsewhere")];
            (StatusCode::TEMPORARY_REDIRECT, to).into_response()
        };
        let endpoint = endpoint(config(&upstream(away).await));
        let response = endpoint.oneshot(post(&[], "{}")).await.unwrap();
        assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
    }

    #[tokio::test]
    async fn strange_pages_and_large_bodies_go_nowhere() {
        let endpoint = endpoint(config(&upstream(mirror).await));
        for strange in [
            ("host", "evil.example"),
            ("origin", "https://evil.example"),
            ("sec-fetch-site", "cross-site"),
        ] {
            let request = post(&[strange], "{}");
            let status = endpoint.clone().oneshot(request).await.unwrap().status();
            assert!(status.is_client_error(), "{strange:?}: {status}");
            let mut request = Request::get("/edge/health").body(Body::empty()).unwrap();
            let (name, value) = strange;
            let name: HeaderName = name.parse().unwrap();
            let host = HeaderValue::from_static("127.0.0.1");
            request.headers_mut().insert(header::HOST, host);
            request.headers_mut().insert(name, value.parse().unwrap());
            let status = endpoint.clone().oneshot(request).await.unwrap().status();
            assert!(status.is_client_error(), "{strange:?}: {status}");
        }
        let large = Box::leak("x".repeat(1001).into_boxed_str());
        let response = endpoint.oneshot(post(&[], large)).await.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn as_many_are_passed_on_at_a_time_as_there_are_places() {
        let never = |_: Parts| {
            let silence = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
            Body::from_stream(silence).into_response()
        };
        let endpoint = endpoint(config(&upstream(never).await));
        let mut running = Vec::new();
        for _ in 0..MOST_AT_A_TIME {
            let response = endpoint.clone().oneshot(post(&[], "{}")).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            running.push(response);
        }
        let more = endpoint.clone().oneshot(post(&[], "{}")).await.unwrap();
        assert_eq!(more.status(), StatusCode::TOO_MANY_REQUESTS);
        // Whoever goes away makes room, even in the middle of an answer.
        running.pop();
        let more = endpoint.oneshot(post(&[], "{}")).await.unwrap();
        assert_eq!(more.status(), StatusCode::OK);
    }

    #[test]
    fn what_a_header_cannot_carry_is_refused_at_the_start() {
        let odd = |key: Option<&str>, scope: &str| {
            let config = EdgeConfig {
                key: key.map(str::to_owned),
                scope: scope.into(),
                ..config("http://127.0.0.1:9")
            };
            stamps(&config).is_err()
        };
        assert!(odd(Some("a\nb"), "laptop"));
        assert!(odd(None, "a\nb"));
        assert!(!odd(Some("a"), "laptop"));
    }
}
