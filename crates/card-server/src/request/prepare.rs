//! A job becomes tasks: one generation for each of its answers.

use std::sync::Arc;

use card_api::answer_parts::Thinking;
use card_api::{AnswerShape, ApiError, GenerationJob, PenalizedText, Speculation};
use card_core::sampler::SamplingParams;
use card_core::types::Token;
use card_engine::Generate;
use serde_json::json;
use tokio::sync::watch;

use super::prompt::{self, predicted, too_long};
use super::usage::TokenUsage;
use crate::app::App;
use crate::caller::Caller;
use crate::generation::{GenerationTask, ScoredPrompt, Watched};
use crate::grammar::Compiled;
use crate::grammar::budget::ThoughtBudget;
use crate::grammar::frame::{AnswerFrame, ThoughtFrame};

/// Log probabilities that an answer may have to keep until its end, alternatives included: about
/// 40 MiB.
const MOST_LOGPROBS: usize = 250_000;
/// Bytes that the answers to a request may repeat of it, all together.
pub(crate) const MOST_ECHO: usize = 8 << 20;

/// What a workshop makes of a body.
pub(super) struct Prepared {
    /// The job, without what its tasks have now.
    pub(super) job: GenerationJob,
    /// A task for each answer.
    pub(super) tasks: Vec<GenerationTask>,
    /// Tokens of the prompts.
    pub(super) usage: TokenUsage,
    /// The text of each prompt, where it is to be repeated.
    pub(super) echoes: Vec<String>,
    /// Each prompt as the model reads it, where that is told.
    pub(super) told_prompts: Vec<String>,
    /// Whether the answers begin with thoughts.
    pub(super) thinking: Thinking,
    /// Whether a grammar makes each answer a call.
    pub(super) forced_call: bool,
}

/// Prompts as tokens.
struct ReadPrompts {
    prompts: Vec<Vec<Token>>,
    usage: TokenUsage,
    echoes: Vec<String>,
    told_prompts: Vec<String>,
    /// Whether one of them ends within the model's thoughts.
    begin_thoughts: bool,
    /// Whether one of them ends behind them.
    end_thoughts: bool,
}

/// Makes the tasks of a job, from what all of them share.
struct TaskMaker<'a> {
    app: &'a Arc<App>,
    caller: &'a Caller,
    job: &'a GenerationJob,
    /// The request's name.
    request: &'a str,
    /// The seed of the first answer; each of the others has the next one.
    seed: u64,
    prediction: Arc<[Token]>,
    grammar: Option<Compiled>,
    budget: Option<ThoughtBudget>,
}

/// Prepares a job. Everything that needs time or memory is done here, in a workshop.
///
/// # Errors
/// Names the field of the request that is wrong or too much.
pub(super) fn prepare(
    app: &Arc<App>,
    caller: &Caller,
    job: GenerationJob,
    request: &str,
) -> Result<Prepared, ApiError> {
    if !job.stream {
        let instead = "ask for fewer tokens, or for a stream";
        check_kept_logprobs(app, &job, "logprobs", instead)?;
    }
    for (token, _) in job.params.logit_bias.iter() {
        app.text.check_token("logit_bias", token)?;
    }
    let seed = job.seed.or(app.config.sampling.seed);
    let seed = seed.unwrap_or_else(|| app.numbers.seed());
    let prediction: Arc<[Token]> = predicted(app, &job.prediction)?.into();
    let ReadPrompts {
        prompts,
        usage,
        echoes,
        told_prompts,
        begin_thoughts,
        end_thoughts,
    } = read_prompts(app, &job)?;
    let thinking = match (job.chat, begin_thoughts) {
        (false, _) => Thinking::Never,
        (true, true) => Thinking::Began,
        (true, false) if job.template.continues_last => Thinking::AnswerBegan,
        (true, false) => Thinking::MayBegin,
    };
    let thoughts = thoughts(app, thinking, end_thoughts);
    let compile = |shape| {
        let frame = frame(app, &job, shape, thoughts);
        app.text.grammars.compile(shape, &frame, job.shape_field)
    };
    let grammar = job.shape.as_ref().map(compile);
    let grammar = grammar.transpose()?;
    let budget = thoughts.zip(job.thinking_budget);
    let budget = budget.map(|(thoughts, most)| ThoughtBudget {
        most,
        open: thoughts.open,
        close: thoughts.close,
        close_tokens: app.text.thought_close_tokens.clone(),
    });
    let forced_call = matches!(job.shape, Some(AnswerShape::Call(_)));
    let job = with_stops(app, job, forced_call);
    // From here on nothing is refused: each task tells its end.
    let maker = TaskMaker {
        app,
        caller,
        job: &job,
        request,
        seed,
        prediction,
        grammar,
        budget,
    };
    let mut tasks = Vec::new();
    for prompt in &prompts {
        maker.add_answers(prompt, &mut tasks);
    }
    // What the tasks have now is not kept twice.
    let job = GenerationJob {
        prompts: Vec::new(),
        prediction: String::new(),
        shape: None,
        ..job
    };
    Ok(Prepared {
        job,
        tasks,
        usage,
        echoes,
        told_prompts,
        thinking,
        forced_call,
    })
}

/// The thoughts that may stand before an answer, if the model has some: where the prompt begins
/// them, or its template knows of them and the prompt has not ended them.
fn thoughts(app: &App, thinking: Thinking, ended: bool) -> Option<ThoughtFrame> {
    let format = app.text.format;
    let thoughts = |open| ThoughtFrame {
        open,
        close: format.thought_close(),
    };
    match thinking {
        Thinking::Never | Thinking::AnswerBegan => None,
        Thinking::Began => Some(thoughts(None)),
        Thinking::MayBegin => {
            let may = app.text.thinks && !ended;
            may.then(|| thoughts(Some(format.thought_open())))
        }
    }
}

/// What may stand around an answer of this shape. A shape that is asked for together with tools
/// is that of the answer to the user: the model may call a tool in its place.
fn frame(
    app: &App,
    job: &GenerationJob,
    shape: &AnswerShape,
    thoughts: Option<ThoughtFrame>,
) -> AnswerFrame {
    if !job.chat {
        return AnswerFrame::default();
    }
    let format = app.text.format;
    let answers = matches!(shape, AnswerShape::Object | AnswerShape::Schema(_));
    let tools = job.tools && answers;
    AnswerFrame {
        thoughts,
        // Where the answer goes on with a message, the prompt has it.
        answer_open: if job.template.continues_last {
            ""
        } else {
            format.answer_open()
        },
        call_opens: if tools {
            app.text.call_format.call_opens().collect()
        } else {
            Vec::new()
        },
        functions: if tools {
            job.offered.iter().map(|f| f.name.clone()).collect()
        } else {
            Vec::new()
        },
    }
}

/// The job without a text that ends its answer behind the first call, where calls of this model
/// do not end with it: there the reader leaves out what follows.
fn with_stops(app: &App, mut job: GenerationJob, forced_call: bool) -> GenerationJob {
    let kept = |text: &String| forced_call || app.text.call_format.ends_calls_with(text);
    if job.one_call
        && let Some((last, others)) = job.stop.split_last()
        && !kept(last)
    {
        job.stop = others.into();
    }
    job
}

/// Whether an answer that keeps its log probabilities until its end has room for them. Most
/// streams send them as they come, and keep none. The error names `field`, and says what to do
/// `instead`.
///
/// # Errors
/// If there may be too many of them.
pub(crate) fn check_kept_logprobs(
    app: &App,
    job: &GenerationJob,
    field: &str,
    instead: &str,
) -> Result<(), ApiError> {
    let context = app.model.context;
    let most = job.max_tokens.unwrap_or(context).min(context) as usize;
    let choices = job.n.max(1) as usize * job.prompts.len();
    if let Some(top) = job.logprobs
        && choices.saturating_mul(most).saturating_mul(top + 1) > MOST_LOGPROBS
    {
        let why = format!(
            "{choices} choices of up to {most} tokens with {top} alternatives each are more than \
             {MOST_LOGPROBS} log probabilities; {instead}"
        );
        return Err(ApiError::field(field, why));
    }
    Ok(())
}

/// The tokens of each prompt, and its text where the answer begins with it.
fn read_prompts(app: &App, job: &GenerationJob) -> Result<ReadPrompts, ApiError> {
    let mut read = ReadPrompts {
        prompts: Vec::new(),
        usage: TokenUsage {
            tell_cached: app.tells_cached(),
            ..TokenUsage::default()
        },
        echoes: Vec::new(),
        told_prompts: Vec::new(),
        begin_thoughts: false,
        end_thoughts: false,
    };
    let (mut echoed, mut told) = (0, 0);
    for prompt in &job.prompts {
        let prompt = prompt::read(app, prompt, &job.template)?;
        read.begin_thoughts |= prompt.begins_thought;
        read.end_thoughts |= prompt.ends_thought;
        let prompt = prompt.tokens;
        if prompt.is_empty() {
            return Err(ApiError::field("prompt", "the prompt is empty"));
        }
        if prompt.len() >= app.model.context as usize {
            return Err(too_long(app, job.chat, prompt.len()));
        }
        read.usage.prompt += prompt.len();
        if job.scores_prompt() {
            check_scored(app, job, &prompt, read.usage.prompt)?;
        }
        if job.echo {
            let tokenizer = &app.text.tokenizer;
            let pieces = prompt.iter().flat_map(|&t| tokenizer.piece(t, false));
            let bytes: Vec<u8> = pieces.collect();
            echoed += bytes.len() * job.n as usize;
            if echoed > MOST_ECHO {
                let why = format!(
                    "the prompts would be repeated in more than {MOST_ECHO} bytes; ask for fewer \
                     answers, or leave echo out"
                );
                return Err(ApiError::field("echo", why));
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            read.echoes.push(text);
        }
        if job.llama.verbose || app.config.llama_server.verbose {
            let text = app.text.shown(&prompt);
            told += text.len();
            if told > MOST_ECHO {
                let why = format!(
                    "the prompts would be told in more than {MOST_ECHO} bytes; send fewer, or leave \
                     `verbose` out"
                );
                return Err(ApiError::field("verbose", why));
            }
            read.told_prompts.push(text);
        }
        read.prompts.push(prompt);
    }
    Ok(read)
}

/// Whether a prompt's own tokens can get log probabilities; `read` tokens of prompts were read
/// with it.
fn check_scored(
    app: &App,
    job: &GenerationJob,
    prompt: &[Token],
    read: usize,
) -> Result<(), ApiError> {
    let top = job.logprobs.unwrap_or(0);
    let all = read.saturating_mul(job.n as usize).saturating_mul(top + 1);
    if !job.stream && all > MOST_LOGPROBS {
        let why = format!(
            "the prompts' own log probabilities, with {top} alternatives each, would be more \
             than {MOST_LOGPROBS}; send fewer prompts at once, or ask for a stream"
        );
        return Err(ApiError::field("logprobs", why));
    }
    let ends = |token: &Token| app.text.end_tokens.contains(token);
    if job.max_tokens != Some(0) && prompt.iter().skip(1).any(ends) {
        let why = "with `logprobs` and a prompt that has a token which ends a text within it, \
                   nothing can be written behind it; send max_tokens 0, or leave `echo` out";
        return Err(ApiError::field("echo", why));
    }
    Ok(())
}

impl TaskMaker<'_> {
    /// Adds the tasks of all answers to a prompt. The first answer reads the prompt; the others
    /// wait until it was read, and share its KV cells.
    fn add_answers(&self, prompt: &[Token], tasks: &mut Vec<GenerationTask>) {
        let (read, _) = watch::channel(false);
        let mut read = Some(read);
        let after = read.as_ref().map(watch::Sender::subscribe);
        for answer in 0..self.job.n {
            // Only the first takes the sender.
            let prompt_read = read.take();
            let after = after.clone().filter(|_| answer > 0);
            tasks.push(self.task(tasks.len(), prompt, prompt_read, after));
        }
    }

    /// The task of answer `choice` of the request.
    fn task(
        &self,
        choice: usize,
        prompt: &[Token],
        prompt_read: Option<watch::Sender<bool>>,
        after: Option<watch::Receiver<bool>>,
    ) -> GenerationTask {
        let (app, job) = (self.app, self.job);
        let params = SamplingParams {
            generated_from: match job.penalized {
                PenalizedText::Generated => prompt.len() as u32,
                PenalizedText::All => 0,
            },
            seed: self.seed.wrapping_add(choice as u64),
            ..job.params.clone()
        };
        let wanted = job.max_tokens.unwrap_or(app.model.context);
        let scored = job.scores_prompt().then(|| ScoredPrompt {
            first: prompt[0],
            rest: prompt[1..].into(),
        });
        let known = scored.as_ref().map_or(0, |s| s.rest.len());
        let prediction = match &scored {
            Some(scored) => scored
                .rest
                .iter()
                .chain(&*self.prediction)
                .copied()
                .collect(),
            None => self.prediction.clone(),
        };
        let off = job.speculation == Speculation::Off;
        let most_candidates = match job.speculation {
            Speculation::Most(most) => Some(most),
            Speculation::Auto | Speculation::Off => None,
        };
        GenerationTask {
            watched: Watched::new(app, self.request, choice, self.caller),
            settings: json!({
                "temperature": params.temperature,
                "top_p": params.top_p,
                "seed": params.seed,
                "max_tokens": job.max_tokens,
            }),
            generate: Generate {
                prompt: prompt[..prompt.len() - known].to_vec(),
                params,
                // A text of nothing is not generated, but one token that is not shown.
                max_tokens: wanted.saturating_add(known as u32).max(1),
                stop_tokens: if wanted == 0 {
                    Vec::new()
                } else {
                    app.text.end_tokens.clone()
                },
                prediction,
                logprobs: job.logprobs,
                constraint: None,
                drafter: job.drafter.clone(),
                plain: off || app.rollout.next_is_plain(),
                most_candidates,
                tenant: self.caller.tenant,
            },
            grammar: self.grammar.clone(),
            shape_field: job.shape_field,
            budget: self.budget.clone(),
            marks: job.chat,
            shown: wanted as usize,
            scored,
            stop: job.stop.clone(),
            deadline: app.deadline(self.caller.came),
            prompt_read,
            after,
            report: job.llama,
        }
    }
}
