//! Lets requests through to the paths, or refuses them.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use card_api::ApiError;

use super::keys::given_key;
use super::site::Site;
use crate::caller::Caller;
use crate::caller::keys::same_secret;
use crate::connections::{Busy, FirstByte, PeerAddress};
use crate::front::Front;
use crate::protocols::Protocol;
use crate::protocols::openai::error::OpenAiError;

/// The path of what the page is made of.
pub(crate) const PAGE_FILES: &str = "/web/{*file}";
/// Paths that need no key: a load balancer's probe, and the page, which asks for one.
const OPEN: [&str; 4] = ["/health", "/v1/health", "/", PAGE_FILES];
/// The path that a key of its own opens.
const METRICS: &str = "/metrics";

/// Lets through who may ask, says who it is ([`Caller`]), and counts every answer.
pub(crate) async fn guard(
    State(front): State<Arc<Front>>,
    mut request: Request,
    next: Next,
) -> Response {
    let first = request.extensions().get::<FirstByte>();
    let came = first.map_or_else(Instant::now, |f| f.0);
    let matched = request.extensions().get::<MatchedPath>();
    let open = matched.is_some_and(|m| OPEN.contains(&m.as_str()));
    // The path of a model is matched later; until then it is called as in the document.
    let known = || front.paths.pattern(request.uri().path());
    let path = matched.map(MatchedPath::as_str).or_else(known);
    let path = path.unwrap_or("other").to_owned();
    let protocol = Protocol::spoken_at(request.uri().path());
    let peer = request.extensions().get::<PeerAddress>().map(|p| p.0);
    let anybody = Caller::without_key(peer, came);
    let caller = if request.headers().get_all(header::HOST).iter().count() > 1 {
        // RFC 9112, 3.2: what one part reads need not be what another reads.
        Err(ApiError::invalid("there is more than one Host header"))
    } else if open {
        Ok(anybody.clone())
    } else {
        check(&front, &path, &request, anybody.clone())
    };
    let response = match caller {
        Ok(mut caller) => {
            caller.busy = request.extensions().get::<Arc<Busy>>().cloned();
            if let Some(busy) = &caller.busy {
                busy.begin();
            }
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => {
            tracing::info!(?peer, path, status = %error.status, "refused");
            front.common.audit.note_stranger(error.status.as_u16());
            front.admission.discard(request.into_body()).await;
            OpenAiError(error).into_response()
        }
    };
    let answered = response.extensions().get::<MatchedPath>();
    let path = answered.map_or(path, |m| m.as_str().to_owned());
    let mut response = protocol.told(response, &front.common.numbers);
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let status = response.status().as_u16().to_string();
    front
        .metrics
        .requests
        .with_label_values(&[path.as_str(), &status])
        .inc();
    response
}

/// Who sends a request: the holder of its key, or anybody where there are no keys and the request
/// is of this site.
fn check(
    front: &Front,
    path: &str,
    request: &Request,
    anybody: Caller,
) -> Result<Caller, ApiError> {
    let (headers, config) = (request.headers(), &front.config);
    let keys = &front.common.keys;
    if keys.is_empty() {
        let site = Site {
            local: config.is_local(),
            names: &config.allow_hosts,
            origins: &config.cors,
        };
        site.check(request.method(), request.uri(), headers)?;
        return Ok(anybody);
    }
    let given = given_key(headers).unwrap_or_default();
    if let Some((name, tenant)) = keys.find(given) {
        return Ok(Caller {
            name,
            tenant,
            ..anybody
        });
    }
    match &config.metrics_key {
        Some(wanted) if path == METRICS && same_secret(given, wanted) => Ok(Caller {
            name: "metrics".into(),
            ..anybody
        }),
        _ => Err(ApiError::unauthorized()),
    }
}
