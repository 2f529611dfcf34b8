//! A request begins: it is admitted, received, prepared, and its generations are started.

use std::sync::Arc;
use std::time::Duration;

use card_api::answer_format::AnswerFormat;
use card_api::answer_parts::{AnswerReader, ReadAs, Thinking};
use card_api::{ApiError, GenerationJob};
use tokio::sync::mpsc::channel;

use super::incoming::IncomingRequest;
use super::prepare::{Prepared, prepare};
use super::usage::TokenUsage;
use crate::admission::AnswerHold;
use crate::app::App;
use crate::clock::{LONGEST, RequestDeadline};
use crate::generation::{EventSink, FullAnswers, GenerationTask, NewsFeed, run_in_slot};

/// Pieces of an answer that wait for its reader; a generation that is further ahead waits.
const AHEAD: usize = 1024;
/// Log probabilities with a token, its own included, up to which so many pieces may wait.
const WITH_TOKEN: usize = 21;
/// Pieces that may wait however many log probabilities come with them.
const LEAST_AHEAD: usize = 32;

/// Pieces that may wait for the reader of an answer to this job: fewer where each of them has
/// more log probabilities, so that they take the same room.
fn ahead(job: &GenerationJob) -> usize {
    let with_token = job.logprobs.map_or(1, |top| top + 1);
    (AHEAD * WITH_TOKEN / with_token).clamp(LEAST_AHEAD, AHEAD)
}

/// A request whose generations run or wait for a slot.
pub(crate) struct RunningRequest {
    /// The request's name.
    pub(crate) id: String,
    /// What it asks for; what only its generations need was taken out.
    pub(crate) job: GenerationJob,
    /// How many answers it gets. The answers to a prompt stand together, `n` of them.
    pub(crate) answers: usize,
    /// The text of each prompt, where it is to be repeated.
    pub(crate) echoes: Vec<String>,
    /// In which words the model writes thoughts.
    format: &'static AnswerFormat,
    /// In which words it writes calls.
    call_format: &'static AnswerFormat,
    /// Each prompt as the model read it, where that is told.
    pub(crate) told_prompts: Vec<String>,
    /// Whether the answers begin with thoughts.
    thinking: Thinking,
    /// Whether a grammar makes each answer a call.
    forced_call: bool,
    /// Most time that the head of a stream waits for the first news.
    head_wait: Duration,
    /// Tokens so far.
    pub(crate) usage: TokenUsage,
    /// What becomes known of the generation of each answer.
    pub(crate) news: NewsFeed,
    /// Answers that have all that they are to have, so that their generations end.
    pub(crate) full: FullAnswers,
    /// Given up when the answer was taken.
    pub(crate) hold: AnswerHold,
}

/// Begins what a request asks for, under the name `id`. `parse` makes a job of its body.
///
/// # Errors
/// If the server takes no requests, or this one is wrong or too much. Nothing was started then.
pub(crate) async fn begin(
    app: &Arc<App>,
    id: &str,
    incoming: &mut IncomingRequest,
    parse: impl FnOnce(&[u8]) -> Result<GenerationJob, ApiError> + Send + 'static,
) -> Result<RunningRequest, ApiError> {
    let read = move |_: &App, body: &[u8]| parse(body).map(|job| (job, ()));
    let (running, ()) = begin_with(app, id, incoming, read).await?;
    Ok(running)
}

/// Begins what a request asks for, as [`begin`] does. `read` makes the job of a body with what
/// the server knows, in a workshop, and may keep what the answer needs.
///
/// # Errors
/// The same as those of [`begin`], and what `read` says instead of a job.
pub(crate) async fn begin_with<X, E>(
    app: &Arc<App>,
    id: &str,
    incoming: &mut IncomingRequest,
    read: impl FnOnce(&App, &[u8]) -> Result<(GenerationJob, X), E> + Send + 'static,
) -> Result<(RunningRequest, X), E>
where
    X: Send + 'static,
    E: From<ApiError> + Send + 'static,
{
    if app.is_draining() {
        return Err(ApiError::draining().into());
    }
    if let Some(why) = app.dead() {
        return Err(ApiError::engine_gone(why).into());
    }
    if app.embedder.is_some() {
        let why =
            "This server makes embeddings and writes no text. Start it without `--embeddings`";
        return Err(ApiError::not_supported(why).into());
    }
    let place = app.admission.enter()?;
    let deadline = app.deadline(incoming.caller.came);
    let drafter = incoming.drafter();
    let received = incoming.receive(app, deadline).await?;
    let work = {
        let (app, caller, id) = (app.clone(), incoming.caller.clone(), id.to_owned());
        move || {
            let (mut job, kept) = read(&app, &received.bytes[..])?;
            drop(received);
            job.drafter = drafter;
            let prepared = prepare(&app, &caller, job, &id)?;
            Ok::<_, E>((prepared, kept))
        }
    };
    let (prepared, kept) = app.admission.prepare(deadline, work).await??;
    let Prepared {
        job,
        tasks,
        usage,
        echoes,
        told_prompts,
        thinking,
        forced_call,
    } = prepared;
    let answers = tasks.len();
    let full = FullAnswers::none_of(answers);
    let news = start(app, tasks, &full, ahead(&job), deadline);
    app.metrics.prompt_tokens.inc_by(usage.prompt as u64);
    let running = RunningRequest {
        id: id.to_owned(),
        job,
        answers,
        echoes,
        format: app.text.format,
        call_format: app.text.call_format,
        told_prompts,
        thinking,
        forced_call,
        head_wait: app.config.stream_head_wait.min(LONGEST),
        usage,
        news,
        full,
        hold: incoming.hold(place, deadline),
    };
    Ok((running, kept))
}

/// Starts the generations; returns what becomes known of them, of which at most `ahead` pieces
/// wait to be read.
fn start(
    app: &Arc<App>,
    tasks: Vec<GenerationTask>,
    full: &FullAnswers,
    ahead: usize,
    deadline: RequestDeadline,
) -> NewsFeed {
    let (sender, news) = channel(ahead);
    let patience = app.config.connections.stalled;
    for (index, task) in tasks.into_iter().enumerate() {
        let sink = EventSink::new(index, sender.clone(), full.clone(), deadline, patience);
        tokio::spawn(run_in_slot(app.clone(), task, sink));
    }
    NewsFeed::of(news)
}

impl RunningRequest {
    /// A reader of the text of an answer. In a stream it tells calls as they come.
    pub(crate) fn reader(&self) -> AnswerReader {
        self.read(!self.job.stream)
    }

    /// A reader of the text of an answer that tells calls as a whole.
    pub(crate) fn whole_reader(&self) -> AnswerReader {
        self.read(true)
    }

    fn read(&self, whole_calls: bool) -> AnswerReader {
        AnswerReader::read_as(ReadAs {
            format: self.format,
            call_format: self.call_format,
            thinking: self.thinking,
            offered: self.job.tools.then(|| self.job.offered.clone()),
            whole_calls,
            forced_call: self.forced_call,
            one_call: self.job.one_call,
        })
    }

    /// Waits a moment for the first news, before a stream begins without them.
    ///
    /// # Errors
    /// If a generation failed within that time: an answer of its own, with its status.
    pub(crate) async fn first_news(&mut self) -> Result<(), ApiError> {
        self.news.wait(self.head_wait).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_pieces_wait_where_more_log_probabilities_come_with_them() {
        let of = |logprobs| {
            ahead(&GenerationJob {
                logprobs,
                ..GenerationJob::new(false)
            })
        };
        assert_eq!((of(None), of(Some(0)), of(Some(20))), (1024, 1024, 1024));
        assert_eq!((of(Some(41)), of(Some(256))), (512, 83));
        assert_eq!(of(Some(100_000)), 32);
    }
}
