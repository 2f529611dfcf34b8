//! Answers: whole, or in chunks.

use card_api::request::Job;
use card_api::tools::{Part, Splitter, call_object};
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
            "prompt_tokens_details": { "cached_tokens": self.cached },
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
    logprobs: Option<Vec<Value>>,
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
        let logprobs = self.take_logprobs(&piece.logprobs);
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
    pub fn whole(&mut self, outcome: &Outcome) -> Value {
        let rest = self.splitter.as_mut().map(Splitter::finish);
        self.take_parts(rest.unwrap_or_default(), None);
        let reason = self.reason(outcome);
        let logprobs = self.logprobs.take();
        if !self.chat {
            return json!({
                "index": self.index,
                "text": self.text,
                "finish_reason": reason,
                "logprobs": logprobs.map(|l| legacy(&l)),
            });
        }
        let content = match self.calls.is_empty() || !self.text.is_empty() {
            true => Value::from(self.text.as_str()),
            false => Value::Null,
        };
        let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
        if !self.calls.is_empty() {
            message["tool_calls"] = Value::Array(std::mem::take(&mut self.calls));
        }
        json!({
            "index": self.index,
            "message": message,
            "finish_reason": reason,
            "logprobs": logprobs.map(|l| json!({ "content": l, "refusal": null })),
        })
    }

    fn reason(&self, outcome: &Outcome) -> &'static str {
        match self.splitter.as_ref().is_some_and(|s| s.calls() > 0) {
            true => "tool_calls",
            false => outcome.finish,
        }
    }

    fn take_parts(&mut self, parts: Vec<Part>, mut logprobs: Option<Vec<Value>>) -> Vec<Value> {
        let mut chunks = Vec::new();
        for part in parts {
            let (delta, text) = match part {
                Part::Text(text) => {
                    self.text.push_str(&text);
                    (json!({ "content": text }), text)
                }
                Part::Call(name, arguments) => {
                    let index = self.calls.len();
                    let id = format!("call_{}_{}_{index}", self.request, self.index);
                    let call = call_object(&id, Some(index), &name, &arguments);
                    self.calls.push(call_object(&id, None, &name, &arguments));
                    (json!({ "tool_calls": [call] }), String::new())
                }
            };
            chunks.push(self.chunk(delta, &text, logprobs.take(), None));
        }
        if let Some(logprobs) = logprobs.filter(|l| !l.is_empty()) {
            chunks.push(self.chunk(json!({ "content": "" }), "", Some(logprobs), None));
        }
        chunks
    }

    fn chunk(
        &self,
        delta: Value,
        text: &str,
        logprobs: Option<Vec<Value>>,
        reason: Option<&str>,
    ) -> Value {
        match self.chat {
            true => json!({
                "index": self.index,
                "delta": delta,
                "finish_reason": reason,
                "logprobs": logprobs.map(|l| json!({ "content": l, "refusal": null })),
            }),
            false => json!({
                "index": self.index,
                "text": text,
                "finish_reason": reason,
                "logprobs": logprobs.map(|l| legacy(&l)),
            }),
        }
    }

    fn take_logprobs(&mut self, tokens: &[TokenLogprob]) -> Option<Vec<Value>> {
        let all = self.logprobs.as_mut()?;
        let new: Vec<Value> = tokens
            .iter()
            .map(|t| {
                let mut entry = entry(&t.bytes, t.logprob);
                let top = t.top.iter().map(|(bytes, p)| self::entry(bytes, *p));
                entry["top_logprobs"] = Value::Array(top.collect());
                if !self.chat {
                    entry["text_offset"] = self.offset.into();
                    self.offset += String::from_utf8_lossy(&t.bytes).chars().count();
                }
                entry
            })
            .collect();
        all.extend(new.iter().cloned());
        Some(new)
    }
}

fn entry(bytes: &[u8], logprob: f32) -> Value {
    // JSON knows no infinity; OpenAI writes this for what cannot be.
    let logprob = logprob.max(-9999.0);
    json!({ "token": String::from_utf8_lossy(bytes), "logprob": logprob, "bytes": bytes })
}

/// Log probabilities as completions have them.
fn legacy(entries: &[Value]) -> Value {
    let column = |key: &str| -> Vec<Value> { entries.iter().map(|e| e[key].clone()).collect() };
    let top = |e: &Value| -> Value {
        let pairs = e["top_logprobs"].as_array().into_iter().flatten();
        let pairs =
            pairs.filter_map(|t| Some((t["token"].as_str()?.to_owned(), t["logprob"].clone())));
        Value::Object(pairs.collect())
    };
    json!({
        "tokens": column("token"),
        "token_logprobs": column("logprob"),
        "text_offset": column("text_offset"),
        "top_logprobs": entries.iter().map(top).collect::<Vec<_>>(),
    })
}

impl Answer {
    /// The whole answer.
    pub fn whole(&self, choices: Vec<Value>, usage: Usage) -> Value {
        let mut answer = self.frame(match self.chat {
            true => "chat.completion",
            false => "text_completion",
        });
        answer["choices"] = Value::Array(choices);
        answer["usage"] = usage.object();
        answer
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
