//! The paths of the server, a function for those of one subject.
//!
//! Schemas are registered in the order in which they are asked for, and stand in the document
//! in that order.

use serde_json::{Map, Value, json};

use super::anthropic::anthropic;
use super::ollama::ollama;
use super::operation::{Operation, events};
use super::schemas::Schemas;
use crate::health::HealthAnswer;
use crate::llama_server::tokenize::{DetokenizeFields, Detokenized, TokenizeFields, Tokenized};
use crate::loads::LoadsAnswer;
use crate::openai::request::chat::ChatRequest;
use crate::openai::request::completion::CompletionRequest;
use crate::openai::request::responses::ResponseRequest;
use crate::openai::response::chat::{ChatChunk, ChatCompletion};
use crate::openai::response::models::{LoadStage, ModelEntry, Models};
use crate::openai::response::responses::{ResponseAnswer, ResponseEvent};
use crate::openai::response::text::{TextChunk, TextCompletion};

/// Refusals of paths that take their time.
const OF_WORK: [u16; 2] = [404, 504];

/// All paths. `error` is the schema of an error.
pub(super) fn all(schemas: &mut Schemas, error: &Value) -> Map<String, Value> {
    let mut paths = Map::new();
    generation(&mut paths, schemas, error);
    anthropic(&mut paths, schemas, error);
    ollama(&mut paths, schemas, error);
    responses(&mut paths, schemas, error);
    models(&mut paths, schemas);
    tokens(&mut paths, schemas);
    operations(&mut paths, schemas, error);
    super::llama_server::add(&mut paths, schemas);
    paths
}

/// Paths that generate text.
fn generation(paths: &mut Map<String, Value>, schemas: &mut Schemas, error: &Value) {
    let chat = Operation::new("createChatCompletion", "Goes on with a conversation")
        .body(schemas.asked::<ChatRequest>(), chat_example())
        .takes_drafter()
        .answer("application/json", schemas.told::<ChatCompletion>())
        .answer(
            "text/event-stream",
            events(&schemas.told::<ChatChunk>(), error),
        )
        .refusals(&OF_WORK);
    paths.insert(
        "/v1/chat/completions".into(),
        json!({ "post": chat.value() }),
    );
    let completion = Operation::new("createCompletion", "Goes on with a text")
        .body(schemas.asked::<CompletionRequest>(), completion_example())
        .takes_drafter()
        .answer("application/json", schemas.told::<TextCompletion>())
        .answer(
            "text/event-stream",
            events(&schemas.told::<TextChunk>(), error),
        )
        .refusals(&OF_WORK);
    paths.insert(
        "/v1/completions".into(),
        json!({ "post": completion.value() }),
    );
}

/// `/v1/responses`, which generates text too, and the paths of answers, of which none is kept.
fn responses(paths: &mut Map<String, Value>, schemas: &mut Schemas, error: &Value) {
    let create = Operation::new("createResponse", "Answers a conversation")
        .body(schemas.asked::<ResponseRequest>(), response_example())
        .takes_drafter()
        .answer("application/json", schemas.told::<ResponseAnswer>())
        .answer(
            "text/event-stream",
            events(&schemas.told::<ResponseEvent>(), error),
        )
        .refusals(&OF_WORK);
    paths.insert("/v1/responses".into(), json!({ "post": create.value() }));
    let named = |id, summary| {
        Operation::new(id, summary)
            .parameter(json!({
                "name": "id", "in": "path", "required": true, "description": "Its name.",
                "schema": { "type": "string", "minLength": 1 },
            }))
            .answer("application/json", json!({ "type": "object" }))
            .refusals(&[404])
            .value()
    };
    paths.insert(
        "/v1/responses/{id}".into(),
        json!({
            "get": named("getResponse", "Always 404: no answer is kept"),
            "delete": named("deleteResponse", "Always 404: no answer is kept"),
        }),
    );
}

/// Paths that say which models there are.
fn models(paths: &mut Map<String, Value>, schemas: &mut Schemas) {
    let models = Operation::new("listModels", "Which models there are")
        .answer("application/json", schemas.told::<Models>());
    paths.insert("/v1/models".into(), json!({ "get": models.value() }));
    let model = Operation::new("getModel", "What a model is")
        .parameter(json!({
            "name": "name", "in": "path", "required": true, "description": "Its name.",
            "schema": { "type": "string", "minLength": 1 },
        }))
        .answer("application/json", schemas.told::<ModelEntry>())
        .refusals(&[404]);
    paths.insert("/v1/models/{name}".into(), json!({ "get": model.value() }));
}

/// Paths that turn text into tokens and back.
fn tokens(paths: &mut Map<String, Value>, schemas: &mut Schemas) {
    let tokenize = Operation::new("tokenize", "The tokens of a text")
        .body(
            schemas.asked::<TokenizeFields>(),
            json!({ "content": "A text." }),
        )
        .answer("application/json", schemas.told::<Tokenized>())
        .refusals(&OF_WORK);
    paths.insert("/tokenize".into(), json!({ "post": tokenize.value() }));
    let detokenize = Operation::new("detokenize", "The text of tokens")
        .body(
            schemas.asked::<DetokenizeFields>(),
            json!({ "tokens": [1, 2] }),
        )
        .answer("application/json", schemas.told::<Detokenized>())
        .refusals(&OF_WORK);
    paths.insert("/detokenize".into(), json!({ "post": detokenize.value() }));
}

/// Paths for whoever operates the server, or looks on.
fn operations(paths: &mut Map<String, Value>, schemas: &mut Schemas, error: &Value) {
    let loading = json!({
        "description": "While a model is being loaded: llama-server's answer.",
        "type": "object",
        "properties": { "error": {
            "type": "object",
            "properties": { "progress": schemas.told::<LoadStage>() },
        } },
        "required": ["error"],
    });
    let sick = json!({
        "description": "It takes no requests.",
        "content": { "application/json": { "schema": {
            "anyOf": [schemas.told::<HealthAnswer>(), error, loading],
        } } },
    });
    let health = Operation::new("getHealth", "Whether the server takes requests")
        .answer("application/json", schemas.told::<HealthAnswer>())
        .open()
        .other(503, sick);
    paths.insert("/health".into(), json!({ "get": health.value() }));
    let loads = Operation::new("getLoads", "How much the server has to do, for gateways")
        .answer("application/json", schemas.told::<LoadsAnswer>());
    paths.insert("/v1/loads".into(), json!({ "get": loads.value() }));
    let metrics = Operation::new("getMetrics", "Counters for Prometheus")
        .answer("text/plain", json!({ "type": "string" }));
    paths.insert("/metrics".into(), json!({ "get": metrics.value() }));
    let live = Operation::new(
        "watch",
        "Rounds of your generations as they happen, until you leave",
    )
    .answer("text/event-stream", json!({ "type": "object" }))
    .refusals(&[404]);
    paths.insert("/live".into(), json!({ "get": live.value() }));
    let this = Operation::new("getOpenApi", "This document")
        .answer("application/json", json!({ "type": "object" }));
    paths.insert("/openapi.json".into(), json!({ "get": this.value() }));
}

fn chat_example() -> Value {
    json!({
        "messages": [{ "role": "user", "content": "Name three fruits." }],
        "max_tokens": 8,
        "temperature": 0,
    })
}

fn response_example() -> Value {
    json!({ "input": "Name three fruits.", "max_output_tokens": 8, "temperature": 0 })
}

fn completion_example() -> Value {
    json!({ "prompt": "1, 2, 3,", "max_tokens": 8, "temperature": 0 })
}
