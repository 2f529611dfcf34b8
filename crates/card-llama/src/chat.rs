//! The chat template of a GGUF file: a Jinja program written for Python.

use minijinja::syntax::SyntaxConfig;
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
pub struct ChatTemplate {
    env: Environment<'static>,
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
        env.add_template_owned("chat", source).map_err(refused)?;
        Ok(ChatTemplate { env, bos, eos })
    }

    /// The prompt for the assistant's next message. It contains special tokens as text,
    /// the one that begins a text left out: the tokenizer adds it.
    ///
    /// # Errors
    /// What the template says against the conversation.
    pub fn render(&self, messages: &[Message]) -> Result<String, ChatError> {
        let template = self.env.get_template("chat").map_err(refused)?;
        let messages: Vec<Value> = messages
            .iter()
            .map(|m| {
                let fields = [("role", &m.role), ("content", &m.content)];
                Value::from_pairs(fields.map(|(key, value)| (key, value.as_str())))
            })
            .collect();
        let text = template
            .render(context! {
                messages => messages,
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
    fn says_what_the_template_objects_to() {
        let source = "{{ raise_exception('roles must alternate') }}";
        let t = ChatTemplate::new(source.into(), "<s>".into(), String::new()).unwrap();
        let error = t.render(&[]).unwrap_err().to_string();
        assert!(error.ends_with("roles must alternate"), "{error}");
    }
}
