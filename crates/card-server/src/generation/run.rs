//! Runs a generation from its slot to its end.

use std::sync::Arc;

use card_api::ApiError;
use card_engine::Stream;
use crossbeam_channel::RecvTimeoutError;
use tracing::field::Empty;

use super::failure::refusal;
use super::news::News;
use super::scored::AlongText;
use super::sink::EventSink;
use super::task::GenerationTask;
use super::timings::GenerationClock;
use super::writer::{Writer, WriterParts};
use crate::app::App;
use crate::clock::RequestDeadline;
use crate::rollout::Timing;

/// Runs a generation to its end. Whoever listens may go away, which ends it.
pub(super) fn run(app: &Arc<App>, mut task: GenerationTask, sink: &EventSink) {
    let span = tracing::info_span!(
        "generate",
        request = task.watched.request(),
        prompt_tokens = task.generate.prompt.len(),
        tokens = Empty,
        rounds = Empty,
        finish = Empty,
    );
    let span = span.entered();
    task.watched.began(&task.generate.prompt, &task.settings);
    if let Some(grammar) = task.grammar.take() {
        task.generate.constraint = Some(grammar.constraint());
    }
    if let Some(budget) = task.budget.take() {
        let inner = task.generate.constraint.take();
        let constraint = budget.constraint(app.text.tokenizer.clone(), inner);
        task.generate.constraint = Some(constraint);
    }
    if let Some(scored) = &task.scored {
        let (text, vocabulary) = (scored.rest.clone(), app.text.tokenizer.len());
        let inner = task.generate.constraint.take();
        let along = AlongText::new(text, vocabulary, inner);
        task.generate.constraint = Some(Box::new(along));
    }
    let timing = Timing::new(task.generate.plain, task.watched.came());
    let clock = GenerationClock::start(task.generate.prompt.len());
    let recheck = app.rollout.remember(&task.generate);
    let stream = match app.engine.generate(task.generate) {
        Ok(stream) => stream,
        Err(failure) => {
            task.watched.ended("failed");
            sink.send(News::Failed(refusal(&failure, task.shape_field)));
            return;
        }
    };
    let mut writer = Writer::new(
        &app.text,
        &task.stop,
        WriterParts {
            watched: task.watched,
            shown: task.shown,
            marks: task.marks,
            scored: task.scored,
            shape_field: task.shape_field,
            prompt_read: task.prompt_read,
            timing,
            recheck,
            clock,
            report: task.report,
        },
    );
    let Some(last) = follow(&stream, &mut writer, sink, task.deadline) else {
        app.metrics.cancelled.inc();
        writer.watched.ended("cancelled");
        return;
    };
    let finish = match &last {
        News::Done(end) => {
            app.metrics.llama_server.ended(&end.timings.sample());
            end.finish
        }
        _ => "failed",
    };
    app.metrics.reused_tokens.inc_by(writer.end.reused as u64);
    span.record("tokens", writer.end.tokens);
    span.record("rounds", writer.watched.rounds());
    span.record("finish", finish);
    writer.watched.ended(finish);
    let done = matches!(last, News::Done(_));
    sink.send(last);
    if done {
        app.rollout.ended(&writer.timing);
        if let Some(recheck) = writer.recheck {
            app.rollout.check(recheck, &app.engine, &app.admission);
        }
    }
}

/// Follows the engine's events to the last news; `None` if nobody listens any more.
fn follow(
    stream: &Stream,
    writer: &mut Writer,
    sink: &EventSink,
    deadline: RequestDeadline,
) -> Option<News> {
    loop {
        match stream.events().recv_deadline(deadline.at) {
            Ok(event) => match writer.take(event, stream, sink) {
                Some(last) => return Some(last),
                None if sink.is_gone() => {
                    stream.cancel();
                    return None;
                }
                None => {}
            },
            Err(RecvTimeoutError::Timeout) => {
                stream.cancel();
                return Some(News::Failed(deadline.passed()));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Some(News::Failed(ApiError::engine_gone("it has stopped")));
            }
        }
    }
}
