//! A running request as OpenAI's clients follow it: whole, or as a stream.

use axum::response::{IntoResponse, Response};
use card_api::openai::response::report::VerboseReport;
use futures_util::StreamExt;

use super::choice::AnswerChoice;
use super::envelope::{AnswerEnvelope, AnswerFigures};
use super::error::OpenAiError;
use super::stream::{StreamParts, StreamedAnswer};
use crate::app::ModelFacts;
use crate::clock::unix_seconds;
use crate::generation::{GenerationTimings, News};
use crate::protocols::llama_server::sampling;
use crate::protocols::sse;
use crate::protocols::timings::timings;
use crate::request::{RunningRequest, TokenUsage};

/// The answer to a request that runs.
pub(super) struct OpenAiAnswer {
    envelope: AnswerEnvelope,
    choices: Vec<AnswerChoice>,
    running: RunningRequest,
}

impl OpenAiAnswer {
    /// The answer of this model to this request. Nothing is written yet.
    pub(super) fn new(model: &ModelFacts, running: RunningRequest) -> Self {
        let RunningRequest { id, job, .. } = &running;
        let choices = (0..running.answers).map(|index| {
            let mut choice = AnswerChoice::new(index, &running, id);
            if let Some(text) = running.echoes.get(index / job.n.max(1) as usize) {
                choice.echo(text);
            }
            choice
        });
        let choices = choices.collect();
        let prefix = if job.chat { "chatcmpl" } else { "cmpl" };
        OpenAiAnswer {
            envelope: AnswerEnvelope {
                id: format!("{prefix}-{id}"),
                created: unix_seconds(),
                model: model.name.clone(),
                chat: job.chat,
                fingerprint: model.fingerprint.clone(),
            },
            choices,
            running,
        }
    }

    /// The answer as a whole.
    pub(super) async fn whole(mut self) -> Response {
        let mut done: Vec<_> = self.choices.iter().map(|_| None).collect();
        let mut taken = GenerationTimings::default();
        while done.iter().any(Option::is_none) {
            match self.running.news.next().await {
                (index, News::Piece(piece)) => {
                    self.choices[index].take(piece);
                }
                (index, News::Done(end)) => {
                    let n = self.running.job.n;
                    self.running.usage.add(&end, index, n);
                    taken = end.timings;
                    done[index] = Some(self.choices[index].whole(&end));
                }
                (_, News::Failed(error)) => return OpenAiError(error).into_response(),
            }
        }
        let choices = done.into_iter().flatten().collect();
        let usage = self.running.usage;
        let figures = AnswerFigures {
            usage,
            report: self.running.job.report,
            timings: timings(&taken, usage.tell_cached),
            verbose: verbose(&mut self.running, &usage),
        };
        let envelope = self.envelope;
        let write = move || serde_json::to_vec(&envelope.whole(choices, figures));
        let written = self.running.hold.write(write).await;
        written.unwrap_or_else(|error| OpenAiError(error).into_response())
    }

    /// The answer as a stream of events. A failure that comes soon is an answer of its own, with
    /// its status; later it is an event.
    pub(super) async fn stream(mut self) -> Response {
        if let Err(error) = self.running.first_news().await {
            return OpenAiError(error).into_response();
        }
        let usage = self.running.usage;
        let verbose = verbose(&mut self.running, &usage);
        let OpenAiAnswer {
            envelope,
            choices,
            running,
        } = self;
        let (streamed, begin) = StreamedAnswer::begin(StreamParts {
            envelope,
            choices,
            answers_per_prompt: running.job.n,
            with_usage: running.job.include_usage,
            with_report: running.job.report,
            with_timings: running.job.llama.timings_per_token,
            verbose,
            usage: running.usage,
            news: running.news,
        });
        let rest = futures_util::stream::unfold(streamed, |mut streamed| async move {
            Some((streamed.next_events().await?, streamed))
        });
        let events = futures_util::stream::iter([begin])
            .chain(rest)
            .flat_map(futures_util::stream::iter)
            .map(sse::SseEvent::unnamed);
        running.hold.stream(sse::respond(events))
    }
}

/// What the model read, and how it answered, where that is told.
fn verbose(running: &mut RunningRequest, usage: &TokenUsage) -> Option<VerboseReport> {
    let prompts = std::mem::take(&mut running.told_prompts);
    let prompt = prompts.into_iter().next()?;
    Some(VerboseReport {
        prompt,
        tokens_evaluated: usage.prompt,
        tokens_predicted: usage.completion,
        generation_settings: sampling(&running.job.params),
    })
}
