//! The OpenAPI document: made from the types that parse requests and are answers, so that it
//! says what the server does.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::request::{ChatRequest, CompletionRequest};
use crate::response;
use crate::tokenize::{DetokenizeFields, TokenizeFields};

/// Refusals of every path.
const ALWAYS: [u16; 8] = [400, 401, 403, 405, 408, 431, 500, 503];
/// Refusals of paths that read a body.
const OF_BODY: [u16; 3] = [413, 415, 429];
/// Refusals of paths that take their time.
const OF_WORK: [u16; 2] = [404, 504];

/// The document of a server of this name and version.
pub fn document(server_name: &str, version: &str) -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    let error = schemas.told::<response::ErrorAnswer>();
    let chat = Operation::new("createChatCompletion", "Goes on with a conversation")
        .body(schemas.asked::<ChatRequest>(), chat_example())
        .takes_drafter()
        .answer(
            "application/json",
            schemas.told::<response::ChatCompletion>(),
        )
        .answer(
            "text/event-stream",
            events(&schemas.told::<response::ChatChunk>(), &error),
        )
        .refusals(&OF_WORK);
    paths.insert(
        "/v1/chat/completions".into(),
        json!({ "post": chat.value() }),
    );
    let completion = Operation::new("createCompletion", "Goes on with a text")
        .body(schemas.asked::<CompletionRequest>(), completion_example())
        .takes_drafter()
        .answer(
            "application/json",
            schemas.told::<response::TextCompletion>(),
        )
        .answer(
            "text/event-stream",
            events(&schemas.told::<response::TextChunk>(), &error),
        )
        .refusals(&OF_WORK);
    paths.insert(
        "/v1/completions".into(),
        json!({ "post": completion.value() }),
    );
    let models = Operation::new("listModels", "Which models there are")
        .answer("application/json", schemas.told::<response::Models>());
    paths.insert("/v1/models".into(), json!({ "get": models.value() }));
    let model = Operation::new("getModel", "What a model is")
        .parameter(json!({
            "name": "name", "in": "path", "required": true, "description": "Its name.",
            "schema": { "type": "string", "minLength": 1 },
        }))
        .answer("application/json", schemas.told::<response::Model>())
        .refusals(&[404]);
    paths.insert("/v1/models/{name}".into(), json!({ "get": model.value() }));
    let tokenize = Operation::new("tokenize", "The tokens of a text")
        .body(
            schemas.asked::<TokenizeFields>(),
            json!({ "content": "A text." }),
        )
        .answer("application/json", schemas.told::<response::Tokenized>())
        .refusals(&OF_WORK);
    paths.insert("/tokenize".into(), json!({ "post": tokenize.value() }));
    let detokenize = Operation::new("detokenize", "The text of tokens")
        .body(
            schemas.asked::<DetokenizeFields>(),
            json!({ "tokens": [1, 2] }),
        )
        .answer("application/json", schemas.told::<response::Detokenized>())
        .refusals(&OF_WORK);
    paths.insert("/detokenize".into(), json!({ "post": detokenize.value() }));
    let sick = json!({
        "description": "It takes no requests.",
        "content": { "application/json": { "schema": {
            "anyOf": [schemas.told::<response::Health>(), error],
        } } },
    });
    let health = Operation::new("getHealth", "Whether the server takes requests")
        .answer("application/json", schemas.told::<response::Health>())
        .open()
        .other(503, sick);
    paths.insert("/health".into(), json!({ "get": health.value() }));
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
    let refusals = refusals(&error);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": server_name,
            "version": version,
            "description": "OpenAI's API, and what llama.cpp and vLLM add to it. Fields that are \
                            not here are ignored. Of a field that comes twice the last value \
                            counts.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        // A key is needed where the server was given some.
        "security": [{}, { "key": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
            "responses": refusals,
            "schemas": schemas.all(),
        },
    })
}

/// Schemas of types, each under its name.
struct Schemas {
    asks: SchemaGenerator,
    tells: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|s| {
                s.definitions_path = Cow::Borrowed("/components/schemas");
                s.meta_schema = None;
            })
        };
        Schemas {
            asks: settings().for_deserialize().into_generator(),
            tells: settings().for_serialize().into_generator(),
        }
    }

    /// A type that clients send.
    fn asked<T: JsonSchema>(&mut self) -> Value {
        self.asks.subschema_for::<T>().to_value()
    }

    /// A type that they get.
    fn told<T: JsonSchema>(&mut self) -> Value {
        self.tells.subschema_for::<T>().to_value()
    }

    fn all(mut self) -> Map<String, Value> {
        let mut all = self.asks.take_definitions(true);
        all.extend(self.tells.take_definitions(true));
        all
    }
}

/// The schema of an object with the fields of both.
pub(crate) fn together<A: JsonSchema, B: JsonSchema>(
    generator: &mut SchemaGenerator,
    description: &str,
) -> Schema {
    let mut both = Map::new();
    both.insert("description".into(), description.into());
    both.insert("type".into(), "object".into());
    let (mut fields, mut required) = (Map::new(), Vec::new());
    for part in [B::json_schema(generator), A::json_schema(generator)] {
        if let Some(Value::Object(more)) = part.get("properties") {
            fields.extend(more.clone());
        }
        if let Some(Value::Array(more)) = part.get("required") {
            required.extend(more.iter().cloned());
        }
    }
    both.insert("properties".into(), Value::Object(fields));
    both.insert("required".into(), Value::Array(required));
    Schema::from(both)
}

/// Server-sent events, as OpenAPI 3.2 describes each: JSON of `schema` or an error, and
/// `[DONE]` at the end.
fn events(schema: &Value, error: &Value) -> Value {
    json!({
        "description": "Server-sent events, each of which is this. Keep-alive comments may stand \
                        between them.",
        "type": "object",
        "properties": { "data": { "anyOf": [
            { "const": "[DONE]" },
            {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": { "anyOf": [schema, error] },
            },
        ] } },
        "required": ["data"],
    })
}

/// What can be asked for at a path.
struct Operation(Map<String, Value>);

impl Operation {
    fn new(id: &str, summary: &str) -> Self {
        let mut fields = Map::new();
        fields.insert("operationId".into(), id.into());
        fields.insert("summary".into(), summary.into());
        let answered = json!({ "200": { "description": "The answer.", "content": {} } });
        fields.insert("responses".into(), answered);
        Operation(fields).refusals(&ALWAYS)
    }

    fn body(mut self, schema: Value, example: Value) -> Self {
        let body = json!({
            "required": true,
            "content": { "application/json": { "schema": schema, "example": example } },
        });
        self.0.insert("requestBody".into(), body);
        self.refusals(&OF_BODY)
    }

    fn parameter(mut self, parameter: Value) -> Self {
        self.0.insert("parameters".into(), json!([parameter]));
        self
    }

    fn takes_drafter(self) -> Self {
        self.parameter(json!({
            "name": "x-card-drafter", "in": "header", "required": false,
            "description": "The name of the drafter that is for this request.",
            "schema": { "type": "string", "pattern": "^[!-~]{1,128}$" },
        }))
    }

    fn answer(mut self, media: &str, schema: Value) -> Self {
        if let Some(responses) = self.0.get_mut("responses") {
            responses["200"]["content"][media] = json!({ "schema": schema });
        }
        self
    }

    fn refusals(mut self, statuses: &[u16]) -> Self {
        for status in statuses {
            let response = json!({ "$ref": format!("#/components/responses/{status}") });
            self = self.other(*status, response);
        }
        self
    }

    fn other(mut self, status: u16, response: Value) -> Self {
        if let Some(responses) = self.0.get_mut("responses") {
            responses[status.to_string()] = response;
        }
        self
    }

    /// It needs no key.
    fn open(mut self) -> Self {
        self.0.insert("security".into(), json!([]));
        self
    }

    fn value(self) -> Value {
        Value::Object(self.0)
    }
}

/// What each refusal means.
fn refusals(schema: &Value) -> Map<String, Value> {
    let meanings = [
        (
            400,
            "The request is wrong; the error names the field with its path.",
        ),
        (401, "No key, or a wrong one."),
        (
            403,
            "The page or the name that was used may not use this server.",
        ),
        (404, "There is no such path or model."),
        (
            405,
            "The path does not take this method; `Allow` says which it takes.",
        ),
        (408, "The request did not come in time."),
        (413, "The body is too large."),
        (415, "The body does not say that it is JSON."),
        (
            429,
            "All slots and the line are full; `Retry-After` says when to come again.",
        ),
        (431, "The headers are too large."),
        (500, "The server failed; its log has the cause."),
        (503, "The server ends, or its engine has ended."),
        (504, "It took longer than the server allows."),
    ];
    let of = |(status, meaning): (u16, &str)| {
        let response = json!({
            "description": meaning,
            "content": { "application/json": { "schema": schema } },
        });
        (status.to_string(), response)
    };
    meanings.into_iter().map(of).collect()
}

fn chat_example() -> Value {
    json!({
        "messages": [{ "role": "user", "content": "Name three fruits." }],
        "max_tokens": 8,
        "temperature": 0,
    })
}

fn completion_example() -> Value {
    json!({ "prompt": "1, 2, 3,", "max_tokens": 8, "temperature": 0 })
}
