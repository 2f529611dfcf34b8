//! The OpenAPI document: made from the types that parse requests and are answers, so that it
//! says what the server does.

mod anthropic;
mod llama_server;
mod ollama;
mod operation;
mod other_errors;
mod paths;
mod refusals;
mod schemas;

use serde_json::{Value, json};

use crate::openai::response::error::ErrorAnswer;
use refusals::refusals;
use schemas::Schemas;

/// The document of a server of this name and version.
pub fn document(server_name: &str, version: &str) -> Value {
    let mut schemas = Schemas::new();
    let error = schemas.told::<ErrorAnswer>();
    let paths = paths::all(&mut schemas, &error);
    let refusals = refusals(&error);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": server_name,
            "version": version,
            "description": "OpenAI's API, and what llama.cpp and vLLM add to it. Of the fields \
                            that are not here, those named in a body's description are refused \
                            or without effect, and the others are ignored. Of a field that \
                            comes twice the last value counts.",
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
