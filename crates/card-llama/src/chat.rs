//! The chat template of a GGUF file: a Jinja program written for Python.

use std::io::Write;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Value, context};
use serde::{Deserialize, Serialize};

use crate::sys::stack;

/// Steps of a template, in minijinja's units: an instruction is one, and so are 64 bytes that
/// are made or looked at. A conversation of 4 MB takes half of it; a template that would take
/// for ever, or 64 MB, ends here within a second.
const FUEL: u64 = 1_000_000;
/// Stack for a template. With that fuel it can put lists into lists some 125,000 deep (eight
/// instructions each), which are written and freed by calls into each other; this is 4 KiB
/// for each. It becomes memory only where it is written to.
const STACK: usize = 512 << 20;
/// Bytes of a template's source.
const MOST_SOURCE: usize = 1 << 20;
/// Lists and objects within each other that are written as JSON: what is read has fewer.
const MOST_NESTED: usize = 128;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant` or what else the template knows.
    pub role: String,
    /// The text.
    pub content: String,
}

impl ChatMessage {
    /// A message of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        ChatMessage {
            role: role.into(),
            content: content.into(),
        }
    }
}

/// Why a conversation cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The model's file has no template.
    #[error("this model has no chat template, so it takes plain prompts only")]
    None,
    /// The template does not parse, or refuses the conversation.
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
    /// A template from its source, with the texts of the tokens that begin and end a text.
    ///
    /// # Errors
    /// If it does not parse, or is too long.
    pub(crate) fn new(source: String, bos: String, eos: String) -> Result<Self, ChatError> {
        if source.len() > MOST_SOURCE {
            return Err(ChatError::Refused(format!(
                "it is longer than {MOST_SOURCE} bytes"
            )));
        }
        let mut env = Environment::new();
        // Templates come with files from anywhere, and messages from clients.
        env.set_fuel(Some(FUEL));
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

    /// Whether the template has a place for tools the model may call.
    pub fn knows_tools(&self) -> bool {
        self.knows_tools
    }

    /// The prompt for the assistant's next message. It contains special tokens as text,
    /// the one that begins a text left out: the tokenizer adds it.
    ///
    /// # Errors
    /// What the template says against the conversation.
    pub fn render(&self, messages: &[ChatMessage]) -> Result<String, ChatError> {
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
        let text = stack::with(STACK, "chat template", || self.text(messages, tools));
        let text = text.map_err(ChatError::Refused)??;
        Ok(match text.strip_prefix(&self.bos) {
            Some(rest) if !self.bos.is_empty() => rest.to_owned(),
            _ => text,
        })
    }

    fn text(
        &self,
        messages: &serde_json::Value,
        tools: Option<&serde_json::Value>,
    ) -> Result<String, ChatError> {
        let template = self.env.get_template("chat").map_err(refused)?;
        template
            .render(context! {
                messages => Value::from(Serde(messages)),
                tools => tools.map(|t| Value::from(Serde(t))),
                add_generation_prompt => true,
                bos_token => self.bos.as_str(),
                eos_token => self.eos.as_str(),
            })
            .map_err(refused)
    }
}

/// `tojson` as templates expect it: Python's `json.dumps` with `ensure_ascii=False`, which
/// escapes nothing for HTML and puts spaces after commas and colons.
fn python_json(value: Value) -> Result<Value, minijinja::Error> {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, PythonFormat::default());
    let failed = |e: String| minijinja::Error::new(ErrorKind::BadSerialization, e);
    value
        .serialize(&mut serializer)
        .map_err(|e| failed(e.to_string()))?;
    let text = String::from_utf8(out).map_err(|e| failed(e.to_string()))?;
    Ok(Value::from_safe_string(text))
}

/// Python's way of writing, and how deep it is in lists and objects.
#[derive(Default)]
struct PythonFormat {
    nested: usize,
}

impl PythonFormat {
    fn begin(&mut self) -> IoResult {
        self.nested += 1;
        if self.nested > MOST_NESTED {
            Err(std::io::Error::other("too many lists within each other"))
        } else {
            Ok(())
        }
    }
}

impl serde_json::ser::Formatter for PythonFormat {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> IoResult {
        self.begin()?;
        out.write_all(b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> IoResult {
        self.nested -= 1;
        out.write_all(b"]")
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> IoResult {
        self.begin()?;
        out.write_all(b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> IoResult {
        self.nested -= 1;
        out.write_all(b"}")
    }

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
    if first { Ok(()) } else { out.write_all(b", ") }
}

fn refused(error: minijinja::Error) -> ChatError {
    if error.kind() == ErrorKind::OutOfFuel {
        return ChatError::Refused("it takes too many steps over it".into());
    }
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
        let text = t.render(&[ChatMessage::new("user", " hi ")]).unwrap();
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

    fn render(source: &str, messages: &[ChatMessage]) -> Result<String, ChatError> {
        ChatTemplate::new(source.into(), String::new(), String::new())?.render(messages)
    }

    #[test]
    fn a_template_that_would_take_for_ever_or_all_memory_is_an_error() {
        for source in [
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "{% for a in range(99999) %}{{ 'x' * 10000 }}{% endfor %}",
            "{{ 'x' * 99999999999 }}",
            "{% set ns = namespace(x='xx') %}{% for a in range(99) %}\
             {% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "{% set ns = namespace(x=[]) %}{% for a in range(90000) %}\
             {% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | tojson }}",
            "{{ [",
            "{% for a in b %}",
            "{{ messages[0].content.missing() }}",
        ] {
            assert!(
                render(source, &[ChatMessage::new("user", "x")]).is_err(),
                "{source}"
            );
        }
        let long = " ".repeat(MOST_SOURCE + 1);
        assert!(render(&long, &[]).is_err());
    }

    #[test]
    fn lists_within_each_other_end_no_process() {
        // Whether it is an error or a long text: it comes back.
        for end in [
            "{{ ns.x }}",
            "{{ ns.x == ns.x }}",
            "",
            "{{ ns.x | string | length }}",
        ] {
            let source = format!(
                "{{% set ns = namespace(x=[]) %}}{{% for a in range(90000) %}}\
                 {{% set ns.x = [ns.x] %}}{{% endfor %}}{end}"
            );
            let _ = render(&source, &[]);
        }
    }

    #[test]
    fn a_long_conversation_is_within_the_bounds() {
        let talk: Vec<_> = (0..2000)
            .map(|i| {
                ChatMessage::new(
                    if i % 2 == 0 { "user" } else { "assistant" },
                    "x".repeat(1000),
                )
            })
            .collect();
        let text = render(CHATML, &talk).unwrap();
        assert!(text.len() > 2_000_000);
    }

    #[test]
    fn says_what_the_template_objects_to() {
        let source = "{{ raise_exception('roles must alternate') }}";
        let t = ChatTemplate::new(source.into(), "<s>".into(), String::new()).unwrap();
        let error = t.render(&[]).unwrap_err().to_string();
        assert!(error.ends_with("roles must alternate"), "{error}");
    }
}
