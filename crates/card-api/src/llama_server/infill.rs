//! `/infill`: text between a prefix and a suffix, and its parser.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::completion::{Native, NativeDefaults, NativeRequest, with_neutral};
use super::neutral::{Harmless, NeutralFields, OfNative};
use super::prompt::MixedPrompt;
use crate::error::ApiError;
use crate::limits;
use crate::reading::bounded::Bounded;
use crate::reading::fields::{self, Read, fields};
use crate::reading::refused::Others;
use crate::reading::strict::Anything;

fields! {
    /// What stands around the text of an infill.
    struct InfillText {
        /// What stands before it.
        #[schemars(required)]
        "input_prefix" => input_prefix: MixedPrompt,
        /// What stands after it.
        #[schemars(required)]
        "input_suffix" => input_suffix: MixedPrompt,
        /// Pieces of other files, the most important last.
        "input_extra" => input_extra: Bounded<Extra, { limits::EXTRAS }>,
        /// The beginning of the text itself; names of control tokens in it are text.
        "prompt" => prompt: String,
    }

    /// A piece of another file.
    #[schemars(rename = "InputExtra")]
    struct Extra {
        /// Its text.
        #[schemars(required)]
        "text" => text: String,
        /// The name of the file.
        "filename" => filename: String,
        /// Without effect in llama-server, too.
        "time" => time: Anything,
    }
}

/// The body of `/infill`, for the OpenAPI document.
pub(crate) enum InfillBody {}

impl JsonSchema for InfillBody {
    fn schema_name() -> Cow<'static, str> {
        "InfillRequest".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        with_neutral::<InfillText>(
            generator,
            "A text with a gap to fill, as llama-server takes it.",
        )
    }
}

/// What stands around the text of an infill.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InfillParts {
    /// What stands before it.
    pub prefix: MixedPrompt,
    /// What stands after it.
    pub suffix: MixedPrompt,
    /// Pieces of other files: the name of each, and its text.
    pub extra: Vec<(String, String)>,
    /// The beginning of the text itself.
    pub prompt: String,
}

/// Parses the body of `/infill`. The request has no prompts yet: what the prompt looks like, the
/// model's vocabulary says.
///
/// # Errors
/// Names the field that is wrong with its path, and how.
pub fn parse_infill(
    body: &[u8],
    defaults: &NativeDefaults,
) -> Result<(NativeRequest, InfillParts), ApiError> {
    type Whole = ((InfillText, Native), (NeutralFields, Harmless));
    let read: Read<(Whole, Others<OfNative>)> = fields::parse(body)?;
    let (((text, native), (neutral, _)), _) = read.fields;
    let missing = |name: &str| ApiError::field(name, format!("`{name}` is required"));
    let mut extra = Vec::new();
    for (i, piece) in text
        .input_extra
        .map(|e| e.0)
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        let text = piece.text.ok_or_else(|| {
            let why = "every piece of `input_extra` needs a `text`";
            ApiError::field(format!("input_extra[{i}].text"), why)
        })?;
        extra.push((piece.filename.unwrap_or_else(|| "tmp".to_owned()), text));
    }
    let parts = InfillParts {
        prefix: text.input_prefix.ok_or_else(|| missing("input_prefix"))?,
        suffix: text.input_suffix.ok_or_else(|| missing("input_suffix"))?,
        extra,
        prompt: text.prompt.unwrap_or_default(),
    };
    // One prompt, which is made of the parts.
    let one = vec![MixedPrompt::default()];
    let mut request = native.request(one, &neutral, defaults, (true, read.unknown))?;
    request.prompts.clear();
    Ok((request, parts))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<(NativeRequest, InfillParts), ApiError> {
        parse_infill(body.as_bytes(), &NativeDefaults::default())
    }

    #[test]
    fn what_llama_vim_sends_is_taken() {
        let body = r#"{"id_slot":0,"input_prefix":"int main() {\n","input_suffix":"}\n",
            "input_extra":[{"filename":"llama.h","text":"int n();\n","time":[1,2]}],
            "prompt":"    int n = ","n_predict":128,"stop":[],"n_indent":4,"top_k":40,
            "top_p":0.9,"stream":false,"samplers":["top_k","top_p","infill"],"cache_prompt":true,
            "t_max_prompt_ms":500,"t_max_predict_ms":1000,
            "response_fields":["content","timings/prompt_n","truncated"]}"#;
        let (request, parts) = parse(body).unwrap();
        assert_eq!(request.job.unknown, 0);
        assert_eq!(parts.extra, [("llama.h".into(), "int n();\n".into())]);
        assert_eq!(parts.prompt, "    int n = ");
        let options = &request.options;
        assert_eq!((options.indent, options.id_slot), (4, Some(0)));
        assert_eq!(options.time_limit.unwrap().as_millis(), 1000);
        assert_eq!(options.response_fields.len(), 3);
        assert_eq!(request.job.params.temperature, 1.0);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (extra, param) in [
            ("{}", "input_extra[0].text"),
            (r#"{"filename":"ok"}"#, "input_extra[0].text"),
            (r#"{"filename":123}"#, "input_extra[0].filename"),
            (
                r#"{"filename":123,"text":"abc"}"#,
                "input_extra[0].filename",
            ),
            (r#"{"filename":"a","text":456}"#, "input_extra[0].text"),
        ] {
            let body =
                format!(r#"{{"input_prefix":"a","input_suffix":"b","input_extra":[{extra}]}}"#);
            assert_eq!(parse(&body).unwrap_err().param(), Some(param), "{extra}");
        }
        let no = |body: &str| parse(body).unwrap_err().param().map(str::to_owned);
        assert_eq!(no("{}").as_deref(), Some("input_prefix"));
        assert_eq!(
            no(r#"{"input_prefix":"a"}"#).as_deref(),
            Some("input_suffix")
        );
        assert_eq!(
            no(r#"{"input_prefix":"a","input_suffix":"b","prompt":1}"#).as_deref(),
            Some("prompt")
        );
    }
}
