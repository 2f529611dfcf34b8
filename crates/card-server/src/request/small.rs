//! Requests that are answered at once, without a generation.

use std::sync::Arc;

use axum::response::Response;
use card_api::ApiError;
use serde::Serialize;

use super::incoming::IncomingRequest;
use crate::app::App;

/// Reads a small request and answers it in a workshop, admitted like any other.
///
/// # Errors
/// If it is refused; that is written down already.
pub(crate) async fn small<T: Serialize + Send + 'static>(
    app: Arc<App>,
    mut incoming: IncomingRequest,
    work: fn(&App, &[u8]) -> Result<T, ApiError>,
) -> Result<Response, ApiError> {
    match at_once(&app, &mut incoming, work).await {
        Ok(response) => Ok(response),
        Err(error) => {
            let id = app.numbers.name();
            incoming.refuse(&app, &id, &error).await;
            Err(error)
        }
    }
}

/// Does work that reads the body, in a workshop, and answers.
///
/// # Errors
/// If the request is refused.
pub(crate) async fn at_once<T: Serialize + Send + 'static>(
    app: &Arc<App>,
    incoming: &mut IncomingRequest,
    work: impl FnOnce(&App, &[u8]) -> Result<T, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    let deadline = app.deadline(incoming.caller.came);
    let place = app.admission.enter()?;
    let received = incoming.receive(app, deadline).await?;
    let shared = app.clone();
    // The answer is written there, too: a list of a million tokens takes a while.
    let work = move || {
        let answer = work(&shared, &received.bytes)?;
        serde_json::to_vec(&answer).map_err(|e| ApiError::internal(e.to_string()))
    };
    let json = app.admission.prepare(deadline, work).await??;
    Ok(incoming.hold(place, deadline).json(json))
}
