//! A request whose body is read before it is known which model it is for, to find that out.

use std::fmt;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use card_api::ApiError;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::admission::{Admission, AdmissionPlace, Received};
use crate::clock::RequestDeadline;
use crate::headers::announced_length;

/// A request whose body was read. It has a place in the line, and its body has room.
pub(crate) struct ReadBody {
    parts: Parts,
    received: Received,
    _place: AdmissionPlace,
}

impl ReadBody {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// If there is no place or no room, or the body is too large or too slow, or breaks off. What
    /// its sender is still sending was read for a moment then.
    pub(crate) async fn read(
        admission: &Admission,
        request: Request,
        deadline: RequestDeadline,
    ) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let mut body = Some(body);
        let length = announced_length(&parts.headers);
        let came = async {
            let place = admission.enter()?;
            let received = admission.receive(&mut body, length, deadline).await?;
            Ok::<_, ApiError>((place, received))
        };
        let came = came.await;
        match came {
            Ok((place, received)) => Ok(ReadBody {
                parts,
                received,
                _place: place,
            }),
            Err(error) => {
                if let Some(rest) = body {
                    admission.discard(rest).await;
                }
                Err(error)
            }
        }
    }

    /// The bytes of the body.
    pub(crate) fn bytes(&self) -> Bytes {
        self.received.bytes.clone()
    }

    /// The model that the body names, in its field `model`. A body that is wrong names none: who
    /// answers it says what is wrong.
    ///
    /// # Errors
    /// If there is no time to look.
    pub(crate) async fn model(
        &self,
        admission: &Admission,
        deadline: RequestDeadline,
    ) -> Result<Option<String>, ApiError> {
        let bytes = self.bytes();
        admission.prepare(deadline, move || named(&bytes)).await
    }

    /// The same request in another line; its place and the room of its body in the first one are
    /// given back.
    ///
    /// # Errors
    /// If the other line has no place, or no room for the body.
    pub(crate) fn moved_to(self, line: &Admission) -> Result<Self, ApiError> {
        let (place, received) = line.take_over(self.received)?;
        Ok(ReadBody {
            parts: self.parts,
            received,
            _place: place,
        })
    }

    /// The request, with its body. Its place and the room of its body are given back.
    pub(crate) fn into_request(self) -> Request {
        let bytes = self.bytes();
        Request::from_parts(self.parts, Body::from(bytes))
    }
}

/// The model that a body names.
fn named(body: &[u8]) -> Option<String> {
    let ModelField(name) = serde_json::from_slice(body).ok()?;
    name
}

/// The field `model` of an object. Of several of them the last one counts, as everywhere.
struct ModelField(Option<String>);

impl<'de> Deserialize<'de> for ModelField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ModelVisitor)
    }
}

struct ModelVisitor;

impl<'de> Visitor<'de> for ModelVisitor {
    type Value = ModelField;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<ModelField, A::Error> {
        let mut name = None;
        while let Some(field) = fields.next_key::<String>()? {
            if field == "model" {
                // What is no text is passed over, and not built.
                let value = fields.next_value::<&RawValue>()?;
                name = serde_json::from_str(value.get()).ok();
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(ModelField(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_name_is_passed_over_however_deep_it_is() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        let body = format!(r#"{{"model":{deep},"model":"a"}}"#);
        assert_eq!(named(body.as_bytes()).as_deref(), Some("a"));
        let last = format!(r#"{{"model":"a","model":{deep}}}"#);
        assert_eq!(named(last.as_bytes()), None);
    }

    #[test]
    fn the_model_is_found_wherever_it_stands() {
        for (body, name) in [
            (r#"{"model":"a"}"#, Some("a")),
            (r#"{"prompt":[{"model":"b"}],"model":"a"}"#, Some("a")),
            (r#"{"model":"b","model":"a"}"#, Some("a")),
            (r#"{"prompt":{"model":"b"}}"#, None),
            (r#"{"model":5}"#, None),
            (r#"{"model":"a""#, None),
            ("[]", None),
            ("", None),
        ] {
            assert_eq!(named(body.as_bytes()).as_deref(), name, "{body}");
        }
    }
}
