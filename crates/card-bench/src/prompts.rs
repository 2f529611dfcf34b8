//! What is asked: the user's own prompt files, or a small built-in set.

use std::path::Path;

use serde::Deserialize;

/// A prompt of a bench.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct BenchPrompt {
    /// The kind of task, by which results are grouped.
    pub category: String,
    /// The user's message.
    pub text: String,
    /// The text the user expects back, more or less.
    #[serde(default)]
    pub prediction: Option<String>,
}

/// Why prompts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The file cannot be read.
    #[error("cannot read the prompts in {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not what it should be.
    #[error(
        "{path}, line {line}: {why}; each line must be a JSON object with a `question`, `text`, \
         `prompt` or `turns` field"
    )]
    Line {
        /// The file.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// There is no prompt.
    #[error("there is no prompt in {0}")]
    Empty(String),
}

#[derive(Deserialize)]
struct BuiltInPrompts {
    prompt: Vec<BenchPrompt>,
}

/// The built-in set: code, maths, chat, editing, JSON extraction, Japanese.
pub fn built_in() -> Vec<BenchPrompt> {
    let parsed: Result<BuiltInPrompts, _> = toml::from_str(include_str!("../prompts.toml"));
    parsed.map(|b| b.prompt).unwrap_or_default()
}

/// The first `most` prompts of a file of JSON lines; its name is their category.
///
/// # Errors
/// If the file cannot be read, has a line that is no prompt, or has none.
pub fn from_file(path: &Path, most: usize) -> Result<Vec<BenchPrompt>, PromptError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| PromptError::Read {
        path: shown.clone(),
        source,
    })?;
    let category = path.file_stem().unwrap_or_default().to_string_lossy();
    match parse(&category, &text, most) {
        Ok(prompts) if prompts.is_empty() => Err(PromptError::Empty(shown)),
        Ok(prompts) => Ok(prompts),
        Err((line, why)) => Err(PromptError::Line {
            path: shown,
            line,
            why,
        }),
    }
}

/// The first `most` prompts in JSON lines.
///
/// # Errors
/// Says which line is no prompt, and why not.
pub fn parse(category: &str, text: &str, most: usize) -> Result<Vec<BenchPrompt>, (usize, String)> {
    let mut prompts = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if prompts.len() == most {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |why: String| (i + 1, why);
        let value: serde_json::Value =
            serde_json::from_str(line).map_err(|e| wrong(e.to_string()))?;
        let text = prompt_of(&value).ok_or_else(|| wrong("it has no prompt".into()))?;
        prompts.push(BenchPrompt {
            category: category.to_owned(),
            text,
            prediction: value["prediction"].as_str().map(str::to_owned),
        });
    }
    Ok(prompts)
}

fn prompt_of(value: &serde_json::Value) -> Option<String> {
    let fields = ["question", "text", "prompt"].map(|f| &value[f]);
    let mut texts = fields.into_iter().chain([&value["turns"][0]]);
    texts.find_map(|v| v.as_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_set_has_every_kind() {
        let prompts = built_in();
        for kind in ["code", "maths", "chat", "edit", "json", "japanese"] {
            let of_kind: Vec<_> = prompts.iter().filter(|p| p.category == kind).collect();
            assert!(of_kind.len() >= 3, "{kind}");
            assert!(kind != "edit" || of_kind.iter().all(|p| p.prediction.is_some()));
        }
    }

    #[test]
    fn each_field_is_read_and_bad_lines_are_named() {
        let text = |json: &str| prompt_of(&serde_json::from_str(json).unwrap());
        assert_eq!(text(r#"{"question":"a"}"#).unwrap(), "a");
        assert_eq!(text(r#"{"turns":["b","c"]}"#).unwrap(), "b");
        assert_eq!(text(r#"{"answer":"c"}"#), None);
        let missing = from_file(Path::new("/no/such/file"), 3).unwrap_err();
        assert!(missing.to_string().contains("cannot read"));
    }
}
