//! From a job to its answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use card_api::ApiError;
use card_api::request::{Job, Prompt};
use card_core::sampler::SamplingParams;
use card_core::types::Token;
use card_engine::Generate;
use card_llama::ChatError;
use futures_util::StreamExt;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::answer::{Answer, Choice, Usage};
use crate::app::{App, seconds};
use crate::generation::{self, Listener, News, Task};
use crate::watch::Watched;

/// Runs a job and answers it, whole or as a stream.
pub(super) async fn answer(app: Arc<App>, job: Job, came: Instant) -> Response {
    match begin(app, job, came).await {
        Ok(running) if running.job.stream => running.stream().await,
        Ok(running) => running.whole().await,
        Err(error) => error.into_response(),
    }
}

struct Running {
    job: Job,
    answer: Answer,
    choices: Vec<Choice>,
    usage: Usage,
    news: UnboundedReceiver<(usize, News)>,
}

async fn begin(app: Arc<App>, job: Job, came: Instant) -> Result<Running, ApiError> {
    if app.is_draining() {
        return Err(ApiError::draining());
    }
    let request = app.request_id();
    // Reading the vocabulary for a grammar or a long prompt takes a while.
    let prepare = {
        let (app, request) = (app.clone(), request.clone());
        move || tasks(&app, &job, &request, came).map(|tasks| (job, tasks))
    };
    let prepared = tokio::task::spawn_blocking(prepare).await;
    let (job, prepared) = prepared.map_err(|e| ApiError::internal(e.to_string()))??;
    let mut usage = Usage::default();
    let (sender, news) = unbounded_channel();
    let mut choices = Vec::new();
    for (index, task) in prepared.into_iter().enumerate() {
        let prompt = &task.generate.prompt;
        if index % job.n as usize == 0 {
            usage.prompt += prompt.len();
        }
        let mut choice = Choice::new(index, &job, &request);
        if job.echo {
            let bytes: Vec<u8> = prompt
                .iter()
                .flat_map(|&t| app.vocab.piece(t, false))
                .collect();
            choice.echo(&String::from_utf8_lossy(&bytes));
        }
        choices.push(choice);
        let listener = Listener::new(index, sender.clone());
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
    })
}

/// Waits for a slot and runs the task in it.
async fn run(app: Arc<App>, mut task: Task, listener: Listener) {
    let enter = async {
        if let Some(mut first) = task.after.take() {
            // Its failure frees the others as well.
            let _ = first.wait_for(|read| *read).await;
        }
        let left = task.deadline.saturating_duration_since(Instant::now());
        app.queue.enter(left).await
    };
    let permit = tokio::select! {
        permit = enter => permit,
        () = listener.closed() => return,
    };
    match permit {
        Ok(permit) => {
            let work = move || {
                let start = Instant::now();
                generation::run(&app, task, &listener);
                app.queue.took(start.elapsed());
                drop(permit);
            };
            // It tells its listener of everything; a panic ends the channel.
            let _ = tokio::task::spawn_blocking(work).await;
        }
        Err(error) => listener.send(News::Failed(error)),
    }
}

/// A task for each choice.
fn tasks(app: &App, job: &Job, request: &str, came: Instant) -> Result<Vec<Task>, ApiError> {
    let seed = job.seed.unwrap_or_else(|| app.fresh_seed());
    let prediction = app.vocab.tokenize(&job.prediction, false);
    let prediction = prediction.map_err(|e| ApiError::field("prediction", e.to_string()))?;
    let mut tasks = Vec::new();
    for prompt in &job.prompts {
        let prompt = tokens(app, prompt)?;
        if prompt.is_empty() {
            return Err(ApiError::field("prompt", "the prompt is empty"));
        }
        if prompt.len() >= app.context as usize {
            return Err(ApiError::too_long(format!(
                "the prompt has {} tokens, but the context holds {}; shorten it, or start the \
                 server with a larger --ctx",
                prompt.len(),
                app.context
            )));
        }
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
            let constraint = job.shape.as_ref().map(|s| app.grammars.constraint(s));
            let constraint = constraint.transpose().map_err(|why| {
                ApiError::field(
                    "response_format",
                    format!("the schema cannot be enforced: {why}"),
                )
            })?;
            let watched = Watched::new(request, choice, came);
            watched.began(
                app,
                &prompt,
                json!({
                    "temperature": params.temperature,
                    "top_p": params.top_p,
                    "seed": params.seed,
                    "max_tokens": job.max_tokens,
                }),
            );
            let task = Task {
                watched,
                generate: Generate {
                    prompt: prompt.clone(),
                    params,
                    max_tokens: job.max_tokens.unwrap_or(app.context),
                    stop_tokens: app.end_tokens.clone(),
                    prediction: prediction.clone(),
                    logprobs: job.logprobs,
                    constraint,
                    drafter: job.drafter.clone(),
                    plain: app.metrics.rollout.next_is_plain(),
                },
                stop: job.stop.clone(),
                deadline: came + app.config.request_timeout,
                timeout: app.config.request_timeout,
                // Only the first takes it.
                prompt_read: read.take(),
                after: after.clone().filter(|_| answer > 0),
            };
            tasks.push(task);
        }
    }
    Ok(tasks)
}

fn tokens(app: &App, prompt: &Prompt) -> Result<Vec<Token>, ApiError> {
    let tokenize = |text: &str, special| {
        let tokens = app.vocab.tokenize(text, special);
        tokens.map_err(|e| ApiError::invalid(e.to_string()))
    };
    match prompt {
        Prompt::Text(text) => tokenize(text, true),
        Prompt::Tokens(tokens) => Ok(tokens.clone()),
        Prompt::Chat { messages, tools } => {
            let refused = |e: ChatError| ApiError::field("messages", e.to_string());
            let template = app
                .template
                .as_ref()
                .ok_or_else(|| refused(ChatError::None))?;
            if tools.is_some() && !template.knows_tools() {
                let why = "this model's chat template has no place for tools";
                return Err(ApiError::field("tools", why));
            }
            let text = template.render_with_tools(messages, tools.as_ref());
            tokenize(&text.map_err(refused)?, true)
        }
    }
}

impl Running {
    async fn whole(mut self) -> Response {
        let mut done = vec![None; self.choices.len()];
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
        Json(self.answer.whole(choices, self.usage)).into_response()
    }

    /// A failure before anything was written is an answer of its own; later it is an event.
    async fn stream(mut self) -> Response {
        let first = match self.news.recv().await {
            Some((_, News::Failed(error))) => return error.into_response(),
            Some(first) => first,
            None => return ApiError::internal("the generation broke off").into_response(),
        };
        let Running {
            job,
            answer,
            mut choices,
            mut usage,
            news,
        } = self;
        let with_usage = job.include_usage;
        let begin: Vec<String> = choices
            .iter()
            .filter_map(Choice::begin)
            .map(|c| answer.chunk(c, with_usage).to_string())
            .collect();
        let mut open = choices.len();
        let rest = UnboundedReceiverStream::new(news);
        let news = futures_util::stream::iter([first]).chain(rest);
        let chunks = news.map(move |(index, news)| {
            let choice = &mut choices[index];
            let mut events: Vec<String> = Vec::new();
            let written = match news {
                News::Piece(piece) => choice.take(piece),
                News::Done(outcome) => {
                    usage.add(&outcome, index, job.n);
                    open -= 1;
                    choice.finish(&outcome)
                }
                News::Failed(error) => {
                    open = 0;
                    events.push(error.body().to_string());
                    Vec::new()
                }
            };
            events.extend(
                written
                    .into_iter()
                    .map(|c| answer.chunk(c, with_usage).to_string()),
            );
            if open == 0 {
                if with_usage {
                    events.push(answer.usage(usage).to_string());
                }
                events.push("[DONE]".to_owned());
            }
            events
        });
        let all = futures_util::stream::iter([begin]).chain(chunks);
        let events = all
            .flat_map(futures_util::stream::iter)
            .map(|data| Ok::<_, Infallible>(Event::default().data(data)));
        Sse::new(events)
            .keep_alive(KeepAlive::default())
            .into_response()
    }
}
