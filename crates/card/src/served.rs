//! A model as the server asks for it: its vocabulary, its chat template, and what holds of its
//! text.

use std::sync::{Mutex, PoisonError};

use card_core::types::Token;
use card_llama::{ChatTemplate, Conversation, LlamaEmbedder, Pooling, Vocab};
use card_server::{Embedder, ExactnessAnswer, Template, TemplateOptions, Tokenizer, VectorKind};
use card_setup::TextGuarantee;
use serde_json::{Map, Value};

/// A vocabulary that is served.
pub struct ServedVocab(pub Vocab);

impl Tokenizer for ServedVocab {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn tokenize(&self, text: &str, special: bool) -> Result<Vec<Token>, String> {
        self.0.tokenize(text, special).map_err(|e| e.to_string())
    }

    fn piece(&self, token: Token, special: bool) -> Vec<u8> {
        self.0.piece(token, special)
    }

    fn end_tokens(&self) -> Vec<Token> {
        self.0.end_tokens()
    }

    fn control_texts(&self) -> Vec<String> {
        self.0.control_texts()
    }

    fn fingerprint(&self) -> u64 {
        self.0.fingerprint()
    }
}

/// A model that makes vectors, served: one text at a time.
pub struct ServedEmbedder {
    /// Waited for by those whose texts come next.
    model: Mutex<LlamaEmbedder>,
    vocab: Vocab,
    kind: VectorKind,
    width: usize,
    context: u32,
    /// What the model reads of a question and a document, if its file says that.
    rerank_text: Option<String>,
}

impl ServedEmbedder {
    /// This model, served.
    pub fn new(model: LlamaEmbedder) -> Self {
        ServedEmbedder {
            vocab: model.vocab(),
            kind: match model.pooling() {
                Pooling::None => VectorKind::OfTokens,
                Pooling::Rank => VectorKind::Score,
                Pooling::Mean | Pooling::Cls | Pooling::Last => VectorKind::OfText,
            },
            width: model.width(),
            context: model.context(),
            rerank_text: model.rerank_text(),
            model: Mutex::new(model),
        }
    }
}

impl Embedder for ServedEmbedder {
    fn kind(&self) -> VectorKind {
        self.kind
    }

    fn width(&self) -> usize {
        self.width
    }

    fn context(&self) -> u32 {
        self.context
    }

    fn embed(&self, tokens: &[Token]) -> Result<Vec<Vec<f32>>, String> {
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        model.embed(tokens)
    }

    fn pair(&self, query: &str, document: &str) -> Result<Vec<Token>, String> {
        let tokens = match &self.rerank_text {
            Some(text) => self.vocab.of_parts(&rerank_parts(text, query, document)),
            None => self.vocab.pair(query, document),
        };
        tokens.map_err(|e| e.to_string())
    }
}

/// The text that a reranker reads, in parts: what stands in its file, and in its places the question
/// and the document, in which nothing is a control token.
fn rerank_parts<'a>(text: &'a str, query: &'a str, document: &'a str) -> Vec<(&'a str, bool)> {
    let places = [("{query}", query), ("{document}", document)];
    let (mut parts, mut rest) = (Vec::new(), text);
    loop {
        let found = places.iter().filter_map(|(name, said)| {
            let at = rest.find(name)?;
            Some((at, name.len(), *said))
        });
        let Some((at, length, said)) = found.min_by_key(|place| place.0) else {
            parts.push((rest, true));
            return parts;
        };
        parts.extend([(&rest[..at], true), (said, false)]);
        rest = &rest[at + length..];
    }
}

/// A chat template that is served.
pub struct ServedTemplate(pub ChatTemplate);

impl Template for ServedTemplate {
    fn render(
        &self,
        messages: &Value,
        tools: Option<&Value>,
        options: &TemplateOptions,
    ) -> Result<String, String> {
        let source = self.0.source();
        let knows = |name: &str| match name {
            SHORT_SWITCH => reads_variable(&source, name),
            _ => self.0.mentions(name),
        };
        let kwargs = variables(options, knows);
        let text = self.0.render_conversation(&Conversation {
            tools,
            kwargs: Some(&kwargs),
            add_generation_prompt: options.begins_answer,
            ..Conversation::new(messages)
        });
        text.map_err(|e| e.to_string())
    }

    fn knows_tools(&self) -> bool {
        self.0.knows_tools()
    }

    fn switches_thinking(&self) -> bool {
        self.0.mentions(THINKING) || reads_variable(&self.0.source(), SHORT_SWITCH)
    }

    fn source(&self) -> Option<String> {
        Some(self.0.source())
    }

    fn all_sources(&self) -> Option<String> {
        Some(self.0.all_sources())
    }
}

/// The variable by which templates switch thinking on and off.
const THINKING: &str = "enable_thinking";
/// The same in templates of DeepSeek V3.1, Granite 3 and Kimi. Other templates have the word in texts
/// and as a member of messages.
const SHORT_SWITCH: &str = "thinking";
/// The variable by which templates hear how much the model thinks.
const EFFORT: &str = "reasoning_effort";

/// The variables of a template that knows those of which `knows` says so. The client's own go
/// before those that stand for its other fields.
fn variables(options: &TemplateOptions, knows: impl Fn(&str) -> bool) -> Map<String, Value> {
    let mut all = options.variables.clone();
    let switched = [THINKING, SHORT_SWITCH]
        .iter()
        .any(|&name| all.contains_key(name));
    let thinking = options.thinking.filter(|_| !switched).map(Value::from);
    let effort = options.effort.clone().map(Value::from);
    for (name, value) in [
        (THINKING, thinking.clone()),
        (SHORT_SWITCH, thinking),
        (EFFORT, effort),
    ] {
        if let Some(value) = value.filter(|_| knows(name)) {
            all.entry(name).or_insert(value);
        }
    }
    all
}

/// Whether a template reads a variable that is not its own: its name stands in the template's code as
/// a word, and at the first such place it is not set there.
fn reads_variable(source: &str, name: &str) -> bool {
    let first = |marks: [&str; 2], text: &str| {
        let found = marks.into_iter().filter_map(|mark| text.find(mark));
        found.min()
    };
    let mut rest = source;
    while let Some(at) = first(["{{", "{%"], rest) {
        let inner = &rest[at + 2..];
        let (code, behind) = inner.split_at(first(["}}", "%}"], inner).unwrap_or(inner.len()));
        if let Some(reads) = code_reads(code, name) {
            return reads;
        }
        rest = behind;
    }
    false
}

/// Whether a piece of a template's code reads a variable at the first place where it stands; `None`
/// if it stands nowhere. Texts in quotes, members of something and names of arguments are no places.
fn code_reads(code: &str, name: &str) -> Option<bool> {
    let (mut word, mut last) = (String::new(), String::new());
    let (mut quote, mut member): (Option<char>, bool) = (None, false);
    let mut characters = code.chars().chain([' ']).peekable();
    while let Some(c) = characters.next() {
        if quote.is_some() {
            quote = quote.filter(|&end| end != c);
            continue;
        }
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        let argument = c == '=' && characters.peek() != Some(&'=') && last != "set";
        if word == name && !member && !argument {
            return Some(!["set", "for"].contains(&last.as_str()));
        }
        let ended = !word.is_empty();
        if ended {
            last = std::mem::take(&mut word);
        }
        member = c == '.' || (member && !ended && c.is_whitespace());
        quote = Some(c).filter(|c| ['"', '\''].contains(c));
    }
    None
}

/// What holds of the text, as a server says it.
pub fn served_exactness(guarantee: &TextGuarantee) -> ExactnessAnswer {
    ExactnessAnswer {
        level: guarantee.level.to_string(),
        means: guarantee.means.map(|m| m.name().to_owned()),
        kernels: guarantee.kernels.clone(),
        words: guarantee.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use card_engine::selftest::{Exactness, Means};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_asked_stands_in_its_place_and_is_no_control_token() {
        let text = "<s>Q: {query}\nD: {document}</s>";
        let parts = rerank_parts(text, "{document}", "<s>");
        let wanted = [
            ("<s>Q: ", true),
            ("{document}", false),
            ("\nD: ", true),
            ("<s>", false),
            ("</s>", true),
        ];
        assert_eq!(parts, wanted);
    }

    #[test]
    fn a_template_hears_what_it_knows() {
        let mut options = TemplateOptions {
            thinking: Some(false),
            effort: Some("high".to_owned()),
            ..TemplateOptions::default()
        };
        let made = variables(&options, |name| name == THINKING);
        assert_eq!(Value::Object(made), json!({ "enable_thinking": false }));
        options.variables.insert(THINKING.to_owned(), json!(true));
        let made = variables(&options, |_| true);
        let both = json!({ "enable_thinking": true, "reasoning_effort": "high" });
        assert_eq!(Value::Object(made), both);
    }

    #[test]
    fn a_switch_is_set_by_either_of_its_names() {
        let deepseek = "{% if not thinking is defined %}{% set thinking = false %}{% endif %}";
        let granite = "{%- if thinking %}{{ 'Think.' }}{%- endif %}";
        let of_messages = "{{ m.thinking }}{{ m['thinking'] }}{{ 'thinking' }} thinking";
        let own = "{% set thinking = m.thinking %}{% if thinking %}{{ thinking }}{% endif %}";
        let argument = "{% set ns = namespace(thinking=false) %}{{ ns.thinking }}";
        let other = "{% if enable_thinking %}{% endif %}";
        for (source, reads) in [
            (deepseek, true),
            (granite, true),
            ("{{ thinking == true }}", true),
            ("{% if m. thinking and thinking %}", true),
            (of_messages, false),
            (own, false),
            (argument, false),
            (other, false),
            ("{{ thinking", true),
            ("{{ 'thinking", false),
            ("", false),
        ] {
            assert_eq!(reads_variable(source, SHORT_SWITCH), reads, "{source}");
        }
        let mut options = TemplateOptions {
            thinking: Some(true),
            ..TemplateOptions::default()
        };
        let made = variables(&options, |name| name == SHORT_SWITCH);
        assert_eq!(Value::Object(made), json!({ "thinking": true }));
        options
            .variables
            .insert("thinking".to_owned(), json!(false));
        let made = variables(&options, |_| true);
        assert_eq!(Value::Object(made), json!({ "thinking": false }));
    }

    #[test]
    fn what_holds_is_said_in_parts_too() {
        let mut guarantee = TextGuarantee {
            level: Exactness::Exact,
            means: Some(Means::AnyShape),
            kernels: "own kernels, AVX-512 VNNI".into(),
        };
        let told = served_exactness(&guarantee);
        assert_eq!(told.level, "exact");
        assert_eq!(told.means.as_deref(), Some("any-shape"));
        assert_eq!(told.words, guarantee.to_string());
        (guarantee.level, guarantee.means) = (Exactness::Fast, None);
        assert_eq!(served_exactness(&guarantee).means, None);
    }
}
