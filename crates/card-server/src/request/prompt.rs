//! Tokens of a prompt, and of the answer that a client expects.

use card_api::answer_format::AnswerFormat;
use card_api::{ApiError, PromptInput, TemplateOptions};
use card_core::types::Token;
use serde_json::{Map, Value};

use super::tools_in_text::{Speaker, speaks_of_tools, with_tools_in_text};
use crate::app::App;
use crate::text::control_names::Marks;
use crate::text::{Template, at_least, most_bytes};

/// The field with variables for the template.
const VARIABLES: &str = "chat_template_kwargs";

/// A prompt as tokens.
pub(super) struct ReadPrompt {
    /// Its tokens.
    pub(super) tokens: Vec<Token>,
    /// Whether it ends within the model's thoughts.
    pub(super) begins_thought: bool,
    /// Whether it ends behind thoughts, so that there are none in the answer.
    pub(super) ends_thought: bool,
}

/// Reads a prompt. `options` say how a conversation is written down.
///
/// # Errors
/// If the model has no such tokens, its template refuses the conversation, or the prompt does
/// not fit the context.
pub(super) fn read(
    app: &App,
    prompt: &PromptInput,
    options: &TemplateOptions,
) -> Result<ReadPrompt, ApiError> {
    let tokens = match prompt {
        PromptInput::Text(text) => tokenize(app, "prompt", &[(text, true)])?,
        PromptInput::Tokens(tokens) => {
            for &token in tokens {
                app.text.check_token("prompt", token)?;
            }
            tokens.clone()
        }
        PromptInput::Fill { prefix, suffix } => {
            let why = "this model has no tokens to fill in the middle with, so it takes no \
                       `suffix`; send the prompt alone, or serve a model for code that has them";
            let marks = app
                .text
                .fill
                .ok_or_else(|| ApiError::field("suffix", why))?;
            tokenize(app, "prompt", &marks.parts(prefix, suffix))?
        }
        PromptInput::Chat { messages, tools } => {
            return read_chat(app, messages, tools.as_ref(), options);
        }
    };
    Ok(ReadPrompt {
        tokens,
        begins_thought: false,
        ends_thought: false,
    })
}

/// How many tokens a prompt has; otherwise as [`read`].
///
/// # Errors
/// As [`read`].
pub(crate) fn count(
    app: &App,
    prompt: &PromptInput,
    options: &TemplateOptions,
) -> Result<usize, ApiError> {
    read(app, prompt, options).map(|read| read.tokens.len())
}

/// The model's chat template.
fn template_of(app: &App) -> Result<&dyn Template, ApiError> {
    let none = "this model has no chat template, so it takes plain prompts only";
    let template = app.text.template.as_deref();
    template.ok_or_else(|| ApiError::field("messages", none))
}

/// The options of a conversation, with what the server was told where the client says nothing.
fn with_defaults(app: &App, options: &TemplateOptions) -> TemplateOptions {
    TemplateOptions {
        thinking: options.thinking.or(app.config.llama_server.thinking),
        ..options.clone()
    }
}

/// A conversation as the model's chat template writes it down.
///
/// # Errors
/// If there is no template, or it refuses the conversation.
pub(crate) fn chat_text(
    app: &App,
    messages: &Value,
    tools: Option<&Value>,
    options: &TemplateOptions,
) -> Result<String, ApiError> {
    let options = with_defaults(app, options);
    written(
        template_of(app)?,
        app.text.format,
        messages,
        tools,
        &options,
    )
}

/// A conversation as a template writes it down, whatever it has a place for: tools are spoken of
/// where it has none for them, and the prompt ends with the last message where the answer goes on
/// with that, in the words of `format`.
///
/// # Errors
/// What the template has against it.
fn written(
    template: &dyn Template,
    format: &AnswerFormat,
    messages: &Value,
    tools: Option<&Value>,
    options: &TemplateOptions,
) -> Result<String, ApiError> {
    if options.continues_last
        && let Some((last, before)) = messages.as_array().and_then(|all| all.split_last())
    {
        let whole = TemplateOptions {
            continues_last: false,
            ..options.clone()
        };
        let before = Value::from(before.to_vec());
        let text = written(template, format, &before, tools, &whole)?;
        let content = last["content"].as_str().unwrap_or_default();
        return Ok(with_answer_begun(text, format, content));
    }
    if template.knows_tools() || !speaks_of_tools(messages, tools) {
        return render(template, messages, tools, options);
    }
    let spoken = with_tools_in_text(messages, tools, Speaker::System);
    render(template, &spoken, None, options).or_else(|error| {
        // Some templates take no instructions.
        let spoken = with_tools_in_text(messages, tools, Speaker::User);
        render(template, &spoken, None, options).map_err(|_| error)
    })
}

/// A prompt that ends where an answer begins, and behind it the beginning of that answer. What the
/// template opens before an answer is closed again, since the model would take the text for part of
/// its thoughts.
fn with_answer_begun(text: String, format: &AnswerFormat, content: &str) -> String {
    let (open, close) = (format.thought_open(), format.thought_close());
    if !format.answer_open().is_empty() {
        return text + format.answer_open() + content;
    }
    if !ends_with(&text, open) {
        return text + content;
    }
    if let Some(thought) = content.trim_start().strip_prefix(open) {
        // The client's text opens the thoughts that the template has opened already.
        return text.trim_end().to_owned() + thought;
    }
    if content.contains(close) {
        return text + content;
    }
    // Marks stand on lines of their own, or all on one line.
    let (before, behind) = if text.ends_with('\n') {
        ("\n", "\n\n")
    } else {
        ("", "")
    };
    text + before + close + behind + content
}

/// Whether the beginning of an answer ends within thoughts, which it opens and does not close.
fn ends_within_thoughts(format: &AnswerFormat, content: &str) -> bool {
    format.answer_open().is_empty()
        && content.trim_start().starts_with(format.thought_open())
        && !content.contains(format.thought_close())
}

/// Whether a text ends with a mark; white space at the end is no part of either.
fn ends_with(text: &str, mark: &str) -> bool {
    text.trim_end().ends_with(mark.trim_end())
}

/// A conversation as a template writes it down.
///
/// # Errors
/// What the template has against it. That is about the variables of the request where the
/// template takes the conversation without them.
fn render(
    template: &dyn Template,
    messages: &Value,
    tools: Option<&Value>,
    options: &TemplateOptions,
) -> Result<String, ApiError> {
    let why = match template.render(messages, tools, options) {
        Ok(text) => return Ok(text),
        Err(why) => why,
    };
    let alone = TemplateOptions {
        variables: Map::new(),
        ..options.clone()
    };
    let of_variables =
        !options.variables.is_empty() && template.render(messages, tools, &alone).is_ok();
    let field = if of_variables { VARIABLES } else { "messages" };
    Err(ApiError::field(field, why))
}

/// Reads a conversation, as the model's chat template writes it down.
fn read_chat(
    app: &App,
    messages: &Value,
    tools: Option<&Value>,
    options: &TemplateOptions,
) -> Result<ReadPrompt, ApiError> {
    let template = template_of(app)?;
    let options = &with_defaults(app, options);
    // What somebody said is not only in messages and tools: the template writes variables too.
    let variables = Value::Object(options.variables.clone());
    let effort = options.effort.clone().map(Value::String);
    let said = [Some(messages), tools, Some(&variables), effort.as_ref()];
    let names = &app.text.control_names;
    if let Some(role) = names.forging_role(messages) {
        let why = format!(
            "the chat template could make a control token of the role {role:?}; use system, user, \
             assistant or tool"
        );
        return Err(ApiError::field("messages", why));
    }
    let marks = names.marks(said.into_iter().flatten()).map_err(|why| {
        let alone = [Some(messages), tools].into_iter().flatten();
        let of_variables = names.marks(alone).is_ok();
        let field = if of_variables { VARIABLES } else { "messages" };
        ApiError::field(field, why)
    });
    let format = app.text.format;
    let read = |text: &str, messages: &Value, tokens: Vec<Token>| ReadPrompt {
        tokens,
        begins_thought: if options.continues_last {
            let last = messages.as_array().and_then(|all| all.last());
            let content = last.and_then(|message| message["content"].as_str());
            content.is_some_and(|content| ends_within_thoughts(format, content))
        } else {
            ends_with(text, format.thought_open())
        },
        ends_thought: ends_with(text, format.thought_close()),
    };
    let Some(marks) = marks? else {
        let text = written(template, format, messages, tools, options)?;
        let tokens = tokenize(app, "messages", &[(&text, true)])?;
        return Ok(read(&text, messages, tokens));
    };
    let messages = marks.mark(messages);
    let tools = tools.map(|t| marks.mark(t));
    let marked = marked(&marks, options);
    let text = written(template, format, &messages, tools.as_ref(), &marked)?;
    let tokens = tokenize(app, "messages", &marks.split(&text))?;
    Ok(read(&text, &messages, tokens))
}

/// The options with marks in place of names of control tokens.
fn marked(marks: &Marks<'_>, options: &TemplateOptions) -> TemplateOptions {
    let variables = options.variables.iter();
    let effort = options.effort.clone().map(Value::String);
    let effort = effort.map(|word| marks.mark(&word));
    TemplateOptions {
        effort: effort.and_then(|word| word.as_str().map(str::to_owned)),
        variables: variables
            .map(|(name, value)| (name.clone(), marks.mark(value)))
            .collect(),
        ..options.clone()
    }
}

/// The tokens of a text in parts, each with whether names of control tokens in it mean those.
fn tokenize(app: &App, field: &str, parts: &[(&str, bool)]) -> Result<Vec<Token>, ApiError> {
    let context = app.model.context;
    let bytes: usize = parts.iter().map(|(text, _)| text.len()).sum();
    if bytes > most_bytes(context) {
        let why = format!(
            "the prompt has {bytes} bytes, which cannot fit: the context holds {context} tokens; \
             shorten it, or start the server with a larger --ctx"
        );
        return Err(ApiError::too_long(field, why).overflowing(at_least(bytes), context));
    }
    let tokenizer = &app.text.tokenizer;
    let wrong = |why: String| ApiError::field(field, why);
    let mut tokens: Vec<Token> = Vec::new();
    for &(text, special) in parts {
        let more = tokenizer.tokenize(text, special).map_err(wrong)?;
        if tokens.is_empty() {
            tokens = more;
        } else {
            // Tokens that begin every text stand only at the beginning of the whole.
            tokens.extend(app.text.behind_begin(&more)?);
        }
        if tokens.len() >= context as usize {
            return Err(too_long(app, field == "messages", tokens.len()));
        }
    }
    Ok(tokens)
}

/// The prompt of so many tokens does not fit the context.
pub(crate) fn too_long(app: &App, chat: bool, tokens: usize) -> ApiError {
    let field = if chat { "messages" } else { "prompt" };
    let error = ApiError::too_long(
        field,
        format!(
            "the prompt has {tokens} tokens, but the context holds {}; shorten it, or start the \
             server with a larger --ctx",
            app.model.context
        ),
    );
    error.overflowing(tokens, app.model.context)
}

/// The beginning of the expected answer that the context has room for.
///
/// # Errors
/// If it cannot be tokenized.
pub(super) fn predicted(app: &App, text: &str) -> Result<Vec<Token>, ApiError> {
    let context = app.model.context;
    let end = text.floor_char_boundary(most_bytes(context));
    let tokens = app.text.tokenizer.tokenize(&text[..end], false);
    let mut tokens = tokens.map_err(|why| ApiError::field("prediction", why))?;
    tokens.truncate(context as usize);
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Takes no variable `wrong`, and no message of more than one.
    struct Picky;

    impl Template for Picky {
        fn render(
            &self,
            messages: &Value,
            _: Option<&Value>,
            options: &TemplateOptions,
        ) -> Result<String, String> {
            if options.variables.contains_key("wrong") {
                return Err("no such variable".to_owned());
            }
            if messages.as_array().is_some_and(|all| all.len() > 1) {
                return Err("too many messages".to_owned());
            }
            Ok("text".to_owned())
        }

        fn knows_tools(&self) -> bool {
            false
        }
    }

    #[test]
    fn what_a_template_opens_is_closed_before_an_answer_that_has_begun() {
        let think = AnswerFormat::by_default();
        let harmony = AnswerFormat::of_template("<|channel|><|message|>");
        let whole = "A:<think>\n\n</think>\n\nyes";
        for (format, text, content, wanted) in [
            (think, "A:", "yes", "A:yes"),
            (think, "A:<think>\n", "yes", whole),
            (think, "A:<think>", "yes", "A:<think></think>yes"),
            (
                think,
                "A:<think>\n",
                "hm</think>yes",
                "A:<think>\nhm</think>yes",
            ),
            (think, "A:<think>\n", "<think>hm", "A:<think>hm"),
            (think, "A:<think></think>", "yes", "A:<think></think>yes"),
            (
                harmony,
                "<|start|>assistant",
                "yes",
                "<|start|>assistant<|channel|>final<|message|>yes",
            ),
        ] {
            let text = with_answer_begun(text.to_owned(), format, content);
            assert_eq!(text, wanted);
        }
        for (format, content, within) in [
            (think, "yes", false),
            (think, "\n<think>hm", true),
            (think, "<think>hm</think>yes", false),
            (harmony, "<|channel|>analysis<|message|>hm", false),
        ] {
            assert_eq!(ends_within_thoughts(format, content), within, "{content}");
        }
    }

    #[test]
    fn a_template_s_refusal_names_the_variables_where_these_are_wrong() {
        let mut options = TemplateOptions::default();
        let said = |messages: Value, options: &TemplateOptions| {
            let text = render(&Picky, &messages, None, options);
            text.map_err(|error| error.param().map(str::to_owned))
        };
        let (one, two) = (json!([1]), json!([1, 2]));
        let field = |name: &str| Err(Some(name.to_owned()));
        assert_eq!(said(one.clone(), &options), Ok("text".to_owned()));
        assert_eq!(said(two.clone(), &options), field("messages"));
        options.variables.insert("wrong".to_owned(), json!(1));
        assert_eq!(said(one, &options), field(VARIABLES));
        assert_eq!(said(two, &options), field("messages"));
    }
}
