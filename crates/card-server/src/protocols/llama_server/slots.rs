//! `/slots`: which slots are busy.
//!
//! A slot here is a place among the generations that run at a time. It has no cache of its own:
//! all of them share one, which finds what a prompt begins with by itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use card_api::ApiError;
use card_api::llama_server::response::Slot;

use super::error::NativeErrorResponse;
use crate::app::App;
use crate::query::query_value;

/// The slots. With `fail_on_no_slot` in the query there has to be a free one.
pub(super) async fn slots(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Vec<Slot>>, NativeErrorResponse> {
    if !app.config.llama_server.slots {
        let why = "this server does not list its slots; start it with them on";
        return Err(ApiError::not_supported(why).into());
    }
    let levels = app.levels();
    let total = app.config.parallel;
    let asked = query_value(request.uri().query(), "fail_on_no_slot");
    if asked.is_some_and(|value| !value.is_empty()) && levels.running >= total {
        return Err(ApiError::no_free_slot().into());
    }
    let slot = |id| Slot {
        id,
        n_ctx: app.model.context,
        speculative: levels.lanes.drafters > 0,
        is_processing: id < levels.running,
    };
    Ok(Json((0..total).map(slot).collect()))
}
