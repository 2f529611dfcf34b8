//! `/infill`.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::Response;
use card_api::llama_server::infill::InfillParts;
use card_api::{ApiError, GenerationJob, parse_infill};
use card_core::types::Token;

use super::completion::answer;
use super::fim::{FimParts, FimWindow, fill_marks};
use super::native_job::{NativeJob, defaults, resolve};
use crate::app::App;
use crate::caller::Caller;
use crate::request::{IncomingRequest, surrounding_tokens, text_tokens};
use crate::text::fill::FillMarks;

/// The name of the repository, as in llama-server.
const REPOSITORY: &str = "myproject\n";
/// The name of the file with the gap, as in llama-server.
const FILE: &str = "filename\n";
/// What stands before a piece of another file, where the vocabulary has no token for that.
const SNIPPET: &str = "\n\n--- snippet ---\n\n";

/// Fills a gap in a text.
pub(super) async fn infill(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    answer(app, IncomingRequest::new(caller, request), read).await
}

fn read(app: &App, body: &[u8]) -> Result<(GenerationJob, NativeJob), ApiError> {
    let (request, parts) = parse_infill(body, &defaults(app))?;
    let marks = fill_marks(app)?;
    let window = FimWindow {
        context: app.model.context as usize,
        n_predict: request.options.n_predict.unwrap_or(0) as usize,
    };
    let prompt = window.prompt(marks, in_tokens(app, &parts, marks)?);
    resolve(app, request, vec![prompt])
}

/// The parts in tokens. Nothing that somebody typed is a control token, not in the beginning of
/// the text itself either; the only control tokens are those between the parts and the files.
fn in_tokens(app: &App, parts: &InfillParts, marks: FillMarks) -> Result<FimParts, ApiError> {
    Ok(FimParts {
        begin: app.text.begin_tokens()?.to_vec(),
        extra: extra_tokens(app, parts, marks)?,
        prefix: surrounding_tokens(app, "input_prefix", &parts.prefix)?,
        suffix: surrounding_tokens(app, "input_suffix", &parts.suffix)?,
        prompt: text_tokens(app, "prompt", &parts.prompt, false)?,
    })
}

/// The pieces of other files.
fn extra_tokens(app: &App, parts: &InfillParts, marks: FillMarks) -> Result<Vec<Token>, ApiError> {
    let text = |text: &str| text_tokens(app, "input_extra", text, false);
    let mut all = Vec::new();
    if let Some(repository) = marks.repository {
        all.push(repository);
        all.extend(text(REPOSITORY)?);
    }
    for (name, content) in &parts.extra {
        match marks.file {
            Some(file) => {
                all.push(file);
                all.extend(text(&format!("{name}\n"))?);
            }
            None => all.extend(text(SNIPPET)?),
        }
        all.extend(text(content)?);
    }
    if let Some(file) = marks.file {
        all.push(file);
        all.extend(text(FILE)?);
    }
    Ok(all)
}
