//! `response_format`: what the text has to be.

use serde_json::{Value, json};

use super::schema_version::dated;
use crate::error::ApiError;
use crate::job::AnswerShape;
use crate::reading::bounded::Name;
use crate::reading::fields::fields;
use crate::reading::loose::Loose;

/// Where a format stands in a request, for errors.
pub(super) struct FormatPaths {
    /// Its type.
    pub(super) kind: &'static str,
    /// Its schema, as OpenAI's chats have it.
    pub(super) nested: &'static str,
    /// Its schema, where it stands in the format itself.
    pub(super) flat: &'static str,
    /// Its schema, as Gemini's clients call it.
    pub(super) foreign: &'static str,
}

/// The paths of `response_format`.
pub(super) const RESPONSE_FORMAT: FormatPaths = FormatPaths {
    kind: "response_format.type",
    nested: "response_format.json_schema.schema",
    flat: "response_format.schema",
    foreign: "response_format.response_schema",
};

fields! {
    /// What the text has to be.
    struct ResponseFormat {
        /// `text`, `json_object` or `json_schema`.
        #[schemars(rename = "type", required)]
        "type" => kind: Name,
        /// The schema, for `json_schema`.
        "json_schema" => json_schema: NamedSchema,
        /// The schema, where it has no name.
        "schema" => schema: Loose,
        /// Refused: send the schema as `schema`.
        "response_schema" => response_schema: Loose,
    }

    /// A schema with a name.
    struct NamedSchema {
        /// A JSON Schema.
        "schema" => schema: Loose,
    }
}

impl ResponseFormat {
    /// The format as an answer repeats it, but for the schema, which may be long.
    pub(super) fn told(&self) -> Value {
        let kind = self.kind.as_ref().map_or("text", |k| k.0.as_str());
        json!({ "type": kind })
    }

    /// The shape that the text must have, and where it stands; `None` where the text may be
    /// anything. A schema beside `json_object` counts too, as llama-server has it.
    ///
    /// # Errors
    /// If the type is unknown, or its schema is missing, or stands where it would not hold or is not
    /// looked for.
    pub(super) fn shape(
        self,
        paths: &FormatPaths,
    ) -> Result<Option<(AnswerShape, &'static str)>, ApiError> {
        if self.response_schema.is_some() {
            let why = "send the schema as `schema`, or in `json_schema`";
            return Err(ApiError::field(paths.foreign, why));
        }
        let kind = self.kind.map(|k| k.0).unwrap_or_default();
        let named = self.json_schema.is_some();
        let nested = self.json_schema.and_then(|s| s.schema);
        let place = if nested.is_some() {
            paths.nested
        } else {
            paths.flat
        };
        if named && nested.is_none() && kind != "text" {
            let why = format!("`json_schema` has no schema; it must be {}", paths.nested);
            return Err(ApiError::field(paths.nested, why));
        }
        if nested.is_some() && self.schema.is_some() && nested != self.schema {
            let why = "there are two schemas, which are not the same; leave one of them out";
            return Err(ApiError::field(paths.flat, why));
        }
        let shape = |schema: Loose| AnswerShape::Schema(dated(schema.0));
        let nested = nested.map(|schema| (shape(schema), paths.nested));
        let flat = self.schema.map(|schema| (shape(schema), paths.flat));
        let schema = nested.or(flat);
        match kind.as_str() {
            "text" if named || schema.is_some() => {
                let why = "a format of type text has no schema; say json_schema";
                Err(ApiError::field(place, why))
            }
            "text" => Ok(None),
            "json_object" => Ok(schema.or(Some((AnswerShape::Object, paths.kind)))),
            "json_schema" => {
                let why = format!("a format of type json_schema needs {}", paths.nested);
                let schema = schema.ok_or_else(|| ApiError::field(paths.nested, why))?;
                Ok(Some(schema))
            }
            other => {
                let why = format!("{other:?} is not text, json_object or json_schema");
                Err(ApiError::field(paths.kind, why))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::openai::request::tests::{chat, refusal};

    #[test]
    fn a_schema_holds_or_is_refused_wherever_it_stands() {
        let nested = "response_format.json_schema.schema";
        let flat = "response_format.schema";
        for (format, field) in [
            (r#"{"type":"text","schema":{"enum":["a"]}}"#, flat),
            (
                r#"{"type":"text","json_schema":{"schema":{"enum":["a"]}}}"#,
                nested,
            ),
            (r#"{"type":"text","json_schema":{"enum":["a"]}}"#, flat),
            // A schema without what stands around it.
            (
                r#"{"type":"json_object","json_schema":{"enum":["a"]}}"#,
                nested,
            ),
            (
                r#"{"type":"json_schema","json_schema":{"enum":["a"]}}"#,
                nested,
            ),
            (
                r#"{"type":"json_schema","json_schema":{"schema":{"enum":["a"]}},"schema":{}}"#,
                flat,
            ),
            (
                r#"{"type":"json_object","response_schema":{"enum":["a"]}}"#,
                "response_format.response_schema",
            ),
        ] {
            let (param, message) = refusal(chat(&format!(r#","response_format":{format}"#)));
            assert_eq!(param, field, "{format}: {message}");
        }
        for format in [
            r#"{"type":"text","schema":null,"json_schema":null}"#,
            r#"{"type":"json_schema","json_schema":{"schema":true},"schema":true}"#,
            r#"{"type":"json_object","json_schema":{"schema":{"enum":["a"]}}}"#,
        ] {
            let parsed = chat(&format!(r#","response_format":{format}"#));
            assert!(parsed.is_ok(), "{format}: {parsed:?}");
        }
    }
}
