//! `/slots/ID?action=save|restore|erase`: what a slot holds is saved, restored or forgotten.
//!
//! A slot holds the text of the last native request that named it (`id_slot`), apart for each key.
//! Where the server has keys, each has a folder of its own for its files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use card_api::llama_server::slot::{ErasedSlot, RestoreTime, RestoredSlot, SaveTime, SavedSlot};
use card_api::{ApiError, GenerationJob, PromptInput, parse_slot_file};
use card_core::types::Tenant;

use super::error::NativeErrorResponse;
use super::slot_file::{self, SlotFile};
use crate::app::App;
use crate::caller::Caller;
use crate::generation::News;
use crate::query::query_value;
use crate::request::{IncomingRequest, at_once, begin_with};

/// What is to be done with a slot.
#[derive(Clone, Copy)]
enum SlotAction {
    Save,
    Restore,
    Erase,
}

/// What a request asks for.
struct AskedSlot {
    action: SlotAction,
    slot: usize,
    /// The folder of the files.
    folder: PathBuf,
}

/// A file that was read, and what is in it.
struct ReadSlot {
    name: String,
    bytes: usize,
    tokens: Vec<u32>,
}

/// Saves, restores or erases a slot.
pub(super) async fn action(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let asked = asked(&app, &caller, &request);
    let mut incoming = IncomingRequest::new(caller, request);
    let id = app.numbers.name();
    let answered = match asked {
        Ok(asked) => match asked.action {
            SlotAction::Save => save(&app, &mut incoming, asked).await,
            SlotAction::Restore => restore(&app, &id, &mut incoming, asked).await,
            SlotAction::Erase => erase(&app, &mut incoming, &asked).await,
        },
        Err(error) => Err(error),
    };
    match answered {
        Ok(response) => response,
        Err(error) => {
            incoming.refuse(&app, &id, &error).await;
            NativeErrorResponse(error).into_response()
        }
    }
}

/// What a request asks for.
///
/// # Errors
/// If slots are not saved here, or there is no such slot or action.
fn asked(app: &App, caller: &Caller, request: &Request) -> Result<AskedSlot, ApiError> {
    let Some(folder) = &app.config.llama_server.slot_save_path else {
        let why = "This server does not support slots action. Start it with `--slot-save-path`";
        return Err(ApiError::not_supported(why));
    };
    let number = request.uri().path().rsplit('/').next().unwrap_or_default();
    let number = number.parse::<usize>().ok();
    let slots = app.config.parallel;
    let slot = number.filter(|n| *n < slots).ok_or_else(|| {
        let why = format!("there is no such slot; this server has {slots}, counted from 0");
        ApiError::field("id_slot", why)
    })?;
    let action = match query_value(request.uri().query(), "action").as_deref() {
        Some("save") => SlotAction::Save,
        Some("restore") => SlotAction::Restore,
        Some("erase") => SlotAction::Erase,
        _ => {
            let why = "`action` must be save, restore or erase";
            return Err(ApiError::field("action", why));
        }
    };
    let folder = match caller.tenant {
        Tenant::SHARED => folder.clone(),
        Tenant(number) => folder.join(format!("{number:016x}")),
    };
    Ok(AskedSlot {
        action,
        slot,
        folder,
    })
}

async fn save(
    app: &Arc<App>,
    incoming: &mut IncomingRequest,
    asked: AskedSlot,
) -> Result<Response, ApiError> {
    let tenant = incoming.caller.tenant;
    let work = move |app: &App, body: &[u8]| {
        let begin = Instant::now();
        let filename = parse_slot_file(body)?;
        let none = "the slot holds nothing of yours; send a request to /completion with its `id_slot` \
                    first";
        let held = app.slots.get(tenant, asked.slot);
        let tokens = held.ok_or_else(|| ApiError::field("id_slot", none))?;
        let file = SlotFile {
            tokens,
            vocabulary: app.text.tokenizer.fingerprint(),
        };
        let bytes = file.bytes();
        let written = slot_file::write(&asked.folder, &filename, &bytes);
        written.map_err(|error| cannot("saved", &error))?;
        Ok::<_, ApiError>(SavedSlot {
            id_slot: asked.slot,
            filename,
            n_saved: file.tokens.len(),
            n_written: bytes.len(),
            timings: SaveTime {
                save_ms: begin.elapsed().as_secs_f64() * 1e3,
            },
        })
    };
    at_once(app, incoming, work).await
}

async fn erase(
    app: &Arc<App>,
    incoming: &mut IncomingRequest,
    asked: &AskedSlot,
) -> Result<Response, ApiError> {
    let (tenant, slot) = (incoming.caller.tenant, asked.slot);
    let work = move |app: &App, _: &[u8]| {
        let text = app.slots.take(tenant, slot).unwrap_or_default();
        let n_erased = text.len();
        if n_erased > 0 {
            let forgotten = app.engine.forget(tenant, text);
            forgotten.map_err(|failure| ApiError::internal(failure.to_string()))?;
        }
        Ok::<_, ApiError>(ErasedSlot {
            id_slot: slot,
            n_erased,
        })
    };
    at_once(app, incoming, work).await
}

/// Reads the text of a file again, so that it is in the cache: a generation that writes nothing.
async fn restore(
    app: &Arc<App>,
    id: &str,
    incoming: &mut IncomingRequest,
    asked: AskedSlot,
) -> Result<Response, ApiError> {
    let begin = Instant::now();
    let folder = asked.folder;
    let read = move |app: &App, body: &[u8]| {
        let read = read_slot(app, &folder, parse_slot_file(body)?)?;
        let mut job = GenerationJob::new(false);
        job.prompts = vec![PromptInput::Tokens(read.tokens.clone())];
        job.max_tokens = Some(0);
        Ok::<_, ApiError>((job, read))
    };
    let tenant = incoming.caller.tenant;
    let (mut running, read) = begin_with(app, id, incoming, read).await?;
    loop {
        match running.news.next().await {
            (_, News::Piece(_)) => {}
            (_, News::Done(_)) => break,
            (_, News::Failed(error)) => return Err(error),
        }
    }
    let answer = RestoredSlot {
        id_slot: asked.slot,
        filename: read.name,
        n_restored: read.tokens.len(),
        n_read: read.bytes,
        timings: RestoreTime {
            restore_ms: begin.elapsed().as_secs_f64() * 1e3,
        },
    };
    app.slots.keep(tenant, asked.slot, read.tokens);
    running
        .hold
        .write(move || serde_json::to_vec(&answer))
        .await
}

/// What is in a file, checked.
fn read_slot(app: &App, folder: &std::path::Path, name: String) -> Result<ReadSlot, ApiError> {
    let most = SlotFile::most_bytes(app.model.context);
    let bytes = slot_file::read(folder, &name, most).map_err(|error| cannot("restored", &error))?;
    let file = SlotFile::of(&bytes).ok_or_else(|| {
        let why = "the file is none of a slot, or was damaged";
        ApiError::field("filename", why)
    })?;
    if file.vocabulary != app.text.tokenizer.fingerprint() {
        let why = "the file is of another model: its tokens mean something else";
        return Err(ApiError::field("filename", why));
    }
    for &token in &file.tokens {
        app.text.check_token("filename", token)?;
    }
    Ok(ReadSlot {
        name,
        bytes: bytes.len(),
        tokens: file.tokens,
    })
}

/// A file cannot be used.
fn cannot(what: &str, error: &std::io::Error) -> ApiError {
    ApiError::field("filename", format!("the slot cannot be {what}: {error}"))
}
