//! The events and items that an answer is made of.
//!
//! Items come one after the other. One that has text begins with `output_item.added` and
//! `content_part.added`, goes on with deltas, and ends with the whole text, `content_part.done`
//! and `output_item.done`; a call has its arguments in place of a part. Every event has the
//! number that follows the one before.

use card_api::answer_parts::{AnswerReader, SpokenPart};
use card_api::{ApiError, ResponseEcho};
use serde_json::{Map, Value, json};

use super::super::logprobs::chat_entry;
use super::super::usage::report_object;
use super::item::{OpenCallItem, OpenItem, TextKind};
use crate::clock::unix_seconds;
use crate::generation::{GenerationEnd, Piece};
use crate::protocols::sse::SseEvent;
use crate::request::TokenUsage;

/// What an answer says of itself.
pub(super) struct ResponseHead {
    /// The name of the request, of which all names in the answer are made.
    pub(super) request: String,
    /// Seconds since 1970.
    pub(super) created: u64,
    /// The name of the model.
    pub(super) model: String,
    /// What the answer repeats of the request.
    pub(super) echo: ResponseEcho,
    /// Whether it tells what speculation brought.
    pub(super) report: bool,
}

/// Writes an answer: its items, and the events of a stream.
pub(super) struct ResponseWriter {
    head: ResponseHead,
    reader: AnswerReader,
    /// Whether there is a stream, which wants the events.
    streams: bool,
    events: Vec<SseEvent>,
    /// Events so far.
    sequence: u64,
    /// Items that are over.
    output: Vec<Value>,
    open: Option<OpenItem>,
    /// The call that is written, if one is.
    call: Option<OpenCallItem>,
    /// Log probabilities that go with the next text.
    logprobs: Vec<Value>,
    /// Tokens of thoughts.
    thought_tokens: usize,
}

impl ResponseWriter {
    /// Nothing is written yet.
    pub(super) fn new(head: ResponseHead, reader: AnswerReader, streams: bool) -> Self {
        ResponseWriter {
            head,
            reader,
            streams,
            events: Vec::new(),
            sequence: 0,
            output: Vec::new(),
            open: None,
            call: None,
            logprobs: Vec::new(),
            thought_tokens: 0,
        }
    }

    /// The events before any text.
    pub(super) fn begin(&mut self) -> Vec<SseEvent> {
        for name in ["response.created", "response.in_progress"] {
            let response = self.response("in_progress", None);
            self.tell(name, json!({ "response": response }));
        }
        std::mem::take(&mut self.events)
    }

    /// Takes a piece; returns the events it makes.
    pub(super) fn take(&mut self, piece: Piece) -> Vec<SseEvent> {
        self.logprobs.extend(piece.logprobs.iter().map(chat_entry));
        let parts = self.reader.push(piece.text);
        if self.reader.thinks() {
            self.thought_tokens += piece.count;
        }
        self.take_parts(parts);
        std::mem::take(&mut self.events)
    }

    /// The end; returns the last events and the whole answer.
    pub(super) fn finish(
        &mut self,
        end: &GenerationEnd,
        usage: &TokenUsage,
    ) -> (Vec<SseEvent>, Value) {
        let rest = self.reader.finish();
        self.take_parts(rest);
        // What was cut off is not whole.
        self.end_call("incomplete");
        if self.open.is_none() && self.output.is_empty() {
            // An answer of nothing is a message without text.
            self.open(TextKind::Message);
        }
        let cut = end.finish == "length";
        let (status, name) = if cut {
            ("incomplete", "response.incomplete")
        } else {
            ("completed", "response.completed")
        };
        self.close(status);
        let mut response = self.response(status, Some(usage));
        if cut {
            response["incomplete_details"] = json!({ "reason": "max_output_tokens" });
        }
        self.tell(name, json!({ "response": response }));
        (std::mem::take(&mut self.events), response)
    }

    /// The answer failed; returns the last events.
    pub(super) fn fail(&mut self, error: &ApiError) -> Vec<SseEvent> {
        self.close("incomplete");
        self.end_call("incomplete");
        let mut response = self.response("failed", None);
        let code = if error.status.is_client_error() {
            "invalid_prompt"
        } else {
            "server_error"
        };
        response["error"] = json!({
            "code": error.code().unwrap_or(code),
            "message": error.message(),
            "type": error.kind(),
            "param": error.param(),
        });
        self.tell("response.failed", json!({ "response": response }));
        std::mem::take(&mut self.events)
    }

    /// The items so far.
    pub(super) fn output(&self) -> &[Value] {
        &self.output
    }

    fn take_parts(&mut self, parts: Vec<SpokenPart>) {
        for part in parts {
            match part {
                SpokenPart::Text(text) => self.write(TextKind::Message, &text),
                SpokenPart::Thought(text) => self.write(TextKind::Reasoning, &text),
                SpokenPart::Call { name, arguments } => {
                    self.begin_call(name);
                    self.more_arguments(&arguments);
                    self.end_call("completed");
                }
                SpokenPart::CallBegin { name } => self.begin_call(name),
                SpokenPart::CallMore(arguments) => self.more_arguments(&arguments),
                SpokenPart::CallEnd => self.end_call("completed"),
            }
        }
    }

    /// Writes text in the item that is open, or in a new one if that is of another kind.
    fn write(&mut self, kind: TextKind, text: &str) {
        if self.open.as_ref().is_some_and(|open| open.kind != kind) {
            self.close("completed");
        }
        if self.open.is_none() {
            self.open(kind);
        }
        let logprobs = std::mem::take(&mut self.logprobs);
        let place = self.place();
        if let Some(open) = &mut self.open {
            open.text.push_str(text);
            let mut fields = place;
            fields["delta"] = text.into();
            if kind == TextKind::Message {
                fields["logprobs"] = logprobs.clone().into();
                open.logprobs.extend(logprobs);
            }
            self.tell(kind.events().delta, fields);
        }
    }

    /// Opens an item.
    fn open(&mut self, kind: TextKind) {
        let id = self.id(kind.prefix());
        let item = kind.item(&id, "in_progress", &[]);
        self.open = Some(OpenItem {
            id,
            kind,
            text: String::new(),
            logprobs: Vec::new(),
        });
        self.tell_item("response.output_item.added", &item);
        let mut fields = self.place();
        fields["part"] = kind.part("", &[]);
        self.tell("response.content_part.added", fields);
    }

    /// Ends the item that is open, if one is.
    fn close(&mut self, status: &str) {
        let place = self.place();
        let Some(open) = self.open.take() else {
            return;
        };
        let part = open.kind.part(&open.text, &open.logprobs);
        let item = open
            .kind
            .item(&open.id, status, std::slice::from_ref(&part));
        let mut fields = place.clone();
        fields["text"] = open.text.into();
        if open.kind == TextKind::Message {
            fields["logprobs"] = open.logprobs.into();
        }
        self.tell(open.kind.events().done, fields);
        let mut fields = place;
        fields["part"] = part;
        self.tell("response.content_part.done", fields);
        self.tell_item("response.output_item.done", &item);
        self.output.push(item);
    }

    /// A call begins.
    fn begin_call(&mut self, name: String) {
        self.close("completed");
        self.logprobs.clear();
        let mut namespaces = self.head.echo.namespaces.iter();
        let namespace = namespaces.find(|(function, _)| *function == name);
        let call = OpenCallItem {
            id: self.id("fc"),
            call_id: self.id("call"),
            namespace: namespace.map(|(_, namespace)| namespace.clone()),
            name,
            arguments: String::new(),
        };
        self.tell_item("response.output_item.added", &call.item("in_progress"));
        self.call = Some(call);
    }

    /// More of the arguments of the call.
    fn more_arguments(&mut self, arguments: &str) {
        let at = self.output.len();
        if let Some(call) = &mut self.call {
            call.arguments.push_str(arguments);
            let fields = json!({ "item_id": call.id, "output_index": at, "delta": arguments });
            self.tell("response.function_call_arguments.delta", fields);
        }
    }

    /// Ends the call that is written, if one is.
    fn end_call(&mut self, status: &str) {
        let Some(call) = self.call.take() else {
            return;
        };
        let fields = json!({
            "item_id": call.id,
            "output_index": self.output.len(),
            "name": call.name,
            "arguments": call.arguments,
        });
        self.tell("response.function_call_arguments.done", fields);
        let item = call.item(status);
        self.tell_item("response.output_item.done", &item);
        self.output.push(item);
    }

    /// The answer as far as it is written.
    fn response(&self, status: &str, usage: Option<&TokenUsage>) -> Value {
        let head = &self.head;
        let completed = (status == "completed").then(unix_seconds);
        let mut fields = Map::new();
        let mut say = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        say("id", format!("resp_{}", head.request).into());
        say("object", "response".into());
        say("created_at", head.created.into());
        say("completed_at", completed.into());
        say("status", status.into());
        say("error", Value::Null);
        say("incomplete_details", Value::Null);
        say("model", head.model.as_str().into());
        say("output", self.output.clone().into());
        say("usage", usage.map(|u| self.usage(u)).into());
        if let Some(usage) = usage.filter(|_| head.report) {
            say("card", report_object(usage));
        }
        fields.extend(head.echo.fields.clone());
        Value::Object(fields)
    }

    fn usage(&self, usage: &TokenUsage) -> Value {
        let cached = if usage.tell_cached { usage.cached } else { 0 };
        json!({
            "input_tokens": usage.prompt,
            "input_tokens_details": { "cached_tokens": cached, "cache_write_tokens": 0 },
            "output_tokens": usage.completion,
            "output_tokens_details": {
                "reasoning_tokens": self.thought_tokens.min(usage.completion),
            },
            "total_tokens": usage.prompt + usage.completion,
        })
    }

    /// A name for the item that comes next.
    fn id(&self, prefix: &str) -> String {
        format!("{prefix}_{}_{}", self.head.request, self.output.len())
    }

    /// Where text is written: in the only part of the item that is open.
    fn place(&self) -> Value {
        json!({
            "item_id": self.open.as_ref().map(|open| open.id.as_str()),
            "output_index": self.output.len(),
            "content_index": 0,
        })
    }

    fn tell_item(&mut self, name: &'static str, item: &Value) {
        if self.streams {
            let at = self.output.len();
            self.tell(name, json!({ "output_index": at, "item": item }));
        }
    }

    /// An event. Its number is counted where there is a stream only.
    fn tell(&mut self, name: &'static str, fields: Value) {
        if !self.streams {
            return;
        }
        let mut event = json!({ "type": name, "sequence_number": self.sequence });
        if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
            event.extend(fields);
        }
        self.sequence += 1;
        self.events.push(SseEvent {
            name: Some(name),
            data: event.to_string(),
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use card_api::answer_parts::Thinking;

    use super::*;
    use crate::generation::{EndCause, GenerationTimings, SpeculationFigures};

    fn writer(streams: bool) -> ResponseWriter {
        let echo = ResponseEcho {
            fields: Map::new(),
            namespaces: Vec::new(),
            remember: false,
        };
        let head = ResponseHead {
            request: "1".into(),
            created: 1,
            model: "m".into(),
            echo,
            report: false,
        };
        let reader = AnswerReader::new(Thinking::MayBegin, Some(Arc::default()));
        ResponseWriter::new(head, reader, streams)
    }

    fn end(finish: &'static str) -> GenerationEnd {
        GenerationEnd {
            finish,
            tokens: 3,
            reused: 0,
            predicted: 0,
            mispredicted: 0,
            speculation: SpeculationFigures::default(),
            cause: EndCause::EndToken,
            timings: GenerationTimings::default(),
        }
    }

    fn piece(text: &str) -> Piece {
        Piece {
            text: text.into(),
            count: 1,
            ..Piece::default()
        }
    }

    fn usage() -> TokenUsage {
        TokenUsage {
            completion: 3,
            ..TokenUsage::default()
        }
    }

    fn names(events: &[SseEvent]) -> Vec<&str> {
        events.iter().filter_map(|e| e.name).collect()
    }

    #[test]
    fn thoughts_are_an_item_before_the_text() {
        let mut writer = writer(true);
        let mut events = writer.begin();
        for text in ["<think>h", "m</think>", "yes"] {
            events.extend(writer.take(piece(text)));
        }
        let (last, response) = writer.finish(&end("stop"), &usage());
        events.extend(last);
        assert_eq!(
            names(&events),
            [
                "response.created",
                "response.in_progress",
                "response.output_item.added",
                "response.content_part.added",
                "response.reasoning_text.delta",
                "response.reasoning_text.delta",
                "response.reasoning_text.done",
                "response.content_part.done",
                "response.output_item.done",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
                "response.output_item.done",
                "response.completed",
            ]
        );
        let output = &response["output"];
        assert_eq!(output[0]["content"][0]["text"], "hm");
        assert_eq!(output[0]["type"], "reasoning");
        assert_eq!(output[1]["content"][0]["text"], "yes");
        let details = &response["usage"]["output_tokens_details"];
        assert_eq!(details["reasoning_tokens"], 1);
        for (i, event) in events.iter().enumerate() {
            let data: Value = serde_json::from_str(&event.data).unwrap();
            assert_eq!(data["sequence_number"], i);
            assert_eq!(Some(data["type"].as_str().unwrap()), event.name);
        }
    }

    #[test]
    fn an_answer_of_nothing_is_an_empty_message_and_a_failure_is_told() {
        let (events, response) = writer(true).finish(&end("stop"), &usage());
        assert_eq!(response["output"][0]["content"][0]["text"], "");
        assert_eq!(names(&events).last(), Some(&"response.completed"));
        let mut failed = writer(true);
        failed.take(piece("half"));
        let events = failed.fail(&ApiError::timeout(1));
        assert_eq!(names(&events).last(), Some(&"response.failed"));
        let data: Value = serde_json::from_str(&events[events.len() - 1].data).unwrap();
        let response = &data["response"];
        assert_eq!(response["error"]["code"], "server_error");
        assert_eq!(response["output"][0]["content"][0]["text"], "half");
        // Without a stream there are no events.
        let mut whole = writer(false);
        assert!(whole.begin().is_empty() && whole.take(piece("a")).is_empty());
        assert!(whole.finish(&end("length"), &usage()).0.is_empty());
    }
}
