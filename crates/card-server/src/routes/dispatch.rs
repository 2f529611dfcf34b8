//! A request that needs a model is passed on to the paths of its model.
//!
//! A body names its model in the field `model`; what has no body names it in the query
//! (`/props?model=NAME`). Where there is one model only, that one answers, and nothing is looked at.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use card_api::ApiError;
use tower::ServiceExt;

use super::elsewhere::in_place_of;
use crate::admission::Admission;
use crate::app::App;
use crate::caller::Caller;
use crate::clock::RequestDeadline;
use crate::front::{AppLease, Front, KnownPaths, ReadBody, ResidentModel, lent};
use crate::protocols::openai::error::OpenAiError;
use crate::protocols::{anthropic, llama_server, ollama, openai};
use crate::query::query_value;

/// Passes a request on to its model, which is loaded first if it is not loaded.
pub(super) async fn dispatch(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    mut request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    if let Some(words) = in_place_of(&path) {
        // No model is loaded for that, whatever the query names.
        let error = ApiError::not_found(format!("there is no {path} here: {words}"));
        return OpenAiError(unread(&front.admission, request, error).await).into_response();
    }
    if asks_what_all_are(&front, &request) {
        return llama_server::router_props(&front).into_response();
    }
    request.extensions_mut().insert(front.paths.clone());
    match to_answer(&front, &caller, request).await {
        Ok((request, Answerer::Named(lease))) => {
            let response = answer(&lease.model, request).await;
            lent(response, lease)
        }
        Ok((request, Answerer::Anybody(model))) => answer(&model, request).await,
        Err(error) => {
            front.common.refused(&caller, &path, &error);
            OpenAiError(error).into_response()
        }
    }
}

/// Whether a request asks what the server is, where no model answers for all of them.
fn asks_what_all_are(front: &Front, request: &Request) -> bool {
    let named = query_value(request.uri().query(), "model").is_some_and(|name| !name.is_empty());
    let asks = request.method() == Method::GET && request.uri().path() == llama_server::PROPS;
    asks && !named && !front.is_starting() && front.models.default_model().is_none()
}

/// Who answers a request.
enum Answerer {
    /// The model that it is for.
    Named(AppLease),
    /// Whichever model is loaded: the answer needs none, and is the same of all.
    Anybody(Arc<ResidentModel>),
}

/// Finds out who answers a request, and waits until its model is loaded.
async fn to_answer(
    front: &Front,
    caller: &Caller,
    request: Request,
) -> Result<(Request, Answerer), ApiError> {
    if front.is_starting() {
        return Err(unread(&front.admission, request, ApiError::loading()).await);
    }
    let deadline = front.deadline(caller.came);
    if front.models.is_single() {
        let lease = front.lend(0, deadline).await?;
        return Ok((request, Answerer::Named(lease)));
    }
    let method = match *request.method() {
        Method::HEAD => Method::GET,
        ref method => method.clone(),
    };
    let path = request.uri().path().to_owned();
    if !front.paths.takes(method.as_str(), &path) {
        // It is refused, or done by no model. No model is loaded for that.
        if let Some(model) = front.models.loaded().into_iter().next() {
            return Ok((request, Answerer::Anybody(model)));
        }
        let error = match front.paths.pattern(&path) {
            Some(_) => no_method(),
            None => no_path(&front.paths, method.as_str(), &path),
        };
        return Err(unread(&front.admission, request, error).await);
    }
    let in_query = query_value(request.uri().query(), "model");
    if method != Method::POST {
        return match lent_by_query(front, in_query.as_deref(), deadline).await {
            Ok(lease) => Ok((request, Answerer::Named(lease))),
            Err(error) => Err(unread(&front.admission, request, error).await),
        };
    }
    let body = ReadBody::read(&front.admission, request, deadline).await?;
    let in_body = body.model(&front.admission, deadline).await?;
    let index = front.model_of(in_body.or(in_query).as_deref())?;
    if let Some(lease) = front.models.at_hand(index) {
        return Ok((body.into_request(), Answerer::Named(lease)));
    }
    // The request stands in the line of its model while that is loaded.
    let body = body.moved_to(front.line(index))?;
    let lease = front.lend_named(index, deadline).await?;
    Ok((body.into_request(), Answerer::Named(lease)))
}

/// Lends the model that the query of a request names. Whoever waits for it has a place in its line,
/// whatever the request.
async fn lent_by_query(
    front: &Front,
    name: Option<&str>,
    deadline: RequestDeadline,
) -> Result<AppLease, ApiError> {
    let index = front.model_of(name)?;
    if let Some(lease) = front.models.at_hand(index) {
        return Ok(lease);
    }
    let _place = front.line(index).enter()?;
    front.lend_named(index, deadline).await
}

/// The answer of a model.
async fn answer(model: &ResidentModel, request: Request) -> Response {
    let router = model.router.get_or_init(|| router(model.app.clone()));
    match router.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The paths of a model.
fn router(app: Arc<App>) -> Router {
    Router::new()
        .merge(openai::routes())
        .merge(anthropic::routes())
        .merge(llama_server::routes())
        .merge(ollama::routes())
        .fallback(refuse_path)
        .method_not_allowed_fallback(refuse_method)
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(tell_path))
        .with_state(app)
}

/// Tells which path it was, with names of parameters, for whoever counts answers.
async fn tell_path(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(path) = path {
        response.extensions_mut().insert(path);
    }
    response
}

/// The error that answers a request whose body nobody reads. What its sender is still sending is
/// read for a moment: a connection that is closed before would hide the reason from it.
async fn unread(admission: &Admission, request: Request, error: ApiError) -> ApiError {
    admission.discard(request.into_body()).await;
    error
}

/// Refuses a path that no protocol has.
async fn refuse_path(State(app): State<Arc<App>>, request: Request) -> OpenAiError {
    let known = request.extensions().get::<Arc<KnownPaths>>();
    let (method, path) = (request.method().as_str(), request.uri().path());
    let error = known.map_or_else(
        || ApiError::not_found(NO_PATH),
        |known| no_path(known, method, path),
    );
    OpenAiError(unread(&app.admission, request, error).await)
}

/// Refuses a method that the path of a protocol does not take.
async fn refuse_method(State(app): State<Arc<App>>, request: Request) -> OpenAiError {
    OpenAiError(unread(&app.admission, request, no_method()).await)
}

/// Refuses a method that a path which needs no model does not take.
pub(super) async fn refuse_method_here(
    State(front): State<Arc<Front>>,
    request: Request,
) -> OpenAiError {
    OpenAiError(unread(&front.admission, request, no_method()).await)
}

/// What is said of a path that nobody knows, and that is like none.
const NO_PATH: &str = "no such path; GET /openapi.json has them all, among them GET /v1/models and \
                       /health, POST /v1/chat/completions, /v1/completions, /v1/responses, \
                       /v1/embeddings, /v1/messages, /api/chat and /completion";

/// There is no such path; it says which one was likely meant.
fn no_path(known: &KnownPaths, method: &str, path: &str) -> ApiError {
    match known.nearest(method, path) {
        Some(meant) => ApiError::not_found(format!("no such path; did you mean {meant}?")),
        None => ApiError::not_found(NO_PATH),
    }
}

/// The path does not take the method.
fn no_method() -> ApiError {
    ApiError::method("the path does not take this method")
}
