//! Answers: whole, or in chunks.

use card_api::request::Job;
use card_api::tools::{Part, Splitter, call_object};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use serde_json::{Value, json};

use crate::generation::{Outcome, Piece, TokenLogprob};

/// What every part of an answer says.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Name of the request.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Name of the model.
    pub model: String,
    /// Whether it is a chat.
    pub chat: bool,
    /// Which build and weights wrote it.
    pub fingerprint: String,
}

/// Tokens that were read and written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Of the prompts.
    pub prompt: usize,
    /// Of the prompts, that earlier requests had read.
    pub cached: usize,
    /// Of all choices.
    pub completion: usize,
    /// Of the expected answer, that came true.
    pub predicted: usize,
    /// Of the expected answer, that were verified and did not.
    pub mispredicted: usize,
    /// Whether the client may hear of `cached`.
    pub tell_cached: bool,
}

impl Usage {
    /// Adds a choice, one of `n` of its prompt.
    pub fn add(&mut self, outcome: &Outcome, index: usize, n: u32) {
        // Prompts count once, however many answers they get.
        if index.is_multiple_of(n as usize) {
            self.cached += outcome.reused;
        }
        self.completion += outcome.tokens;
        self.predicted += outcome.predicted;
        self.mispredicted += outcome.mispredicted;
    }

    fn object(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": { "cached_tokens": if self.tell_cached { self.cached } else { 0 } },
            "completion_tokens_details": {
                "accepted_prediction_tokens": self.predicted,
                "rejected_prediction_tokens": self.mispredicted,
            },
        })
    }
}

/// One choice as it is written.
pub struct Choice {
    index: usize,
    chat: bool,
    text: String,
    splitter: Option<Splitter>,
    calls: Vec<Value>,
    /// Those that were asked for; an answer that is not a stream keeps all of them.
    logprobs: Option<Vec<TokenLogprob>>,
    /// Whether the answer is sent as a whole, and so kept until its end.
    whole: bool,
    /// Characters before the next token, for completions' `text_offset`.
    offset: usize,
    request: String,
}

impl Choice {
    /// Number `index` of the answer to `job`, which is called `request`.
    pub fn new(index: usize, job: &Job, request: &str) -> Self {
        Choice {
            index,
            chat: job.chat,
            text: String::new(),
            splitter: job.tools.then(Splitter::default),
            calls: Vec::new(),
            logprobs: job.logprobs.map(|_| Vec::new()),
            whole: !job.stream,
            offset: 0,
            request: request.to_owned(),
        }
    }

    /// Text before what is generated (`echo`).
    pub fn echo(&mut self, text: &str) {
        self.text.push_str(text);
        self.offset += text.chars().count();
    }

    /// Takes a piece; returns the choices of the chunks it makes.
    pub fn take(&mut self, piece: Piece) -> Vec<Value> {
        let logprobs = self.take_logprobs(piece.logprobs);
        let parts = match &mut self.splitter {
            Some(splitter) => splitter.push(&piece.text),
            None => vec![Part::Text(piece.text)],
        };
        self.take_parts(parts, logprobs)
    }

    /// The end; returns the choices of the last chunks.
    pub fn finish(&mut self, outcome: &Outcome) -> Vec<Value> {
        let rest = self.splitter.as_mut().map(Splitter::finish);
        let mut chunks = self.take_parts(rest.unwrap_or_default(), None);
        chunks.push(self.chunk(json!({}), "", None, Some(self.reason(outcome))));
        chunks
    }

    /// The first chunk of a chat.
    pub fn begin(&self) -> Option<Value> {
        let role = json!({ "role": "assistant", "content": "" });
        self.chat.then(|| self.chunk(role, "", None, None))
    }

    /// The whole choice.
    pub fn whole(&mut self, outcome: &Outcome) -> WholeChoice {
        let rest = self.splitter.as_mut().map(Splitter::finish);
        self.take_parts(rest.unwrap_or_default(), None);
        let finish_reason = self.reason(outcome);
        let logprobs = self.logprobs.take();
        let text = std::mem::take(&mut self.text);
        if !self.chat {
            return WholeChoice {
                index: self.index,
                message: None,
                text: Some(text),
                finish_reason,
                logprobs: logprobs.map(Logprobs::Legacy),
            };
        }
        let content = match self.calls.is_empty() || !text.is_empty() {
            true => Value::from(text),
            false => Value::Null,
        };
        let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
        if !self.calls.is_empty() {
            message["tool_calls"] = Value::Array(std::mem::take(&mut self.calls));
        }
        WholeChoice {
            index: self.index,
            message: Some(message),
            text: None,
            finish_reason,
            logprobs: logprobs.map(Logprobs::Chat),
        }
    }

    fn reason(&self, outcome: &Outcome) -> &'static str {
        match self.splitter.as_ref().is_some_and(|s| s.calls() > 0) {
            true => "tool_calls",
            false => outcome.finish,
        }
    }

    fn take_parts(&mut self, parts: Vec<Part>, mut logprobs: Option<Value>) -> Vec<Value> {
        let mut chunks = Vec::new();
        for part in parts {
            let (delta, text) = match part {
                Part::Text(text) if self.whole => {
                    self.text.push_str(&text);
                    continue;
                }
                Part::Text(text) => (json!({ "content": text }), text),
                Part::Call(name, arguments) => {
                    let index = self.calls.len();
                    let id = format!("call_{}_{}_{index}", self.request, self.index);
                    let call = call_object(&id, Some(index), &name, &arguments);
                    self.calls.push(call_object(&id, None, &name, &arguments));
                    if self.whole {
                        continue;
                    }
                    (json!({ "tool_calls": [call] }), String::new())
                }
            };
            chunks.push(self.chunk(delta, &text, logprobs.take(), None));
        }
        if let Some(logprobs) = logprobs {
            chunks.push(self.chunk(json!({ "content": "" }), "", Some(logprobs), None));
        }
        chunks
    }

    fn chunk(
        &self,
        delta: Value,
        text: &str,
        logprobs: Option<Value>,
        reason: Option<&str>,
    ) -> Value {
        match self.chat {
            true => json!({
                "index": self.index,
                "delta": delta,
                "finish_reason": reason,
                "logprobs": logprobs,
            }),
            false => json!({
                "index": self.index,
                "text": text,
                "finish_reason": reason,
                "logprobs": logprobs,
            }),
        }
    }

    /// Keeps them for the whole answer, or gives what goes with the next chunk.
    fn take_logprobs(&mut self, mut tokens: Vec<TokenLogprob>) -> Option<Value> {
        let kept = self.logprobs.as_mut()?;
        if tokens.is_empty() {
            return None;
        }
        for token in &mut tokens {
            token.offset = self.offset;
            self.offset += String::from_utf8_lossy(&token.bytes).chars().count();
        }
        if self.whole {
            kept.extend(tokens);
            return None;
        }
        let logprobs = match self.chat {
            true => Logprobs::Chat(tokens),
            false => Logprobs::Legacy(tokens),
        };
        serde_json::to_value(logprobs).ok()
    }
}

/// A choice of an answer that is no stream.
#[derive(serde::Serialize)]
pub struct WholeChoice {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    finish_reason: &'static str,
    logprobs: Option<Logprobs>,
}

/// Log probabilities, written as a chat or a completion has them. They are kept as they
/// come, since as JSON values they would take ten times the memory.
enum Logprobs {
    Chat(Vec<TokenLogprob>),
    Legacy(Vec<TokenLogprob>),
}

impl Serialize for Logprobs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Logprobs::Chat(tokens) => {
                let mut all = serializer.serialize_struct("logprobs", 2)?;
                all.serialize_field("content", &Each(tokens.iter().map(entry_with_top)))?;
                all.serialize_field("refusal", &())?;
                all.end()
            }
            Logprobs::Legacy(tokens) => {
                let mut all = serializer.serialize_struct("logprobs", 4)?;
                let text = |t: &TokenLogprob| String::from_utf8_lossy(&t.bytes).into_owned();
                all.serialize_field("tokens", &Each(tokens.iter().map(text)))?;
                let logprob = |t: &TokenLogprob| finite(t.logprob);
                all.serialize_field("token_logprobs", &Each(tokens.iter().map(logprob)))?;
                all.serialize_field("text_offset", &Each(tokens.iter().map(|t| t.offset)))?;
                all.serialize_field("top_logprobs", &Each(tokens.iter().map(legacy_top)))?;
                all.end()
            }
        }
    }
}

/// A list whose members are made while it is written.
struct Each<I>(I);

impl<I: Iterator<Item = T> + Clone, T: Serialize> Serialize for Each<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

fn entry_with_top(token: &TokenLogprob) -> Value {
    let mut whole = entry(&token.bytes, token.logprob);
    let top = token.top.iter().map(|(bytes, p)| entry(bytes, *p));
    whole["top_logprobs"] = Value::Array(top.collect());
    whole
}

fn entry(bytes: &[u8], logprob: f32) -> Value {
    json!({ "token": String::from_utf8_lossy(bytes), "logprob": finite(logprob), "bytes": bytes })
}

fn legacy_top(token: &TokenLogprob) -> Value {
    let pair = |(bytes, p): &(Vec<u8>, f32)| {
        (
            String::from_utf8_lossy(bytes).into_owned(),
            Value::from(finite(*p)),
        )
    };
    Value::Object(token.top.iter().map(pair).collect())
}

/// JSON knows no infinity; OpenAI writes this for what cannot be.
fn finite(logprob: f32) -> f32 {
    if logprob.is_nan() {
        return -9999.0;
    }
    logprob.clamp(-9999.0, 0.0)
}

/// An answer that is no stream.
#[derive(serde::Serialize)]
pub struct Whole<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: Vec<WholeChoice>,
    usage: Value,
}

impl Answer {
    /// The whole answer.
    pub fn whole(&self, choices: Vec<WholeChoice>, usage: Usage) -> Whole<'_> {
        Whole {
            id: &self.id,
            object: match self.chat {
                true => "chat.completion",
                false => "text_completion",
            },
            created: self.created,
            model: &self.model,
            system_fingerprint: &self.fingerprint,
            choices,
            usage: usage.object(),
        }
    }

    /// A chunk of a stream.
    pub fn chunk(&self, choice: Value, with_usage: bool) -> Value {
        let mut chunk = self.chunk_frame();
        chunk["choices"] = json!([choice]);
        if with_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    /// The chunk that ends a stream whose client asked for usage.
    pub fn usage(&self, usage: Usage) -> Value {
        let mut chunk = self.chunk_frame();
        chunk["choices"] = json!([]);
        chunk["usage"] = usage.object();
        chunk
    }

    fn chunk_frame(&self) -> Value {
        self.frame(match self.chat {
            true => "chat.completion.chunk",
            false => "text_completion",
        })
    }

    fn frame(&self, object: &str) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        })
    }
}
