#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use tokio::sync::watch;
use tower::ServiceExt;

use super::proxy::{EdgeConfig, MOST_AT_A_TIME, router, stamps};
use crate::connections::{ConnectionLimits, Connections};
use crate::headers::DRAFTER_HEADER;

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
