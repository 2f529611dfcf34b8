//! llama-server's own paths.

use serde_json::{Map, Value, json};

use super::operation::{Operation, events};
use super::schemas::Schemas;
use crate::llama_server::completion::NativeCompletion;
use crate::llama_server::embedding::{EmbeddingFields, Embeddings, NativeEmbedding};
use crate::llama_server::error::NativeErrorAnswer;
use crate::llama_server::infill::InfillBody;
use crate::llama_server::models::{ModelMoved, ModelNameFields, RouterProps};
use crate::llama_server::rerank::{RerankFields, Reranked, ScoredText};
use crate::llama_server::response::{
    AppliedTemplate, InputTokens, NativeAnswer, NativeChunk, Props, Slot,
};
use crate::llama_server::slot::{ErasedSlot, RestoredSlot, SavedSlot, SlotFileFields};
use crate::openai::request::chat::ChatRequest;

/// Paths that llama-server has with and without `/v1`.
const ALIASES: [(&str, &str); 3] = [
    ("/chat/completions", "/v1/chat/completions"),
    ("/models", "/v1/models"),
    ("/v1/health", "/health"),
];

/// What native routes refuse in llama-server's shape.
const NATIVE_REFUSALS: [(u16, &str); 7] = [
    (
        400,
        "The request is wrong; the error names the field with its path.",
    ),
    (404, "There is no such path."),
    (
        429,
        "All slots and the line are full; `Retry-After` says when to come again.",
    ),
    (500, "The server failed; its log has the cause."),
    (
        501,
        "The server knows what is asked for, and does not do it.",
    ),
    (503, "The server ends, or its engine has ended."),
    (504, "It took longer than the server allows."),
];

/// Adds llama-server's own paths, and its other names for OpenAI's.
pub(super) fn add(paths: &mut Map<String, Value>, schemas: &mut Schemas) {
    completions(paths, schemas);
    prompts(paths, schemas);
    facts(paths, schemas);
    vectors(paths, schemas);
    slot_actions(paths, schemas);
    models(paths, schemas);
    for (alias, path) in ALIASES {
        let pointer = path.replace('~', "~0").replace('/', "~1");
        paths.insert(
            alias.into(),
            json!({ "$ref": format!("#/paths/{pointer}") }),
        );
    }
}

/// Says what the operation refuses, in llama-server's shape.
fn refused_natively(mut operation: Operation, error: &Value) -> Operation {
    for (status, meaning) in NATIVE_REFUSALS {
        operation = operation.other(
            status,
            json!({
                "description": meaning,
                "content": { "application/json": { "schema": error } },
            }),
        );
    }
    operation
}

/// Paths that generate text. Their errors have llama-server's shape.
fn completions(paths: &mut Map<String, Value>, schemas: &mut Schemas) {
    let error = schemas.told::<NativeErrorAnswer>();
    let whole = schemas.told::<NativeAnswer>();
    let fields =
        json!({ "type": "object", "description": "The fields that `response_fields` names." });
    let whole = json!({ "anyOf": [whole, { "type": "array", "items": whole }, fields] });
    let stream =
        json!({ "anyOf": [schemas.told::<NativeChunk>(), schemas.told::<NativeAnswer>()] });
    let native = |operation: Operation| {
        let mut operation = operation
            .takes_drafter()
            .answer("application/json", whole.clone())
            .answer("text/event-stream", events(&stream, &error));
        operation = refused_natively(operation, &error);
        json!({ "post": operation.value() })
    };
    let body = schemas.asked::<NativeCompletion>();
    let example = json!({ "prompt": "1, 2, 3,", "n_predict": 8, "temperature": 0 });
    let summary = "Goes on with a text, as llama-server does";
    for (path, id) in [
        ("/completion", "createNativeCompletion"),
        ("/completions", "createNativeCompletions"),
    ] {
        let operation = Operation::new(id, summary).body(body.clone(), example.clone());
        paths.insert(path.into(), native(operation));
    }
    let example = json!({ "input_prefix": "a = [1, ", "input_suffix": "]", "n_predict": 8 });
    let infill = Operation::new("createInfill", "Fills a gap in a text")
        .body(schemas.asked::<InfillBody>(), example);
    paths.insert("/infill".into(), native(infill));
}

/// Paths that say how a conversation is read. Their errors have llama-server's shape.
fn prompts(paths: &mut Map<String, Value>, schemas: &mut Schemas) {
    let error = schemas.told::<NativeErrorAnswer>();
    let example = json!({ "messages": [{ "role": "user", "content": "Name three fruits." }] });
    let body = schemas.asked::<ChatRequest>();
    let template = Operation::new("applyTemplate", "A conversation as the model reads it")
        .body(body.clone(), example.clone())
        .answer("application/json", schemas.told::<AppliedTemplate>());
    let template = refused_natively(template, &error);
    paths.insert(
        "/apply-template".into(),
        json!({ "post": template.value() }),
    );
    for (path, id) in [
        ("/chat/completions/input_tokens", "countInputTokensNative"),
        ("/v1/chat/completions/input_tokens", "countInputTokens"),
    ] {
        let count = Operation::new(id, "How many tokens a conversation has")
            .body(body.clone(), example.clone())
            .answer("application/json", schemas.told::<InputTokens>());
        let count = refused_natively(count, &error);
        paths.insert(path.into(), json!({ "post": count.value() }));
    }
}

/// Paths that give vectors and scores, where the server has a model for that.
fn vectors(paths: &mut Map<String, Value>, schemas: &mut Schemas) {
    let error = schemas.told::<NativeErrorAnswer>();
    let body = schemas.asked::<EmbeddingFields>();
    let example = json!({ "input": ["A text.", "Another."] });
    let openai = Operation::new("createEmbedding", "Vectors of texts")
        .body(body.clone(), example.clone())
        .answer("application/json", schemas.told::<Embeddings>())
        .refusals(&[404, 501, 504]);
    paths.insert("/v1/embeddings".into(), json!({ "post": openai.value() }));
    let told = json!({ "type": "array", "items": schemas.told::<NativeEmbedding>() });
    for (path, id) in [
        ("/embeddings", "createNativeEmbeddings"),
        ("/embedding", "createNativeEmbedding"),
    ] {
        let native = Operation::new(id, "Vectors of texts, as llama-server tells them")
            .body(body.clone(), example.clone())
            .answer("application/json", told.clone());
        let native = refused_natively(native, &error);
        paths.insert(path.into(), json!({ "post": native.value() }));
    }
    let body = schemas.asked::<RerankFields>();
    let scores = json!({ "type": "array", "items": schemas.told::<ScoredText>() });
    let told = json!({ "anyOf": [schemas.told::<Reranked>(), scores] });
    let example = json!({ "query": "What is it?", "documents": ["It is this.", "No."] });
    for (path, id) in [
        ("/rerank", "rerank"),
        ("/reranking", "reranking"),
        ("/v1/rerank", "rerankV1"),
        ("/v1/reranking", "rerankingV1"),
    ] {
        let rank = Operation::new(id, "Orders documents by how well they answer a question")
            .body(body.clone(), example.clone())
            .answer("application/json", told.clone());
        let rank = refused_natively(rank, &error);
        paths.insert(path.into(), json!({ "post": rank.value() }));
    }
}

/// Paths that say what the server is and does.
fn facts(paths: &mut Map<String, Value>, schemas: &mut Schemas) {
    let props = Operation::new("getProps", "What the server is, as llama-server says it").answer(
        "application/json",
        json!({ "anyOf": [schemas.told::<Props>(), schemas.told::<RouterProps>()] }),
    );
    paths.insert("/props".into(), json!({ "get": props.value() }));
    let slots = json!({ "type": "array", "items": schemas.told::<Slot>() });
    let slots = Operation::new("getSlots", "Which slots are busy")
        .answer("application/json", slots)
        .refusals(&[501]);
    paths.insert("/slots".into(), json!({ "get": slots.value() }));
}

/// What a slot holds is saved, restored or forgotten.
fn slot_actions(paths: &mut Map<String, Value>, schemas: &mut Schemas) {
    let error = schemas.told::<NativeErrorAnswer>();
    let told = [
        schemas.told::<SavedSlot>(),
        schemas.told::<RestoredSlot>(),
        schemas.told::<ErasedSlot>(),
    ];
    let action = Operation::new("actOnSlot", "Saves, restores or forgets what a slot holds")
        .parameters(json!([
            {
                "name": "id", "in": "path", "required": true,
                "description": "The number of the slot.",
                "schema": { "type": "integer", "minimum": 0 },
            },
            {
                "name": "action", "in": "query", "required": true,
                "description": "What is to be done.",
                "schema": { "enum": ["save", "restore", "erase"] },
            },
        ]))
        .body(
            schemas.asked::<SlotFileFields>(),
            json!({ "filename": "slot.bin" }),
        )
        .answer("application/json", json!({ "anyOf": told }));
    let action = refused_natively(action, &error);
    paths.insert("/slots/{id}".into(), json!({ "post": action.value() }));
}

/// Models are loaded and unloaded.
fn models(paths: &mut Map<String, Value>, schemas: &mut Schemas) {
    let error = schemas.told::<NativeErrorAnswer>();
    for (path, id, summary) in [
        ("/models/load", "loadModel", "Loads a model"),
        (
            "/models/unload",
            "unloadModel",
            "Unloads a model that nobody uses",
        ),
    ] {
        let moved = Operation::new(id, summary)
            .body(
                schemas.asked::<ModelNameFields>(),
                json!({ "model": "qwen" }),
            )
            .answer("application/json", schemas.told::<ModelMoved>());
        let moved = refused_natively(moved, &error);
        paths.insert(path.into(), json!({ "post": moved.value() }));
    }
}
