//! The chat template of a GGUF file: a Jinja program written for Python.

use std::io::Write;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Value, context};
use serde::{Deserialize, Serialize};

use crate::LlamaModel;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or what else the template knows.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Message {
            role: role.into(),
            content: content.into(),
        }
    }
}

/// Why a conversation cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The file has none.
    #[error("this model has no chat template, so it takes plain prompts only")]
    None,
    /// It did not work out.
    #[error("the model's chat template refuses this conversation: {0}")]
    Refused(String),
}

/// A chat template, ready to use.
#[derive(Clone)]
pub struct ChatTemplate {
    env: Environment<'static>,
    knows_tools: bool,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// The template of a model.
    ///
    /// # Errors
    /// If the file has none, or one that does not parse.
    pub fn of(model: &LlamaModel) -> Result<Self, ChatError> {
        let vocab = model.vocab();
        let source = model.template().ok_or(ChatError::None)?;
        Self::new(source, vocab.bos_text(), vocab.eos_text())
    }

    fn new(source: String, bos: String, eos: String) -> Result<Self, ChatError> {
        let mut env = Environment::new();
        // Templates call Python's string methods and two functions of transformers.
        env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(refused)?;
        env.set_syntax(syntax);
        env.add_function("raise_exception", |message: String| -> Result<Value, _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        env.add_filter("tojson", python_json);
        let knows_tools = source.contains("tools");
        env.add_template_owned("chat", source).map_err(refused)?;
        Ok(ChatTemplate {
            env,
            knows_tools,
            bos,
            eos,
        })
    }

    /// Whether it has a place for tools the model may call.
    pub fn knows_tools(&self) -> bool {
        self.knows_tools
    }

    /// The prompt for the assistant's next message. It contains special tokens as text,
    /// the one that begins a text left out: the tokenizer adds it.
    ///
    /// # Errors
    /// What the template says against the conversation.
    pub fn render(&self, messages: &[Message]) -> Result<String, ChatError> {
        let messages = serde_json::to_value(messages);
        let messages = messages.map_err(|e| ChatError::Refused(e.to_string()))?;
        self.render_with_tools(&messages, None)
    }

    /// The same for messages with whatever fields the template knows (`tool_calls`,
    /// `tool_call_id`), and the tools the model may call, as OpenAI's API has them.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_with_tools(
        &self,
        messages: &serde_json::Value,
        tools: Option<&serde_json::Value>,
    ) -> Result<String, ChatError> {
        let template = self.env.get_template("chat").map_err(refused)?;
        let text = template
            .render(context! {
                messages => Value::from(Serde(messages)),
                tools => tools.map(|t| Value::from(Serde(t))),
                add_generation_prompt => true,
                bos_token => self.bos.as_str(),
                eos_token => self.eos.as_str(),
            })
            .map_err(refused)?;
        Ok(match text.strip_prefix(&self.bos) {
            Some(rest) if !self.bos.is_empty() => rest.to_owned(),
            _ => text,
        })
    }
}

/// `tojson` as templates expect it: Python's `json.dumps` with `ensure_ascii=False`, which
/// escapes nothing for HTML and puts spaces after commas and colons.
fn python_json(value: Value) -> Result<Value, minijinja::Error> {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, PythonFormat);
    let failed = |e: String| minijinja::Error::new(ErrorKind::BadSerialization, e);
    value
        .serialize(&mut serializer)
        .map_err(|e| failed(e.to_string()))?;
    let text = String::from_utf8(out).map_err(|e| failed(e.to_string()))?;
    Ok(Value::from_safe_string(text))
}

struct PythonFormat;

impl serde_json::ser::Formatter for PythonFormat {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> IoResult {
        comma(out, first)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> IoResult {
        comma(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> IoResult {
        out.write_all(b": ")
    }
}

type IoResult = std::io::Result<()>;

fn comma<W: ?Sized + Write>(out: &mut W, first: bool) -> IoResult {
    match first {
        true => Ok(()),
        false => out.write_all(b", "),
    }
}

fn refused(error: minijinja::Error) -> ChatError {
    ChatError::Refused(error.detail().map_or(error.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' \
        + message['content'].strip() + '<|im_end|>' + '\n'}}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    #[test]
    fn renders_what_python_would() {
        let t = ChatTemplate::new(CHATML.into(), String::new(), String::new()).unwrap();
        let text = t.render(&[Message::new("user", " hi ")]).unwrap();
        assert_eq!(
            text,
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn tools_are_written_as_python_writes_json() {
        let source = "{% for t in tools %}{{ t | tojson }}{% endfor %}";
        let t = ChatTemplate::new(source.into(), String::new(), String::new()).unwrap();
        let tools = serde_json::json!([{ "name": "a<b", "list": [1, "é"] }]);
        let text = t.render_with_tools(&serde_json::json!([]), Some(&tools));
        assert_eq!(text.unwrap(), r#"{"name": "a<b", "list": [1, "é"]}"#);
        assert!(t.knows_tools());
    }

    #[test]
    fn says_what_the_template_objects_to() {
        let source = "{{ raise_exception('roles must alternate') }}";
        let t = ChatTemplate::new(source.into(), "<s>".into(), String::new()).unwrap();
        let error = t.render(&[]).unwrap_err().to_string();
        assert!(error.ends_with("roles must alternate"), "{error}");
    }
}
