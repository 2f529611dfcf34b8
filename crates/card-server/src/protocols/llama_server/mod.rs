//! llama-server's own API, for its clients.
//!
//! | file | what |
//! |---|---|
//! | `alias.rs` | OpenAI's paths without `/v1` |
//! | `completion.rs`, `infill.rs`, `fim.rs` | the handlers of generations, and their prompts |
//! | `native_job.rs`, `settings.rs` | what they ask for, with what the vocabulary says |
//! | `answer.rs`, `stream.rs`, `choice.rs` | a running request as its clients follow it |
//! | `lines.rs`, `probabilities.rs`, `fields.rs` | parts of an answer |
//! | `template.rs`, `tokenize.rs` | how text and conversations are read |
//! | `embedding.rs`, `rerank.rs` | vectors of texts, and scores |
//! | `models.rs` | models of several are loaded and unloaded |
//! | `props.rs`, `slots.rs` | what the server is and does |
//! | `slot_actions.rs`, `slot_file.rs` | what slots hold: saved, restored, forgotten |
//! | `error.rs` | errors |

mod alias;
mod answer;
mod choice;
mod completion;
mod embedding;
mod error;
mod fields;
mod fim;
mod infill;
mod lines;
mod models;
mod native_job;
mod probabilities;
mod props;
mod rerank;
mod settings;
mod slot_actions;
mod slot_file;
mod slots;
mod stream;
mod template;
mod tokenize;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

pub(super) use embedding::{shorten, told_dimensions};
pub(crate) use models::router_props;
pub(super) use settings::sampling;

use crate::app::App;
use crate::front::Front;

/// The path that says what the server is.
pub(crate) const PROPS: &str = "/props";

/// The paths whose errors have llama-server's shape. `/tokenize` and `/detokenize` are not among
/// them: they are vLLM's paths, too, and clients of both read errors in OpenAI's shape.
const OWN: [&str; 16] = [
    "/completion",
    "/completions",
    "/infill",
    PROPS,
    "/models/load",
    "/models/unload",
    "/slots",
    "/apply-template",
    "/chat/completions/input_tokens",
    "/v1/chat/completions/input_tokens",
    "/embedding",
    "/embeddings",
    "/rerank",
    "/reranking",
    "/v1/rerank",
    "/v1/reranking",
];
/// What the paths of single slots begin with.
const SLOTS: &str = "/slots/";

/// Whether errors at a path have llama-server's shape, whether there is such a path or not.
pub(super) fn is_own(path: &str) -> bool {
    OWN.contains(&path) || path.starts_with(SLOTS)
}

/// The paths at which it is spoken with a model.
pub(crate) fn routes() -> Router<Arc<App>> {
    let count = post(template::count_tokens);
    let (vectors, rank) = (post(embedding::native), post(rerank::rerank));
    Router::new()
        .merge(alias::routes())
        .route("/completion", post(completion::completion))
        .route("/completions", post(completion::completion))
        .route("/infill", post(infill::infill))
        .route("/apply-template", post(template::apply_template))
        .route("/chat/completions/input_tokens", count.clone())
        .route("/v1/chat/completions/input_tokens", count)
        .route(PROPS, get(props::props).post(props::change))
        .route("/slots", get(slots::slots))
        .route("/slots/{id}", post(slot_actions::action))
        .route("/v1/embeddings", post(embedding::openai))
        .route("/embeddings", vectors.clone())
        .route("/embedding", vectors)
        .route("/rerank", rank.clone())
        .route("/reranking", rank.clone())
        .route("/v1/rerank", rank.clone())
        .route("/v1/reranking", rank)
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
}

/// The paths that need no model.
pub(crate) fn model_routes() -> Router<Arc<Front>> {
    Router::new()
        .route("/models/load", post(models::load))
        .route("/models/unload", post(models::unload))
}
