//! OpenAI's paths without `/v1`, which llama-server has too. `/completions` is not among them:
//! without `/v1` it is llama-server's own completion; `/models` needs no model, and is with OpenAI's
//! paths.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use card_api::ApiError;
use tower::ServiceExt;

use crate::app::App;
use crate::protocols::openai;
use crate::protocols::openai::error::OpenAiError;

/// The paths; what is behind them is at the same path with `/v1` before it.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/chat/completions", post(same_with_v1))
        .route("/responses", any(same_with_v1))
}

/// Answers as the path with `/v1` before it does.
async fn same_with_v1(State(app): State<Arc<App>>, mut request: Request) -> Response {
    let Some(uri) = with_v1(request.uri()) else {
        return OpenAiError(ApiError::invalid("the path is wrong")).into_response();
    };
    *request.uri_mut() = uri;
    let none = || async {
        OpenAiError(ApiError::not_found(
            "no such path; GET /openapi.json has them all",
        ))
    };
    let method = || async { OpenAiError(ApiError::method("the path does not take this method")) };
    let v1: Router = openai::routes()
        .fallback(none)
        .method_not_allowed_fallback(method)
        .with_state(app);
    match v1.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The same address with `/v1` before its path.
fn with_v1(uri: &Uri) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    let path = parts
        .path_and_query
        .as_ref()
        .map_or("/", PathAndQuery::as_str);
    parts.path_and_query = Some(format!("/v1{path}").parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_its_query_and_its_host() {
        for (uri, wanted) in [
            ("/models", "/v1/models"),
            ("/models?a=b", "/v1/models?a=b"),
            ("http://localhost:1/models", "http://localhost:1/v1/models"),
        ] {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(with_v1(&uri).unwrap().to_string(), wanted);
        }
    }
}
