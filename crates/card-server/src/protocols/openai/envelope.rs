//! What stands around the answers to a request: its name, its model, its usage.

use card_api::llama_server::response::Timings;
use card_api::openai::response::report::VerboseReport;
use serde::Serialize;
use serde_json::{Value, json};

use super::choice::WholeChoice;
use super::usage::{report_object, usage_object};
use crate::request::TokenUsage;

/// What every part of an answer says.
#[derive(Clone, Debug)]
pub(super) struct AnswerEnvelope {
    /// Name of the request.
    pub(super) id: String,
    /// Seconds since 1970.
    pub(super) created: u64,
    /// Name of the model.
    pub(super) model: String,
    /// Whether it is a chat.
    pub(super) chat: bool,
    /// Which build and weights wrote it.
    pub(super) fingerprint: String,
}

/// An answer that is no stream.
#[derive(Serialize)]
pub(super) struct WholeAnswer<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: Vec<WholeChoice>,
    usage: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<Value>,
    timings: Timings,
    #[serde(rename = "__verbose", skip_serializing_if = "Option::is_none")]
    verbose: Option<VerboseReport>,
}

/// What an answer tells beside its choices.
pub(super) struct AnswerFigures {
    /// Tokens that were read and written.
    pub(super) usage: TokenUsage,
    /// Whether it tells what speculation brought.
    pub(super) report: bool,
    /// Times and counts of the choice that ended last.
    pub(super) timings: Timings,
    /// The prompt as the model read it, if that is told.
    pub(super) verbose: Option<VerboseReport>,
}

impl AnswerEnvelope {
    /// The whole answer.
    pub(super) fn whole(
        &self,
        choices: Vec<WholeChoice>,
        figures: AnswerFigures,
    ) -> WholeAnswer<'_> {
        let AnswerFigures {
            usage,
            report,
            timings,
            verbose,
        } = figures;
        WholeAnswer {
            id: &self.id,
            object: if self.chat {
                "chat.completion"
            } else {
                "text_completion"
            },
            created: self.created,
            model: &self.model,
            system_fingerprint: &self.fingerprint,
            choices,
            usage: usage_object(&usage),
            card: report.then(|| report_object(&usage)),
            timings,
            verbose,
        }
    }

    /// A chunk of a stream.
    pub(super) fn chunk(&self, choice: Value, with_usage: bool) -> Value {
        let mut chunk = self.empty_chunk();
        chunk["choices"] = json!([choice]);
        if with_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    /// The chunk that ends a stream whose client asked for usage, or what speculation brought.
    pub(super) fn last(&self, usage: &TokenUsage, with_usage: bool, with_report: bool) -> Value {
        let mut chunk = self.empty_chunk();
        chunk["choices"] = json!([]);
        if with_usage {
            chunk["usage"] = usage_object(usage);
        }
        if with_report {
            chunk["card"] = report_object(usage);
        }
        chunk
    }

    fn empty_chunk(&self) -> Value {
        let object = if self.chat {
            "chat.completion.chunk"
        } else {
            "text_completion"
        };
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        })
    }
}
