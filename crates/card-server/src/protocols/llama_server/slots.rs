//! `/slots`: which slots are busy.
//!
//! A slot here is a place among the generations that run at a time. It has no cache of its own:
//! all of them share one, which finds what a prompt begins with by itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use card_api::ApiError;
use card_api::llama_server::response::Slot;

use super::error::NativeError;
use crate::app::App;

/// The slots. With `fail_on_no_slot` in the query there has to be a free one.
pub(super) async fn slots(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Vec<Slot>>, NativeError> {
    if !app.config.llama_server.slots {
        let why = "this server does not list its slots; start it with them on";
        return Err(ApiError::not_supported(why).into());
    }
    let levels = app.levels();
    let total = app.config.parallel;
    let asked = value_of(request.uri().query(), "fail_on_no_slot");
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

/// The value of a parameter of a query.
pub(super) fn value_of<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let pairs = query?.split('&');
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_by_its_name() {
        let query = Some("a=1&action=save&b");
        assert_eq!(value_of(query, "action"), Some("save"));
        assert_eq!(value_of(query, "b"), Some(""));
        assert_eq!(value_of(query, "c"), None);
        assert_eq!(value_of(None, "a"), None);
    }
}
