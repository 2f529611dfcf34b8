//! `/v1/messages` and `/v1/messages/count_tokens`.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::Response;
use card_api::anthropic::request::{MessagesRequest, parse_count, parse_messages_with};
use card_api::anthropic::response::message::TokenCount;
use card_api::{ApiError, GenerationJob};

use super::answer::AnthropicAnswer;
use super::error;
use super::parts::AnswerWishes;
use super::request_id::named;
use super::version::check_version;
use crate::app::App;
use crate::caller::Caller;
use crate::request::{self, IncomingRequest, begin_with, small};

/// Goes on with a conversation.
pub(super) async fn messages(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let id = app.numbers.name();
    let version = check_version(request.headers());
    let mut incoming = IncomingRequest::new(caller, request);
    let answered = match version {
        Ok(()) => answer(&app, &id, &mut incoming).await,
        Err(error) => Err(error),
    };
    match answered {
        Ok(response) => named(response, &id),
        Err(error) => {
            incoming.refuse(&app, &id, &error).await;
            error::response(&error, &id)
        }
    }
}

/// Counts the tokens of a conversation.
pub(super) async fn count_tokens(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let id = app.numbers.name();
    let version = check_version(request.headers());
    let incoming = IncomingRequest::new(caller, request);
    let counted = match version {
        Ok(()) => small(app, incoming, count).await,
        Err(error) => {
            incoming.refuse(&app, &id, &error).await;
            Err(error)
        }
    };
    match counted {
        Ok(response) => named(response, &id),
        Err(error) => error::response(&error, &id),
    }
}

/// Runs what a request asks for and answers it, whole or as a stream.
///
/// # Errors
/// If it is refused. What goes wrong later is an answer.
async fn answer(
    app: &Arc<App>,
    id: &str,
    incoming: &mut IncomingRequest,
) -> Result<Response, ApiError> {
    let (running, wishes) = begin_with(app, id, incoming, read_messages).await?;
    let streams = running.job.stream;
    let answer = AnthropicAnswer::new(&app.model, running, wishes);
    Ok(if streams {
        answer.stream().await
    } else {
        answer.whole().await
    })
}

/// The job of a body, and how its answer is to be written.
fn read_messages(app: &App, body: &[u8]) -> Result<(GenerationJob, AnswerWishes), ApiError> {
    let MessagesRequest {
        job,
        thinking,
        one_call,
    } = parse_messages_with(body, &app.config.sampling.params)?;
    let wishes = AnswerWishes {
        hides_thoughts: thinking.hidden,
        one_call,
    };
    Ok((job, wishes))
}

fn count(app: &App, body: &[u8]) -> Result<TokenCount, ApiError> {
    let job = parse_count(body)?;
    let mut input_tokens = 0;
    for prompt in &job.prompts {
        input_tokens += request::count(app, prompt, &job.template)?;
    }
    Ok(TokenCount { input_tokens })
}
