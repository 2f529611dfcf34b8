//! From a request to its answer.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use card_api::ApiError;
use card_api::request::{Job, Prompt};
use card_core::sampler::SamplingParams;
use card_core::types::Token;
use card_engine::Generate;
use futures_util::StreamExt;
use serde_json::json;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::sync::watch;

use super::announced;
use crate::DRAFTER_HEADER;
use crate::admission::{Deadline, Held, Place};
use crate::answer::{Answer, Choice, Usage};
use crate::app::{App, seconds};
use crate::caller::Caller;
use crate::connections::Busy;
use crate::generation::{self, Listener, News, Task};
use crate::text::most_bytes;
use crate::watch::Watched;

/// Pieces of an answer that wait for its reader; a generation that is further ahead waits.
const AHEAD: usize = 1024;
/// Log probabilities that an answer which is no stream may have to hold, alternatives
/// included: about 40 MiB.
const MOST_LOGPROBS: usize = 250_000;

/// Bytes of prompts that an answer repeats, in all its choices.
const MOST_ECHO: usize = 8 << 20;
/// What a reader gets beyond a request's deadline to take what was written.
const LINGER: Duration = Duration::from_secs(30);

/// How a body becomes a job.
pub(super) type Parse = fn(&[u8]) -> Result<Job, ApiError>;

/// Runs what a request asks for and answers it, whole or as a stream.
pub(super) async fn answer(
    app: Arc<App>,
    caller: Caller,
    request: Request,
    parse: Parse,
) -> Response {
    let path = request.uri().path().to_owned();
    let (parts, body) = request.into_parts();
    let mut body = Some(body);
    let id = app.request_id();
    let begun = begin(&app, &caller, &id, &parts.headers, &mut body, parse).await;
    match begun {
        Ok(running) if running.job.stream => running.stream().await,
        Ok(running) => running.whole().await,
        Err(error) => app.refuse(&id, &caller, &path, body, error).await,
    }
}

/// A request whose generations run or wait for a slot.
struct Running {
    job: Job,
    answer: Answer,
    choices: Vec<Choice>,
    usage: Usage,
    news: Receiver<(usize, News)>,
    /// Given up when everything was taken.
    place: Place,
    deadline: Deadline,
    busy: Option<Arc<Busy>>,
}

/// What a workshop makes of a body.
struct Prepared {
    job: Job,
    tasks: Vec<Task>,
    usage: Usage,
    /// The text of each prompt, where it is to be repeated.
    echoes: Vec<String>,
}

async fn begin(
    app: &Arc<App>,
    caller: &Caller,
    request: &str,
    headers: &HeaderMap,
    body: &mut Option<Body>,
    parse: Parse,
) -> Result<Running, ApiError> {
    if app.is_draining() {
        return Err(ApiError::draining());
    }
    if let Some(why) = app.dead() {
        return Err(ApiError::engine_gone(why));
    }
    let place = app.admission.enter()?;
    let deadline = app.deadline(caller.came);
    let drafter = headers.get(DRAFTER_HEADER);
    let drafter = drafter.and_then(|d| d.to_str().ok()).map(str::to_owned);
    let received = app.admission.receive(body, announced(headers), deadline);
    let received = received.await?;
    let prepare = {
        let (app, caller, request) = (app.clone(), caller.clone(), request.to_owned());
        move || {
            let mut job = parse(&received.bytes)?;
            drop(received);
            job.drafter = drafter;
            prepare(&app, &caller, job, &request)
        }
    };
    let prepared = app.admission.prepare(deadline, prepare).await??;
    let Prepared {
        job,
        tasks,
        usage,
        echoes,
    } = prepared;
    let (sender, news) = channel(AHEAD);
    let mut choices = Vec::new();
    for (index, task) in tasks.into_iter().enumerate() {
        let mut choice = Choice::new(index, &job, request);
        if let Some(text) = echoes.get(index / job.n.max(1) as usize) {
            choice.echo(text);
        }
        choices.push(choice);
        let listener = Listener::new(
            index,
            sender.clone(),
            deadline,
            app.config.connections.stalled,
        );
        tokio::spawn(run(app.clone(), task, listener));
    }
    app.metrics.prompt_tokens.inc_by(usage.prompt as u64);
    let prefix = if job.chat { "chatcmpl" } else { "cmpl" };
    Ok(Running {
        answer: Answer {
            id: format!("{prefix}-{request}"),
            created: seconds(),
            model: app.name.clone(),
            chat: job.chat,
            fingerprint: app.fingerprint.clone(),
        },
        job,
        choices,
        usage,
        news,
        place,
        deadline,
        busy: caller.busy.clone(),
    })
}

/// Waits for a slot and runs the task in it.
async fn run(app: Arc<App>, mut task: Task, listener: Listener) {
    let enter = async {
        if let Some(mut first) = task.after.take() {
            // Its failure frees the others as well.
            let _ = first.wait_for(|read| *read).await;
        }
        app.admission.slot(task.deadline).await
    };
    let slot = tokio::select! {
        slot = enter => slot,
        () = listener.closed() => return,
    };
    match slot {
        Ok(slot) => {
            let work = move || {
                let start = Instant::now();
                generation::run(&app, task, &listener);
                app.admission.took(start.elapsed());
                drop(slot);
            };
            // It tells its listener of everything; a panic ends the channel.
            let _ = tokio::task::spawn_blocking(work).await;
        }
        Err(error) => {
            task.watched.ended("timeout");
            listener.tell(News::Failed(error)).await;
        }
    }
}

/// A task for each choice. Everything that needs time or memory is done here, in a workshop.
fn prepare(app: &Arc<App>, caller: &Caller, job: Job, request: &str) -> Result<Prepared, ApiError> {
    let most = job.max_tokens.unwrap_or(app.context).min(app.context) as usize;
    let choices = job.n.max(1) as usize * job.prompts.len();
    if let Some(top) = job.logprobs.filter(|_| !job.stream)
        && choices.saturating_mul(most).saturating_mul(top + 1) > MOST_LOGPROBS
    {
        let why = format!(
            "{choices} choices of up to {most} tokens with {top} alternatives each are more than \
             {MOST_LOGPROBS} log probabilities; ask for fewer tokens, or for a stream"
        );
        return Err(ApiError::field("logprobs", why));
    }
    for (token, _) in job.params.logit_bias.iter() {
        app.check_token("logit_bias", token)?;
    }
    let seed = job.seed.unwrap_or_else(|| app.fresh_seed());
    let prediction: Arc<[Token]> = predicted(app, &job.prediction)?.into();
    let compile = |shape| app.grammars.compile(shape, job.shape_field);
    let grammar = job.shape.as_ref().map(compile);
    let grammar = grammar.transpose()?.map(|g| Arc::new(Mutex::new(g)));
    let (mut prompts, mut usage, mut echoes) = (Vec::new(), Usage::default(), Vec::new());
    usage.tell_cached = app.tells_cached();
    let mut echoed = 0;
    for prompt in &job.prompts {
        let prompt = tokens(app, prompt)?;
        if prompt.is_empty() {
            return Err(ApiError::field("prompt", "the prompt is empty"));
        }
        if prompt.len() >= app.context as usize {
            return Err(too_long(app, job.chat, prompt.len()));
        }
        usage.prompt += prompt.len();
        if job.echo {
            let pieces = prompt.iter().flat_map(|&t| app.tokenizer.piece(t, false));
            let bytes: Vec<u8> = pieces.collect();
            echoed += bytes.len() * job.n as usize;
            if echoed > MOST_ECHO {
                let why = format!(
                    "the prompts would be repeated in more than {MOST_ECHO} bytes; ask for fewer \
                     answers, or leave echo out"
                );
                return Err(ApiError::field("echo", why));
            }
            echoes.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        prompts.push(prompt);
    }
    // From here on nothing is refused: each task tells its end.
    let mut tasks = Vec::new();
    for prompt in prompts {
        // The first answer reads the prompt, the others share it.
        let (read, _) = watch::channel(false);
        let mut read = Some(read);
        let after = read.as_ref().map(watch::Sender::subscribe);
        for answer in 0..job.n {
            let choice = tasks.len();
            let params = SamplingParams {
                seed: seed.wrapping_add(choice as u64),
                ..job.params.clone()
            };
            tasks.push(Task {
                watched: Watched::new(app, request, choice, caller),
                settings: json!({
                    "temperature": params.temperature,
                    "top_p": params.top_p,
                    "seed": params.seed,
                    "max_tokens": job.max_tokens,
                }),
                generate: Generate {
                    prompt: prompt.clone(),
                    params,
                    max_tokens: job.max_tokens.unwrap_or(app.context),
                    stop_tokens: app.end_tokens.clone(),
                    prediction: prediction.clone(),
                    logprobs: job.logprobs,
                    constraint: None,
                    drafter: job.drafter.clone(),
                    plain: app.metrics.rollout.next_is_plain(),
                    tenant: caller.tenant,
                },
                grammar: grammar.clone(),
                stop: job.stop.clone(),
                deadline: app.deadline(caller.came),
                // Only the first takes it.
                prompt_read: read.take(),
                after: after.clone().filter(|_| answer > 0),
            });
        }
    }
    // What the tasks have now is not kept twice.
    let job = Job {
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
    })
}

fn too_long(app: &App, chat: bool, tokens: usize) -> ApiError {
    let field = if chat { "messages" } else { "prompt" };
    ApiError::too_long(
        field,
        format!(
            "the prompt has {tokens} tokens, but the context holds {}; shorten it, or start the \
             server with a larger --ctx",
            app.context
        ),
    )
}

/// The beginning of the expected text that the context has room for.
fn predicted(app: &App, text: &str) -> Result<Vec<Token>, ApiError> {
    let most = most_bytes(app.context).min(text.len());
    let end = (0..=most).rev().find(|&i| text.is_char_boundary(i));
    let tokens = app.tokenizer.tokenize(&text[..end.unwrap_or(0)], false);
    let mut tokens = tokens.map_err(|why| ApiError::field("prediction", why))?;
    tokens.truncate(app.context as usize);
    Ok(tokens)
}

fn tokens(app: &App, prompt: &Prompt) -> Result<Vec<Token>, ApiError> {
    match prompt {
        Prompt::Text(text) => tokenize(app, "prompt", &[(text, true)]),
        Prompt::Tokens(tokens) => {
            for &token in tokens {
                app.check_token("prompt", token)?;
            }
            Ok(tokens.clone())
        }
        Prompt::Chat { messages, tools } => {
            let refused = |why: String| ApiError::field("messages", why);
            let none = "this model has no chat template, so it takes plain prompts only";
            let template = app
                .template
                .as_ref()
                .ok_or_else(|| refused(none.to_owned()))?;
            if tools.is_some() && !template.knows_tools() {
                let why = "this model's chat template has no place for tools";
                return Err(ApiError::field("tools", why));
            }
            let said = [Some(messages), tools.as_ref()];
            let marks = app.control_names.marks(said.into_iter().flatten());
            let Some(marks) = marks.map_err(refused)? else {
                let text = template.render(messages, tools.as_ref());
                return tokenize(app, "messages", &[(&text.map_err(refused)?, true)]);
            };
            let tools = tools.as_ref().map(|t| marks.mark(t));
            let text = template.render(&marks.mark(messages), tools.as_ref());
            let text = text.map_err(refused)?;
            tokenize(app, "messages", &marks.split(&text))
        }
    }
}

/// Tokens of a text in parts, each with whether names of control tokens mean those.
fn tokenize(app: &App, field: &str, parts: &[(&str, bool)]) -> Result<Vec<Token>, ApiError> {
    let bytes: usize = parts.iter().map(|(text, _)| text.len()).sum();
    let most = most_bytes(app.context);
    if bytes > most {
        let why = format!(
            "the prompt has {bytes} bytes, which cannot fit: the context holds {} tokens; shorten \
             it, or start the server with a larger --ctx",
            app.context
        );
        return Err(ApiError::too_long(field, why));
    }
    let wrong = |why: String| ApiError::field(field, why);
    // What begins every text, begins only the whole.
    let begin = match parts.len() {
        0 | 1 => Vec::new(),
        _ => app.tokenizer.tokenize("", true).map_err(wrong)?,
    };
    let mut tokens: Vec<Token> = Vec::new();
    for &(text, special) in parts {
        let more = app.tokenizer.tokenize(text, special).map_err(wrong)?;
        if tokens.is_empty() {
            tokens = more;
        } else {
            tokens.extend(more.strip_prefix(&begin[..]).unwrap_or(&more));
        }
        if tokens.len() >= app.context as usize {
            return Err(too_long(app, field == "messages", tokens.len()));
        }
    }
    Ok(tokens)
}

impl Running {
    async fn whole(mut self) -> Response {
        let mut done: Vec<_> = self.choices.iter().map(|_| None).collect();
        while done.iter().any(Option::is_none) {
            match self.news.recv().await {
                Some((index, News::Piece(piece))) => {
                    self.choices[index].take(piece);
                }
                Some((index, News::Done(outcome))) => {
                    self.usage.add(&outcome, index, self.job.n);
                    done[index] = Some(self.choices[index].whole(&outcome));
                }
                Some((_, News::Failed(error))) => return error.into_response(),
                None => return ApiError::internal("the generation broke off").into_response(),
            }
        }
        let choices = done.into_iter().flatten().collect();
        // A large answer is written off the threads that speak HTTP.
        let (answer, usage) = (self.answer, self.usage);
        let write = move || serde_json::to_vec(&answer.whole(choices, usage));
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(json)) => held(json, self.place, self.deadline, self.busy),
            Ok(Err(error)) => ApiError::internal(error.to_string()).into_response(),
            Err(error) => ApiError::internal(error.to_string()).into_response(),
        }
    }

    /// A failure before anything was written is an answer of its own; later it is an event.
    async fn stream(mut self) -> Response {
        let first = match self.news.recv().await {
            Some((_, News::Failed(error))) => return error.into_response(),
            Some(first) => first,
            None => return ApiError::internal("the generation broke off").into_response(),
        };
        let (open, with_usage) = (self.choices.len(), self.job.include_usage);
        let begin: Vec<String> = self
            .choices
            .iter()
            .filter_map(Choice::begin)
            .map(|c| self.answer.chunk(c, with_usage).to_string())
            .collect();
        let Running {
            job,
            answer,
            choices,
            usage,
            news,
            place,
            deadline,
            busy,
        } = self;
        let written = Written {
            job,
            answer,
            choices,
            usage,
            news,
            open,
            next: Some(first),
        };
        let rest = futures_util::stream::unfold(written, |mut written| async move {
            Some((written.next_events().await?, written))
        });
        let events = futures_util::stream::iter([begin])
            .chain(rest)
            .flat_map(futures_util::stream::iter)
            .map(|data| Ok::<_, Infallible>(Event::default().data(data)));
        let stream = Sse::new(events).keep_alive(KeepAlive::default());
        // A reader that takes the rest slowly may take as long again as it could be idle.
        let until = deadline.at + LINGER;
        let response = stream.into_response();
        response.map(|body| Body::new(Held::stream(body, place, until, busy)))
    }
}

/// An answer of JSON that holds its place until it was taken.
pub(super) fn held(
    json: Vec<u8>,
    place: Place,
    deadline: Deadline,
    busy: Option<Arc<Busy>>,
) -> Response {
    let body = Body::new(Held::whole(json, place, deadline.at + LINGER, busy));
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// A stream as it is written.
struct Written {
    job: Job,
    answer: Answer,
    choices: Vec<Choice>,
    usage: Usage,
    news: Receiver<(usize, News)>,
    /// Choices that go on; 0 when everything was said.
    open: usize,
    /// News that came already.
    next: Option<(usize, News)>,
}

impl Written {
    /// The events that the next news make; `None` when everything was said. The first failure
    /// is the end, and drops what the other choices still write.
    async fn next_events(&mut self) -> Option<Vec<String>> {
        if self.open == 0 {
            return None;
        }
        let news = match self.next.take() {
            Some(news) => Some(news),
            None => self.news.recv().await,
        };
        let Written {
            job,
            answer,
            choices,
            usage,
            ..
        } = self;
        let mut events: Vec<String> = Vec::new();
        let chunks = match news {
            Some((index, News::Piece(piece))) => choices[index].take(piece),
            Some((index, News::Done(outcome))) => {
                usage.add(&outcome, index, job.n);
                self.open -= 1;
                choices[index].finish(&outcome)
            }
            Some((_, News::Failed(error))) => {
                self.open = 0;
                events.push(error.body().to_string());
                Vec::new()
            }
            None => {
                self.open = 0;
                let error = ApiError::internal("the generation broke off");
                events.push(error.body().to_string());
                Vec::new()
            }
        };
        let with_usage = job.include_usage;
        events.extend(
            chunks
                .into_iter()
                .map(|c| answer.chunk(c, with_usage).to_string()),
        );
        if self.open == 0 {
            if with_usage {
                events.push(answer.usage(*usage).to_string());
            }
            events.push("[DONE]".to_owned());
        }
        Some(events)
    }
}
