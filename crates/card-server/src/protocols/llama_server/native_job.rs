//! What a native route asks for, with what the model's vocabulary says.

use card_api::llama_server::BiasedText;
use card_api::llama_server::completion::{NativeDefaults, NativeOptions, NativeRequest};
use card_api::{ApiError, GenerationJob, PromptInput};
use card_core::sampler::{Bias, LogitBias};
use card_core::types::Token;
use serde_json::Value;

use super::fields::WantedFields;
use super::settings::settings;
use crate::app::App;
use crate::request::{MOST_ECHO, text_tokens, too_long};

/// The field of an answer that repeats the settings.
pub(super) const SETTINGS: &str = "generation_settings";
/// The field of an answer that repeats its prompt.
pub(super) const PROMPT: &str = "prompt";

/// What the answers to a native request need beside its job.
pub(super) struct NativeJob {
    /// How to answer.
    pub(super) options: NativeOptions,
    /// Which fields the answers have.
    pub(super) wanted: WantedFields,
    /// The settings, as answers repeat them.
    pub(super) settings: Value,
    /// The prompts.
    pub(super) prompts: Vec<PromptEcho>,
    /// The slot that shall hold the text, if there is one.
    pub(super) slot: Option<NamedSlot>,
}

/// A slot that a request named, which holds its text when it was written.
pub(super) struct NamedSlot {
    /// Its number.
    pub(super) number: usize,
    /// The tokens of the first prompt.
    pub(super) prompt: Vec<Token>,
}

/// A prompt, as an answer tells of it.
pub(super) struct PromptEcho {
    /// How many tokens it has.
    pub(super) tokens: usize,
    /// The prompt as text, where answers repeat it.
    pub(super) text: String,
}

/// What holds where a native request says nothing: the server's own settings.
pub(super) fn defaults(app: &App) -> NativeDefaults {
    NativeDefaults {
        params: app.config.sampling.params.clone(),
        seed: app.config.sampling.seed,
        n_predict: app.config.llama_server.n_predict,
    }
}

/// Completes a request: its prompts are these tokens, its biases are those of tokens, and it has
/// a seed.
///
/// # Errors
/// Names the field that is wrong or too much.
pub(super) fn resolve(
    app: &App,
    request: NativeRequest,
    prompts: Vec<Vec<Token>>,
) -> Result<(GenerationJob, NativeJob), ApiError> {
    let NativeRequest {
        mut job,
        biases,
        options,
        ..
    } = request;
    job.params.logit_bias = bias_tokens(app, biases, options.ignore_eos)?;
    // llama-server's seeds have 32 bits, and its answers repeat them.
    let fresh = || app.numbers.seed() & u64::from(u32::MAX);
    job.params.seed = *job.seed.get_or_insert_with(fresh);
    let wanted = WantedFields::new(&options.response_fields);
    let slot = named_slot(app, options.id_slot, &prompts);
    let answers_per_prompt = job.n as usize;
    let mut read = Vec::with_capacity(prompts.len());
    let mut repeated = 0;
    for prompt in prompts {
        if prompt.len() >= app.model.context as usize {
            return Err(too_long(app, false, prompt.len()));
        }
        let text = if wanted.has(PROMPT) {
            app.text.shown(&prompt)
        } else {
            String::new()
        };
        repeated += text.len() * answers_per_prompt;
        if repeated > MOST_ECHO {
            let why = format!(
                "the answers would repeat their prompts in more than {MOST_ECHO} bytes; ask for \
                 fewer answers at once, or send `response_fields` without `prompt`"
            );
            return Err(ApiError::field("prompt", why));
        }
        read.push(PromptEcho {
            tokens: prompt.len(),
            text,
        });
        job.prompts.push(PromptInput::Tokens(prompt));
    }
    let settings = Value::Object(settings(&job, &options));
    let answers = (job.prompts.len() * answers_per_prompt).max(1);
    if !wanted.fit(SETTINGS, &settings, MOST_ECHO / answers) {
        let why = format!(
            "the answers would repeat their settings in more than {MOST_ECHO} bytes; ask for \
             fewer answers at once, or for fewer fields of `generation_settings`"
        );
        return Err(ApiError::field("response_fields", why));
    }
    Ok((
        job,
        NativeJob {
            options,
            wanted,
            settings,
            prompts: read,
            slot,
        },
    ))
}

/// The slot that a request names, where slots can be saved.
fn named_slot(app: &App, id_slot: Option<u32>, prompts: &[Vec<Token>]) -> Option<NamedSlot> {
    app.config.llama_server.slot_save_path.as_ref()?;
    let number = id_slot.map(|id| id as usize);
    let number = number.filter(|n| *n < app.config.parallel)?;
    let prompt = prompts.first()?.clone();
    Some(NamedSlot { number, prompt })
}

/// The biases of tokens, in which `ignore_eos` bans the tokens that end a text.
fn bias_tokens(
    app: &App,
    biases: Vec<(BiasedText, Bias)>,
    ignore_eos: bool,
) -> Result<LogitBias, ApiError> {
    let mut list = Vec::new();
    for (key, bias) in biases {
        match key {
            BiasedText::Token(token) => {
                app.text.check_token("logit_bias", token)?;
                list.push((token, bias));
            }
            BiasedText::Text(text) => {
                let tokens = text_tokens(app, "logit_bias", &text, false)?;
                list.extend(tokens.into_iter().map(|token| (token, bias)));
            }
        }
    }
    if ignore_eos {
        list.extend(app.text.end_tokens.iter().map(|&token| (token, Bias::Ban)));
    }
    LogitBias::new(list).ok_or_else(|| {
        let why = format!("there may be biases of {} tokens", LogitBias::MOST);
        ApiError::field("logit_bias", why)
    })
}
