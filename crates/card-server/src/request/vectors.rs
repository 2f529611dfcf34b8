//! Requests that are answered by vectors, without a generation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::Response;
use card_api::ApiError;
use card_api::llama_server::prompt::{MixedPrompt, PromptSpan};
use card_core::types::Token;
use serde::Serialize;
use serde_json::json;

use super::incoming::IncomingRequest;
use super::mixed::text_bytes;
use super::token_lists::TokenLists;
use crate::admission::{AnswerHold, Received};
use crate::app::App;
use crate::clock::RequestDeadline;
use crate::text::{Embedder, VectorKind, at_least, most_bytes};

/// Numbers that an answer may have, all its vectors together: 16 MiB, and as text about three times
/// that.
const MOST_NUMBERS: usize = 4 << 20;
/// Bytes that a number of an answer takes: 4 as a number, and up to 14 and a comma as text, in a
/// buffer that may be twice as large as the text.
const NUMBER_BYTES: usize = 34;

/// The vectors of the texts of a request, in their order.
pub(crate) struct TextVectors {
    /// For each text its vector, or one for each of its tokens.
    pub(crate) texts: Vec<Vec<Vec<f32>>>,
    /// Tokens of all texts.
    pub(crate) tokens: usize,
}

/// The model that makes vectors.
///
/// # Errors
/// If this server has none.
pub(crate) fn embedder(app: &App) -> Result<&Arc<dyn Embedder>, ApiError> {
    app.embedder.as_ref().ok_or_else(|| {
        let why = "This server does not support embeddings. Start it with `--embeddings`, and with \
                   a model that was made for them";
        ApiError::not_supported(why)
    })
}

/// Reads the texts of a body, as tokens, and gives what the answer needs beside their vectors.
type ReadTexts<X> = fn(&App, &[u8], &mut TokenLists<'_>) -> Result<X, ApiError>;

/// Answers a request by vectors. `read` reads the texts of its body, and keeps what `answer`
/// needs; both run in a workshop. The vector of each text is computed in a slot, like a generation.
///
/// # Errors
/// If the request is refused; that is written down already.
pub(crate) async fn vectors<X, A>(
    app: Arc<App>,
    mut incoming: IncomingRequest,
    read: ReadTexts<X>,
    answer: fn(&App, X, TextVectors) -> A,
) -> Result<Response, ApiError>
where
    X: Send + 'static,
    A: Serialize + Send + 'static,
{
    let id = app.numbers.name();
    match computed(&app, &id, &mut incoming, read).await {
        Ok((hold, kept, vectors)) => {
            let write = move || serde_json::to_vec(&answer(&app, kept, vectors));
            hold.write(write).await
        }
        Err(error) => {
            incoming.refuse(&app, &id, &error).await;
            Err(error)
        }
    }
}

/// The vectors that a request asks for.
async fn computed<X: Send + 'static>(
    app: &Arc<App>,
    id: &str,
    incoming: &mut IncomingRequest,
    read: ReadTexts<X>,
) -> Result<(AnswerHold, X, TextVectors), ApiError> {
    if app.is_draining() {
        return Err(ApiError::draining());
    }
    let embedder = embedder(app)?.clone();
    let mut place = app.admission.enter()?;
    let deadline = app.deadline(incoming.caller.came);
    let Received { bytes, room } = incoming.receive(app, deadline).await?;
    let shared = app.clone();
    let body = bytes.len();
    let work = move || {
        let mut lists = TokenLists::new(&shared.admission, room, deadline);
        let kept = read(&shared, &bytes, &mut lists)?;
        Ok::<_, ApiError>((lists.finish(), kept))
    };
    let ((texts, room), kept) = app.admission.prepare(deadline, work).await??;
    // Documents are kept, and may be repeated in the answer.
    let answer_bytes = numbers(&*embedder, &texts)? * NUMBER_BYTES + 2 * body;
    let has_room = app
        .admission
        .answer_room(&mut place, answer_bytes, deadline);
    has_room.await?;
    let tokens = texts.iter().map(Vec::len).sum();
    app.audit.add(|| {
        json!({
            "kind": "embed",
            "request": id,
            "time": card_audit::now_ms(),
            "who": &*incoming.caller.name,
            "peer": incoming.caller.address(),
            "texts": texts.len(),
            "prompt_tokens": tokens,
        })
    });
    let (texts, taken) = compute(app, &embedder, texts, deadline).await?;
    drop(room);
    app.metrics.prompt_tokens.inc_by(tokens as u64);
    let (read, decodes) = (tokens, texts.len());
    app.metrics.llama_server.embedded(read, decodes, taken);
    let hold = incoming.hold(place, deadline);
    Ok((hold, kept, TextVectors { texts, tokens }))
}

/// The vectors of each of some texts.
type VectorsOfTexts = Vec<Vec<Vec<f32>>>;

/// The vectors of texts, and what computing them took. They are computed one after the other, in
/// turn with those of other requests. When the client leaves, this future ends, and with it the
/// work behind the present text.
async fn compute(
    app: &App,
    embedder: &Arc<dyn Embedder>,
    texts: Vec<Vec<Token>>,
    deadline: RequestDeadline,
) -> Result<(VectorsOfTexts, Duration), ApiError> {
    let (mut all, mut taken) = (Vec::with_capacity(texts.len()), Duration::ZERO);
    for tokens in texts {
        let turn = app.admission.text_turn(deadline).await?;
        let embedder = embedder.clone();
        let work = move || {
            let begin = Instant::now();
            let vectors = embedder.embed(&tokens);
            drop(turn);
            (vectors, begin.elapsed())
        };
        let computed = tokio::task::spawn_blocking(work).await;
        let (vectors, time) = computed.map_err(|error| ApiError::internal(error.to_string()))?;
        all.push(vectors.map_err(ApiError::internal)?);
        taken += time;
    }
    Ok((all, taken))
}

/// How many numbers the vectors of these texts have.
///
/// # Errors
/// If an answer may not have so many.
fn numbers(embedder: &dyn Embedder, texts: &[Vec<Token>]) -> Result<usize, ApiError> {
    let vectors: usize = match embedder.kind() {
        VectorKind::OfTokens => texts.iter().map(Vec::len).sum(),
        VectorKind::OfText | VectorKind::Score => texts.len(),
    };
    let numbers = vectors.saturating_mul(embedder.width());
    if numbers > MOST_NUMBERS {
        let why = format!(
            "the vectors of these texts would have {numbers} numbers, more than {MOST_NUMBERS}; \
             send fewer texts at once"
        );
        return Err(ApiError::invalid(why));
    }
    Ok(numbers)
}

/// The tokens of a text that shall become a vector. Nothing in it is a control token, but what
/// begins and ends every text of the model is put around text; tokens stay as they are.
///
/// # Errors
/// Names the field, if the model has no such tokens, or the text is empty or too long.
pub(crate) fn embedded_tokens(
    app: &App,
    embedder: &dyn Embedder,
    field: &str,
    text: &MixedPrompt,
) -> Result<Vec<Token>, ApiError> {
    check_bytes(embedder, field, text_bytes(text))?;
    let wrong = |why: String| ApiError::field(field, why);
    let tokenizer = &app.text.tokenizer;
    let frame = app.text.begin_tokens()?;
    let mut tokens = Vec::new();
    for (number, span) in text.0.iter().enumerate() {
        match span {
            PromptSpan::Text(text) => {
                let whole = tokenizer.tokenize(text, false).map_err(wrong)?;
                tokens.extend(framed(&whole, frame, number == 0));
            }
            PromptSpan::Tokens(given) => {
                for &token in given {
                    app.text.check_token(field, token)?;
                }
                tokens.extend(given);
            }
        }
    }
    check_tokens(embedder, field, tokens.len())?;
    Ok(tokens)
}

/// The tokens of a text: with those around every text, or without.
pub(crate) fn framed<'a>(tokens: &'a [Token], frame: &[Token], with: bool) -> &'a [Token] {
    if with {
        tokens
    } else {
        without_frame(tokens, frame)
    }
}

/// The tokens of a text without those around every text.
fn without_frame<'a>(tokens: &'a [Token], frame: &[Token]) -> &'a [Token] {
    let Some(inner) = tokens.len().checked_sub(frame.len()) else {
        return tokens;
    };
    let cut = (0..=frame.len())
        .rev()
        .find(|&begin| tokens.starts_with(&frame[..begin]) && tokens.ends_with(&frame[begin..]));
    cut.map_or(tokens, |begin| &tokens[begin..begin + inner])
}

/// Whether a text of so many bytes may fit.
///
/// # Errors
/// If it does not, by far.
pub(crate) fn check_bytes(
    embedder: &dyn Embedder,
    field: &str,
    bytes: usize,
) -> Result<(), ApiError> {
    let context = embedder.context();
    if bytes <= most_bytes(context) {
        return Ok(());
    }
    let why = format!(
        "input ({bytes} bytes) is too large to process: the model reads {context} tokens; send a \
         shorter text, or start the server with a larger --ctx if the model can read more"
    );
    Err(ApiError::too_long(field, why).overflowing(at_least(bytes), context))
}

/// Whether a text of so many tokens fits.
///
/// # Errors
/// If it has none, or does not fit.
pub(crate) fn check_tokens(
    embedder: &dyn Embedder,
    field: &str,
    tokens: usize,
) -> Result<(), ApiError> {
    let context = embedder.context();
    if tokens == 0 {
        return Err(ApiError::field(field, "Input content cannot be empty"));
    }
    if tokens <= context as usize {
        return Ok(());
    }
    let why = format!(
        "input ({tokens} tokens) is too large to process: the model reads {context} tokens; send \
         a shorter text, or start the server with a larger --ctx if the model can read more"
    );
    Err(ApiError::too_long(field, why).overflowing(tokens, context))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_around_every_text_is_taken_off() {
        let frame = [101, 102];
        assert_eq!(without_frame(&[101, 7, 8, 102], &frame), [7, 8]);
        assert_eq!(without_frame(&[101, 102, 7], &frame), [7]);
        assert_eq!(without_frame(&[7, 101, 102], &frame), [7]);
        assert_eq!(without_frame(&[7, 8], &frame), [7, 8]);
        assert_eq!(without_frame(&[7], &[]), [7]);
        assert_eq!(without_frame(&[1, 7], &[1]), [7]);
        assert!(without_frame(&[101, 102], &frame).is_empty());
        assert_eq!(framed(&[101, 7, 102], &frame, false), [7]);
        assert_eq!(framed(&[101, 7, 102], &frame, true), [101, 7, 102]);
    }
}
