//! The chat template of the target: the user's own, or the one in the model's file.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use card_llama::{ChatError, ChatTemplate, LlamaModel};
use serde_json::{Map, Value};

use crate::named_templates::named_template;
use crate::settings::Settings;

/// Largest file of a template, in bytes.
const LARGEST: u64 = 1 << 20;

/// The chat template for a model, with the variables of `settings` and the day; `None` if nobody has
/// one.
///
/// # Errors
/// If there is one that cannot be used for any conversation.
pub(crate) fn chat_template(
    settings: &Settings,
    model: &LlamaModel,
) -> Result<Option<ChatTemplate>> {
    let template = match (&settings.chat_template, &settings.chat_template_file) {
        (Some(text), _) => {
            let source = named_template(text).unwrap_or(text);
            ChatTemplate::for_model(model, source, "--chat-template")?
        }
        (None, Some(file)) => {
            let source = read(file)?;
            ChatTemplate::for_model(model, &source, &file.display().to_string())?
        }
        (None, None) => match ChatTemplate::of(model) {
            Err(ChatError::None) => return Ok(None),
            template => template?,
        },
    };
    let variables = variables(settings.chat_template_kwargs.as_deref())?;
    let template = template.with_date().with_kwargs(variables)?;
    Ok(Some(template.check()?))
}

/// The source of a template in a file.
fn read(file: &Path) -> Result<String> {
    let what = || format!("cannot read the chat template in {}", file.display());
    let bytes = std::fs::metadata(file).with_context(what)?.len();
    ensure!(
        bytes <= LARGEST,
        "the chat template in {} has {bytes} bytes, and may have {LARGEST}",
        file.display()
    );
    std::fs::read_to_string(file).with_context(what)
}

/// The variables that a text of JSON has.
fn variables(text: Option<&str>) -> Result<Map<String, Value>> {
    let text = text.unwrap_or("{}");
    let wrong =
        "--chat-template-kwargs must be an object as JSON, like {\"enable_thinking\": false}";
    serde_json::from_str(text).context(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_text_of_bounded_length() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("template.jinja");
        let missing = read(&file).unwrap_err().to_string();
        assert!(missing.contains("template.jinja"), "{missing}");
        std::fs::write(&file, "{{ messages }}").unwrap();
        assert_eq!(read(&file).unwrap(), "{{ messages }}");
        std::fs::write(&file, vec![b' '; LARGEST as usize + 1]).unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("bytes"));
    }

    #[test]
    fn variables_are_an_object() {
        assert!(variables(None).unwrap().is_empty());
        let some = variables(Some("{\"enable_thinking\": false}")).unwrap();
        assert_eq!(some["enable_thinking"], false);
        for text in ["", "[]", "{", "1"] {
            let error = variables(Some(text)).unwrap_err().to_string();
            assert!(error.contains("--chat-template-kwargs"), "{text}");
        }
    }
}
