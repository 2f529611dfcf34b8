//! The chat template of a model, ready to use.

use minijinja::value::{Rest, Serde, ValueOrKwargs};
use minijinja::{Environment, ErrorKind, Value};
use serde_json::{Map, json};

use super::arguments::bind;
use super::conversation::{ChatMessage, Conversation, normalized};
use super::environment::environment;
use super::error::{ChatError, over_conversation, why};
use super::{clock, source};
use crate::sys::stack;

/// Stack for a template. With the fuel that it has, it can put lists into lists some 125,000 deep
/// (eight instructions each), which are written and freed by calls into each other; this is 4 KiB
/// for each. It becomes memory only where it is written to.
const STACK: usize = 512 << 20;
/// Bytes of a template's source.
const MOST_SOURCE: usize = 1 << 20;
/// The template of every conversation that has none of its own.
const DEFAULT: &str = "default";
/// The template of conversations with tools, where a model has one.
const TOOL_USE: &str = "tool_use";
/// The word before the calls of Firefunction, by which its templates are known.
const FUNCTOOLS: &str = "functools";
/// The variable in which templates of Llama 3 look for the date.
const DATE: &str = "date_string";
/// Variables that are the conversation's own, whatever a request says.
const RESERVED: [&str; 4] = ["messages", "tools", "bos_token", "eos_token"];

/// A chat template, ready to use.
///
/// A model may have a second one, for conversations with tools.
#[derive(Clone)]
pub struct ChatTemplate {
    env: Environment<'static>,
    has_tool_use: bool,
    /// Variables of every conversation; a conversation's own go before them.
    kwargs: Map<String, serde_json::Value>,
    /// Whether [`DATE`] is the day.
    tells_date: bool,
    bos: String,
    eos: String,
    /// Where the first template came from, for errors.
    from: String,
}

impl ChatTemplate {
    /// A template from its source, with the texts of the tokens that begin and end a text.
    /// `from` says in errors where it came from.
    ///
    /// # Errors
    /// [`ChatError::Broken`] if it does not parse, or is too long.
    pub fn new(source: &str, from: &str, bos: String, eos: String) -> Result<Self, ChatError> {
        let env = environment().map_err(|e| broken(from, &e))?;
        let mut template = ChatTemplate {
            env,
            has_tool_use: false,
            kwargs: Map::new(),
            tells_date: false,
            bos,
            eos,
            from: from.to_owned(),
        };
        template.add(DEFAULT, source, from)?;
        Ok(template)
    }

    /// The same with a second template, which conversations with tools take.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`].
    pub fn with_tool_use(mut self, source: &str, from: &str) -> Result<Self, ChatError> {
        self.add(TOOL_USE, source, from)?;
        self.has_tool_use = true;
        Ok(self)
    }

    /// The same with variables for every conversation, as `--chat-template-kwargs` gives them.
    ///
    /// # Errors
    /// [`ChatError::Reserved`] if one of them is the conversation's own.
    pub fn with_kwargs(
        mut self,
        kwargs: Map<String, serde_json::Value>,
    ) -> Result<Self, ChatError> {
        check_kwargs(&kwargs)?;
        self.kwargs = kwargs;
        Ok(self)
    }

    /// The same for conversations of today: where the template looks for a `date_string`, it is the
    /// day, as llama-server has it. Without, templates of Llama 3 say that it is 26 July 2024.
    #[must_use]
    pub fn with_date(mut self) -> Self {
        self.tells_date = true;
        self
    }

    fn add(&mut self, name: &'static str, source: &str, from: &str) -> Result<(), ChatError> {
        if source.len() > MOST_SOURCE {
            return Err(ChatError::Broken {
                from: from.to_owned(),
                line: None,
                why: format!("it is longer than {MOST_SOURCE} bytes"),
            });
        }
        let source = source::prepared(source);
        let added = self.env.add_template_owned(name, source);
        added.map_err(|e| broken(from, &e))
    }

    /// Renders a few short conversations, to find out at the start whether the template can be
    /// used at all. One that renders is enough: templates may want a system message, or none.
    ///
    /// # Errors
    /// [`ChatError::Broken`] with what the first conversation met, if none of them renders.
    pub fn check(self) -> Result<Self, ChatError> {
        let user = json!({ "role": "user", "content": "Hello" });
        let system = json!({ "role": "system", "content": "You are helpful." });
        let parts = json!({ "role": "user", "content": [{ "type": "text", "text": "Hello" }] });
        let tool = json!([{ "type": "function", "function": {
            "name": "now",
            "description": "The time.",
            "parameters": { "type": "object", "properties": {} },
        } }]);
        let alone = json!([user]);
        let mut first = None;
        for messages in [&alone, &json!([system, user]), &json!([parts])] {
            match self.render_conversation(&Conversation::new(messages)) {
                Ok(_) => return Ok(self),
                Err(error) => first = first.or(Some(error)),
            }
        }
        let with_tools = Conversation {
            tools: Some(&tool),
            ..Conversation::new(&alone)
        };
        if self.render_conversation(&with_tools).is_ok() {
            return Ok(self);
        }
        let (line, why) = match first {
            Some(ChatError::Failed { line, why }) => (line, why),
            Some(other) => (None, other.to_string()),
            None => (None, "it renders no conversation".to_owned()),
        };
        let from = self.from;
        Err(ChatError::Broken { from, line, why })
    }

    /// Whether the template has a place for tools the model may call.
    pub fn knows_tools(&self) -> bool {
        self.mentions("tools")
    }

    /// The source of the template of conversations without tools, as it is parsed.
    pub fn source(&self) -> String {
        let template = self.env.get_template(DEFAULT);
        template.map_or_else(|_| String::new(), |template| template.source().to_owned())
    }

    /// The sources of all its templates, that of conversations with tools too, as they are parsed.
    pub fn all_sources(&self) -> String {
        let templates = self.env.templates();
        let sources = templates.map(|(_, template)| template.source().to_owned());
        sources.collect::<Vec<String>>().join("\n")
    }

    /// Whether a variable's name is in the template, like `enable_thinking`.
    pub fn mentions(&self, variable: &str) -> bool {
        let mut templates = self.env.templates();
        templates.any(|(_, template)| template.source().contains(variable))
    }

    /// The prompt for the assistant's next message. It contains special tokens as text,
    /// the one that begins a text left out: the tokenizer adds it.
    ///
    /// # Errors
    /// What the template says against the conversation.
    pub fn render(&self, messages: &[ChatMessage]) -> Result<String, ChatError> {
        let messages = serde_json::to_value(messages).map_err(|e| failed(e.to_string()))?;
        self.render_conversation(&Conversation::new(&messages))
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
        self.render_conversation(&Conversation {
            tools,
            ..Conversation::new(messages)
        })
    }

    /// The same for all that a template may know of a conversation.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`]; [`ChatError::Reserved`] if a variable is the conversation's
    /// own.
    pub fn render_conversation(&self, conversation: &Conversation) -> Result<String, ChatError> {
        if let Some(kwargs) = conversation.kwargs {
            check_kwargs(kwargs)?;
        }
        let text = stack::with(STACK, "chat template", || self.text(conversation));
        let text = text.map_err(failed)??;
        Ok(match text.strip_prefix(&self.bos) {
            Some(rest) if !self.bos.is_empty() => rest.to_owned(),
            _ => text,
        })
    }

    fn text(&self, conversation: &Conversation) -> Result<String, ChatError> {
        let has_tools = conversation.tools.is_some();
        let name = if has_tools && self.has_tool_use {
            TOOL_USE
        } else {
            DEFAULT
        };
        let template = self.env.get_template(name);
        let template = template.map_err(|e| over_conversation(&e))?;
        let text = template.render(self.variables(conversation));
        text.map_err(|e| over_conversation(&e))
    }

    /// What the template sees, the more particular last: a later one replaces an earlier one of
    /// its name.
    fn variables(&self, conversation: &Conversation) -> Value {
        let now = conversation.now;
        let strftime = move |rest: Rest<ValueOrKwargs>| strftime_now(now, rest);
        let given =
            |value: Option<&serde_json::Value>| Value::from(value.map(|v| Value::from(Serde(v))));
        let mut variables = vec![
            ("strftime_now", Value::from_function(strftime)),
            ("documents", given(conversation.documents)),
            (
                "add_generation_prompt",
                Value::from(conversation.add_generation_prompt),
            ),
        ];
        if self.mentions(FUNCTOOLS) {
            variables.extend(functools(conversation));
        }
        if self.tells_date && self.mentions(DATE) {
            variables.extend(date(conversation));
        }
        let kwargs = [Some(&self.kwargs), conversation.kwargs].into_iter();
        for (name, value) in kwargs.flatten().flatten() {
            variables.push((name.as_str(), Value::from(Serde(value))));
        }
        let messages = normalized(conversation.messages);
        variables.extend([
            ("messages", Value::from(Serde(&*messages))),
            ("tools", given(conversation.tools)),
            ("bos_token", Value::from(self.bos.as_str())),
            ("eos_token", Value::from(self.eos.as_str())),
        ]);
        Value::from_pairs(variables)
    }
}

/// What templates of Firefunction want besides: the tools as JSON, and the time.
fn functools(conversation: &Conversation) -> [(&'static str, Value); 2] {
    let tools = conversation.tools.map(ToString::to_string);
    let now = conversation.now.unwrap_or_else(clock::now);
    let time = clock::strftime(now, "%b %d %Y %H:%M:%S").unwrap_or_default();
    [
        ("functions", Value::from(tools.unwrap_or_default())),
        ("datetime", Value::from(time)),
    ]
}

/// The day, as templates of Llama 3 write it.
fn date(conversation: &Conversation) -> Option<(&'static str, Value)> {
    let now = conversation.now.unwrap_or_else(clock::now);
    let date = clock::strftime(now, "%d %b %Y").ok()?;
    Some((DATE, Value::from(date)))
}

/// The function `strftime_now(format)`.
fn strftime_now(now: Option<i64>, rest: Rest<ValueOrKwargs>) -> Result<String, minijinja::Error> {
    let wrong = |why: String| minijinja::Error::new(ErrorKind::InvalidOperation, why);
    let [format] = bind(["format"], rest)?;
    let format = format.as_ref().and_then(Value::as_str);
    let format = format.ok_or_else(|| wrong("strftime_now needs a format".into()))?;
    clock::strftime(now.unwrap_or_else(clock::now), format).map_err(wrong)
}

/// No variable of a request replaces one of the conversation.
fn check_kwargs(kwargs: &Map<String, serde_json::Value>) -> Result<(), ChatError> {
    match kwargs.keys().find(|name| RESERVED.contains(&name.as_str())) {
        Some(name) => Err(ChatError::Reserved(name.clone())),
        None => Ok(()),
    }
}

fn broken(from: &str, error: &minijinja::Error) -> ChatError {
    ChatError::Broken {
        from: from.to_owned(),
        line: error.line(),
        why: why(error),
    }
}

fn failed(why: String) -> ChatError {
    ChatError::Failed { line: None, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' \
        + message['content'].strip() + '<|im_end|>' + '\n'}}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    #[test]
    fn renders_what_python_would() {
        let t = template(CHATML).unwrap();
        let text = t.render(&[ChatMessage::new("user", " hi ")]).unwrap();
        assert_eq!(
            text,
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn tools_are_written_as_python_writes_json() {
        let source = "{% for t in tools %}{{ t | tojson }}{% endfor %}";
        let t = template(source).unwrap();
        let tools = serde_json::json!([{ "name": "a<b", "list": [1, "é"] }]);
        let text = t.render_with_tools(&serde_json::json!([]), Some(&tools));
        assert_eq!(text.unwrap(), r#"{"name": "a<b", "list": [1, "é"]}"#);
        assert!(t.knows_tools());
    }

    #[test]
    fn templates_of_firefunction_know_the_tools_and_the_time() {
        let source = "functools {{ functions + '|' + datetime }}";
        let t = template(source).unwrap().check().unwrap();
        let (tools, messages) = (json!([{ "name": "a" }]), json!([]));
        let conversation = Conversation {
            tools: Some(&tools),
            now: Some(1_770_109_507),
            ..Conversation::new(&messages)
        };
        assert_eq!(
            t.render_conversation(&conversation).unwrap(),
            r#"functools [{"name":"a"}]|Feb 03 2026 09:05:07"#
        );
    }

    fn template(source: &str) -> Result<ChatTemplate, ChatError> {
        ChatTemplate::new(source, "a test", String::new(), String::new())
    }

    fn render(source: &str, messages: &[ChatMessage]) -> Result<String, ChatError> {
        template(source)?.render(messages)
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
        let t = ChatTemplate::new(source, "a test", "<s>".into(), String::new()).unwrap();
        let error = t.render(&[]).unwrap_err();
        assert_eq!(error, ChatError::Refused("roles must alternate".into()));
        let error = error.to_string();
        assert!(error.ends_with("roles must alternate"), "{error}");
    }

    #[test]
    fn what_fails_is_told_from_what_the_template_objects_to() {
        let error = render("a\n{{ messages[0].content.missing() }}", &[]).unwrap_err();
        assert!(
            matches!(error, ChatError::Failed { line: Some(2), .. }),
            "{error:?}"
        );
        let deep = "{% macro m() %}{{ raise_exception('deep') }}{% endmacro %}\
                    {% set x %}{{ m() }}{% endset %}";
        let error = render(deep, &[]).unwrap_err();
        assert_eq!(error, ChatError::Refused("deep".into()));
    }

    #[test]
    fn a_template_that_does_not_parse_is_named_with_its_line_and_what_to_do() {
        let source = "{% if true %}\n\n{% endfor %}";
        let error = ChatTemplate::new(source, "my.jinja", String::new(), String::new());
        let error = error.map(|_| ()).unwrap_err();
        assert!(
            matches!(error, ChatError::Broken { line: Some(3), .. }),
            "{error:?}"
        );
        let error = error.to_string();
        for part in ["my.jinja", "line 3", "--chat-template-file"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_template_that_renders_nothing_is_found_at_the_start() {
        let no_system =
            "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}x";
        assert!(template(no_system).unwrap().check().is_ok());
        let only_system =
            "{% if messages[0].role != 'system' %}{{ raise_exception('no') }}{% endif %}x";
        assert!(template(only_system).unwrap().check().is_ok());
        let source = "x\n{{ messages | no_such_filter }}";
        let never = ChatTemplate::new(source, "the file", String::new(), String::new()).unwrap();
        let error = never.check().map(|_| ()).unwrap_err();
        assert!(
            matches!(&error, ChatError::Broken { line: Some(2), .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains("the file"), "{error}");
        // What it lacks can be given to it.
        let lacks = template("{{ functions.first }}").unwrap();
        assert!(lacks.clone().check().is_err());
        let kwargs = json!({ "functions": { "first": 1 } });
        let whole = lacks.with_kwargs(kwargs.as_object().unwrap().clone());
        assert!(whole.unwrap().check().is_ok());
    }

    #[test]
    fn a_request_sets_variables_but_none_of_the_conversation() {
        let source = "{{ enable_thinking }},{{ effort }},{{ add_generation_prompt }}";
        let kwargs = json!({ "enable_thinking": true, "effort": "low" });
        let t = template(source).unwrap();
        let t = t.with_kwargs(kwargs.as_object().unwrap().clone()).unwrap();
        assert!(t.mentions("enable_thinking") && !t.mentions("thinking_budget"));
        let messages = json!([]);
        let own = json!({ "enable_thinking": false, "add_generation_prompt": false });
        let mut conversation = Conversation::new(&messages);
        assert_eq!(
            t.render_conversation(&conversation).unwrap(),
            "True,low,True"
        );
        conversation.kwargs = own.as_object();
        assert_eq!(
            t.render_conversation(&conversation).unwrap(),
            "False,low,False"
        );
        for name in RESERVED {
            let own = json!({ name: "x" });
            let conversation = Conversation {
                kwargs: own.as_object(),
                ..Conversation::new(&messages)
            };
            let error = t.render_conversation(&conversation).unwrap_err();
            assert_eq!(error, ChatError::Reserved(name.to_owned()));
        }
    }

    #[test]
    fn conversations_with_tools_take_the_template_for_tools() {
        let t = template("plain").unwrap();
        assert!(!t.knows_tools());
        let t = t
            .with_tool_use("with {{ tools | length }}", "a test")
            .unwrap();
        assert!(t.knows_tools());
        let (messages, tools) = (json!([]), json!([{}, {}]));
        assert_eq!(t.render_with_tools(&messages, None).unwrap(), "plain");
        assert_eq!(t.source(), "plain");
        let sources = t.all_sources();
        assert!(
            sources.contains("plain") && sources.contains("with {{"),
            "{sources}"
        );
        let text = t.render_with_tools(&messages, Some(&tools)).unwrap();
        assert_eq!(text, "with 2");
    }

    #[test]
    fn documents_and_the_date_are_there() {
        let source = "{{ documents[0].title }} {{ strftime_now('%Y-%m-%d') }}";
        let (messages, documents) = (json!([]), json!([{ "title": "First" }]));
        let conversation = Conversation {
            documents: Some(&documents),
            now: Some(1_770_109_507),
            ..Conversation::new(&messages)
        };
        let text = template(source).unwrap().render_conversation(&conversation);
        assert_eq!(text.unwrap(), "First 2026-02-03");
    }

    #[test]
    fn the_day_is_told_where_a_template_looks_for_it() {
        let source = "{{ date_string is defined and date_string }}";
        let messages = json!([]);
        let mut conversation = Conversation {
            now: Some(1_770_109_507),
            ..Conversation::new(&messages)
        };
        let said = |t: ChatTemplate, c: &Conversation| t.render_conversation(c).unwrap();
        let t = template(source).unwrap();
        assert_eq!(said(t.clone(), &conversation), "False");
        let t = t.with_date();
        assert_eq!(said(t.clone(), &conversation), "03 Feb 2026");
        // A request knows better.
        let own = json!({ "date_string": "today" });
        conversation.kwargs = own.as_object();
        assert_eq!(said(t, &conversation), "today");
    }

    #[test]
    fn the_token_that_begins_a_text_is_left_to_the_tokenizer() {
        let t = ChatTemplate::new(
            "{{ bos_token }}a{{ eos_token }}",
            "a test",
            "<s>".into(),
            "</s>".into(),
        );
        assert_eq!(t.unwrap().render(&[]).unwrap(), "a</s>");
    }
}
