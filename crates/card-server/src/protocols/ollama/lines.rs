//! A line of an answer. A whole answer is one line, too.

use std::time::SystemTime;

use card_api::answer_parts::SpokenPart;
use card_api::call_arguments::object_of;
use card_api::ollama::response::answer::{
    OllamaAnswerMessage, OllamaCalledFunction, OllamaChatAnswer, OllamaEnd, OllamaGenerateAnswer,
    OllamaLogprob, OllamaToolCall,
};
use card_api::ollama::response::rfc3339;

/// What was asked for, which says what a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OllamaAsked {
    /// To go on with a conversation.
    Chat,
    /// To answer a prompt.
    Generate,
}

/// What a line says.
#[derive(Debug, Default)]
pub(super) struct OllamaSaid {
    text: String,
    thoughts: String,
    calls: Vec<OllamaToolCall>,
    logprobs: Vec<OllamaLogprob>,
}

impl OllamaSaid {
    /// Whether nothing is said.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
            && self.thoughts.is_empty()
            && self.calls.is_empty()
            && self.logprobs.is_empty()
    }

    /// Adds what the model thought of tokens.
    pub(super) fn add_logprobs(&mut self, more: Vec<OllamaLogprob>) {
        self.logprobs.extend(more);
    }
}

/// Makes lines of an answer.
pub(super) struct LineWriter {
    asked: OllamaAsked,
    /// The name of the model.
    model: String,
    /// The name of the request, of which names of calls are made.
    request: String,
    /// The calls so far.
    calls: usize,
}

impl LineWriter {
    /// Lines of the answer of `model` to `request`.
    pub(super) fn new(asked: OllamaAsked, model: String, request: String) -> Self {
        LineWriter {
            asked,
            model,
            request,
            calls: 0,
        }
    }

    /// Adds a part of the answer to what a line says.
    pub(super) fn add(&mut self, said: &mut OllamaSaid, part: SpokenPart) {
        match part {
            SpokenPart::Text(text) => said.text.push_str(&text),
            SpokenPart::Thought(text) => said.thoughts.push_str(&text),
            SpokenPart::Call { name, arguments } => {
                let index = self.calls;
                self.calls += 1;
                said.calls.push(OllamaToolCall {
                    id: format!("call_{}_{index}", self.request),
                    function: OllamaCalledFunction {
                        index,
                        name,
                        arguments: object_of(&arguments),
                    },
                });
            }
            // Ollama's answers have whole calls only, and are read so.
            SpokenPart::CallBegin { .. } | SpokenPart::CallMore(_) | SpokenPart::CallEnd => {}
        }
    }

    /// A line as JSON with a line break; the last one with how the answer ended.
    pub(super) fn line(&self, said: OllamaSaid, end: Option<OllamaEnd>) -> Vec<u8> {
        let done = end.is_some();
        let end = end.unwrap_or_default();
        let model = self.model.clone();
        let created_at = rfc3339(SystemTime::now());
        let logprobs = Some(said.logprobs).filter(|tokens| !tokens.is_empty());
        let line = match self.asked {
            OllamaAsked::Chat => serde_json::to_vec(&OllamaChatAnswer {
                model,
                created_at,
                message: OllamaAnswerMessage {
                    role: "assistant".to_owned(),
                    content: said.text,
                    thinking: said.thoughts,
                    tool_calls: said.calls,
                },
                done,
                end,
                logprobs,
            }),
            OllamaAsked::Generate => serde_json::to_vec(&OllamaGenerateAnswer {
                model,
                created_at,
                response: said.text,
                thinking: said.thoughts,
                done,
                end,
                logprobs,
            }),
        };
        // Texts and numbers are JSON whatever they are.
        let mut line = line.unwrap_or_default();
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_line_says_what_was_added_to_it() {
        let mut writer = LineWriter::new(OllamaAsked::Chat, "m".to_owned(), "7".to_owned());
        let mut said = OllamaSaid::default();
        let call = |name: &str| SpokenPart::Call {
            name: name.to_owned(),
            arguments: "{\"a\":1}".to_owned(),
        };
        for part in [
            SpokenPart::Thought("Hm.".to_owned()),
            SpokenPart::Text("I ".to_owned()),
            SpokenPart::Text("look.".to_owned()),
            call("f"),
            call("g"),
        ] {
            writer.add(&mut said, part);
        }
        let line: Value = serde_json::from_slice(&writer.line(said, None)).unwrap();
        let call = |index: usize, name: &str| {
            let function = json!({ "index": index, "name": name, "arguments": { "a": 1 } });
            json!({ "id": format!("call_7_{index}"), "function": function })
        };
        let message = json!({
            "role": "assistant", "content": "I look.", "thinking": "Hm.",
            "tool_calls": [call(0, "f"), call(1, "g")],
        });
        assert_eq!(line["message"], message);
        assert_eq!(line["done"], false);
        assert!(OllamaSaid::default().is_empty());
    }
}
