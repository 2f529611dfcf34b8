//! A running request as llama-server's clients follow it: whole, or as a stream.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use card_core::types::Tenant;
use futures_util::StreamExt;

use super::choice::{CommonParts, FinalAnswer, HeldSlot, NativeChoice};
use super::error::NativeErrorResponse;
use super::native_job::NativeJob;
use super::stream::NativeStream;
use crate::app::App;
use crate::generation::News;
use crate::protocols::sse;
use crate::request::RunningRequest;

/// The answer to a request that runs.
pub(super) struct RunningAnswer {
    choices: Vec<NativeChoice>,
    running: RunningRequest,
}

impl RunningAnswer {
    /// The answer of this server to this request. Nothing is written yet.
    pub(super) fn new(
        app: &App,
        tenant: Tenant,
        running: RunningRequest,
        mut native: NativeJob,
    ) -> Self {
        let job = &running.job;
        let slot = native.slot.take().map(|slot| HeldSlot {
            texts: app.slots.clone(),
            tenant,
            slot,
        });
        let common = Arc::new(CommonParts {
            model: app.model.name.clone(),
            job: native,
            params: job.params.clone(),
            stop: job.stop.clone(),
            streams: job.stream,
            timings_per_token: job.llama.timings_per_token,
            answers_per_prompt: job.n as usize,
            tell_cached: running.usage.tell_cached,
            slot,
        });
        let choices = 0..running.answers;
        RunningAnswer {
            choices: choices
                .map(|index| NativeChoice::new(index, common.clone()))
                .collect(),
            running,
        }
    }

    /// The answer as a whole: an object, or a list of them where there are several.
    pub(super) async fn whole(mut self) -> Response {
        let mut done: Vec<_> = self.choices.iter().map(|_| None).collect();
        while done.iter().any(Option::is_none) {
            match self.running.news.next().await {
                (index, News::Piece(piece)) => {
                    let choice = &mut self.choices[index];
                    choice.take(piece);
                    if choice.is_over() && done[index].is_none() {
                        self.running.full.add(index);
                        done[index] = Some(choice.finish(None));
                    }
                }
                (index, News::Done(end)) => {
                    if done[index].is_none() {
                        done[index] = Some(self.choices[index].finish(Some(&end)));
                    }
                }
                (_, News::Failed(error)) => return NativeErrorResponse(error).into_response(),
            }
        }
        // Generations that are still at work have nothing more to say.
        self.running.news.close();
        let answers: Vec<FinalAnswer> = done.into_iter().flatten().collect();
        let write = move || match &answers[..] {
            [one] => serde_json::to_vec(one),
            many => serde_json::to_vec(many),
        };
        let written = self.running.hold.write(write).await;
        written.unwrap_or_else(|error| NativeErrorResponse(error).into_response())
    }

    /// The answer as a stream of events. A failure that comes soon is an answer of its own, with
    /// its status; later it is an event.
    pub(super) async fn stream(mut self) -> Response {
        if let Err(error) = self.running.first_news().await {
            return NativeErrorResponse(error).into_response();
        }
        let RunningAnswer { choices, running } = self;
        let streamed = NativeStream::new(choices, running.news, running.full);
        let rest = futures_util::stream::unfold(streamed, |mut streamed| async move {
            Some((streamed.next_events().await?, streamed))
        });
        let events = rest
            .flat_map(futures_util::stream::iter)
            .map(sse::SseEvent::unnamed);
        running.hold.stream(sse::respond(events))
    }
}
