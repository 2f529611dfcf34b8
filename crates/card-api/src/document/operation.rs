//! What can be asked for at a path, as OpenAPI describes it.

use serde_json::{Map, Value, json};

/// Refusals of every path.
const ALWAYS: [u16; 9] = [400, 401, 403, 405, 408, 431, 500, 501, 503];
/// Refusals of paths that read a body.
const OF_BODY: [u16; 3] = [413, 415, 429];

/// What can be asked for at a path.
pub(super) struct Operation(Map<String, Value>);

impl Operation {
    /// An operation of this name, which any path may refuse.
    pub(super) fn new(id: &str, summary: &str) -> Self {
        let mut fields = Map::new();
        fields.insert("operationId".into(), id.into());
        fields.insert("summary".into(), summary.into());
        let answered = json!({ "200": { "description": "The answer.", "content": {} } });
        fields.insert("responses".into(), answered);
        Operation(fields).refusals(&ALWAYS)
    }

    /// The body it reads.
    pub(super) fn body(mut self, schema: Value, example: Value) -> Self {
        let body = json!({
            "required": true,
            "content": { "application/json": { "schema": schema, "example": example } },
        });
        self.0.insert("requestBody".into(), body);
        self.refusals(&OF_BODY)
    }

    /// A parameter it takes.
    pub(super) fn parameter(self, parameter: Value) -> Self {
        self.parameters(json!([parameter]))
    }

    /// The parameters it takes, a list.
    pub(super) fn parameters(mut self, parameters: Value) -> Self {
        self.0.insert("parameters".into(), parameters);
        self
    }

    /// The header that names a drafter is its parameter.
    pub(super) fn takes_drafter(self) -> Self {
        self.parameter(json!({
            "name": "x-card-drafter", "in": "header", "required": false,
            "description": "The name of the drafter that is for this request.",
            "schema": { "type": "string", "pattern": "^[!-~]{1,128}$" },
        }))
    }

    /// An answer of this media type.
    pub(super) fn answer(mut self, media: &str, schema: Value) -> Self {
        if let Some(responses) = self.0.get_mut("responses") {
            responses["200"]["content"][media] = json!({ "schema": schema });
        }
        self
    }

    /// The statuses by which it may refuse.
    pub(super) fn refusals(mut self, statuses: &[u16]) -> Self {
        for status in statuses {
            let response = json!({ "$ref": format!("#/components/responses/{status}") });
            self = self.other(*status, response);
        }
        self
    }

    /// What else it answers.
    pub(super) fn other(mut self, status: u16, response: Value) -> Self {
        if let Some(responses) = self.0.get_mut("responses") {
            responses[status.to_string()] = response;
        }
        self
    }

    /// It needs no key.
    pub(super) fn open(mut self) -> Self {
        self.0.insert("security".into(), json!([]));
        self
    }

    /// The operation as OpenAPI has it.
    pub(super) fn value(self) -> Value {
        Value::Object(self.0)
    }
}

/// Server-sent events, as OpenAPI 3.2 describes each: JSON of `schema` or an error, and
/// `[DONE]` at the end.
pub(super) fn events(schema: &Value, error: &Value) -> Value {
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
