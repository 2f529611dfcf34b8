//! `/api/embed` and `/api/embeddings`: vectors of texts.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Extension, Request, State};
use axum::response::Response;
use card_api::ApiError;
use card_api::ollama::request::{EmbedRequest, parse_embed, parse_embeddings};
use card_api::ollama::response::embed::{OllamaEmbed, OllamaEmbedding};
use card_core::types::Token;

use super::error;
use crate::app::App;
use crate::caller::Caller;
use crate::protocols::llama_server::{shorten, told_dimensions};
use crate::protocols::norm::{EUCLIDEAN, normalise};
use crate::request::{
    IncomingRequest, TextVectors, TokenLists, check_bytes, check_tokens, embedder, vectors,
};
use crate::text::{Embedder, VectorKind, most_bytes};

/// What the answer needs of a request.
struct EmbedAsked {
    /// The model's name, as the answer repeats it.
    model: String,
    /// When the request was read.
    since: Instant,
    /// How many of the first numbers of a vector are told; `None` for all.
    dimensions: Option<usize>,
}

/// Vectors of texts.
pub(super) async fn embed(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let answered = vectors(app, IncomingRequest::new(caller, request), read_many, many).await;
    answered.unwrap_or_else(|error| error::response(&error))
}

/// The vector of a text.
pub(super) async fn embeddings(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let answered = vectors(app, IncomingRequest::new(caller, request), read_one, one).await;
    answered.unwrap_or_else(|error| error::response(&error))
}

fn read_many(app: &App, body: &[u8], lists: &mut TokenLists<'_>) -> Result<EmbedAsked, ApiError> {
    read(app, parse_embed(body)?, lists)
}

fn read_one(app: &App, body: &[u8], lists: &mut TokenLists<'_>) -> Result<EmbedAsked, ApiError> {
    read(app, parse_embeddings(body)?, lists)
}

fn read(
    app: &App,
    request: EmbedRequest,
    lists: &mut TokenLists<'_>,
) -> Result<EmbedAsked, ApiError> {
    let since = Instant::now();
    let embedder = &**embedder(app)?;
    if embedder.kind() != VectorKind::OfText {
        let why = "the model here makes no vectors of whole texts; start the server with another \
                   --pooling";
        return Err(ApiError::not_supported(why));
    }
    let dimensions = told_dimensions(app, embedder, request.dimensions)?;
    for text in &request.inputs {
        lists.add(|| tokens_of(app, embedder, &request, text))?;
    }
    let model = request.model.unwrap_or_else(|| app.model.name.clone());
    Ok(EmbedAsked {
        model,
        since,
        dimensions,
    })
}

/// The tokens of a text, without its end if it is too long and that may be.
fn tokens_of(
    app: &App,
    embedder: &dyn Embedder,
    request: &EmbedRequest,
    text: &str,
) -> Result<Vec<Token>, ApiError> {
    let field = request.field;
    let text = if request.truncate {
        // What is cut off here is not even looked at.
        &text[..text.floor_char_boundary(most_bytes(embedder.context()))]
    } else {
        check_bytes(embedder, field, text.len())?;
        text
    };
    let tokens = app.text.tokenizer.tokenize(text, false);
    let mut tokens = tokens.map_err(|why| ApiError::field(field, why))?;
    let most = embedder.context() as usize;
    if request.truncate && tokens.len() > most {
        // What ends every text of the model still ends it.
        let last = tokens.pop();
        tokens.truncate(most.saturating_sub(1));
        tokens.extend(last);
    }
    check_tokens(embedder, field, tokens.len())?;
    Ok(tokens)
}

/// The vector of each text, of length 1, with so many numbers if that is said.
fn units(vectors: TextVectors, dimensions: Option<usize>) -> impl Iterator<Item = Vec<f32>> {
    vectors.texts.into_iter().map(move |vectors| {
        let mut vector = vectors.into_iter().next().unwrap_or_default();
        shorten(&mut vector, dimensions);
        normalise(&mut vector, EUCLIDEAN);
        vector
    })
}

fn many(_: &App, asked: EmbedAsked, vectors: TextVectors) -> OllamaEmbed {
    OllamaEmbed {
        model: asked.model,
        prompt_eval_count: vectors.tokens,
        total_duration: asked.since.elapsed().as_nanos() as u64,
        load_duration: 0,
        embeddings: units(vectors, asked.dimensions).collect(),
    }
}

fn one(_: &App, asked: EmbedAsked, vectors: TextVectors) -> OllamaEmbedding {
    OllamaEmbedding {
        embedding: units(vectors, asked.dimensions).next().unwrap_or_default(),
    }
}
