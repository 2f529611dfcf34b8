//! One of the answers to a request as it is written.

use card_api::CallForm;
use card_api::answer_parts::{AnswerReader, SpokenPart};
use card_api::openai::response::tool_call::call_object;
use serde::Serialize;
use serde_json::{Value, json};

use super::logprobs::{ChoiceLogprobs, TextOffset};
use crate::generation::{GenerationEnd, Piece, PieceLogprob};
use crate::request::RunningRequest;

/// One of the choices of an answer, as it is written.
pub(super) struct AnswerChoice {
    /// The number of the choice, from 0.
    index: usize,
    chat: bool,
    /// The text so far, of an answer that is sent as a whole.
    text: String,
    /// The thoughts so far, of an answer that is sent as a whole.
    thought: String,
    /// Whether the client wants no thoughts.
    hides_thoughts: bool,
    /// Tells thoughts, text and calls of tools apart.
    reader: AnswerReader,
    /// In which form calls stand in the answer.
    form: CallForm,
    /// The calls so far.
    calls: Vec<Value>,
    /// The log probabilities so far, if they were asked for; a stream sends them at once and
    /// keeps none.
    logprobs: Option<Vec<PieceLogprob>>,
    /// Whether the answer is sent as a whole, and so kept until its end.
    whole: bool,
    /// Characters before the next token, for completions' `text_offset`.
    offset: TextOffset,
    /// The name of the request, of which names of calls are made.
    request: String,
}

impl AnswerChoice {
    /// Choice number `index` of the answer to a request that is called `request`.
    pub(super) fn new(index: usize, running: &RunningRequest, request: &str) -> Self {
        let job = &running.job;
        AnswerChoice {
            index,
            chat: job.chat,
            text: String::new(),
            thought: String::new(),
            hides_thoughts: job.hides_thoughts,
            reader: running.reader(),
            form: job.call_form,
            calls: Vec::new(),
            logprobs: job.logprobs.map(|_| Vec::new()),
            whole: !job.stream,
            offset: TextOffset::default(),
            request: request.to_owned(),
        }
    }

    /// Text before what is generated (`echo`). Its tokens come with log probabilities where some
    /// were asked for, and are counted then.
    pub(super) fn echo(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Takes a piece; returns the choices of the chunks it makes.
    pub(super) fn take(&mut self, piece: Piece) -> Vec<Value> {
        let logprobs = self.take_logprobs(piece.logprobs);
        let parts = self.reader.push(piece.text);
        self.take_parts(parts, logprobs)
    }

    /// The end; returns the choices of the last chunks.
    pub(super) fn finish(&mut self, end: &GenerationEnd) -> Vec<Value> {
        let rest = self.reader.finish();
        let mut chunks = self.take_parts(rest, None);
        chunks.push(self.chunk(json!({}), "", None, Some(self.reason(end))));
        chunks
    }

    /// The first chunk: of a chat who speaks, of a completion the prompt if it is repeated.
    pub(super) fn begin(&self) -> Option<Value> {
        if self.chat {
            // As llama-server: a first piece without text has null in its place.
            let role = json!({ "role": "assistant", "content": null });
            return Some(self.chunk(role, "", None, None));
        }
        let echoes = !self.text.is_empty();
        echoes.then(|| self.chunk(Value::Null, &self.text, None, None))
    }

    /// The whole choice.
    pub(super) fn whole(&mut self, end: &GenerationEnd) -> WholeChoice {
        let rest = self.reader.finish();
        self.take_parts(rest, None);
        let finish_reason = self.reason(end);
        let logprobs = self.logprobs.take().map(|tokens| self.shaped(tokens));
        let text = std::mem::take(&mut self.text);
        if !self.chat {
            return WholeChoice {
                index: self.index,
                message: None,
                text: Some(text),
                finish_reason,
                logprobs,
            };
        }
        let content = if self.calls.is_empty() || !text.is_empty() {
            Value::from(text)
        } else {
            Value::Null
        };
        let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
        if !self.thought.is_empty() {
            message["reasoning_content"] = std::mem::take(&mut self.thought).into();
        }
        let calls = std::mem::take(&mut self.calls);
        match self.form {
            _ if calls.is_empty() => {}
            CallForm::Tools => message["tool_calls"] = Value::Array(calls),
            CallForm::Function => message["function_call"] = calls[0]["function"].clone(),
        }
        WholeChoice {
            index: self.index,
            message: Some(message),
            text: None,
            finish_reason,
            logprobs,
        }
    }

    /// Why the choice ended, as clients hear it.
    fn reason(&self, end: &GenerationEnd) -> &'static str {
        match self.form {
            _ if self.reader.calls() == 0 => end.finish,
            CallForm::Tools => "tool_calls",
            CallForm::Function => "function_call",
        }
    }

    /// Takes thoughts, text and calls; returns the choices of the chunks they make. The log
    /// probabilities go with the first of the chunks.
    fn take_parts(&mut self, parts: Vec<SpokenPart>, mut logprobs: Option<Value>) -> Vec<Value> {
        let mut chunks = Vec::new();
        for part in parts {
            let (delta, text) = match part {
                SpokenPart::Thought(_) if self.hides_thoughts => continue,
                SpokenPart::Text(text) if self.whole => {
                    self.text.push_str(&text);
                    continue;
                }
                SpokenPart::Thought(text) if self.whole => {
                    self.thought.push_str(&text);
                    continue;
                }
                SpokenPart::Text(text) => (json!({ "content": text }), text),
                SpokenPart::Thought(text) => (json!({ "reasoning_content": text }), String::new()),
                SpokenPart::Call { name, arguments } => {
                    let delta = self.call(&name, &arguments);
                    if self.whole {
                        continue;
                    }
                    (delta, String::new())
                }
                SpokenPart::CallBegin { name } => (self.call(&name, ""), String::new()),
                SpokenPart::CallMore(arguments) => (self.more(&arguments), String::new()),
                SpokenPart::CallEnd => continue,
            };
            chunks.push(self.chunk(delta, &text, logprobs.take(), None));
        }
        if let Some(logprobs) = logprobs {
            chunks.push(self.chunk(json!({ "content": "" }), "", Some(logprobs), None));
        }
        chunks
    }

    /// A call; returns what a chunk says of it.
    fn call(&mut self, name: &str, arguments: &str) -> Value {
        let index = self.calls.len();
        let id = format!("call_{}_{}_{index}", self.request, self.index);
        let call = call_object(&id, Some(index), name, arguments);
        self.calls.push(call_object(&id, None, name, arguments));
        match self.form {
            CallForm::Tools => json!({ "tool_calls": [call] }),
            CallForm::Function => json!({ "function_call": call["function"] }),
        }
    }

    /// More arguments of the last call; returns what a chunk says of them. Only streams have
    /// calls in pieces, and keep none.
    fn more(&self, arguments: &str) -> Value {
        let function = json!({ "arguments": arguments });
        match self.form {
            CallForm::Tools => {
                let index = self.calls.len().saturating_sub(1);
                json!({ "tool_calls": [{ "index": index, "function": function }] })
            }
            CallForm::Function => json!({ "function_call": function }),
        }
    }

    /// What a chunk says of this choice.
    fn chunk(
        &self,
        delta: Value,
        text: &str,
        logprobs: Option<Value>,
        reason: Option<&str>,
    ) -> Value {
        if self.chat {
            json!({
                "index": self.index,
                "delta": delta,
                "finish_reason": reason,
                "logprobs": logprobs,
            })
        } else {
            json!({
                "index": self.index,
                "text": text,
                "finish_reason": reason,
                "logprobs": logprobs,
            })
        }
    }

    /// What a chunk says of this choice that has nothing new of it.
    pub(super) fn nothing(&self) -> Value {
        self.chunk(json!({}), "", None, None)
    }

    /// Keeps log probabilities for the whole answer, or returns what goes with the next chunk.
    fn take_logprobs(&mut self, mut tokens: Vec<PieceLogprob>) -> Option<Value> {
        let kept = self.logprobs.as_mut()?;
        if tokens.is_empty() {
            return None;
        }
        for token in &mut tokens {
            token.offset = self.offset.pass(&token.bytes);
        }
        if self.whole {
            kept.extend(tokens);
            return None;
        }
        serde_json::to_value(self.shaped(tokens)).ok()
    }

    /// Log probabilities in the shape of a chat or of a completion.
    fn shaped(&self, tokens: Vec<PieceLogprob>) -> ChoiceLogprobs {
        if self.chat {
            ChoiceLogprobs::Chat(tokens)
        } else {
            ChoiceLogprobs::Legacy(tokens)
        }
    }
}

/// A choice of an answer that is no stream.
#[derive(Serialize)]
pub(super) struct WholeChoice {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    finish_reason: &'static str,
    logprobs: Option<ChoiceLogprobs>,
}
