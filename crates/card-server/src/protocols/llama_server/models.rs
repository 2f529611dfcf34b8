//! A server of several models: one is loaded or unloaded by its name, and what the server is.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use card_api::llama_server::models::{ModelMoved, RouterProps};
use card_api::{ApiError, parse_model_name};

use super::error::NativeErrorResponse;
use crate::caller::Caller;
use crate::clock::RequestDeadline;
use crate::front::{Front, ReadBody};

/// Loads a model. The answer comes when it is loaded.
pub(super) async fn load(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    let loaded = async {
        let (body, index, deadline) = asked(&front, &caller, request).await?;
        if front.models.at_hand(index).is_some() {
            return Ok(());
        }
        // The request stands in the line of the model while that is loaded.
        let _held = body.moved_to(front.line(index))?;
        front.lend(index, deadline).await.map(drop)
    };
    told(&front, &caller, &path, loaded.await)
}

/// Unloads a model that nobody uses.
pub(super) async fn unload(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    let unloaded = async {
        let (body, index, deadline) = asked(&front, &caller, request).await?;
        // Another model may be loaded before.
        let _held = body.moved_to(front.line(index))?;
        front.unload(index, deadline).await
    };
    told(&front, &caller, &path, unloaded.await)
}

/// A request that was let in, the number of the model that it names, and when it has to be
/// answered.
async fn asked(
    front: &Front,
    caller: &Caller,
    request: Request,
) -> Result<(ReadBody, usize, RequestDeadline), ApiError> {
    if front.is_starting() {
        front.admission.discard(request.into_body()).await;
        return Err(ApiError::loading());
    }
    let deadline = front.deadline(caller.came);
    let body = ReadBody::read(&front.admission, request, deadline).await?;
    let bytes = body.bytes();
    let parse = move || parse_model_name(&bytes);
    let name = front.admission.prepare(deadline, parse).await??;
    Ok((body, front.named(&name)?, deadline))
}

/// What became of it.
fn told(front: &Front, caller: &Caller, path: &str, moved: Result<(), ApiError>) -> Response {
    match moved {
        Ok(()) => Json(ModelMoved { success: true }).into_response(),
        Err(error) => {
            front.common.refused(caller, path, &error);
            NativeErrorResponse(error).into_response()
        }
    }
}

/// What a server of several models is.
pub(crate) fn router_props(front: &Front) -> Json<RouterProps> {
    Json(RouterProps {
        role: "router".to_owned(),
        max_instances: front.config.models.most,
        models_autoload: front.config.llama_server.autoload,
        model_alias: front.name(),
        build_info: concat!("card-", env!("CARGO_PKG_VERSION")).to_owned(),
    })
}
