//! What a request asks for, whatever protocol it came in. Each protocol's parser makes a
//! [`GenerationJob`]; the server runs it.

use std::sync::Arc;

use card_core::sampler::SamplingParams;
use card_core::types::Token;
use serde_json::{Map, Value};

/// A request that makes sense. It is made once and shared: no answer needs a copy of it.
#[derive(Clone, Debug)]
pub struct GenerationJob {
    /// Whether it came as a chat.
    pub chat: bool,
    /// The prompts; a completion may have several. Together with `n` they ask for at most
    /// [`limits::ANSWERS`](crate::limits::ANSWERS) answers.
    pub prompts: Vec<PromptInput>,
    /// The model's name as the client gave it.
    pub model: Option<String>,
    /// How to sample; it was checked. The seed is filled in if the client gave none.
    pub params: SamplingParams,
    /// What the frequency and the presence penalty count.
    pub penalized: PenalizedText,
    /// The client's seed.
    pub seed: Option<u64>,
    /// Most tokens to write; `None` for what fits.
    pub max_tokens: Option<u32>,
    /// Texts that end it.
    pub stop: Arc<[String]>,
    /// Answers to each prompt.
    pub n: u32,
    /// Whether speculation may be used for it.
    pub speculation: Speculation,
    /// The answer tells what speculation brought (`card`).
    pub report: bool,
    /// Stream the answer.
    pub stream: bool,
    /// Report usage at the end of a stream.
    pub include_usage: bool,
    /// Log probabilities, and of how many of the most probable tokens.
    pub logprobs: Option<usize>,
    /// What the text has to be.
    pub shape: Option<AnswerShape>,
    /// Where in the request the shape stands, for errors of its grammar.
    pub shape_field: &'static str,
    /// The answer the client expects. It may be as long as a body; more of it than the
    /// context holds is of no use.
    pub prediction: String,
    /// The answer begins with the prompt.
    pub echo: bool,
    /// Look for calls of tools in the answer.
    pub tools: bool,
    /// The answer ends behind its first call.
    pub one_call: bool,
    /// Most tokens of thoughts: behind them the thoughts are ended, and the model answers.
    pub thinking_budget: Option<u32>,
    /// Thoughts are not sent with an answer to a chat; usage counts them.
    pub hides_thoughts: bool,
    /// How the model's chat template writes a conversation down.
    pub template: TemplateOptions,
    /// The functions that the model may call: an answer that is one JSON object is a call if it
    /// names one of them.
    pub offered: Arc<[OfferedFunction]>,
    /// In which form calls stand in the answer.
    pub call_form: CallForm,
    /// The drafter that is for it; not from the body, but a header.
    pub drafter: Option<String>,
    /// What llama-server's clients ask to be told beside the text.
    pub llama: LlamaOptions,
    /// Fields of the request that nothing is called; they are ignored.
    pub unknown: usize,
}

impl GenerationJob {
    /// A job that asks for nothing in particular. It has no prompt yet.
    pub fn new(chat: bool) -> Self {
        GenerationJob {
            chat,
            prompts: Vec::new(),
            model: None,
            params: SamplingParams::default(),
            penalized: PenalizedText::Generated,
            seed: None,
            max_tokens: None,
            stop: Arc::default(),
            n: 1,
            speculation: Speculation::Auto,
            report: false,
            stream: false,
            include_usage: false,
            logprobs: None,
            shape: None,
            shape_field: "response_format",
            prediction: String::new(),
            echo: false,
            tools: false,
            one_call: false,
            thinking_budget: None,
            hides_thoughts: false,
            template: TemplateOptions::default(),
            offered: Arc::default(),
            call_form: CallForm::Tools,
            drafter: None,
            llama: LlamaOptions::default(),
            unknown: 0,
        }
    }

    /// Whether the prompt's own tokens get log probabilities: a text that is repeated (`echo`)
    /// with log probabilities. The prompt is then read token by token, not as a whole.
    pub fn scores_prompt(&self) -> bool {
        self.echo && self.logprobs.is_some()
    }
}

/// Which tokens the frequency and the presence penalty count. The repeat penalty counts all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PenalizedText {
    /// Those that were generated, as OpenAI and vLLM count.
    #[default]
    Generated,
    /// Those of the prompt as well, as llama-server and Ollama count.
    All,
}

/// Whether speculation may be used for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speculation {
    /// As the server decides.
    #[default]
    Auto,
    /// The request is decoded plainly.
    Off,
    /// At most so many candidates of the request are verified in a forward.
    Most(u32),
}

/// In which form calls of functions stand in an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallForm {
    /// `tool_calls`.
    #[default]
    Tools,
    /// `function_call`, as before there were tools: one call at most.
    Function,
}

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct OfferedFunction {
    /// Its name.
    pub name: String,
    /// The schema of its arguments, if the client gave one.
    pub parameters: Option<Value>,
}

/// How a chat template writes a conversation down, as far as the client says.
#[derive(Clone, Debug, PartialEq)]
pub struct TemplateOptions {
    /// Whether the model thinks before it answers, where the template has a switch for that;
    /// `None` for what the template does without.
    pub thinking: Option<bool>,
    /// How much the model thinks, where the template takes a word for that.
    pub effort: Option<String>,
    /// Variables of the client's own. They go before what stands above.
    pub variables: Map<String, Value>,
    /// Whether the prompt ends where the assistant's next message begins.
    pub begins_answer: bool,
    /// Whether the answer goes on with the last message, which is the assistant's: the prompt ends
    /// with its text.
    pub continues_last: bool,
}

impl Default for TemplateOptions {
    /// What the template does by itself, and a prompt to be answered.
    fn default() -> Self {
        TemplateOptions {
            thinking: None,
            effort: None,
            variables: Map::new(),
            begins_answer: true,
            continues_last: false,
        }
    }
}

/// What llama-server's clients can ask to be told beside the text. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LlamaOptions {
    /// The tokens of the answer.
    pub tokens: bool,
    /// Times and counts with every piece of the answer.
    pub timings_per_token: bool,
    /// How much of the prompt was read, while it is read.
    pub progress: bool,
    /// The prompt as the model read it, and how it was sampled.
    pub verbose: bool,
}

/// What goes before the text that is generated.
#[derive(Clone, Debug, PartialEq)]
pub enum PromptInput {
    /// A conversation, for the model's chat template.
    Chat {
        /// The messages, as the template takes them.
        messages: Value,
        /// Tools the model may call.
        tools: Option<Value>,
    },
    /// Text as it is.
    Text(String),
    /// What stands before and behind the text that is generated (fill in the middle).
    Fill {
        /// What stands before it.
        prefix: String,
        /// What stands behind it.
        suffix: String,
    },
    /// Tokens as they are. Whether the model has them, only the server knows.
    Tokens(Vec<Token>),
}

/// What a text has to be.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerShape {
    /// Some JSON object.
    Object,
    /// JSON of this schema.
    Schema(Value),
    /// A call of one of these functions (name, schema of its arguments), in the words of
    /// models that write `<tool_call>`.
    Call(Vec<(String, Value)>),
    /// Text of this grammar, in llguidance's variant of Lark. It was made of a client's GBNF
    /// ([`llama_server::gbnf`](crate::llama_server::gbnf)).
    Lark(String),
}

impl AnswerShape {
    /// The schemas in it, as the client sent them.
    pub fn schemas(&self) -> impl Iterator<Item = &Value> {
        let (one, many) = match self {
            AnswerShape::Object | AnswerShape::Lark(_) => (None, &[][..]),
            AnswerShape::Schema(schema) => (Some(schema), &[][..]),
            AnswerShape::Call(functions) => (None, &functions[..]),
        };
        one.into_iter().chain(many.iter().map(|(_, schema)| schema))
    }
}
