//! `/api/chat` and `/api/generate`.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use card_api::ollama::request::{OllamaRequest, parse_generate_with, parse_ollama_chat_with};
use card_api::sampling::{ollama_defaults, openai_defaults};
use card_api::{ApiError, GenerationJob};
use card_core::sampler::SamplingParams;

use super::answer::{LINES, OllamaAnswer};
use super::error;
use super::lines::{LineWriter, OllamaAsked, OllamaSaid};
use super::timing::{AnswerTiming, loaded};
use crate::app::App;
use crate::caller::Caller;
use crate::request::{IncomingRequest, begin_with};

/// Goes on with a conversation.
pub(super) async fn chat(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    answer(
        app,
        IncomingRequest::new(caller, request),
        OllamaAsked::Chat,
    )
    .await
}

/// Answers a prompt.
pub(super) async fn generate(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    answer(
        app,
        IncomingRequest::new(caller, request),
        OllamaAsked::Generate,
    )
    .await
}

/// A request for which the model has only to be there.
struct LoadOnly {
    /// The model's name as the client gave it.
    model: Option<String>,
    stream: bool,
}

/// Why nothing is generated for a request.
enum NotBegun {
    /// It asks for nothing but that the model is there.
    LoadOnly(LoadOnly),
    Refused(ApiError),
}

impl From<ApiError> for NotBegun {
    fn from(error: ApiError) -> Self {
        NotBegun::Refused(error)
    }
}

/// Runs what a request asks for and answers it, whole or line by line.
async fn answer(app: Arc<App>, mut incoming: IncomingRequest, asked: OllamaAsked) -> Response {
    let id = app.numbers.name();
    let came = incoming.caller.came;
    let read = move |app: &App, body: &[u8]| parse(app, asked, body).map(|job| (job, ()));
    match begin_with(&app, &id, &mut incoming, read).await {
        Ok((mut running, ())) => {
            let model = running.job.model.take();
            let model = model.unwrap_or_else(|| app.model.name.clone());
            let streams = running.job.stream;
            let lines = LineWriter::new(asked, model, id);
            let answer = OllamaAnswer::new(running, lines, AnswerTiming::begun(came));
            if streams {
                answer.stream().await
            } else {
                answer.whole().await
            }
        }
        Err(NotBegun::LoadOnly(load)) => {
            let model = load.model.unwrap_or_else(|| app.model.name.clone());
            let lines = LineWriter::new(asked, model, id);
            let line = lines.line(OllamaSaid::default(), Some(loaded(came)));
            let kind = if load.stream {
                LINES
            } else {
                "application/json"
            };
            ([(header::CONTENT_TYPE, kind)], line).into_response()
        }
        Err(NotBegun::Refused(error)) => {
            incoming.refuse(&app, &id, &error).await;
            error::response(&error)
        }
    }
}

/// How to sample where a request does not say: as the server was told, or its model recommends;
/// Ollama's defaults where neither says anything.
fn defaults(app: &App) -> SamplingParams {
    let own = &app.config.sampling.params;
    if *own == openai_defaults() {
        ollama_defaults()
    } else {
        own.clone()
    }
}

/// The job that a body asks for.
///
/// # Errors
/// If it is wrong, or nothing is to be generated.
fn parse(app: &App, asked: OllamaAsked, body: &[u8]) -> Result<GenerationJob, NotBegun> {
    let defaults = defaults(app);
    let request = match asked {
        OllamaAsked::Chat => parse_ollama_chat_with(body, &defaults)?,
        OllamaAsked::Generate => parse_generate_with(body, &defaults)?,
    };
    let OllamaRequest { job, loads_only } = request;
    if loads_only {
        return Err(NotBegun::LoadOnly(LoadOnly {
            model: job.model,
            stream: job.stream,
        }));
    }
    let template = app.text.template.as_ref();
    if job.template.thinking == Some(true) && !template.is_some_and(|t| t.switches_thinking()) {
        let why = "the model's chat template has no switch for thinking; leave it out";
        return Err(ApiError::field("think", why).into());
    }
    Ok(job)
}
