//! Vectors of texts: `/v1/embeddings` in OpenAI's form, `/embedding` and `/embeddings` in
//! llama-server's.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use card_api::llama_server::embedding::{
    EmbeddingEntry, Embeddings, EncodedVector, InputUsage, NativeEmbedding,
};
use card_api::{ApiError, EmbeddingRequest, parse_embedding};
use serde::Serialize;

use super::error::NativeErrorResponse;
use crate::app::App;
use crate::caller::Caller;
use crate::protocols::norm::normalise;
use crate::protocols::openai::error::OpenAiError;
use crate::request::{
    IncomingRequest, TextVectors, TokenLists, embedded_tokens, embedder, vectors,
};
use crate::text::{Embedder, VectorKind};

/// How the vectors of a request are told.
struct ToldVectors {
    /// Whether they are told in OpenAI's form.
    openai: bool,
    /// Whether vectors are bytes in base64.
    base64: bool,
    /// The order by which they are normalised.
    order: i32,
    /// How many of their numbers are told, the first ones; `None` for all.
    dimensions: Option<usize>,
}

/// Either form of an answer.
#[derive(Serialize)]
#[serde(untagged)]
enum VectorAnswer {
    OpenAi(Embeddings),
    Native(Vec<NativeEmbedding>),
}

/// `/v1/embeddings`.
pub(super) async fn openai(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let answered = vectors(
        app,
        IncomingRequest::new(caller, request),
        read_openai,
        answer,
    )
    .await;
    answered.unwrap_or_else(|error| OpenAiError(error).into_response())
}

/// `/embedding` and `/embeddings`.
pub(super) async fn native(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let answered = vectors(
        app,
        IncomingRequest::new(caller, request),
        read_native,
        answer,
    )
    .await;
    answered.unwrap_or_else(|error| NativeErrorResponse(error).into_response())
}

fn read_openai(
    app: &App,
    body: &[u8],
    lists: &mut TokenLists<'_>,
) -> Result<ToldVectors, ApiError> {
    if embedder(app)?.kind() == VectorKind::OfTokens {
        let why = "Pooling type 'none' is not OAI compatible. Please use a different pooling type";
        return Err(ApiError::invalid(why));
    }
    let request = parse_embedding(body)?;
    // llama-server's word asks for llama-server's form.
    let openai = request.field == "input";
    read(app, &request, openai, lists)
}

fn read_native(
    app: &App,
    body: &[u8],
    lists: &mut TokenLists<'_>,
) -> Result<ToldVectors, ApiError> {
    let request = parse_embedding(body)?;
    if request.base64 {
        let why = "vectors come as numbers here; ask /v1/embeddings for base64";
        return Err(ApiError::field("encoding_format", why));
    }
    read(app, &request, false, lists)
}

fn read(
    app: &App,
    request: &EmbeddingRequest,
    openai: bool,
    lists: &mut TokenLists<'_>,
) -> Result<ToldVectors, ApiError> {
    let embedder = &**embedder(app)?;
    let dimensions = told_dimensions(app, embedder, request.dimensions)?;
    for text in &request.inputs {
        lists.add(|| embedded_tokens(app, embedder, request.field, text))?;
    }
    Ok(ToldVectors {
        openai,
        base64: request.base64 && openai,
        order: request
            .normalize
            .unwrap_or(app.config.llama_server.embd_normalize),
        dimensions,
    })
}

/// How many of the first numbers of a vector are told; `None` for all. Only of a model that was
/// trained for it are they a vector, and no file says whether one was.
///
/// # Errors
/// If the model's vectors cannot have so many.
pub(in crate::protocols) fn told_dimensions(
    app: &App,
    embedder: &dyn Embedder,
    wanted: Option<usize>,
) -> Result<Option<usize>, ApiError> {
    let width = embedder.width();
    let shortens = app.config.llama_server.shortens_vectors;
    let why = match wanted {
        None => return Ok(None),
        Some(wanted) if wanted == width => return Ok(None),
        Some(wanted) if wanted > width => {
            format!("the model's vectors have {width} numbers; ask for at most so many")
        }
        Some(_) if embedder.kind() != VectorKind::OfText => {
            "only the vector of a whole text can be shorter; leave `dimensions` out".to_owned()
        }
        Some(wanted) if shortens => return Ok(Some(wanted)),
        Some(_) => format!(
            "the model's vectors have {width} numbers. Fewer are a vector only if the model was \
             trained for it (Matryoshka): start the server with --matryoshka then, else leave \
             `dimensions` out"
        ),
    };
    Err(ApiError::field("dimensions", why))
}

/// The first numbers of a vector, or all.
pub(in crate::protocols) fn shorten(vector: &mut Vec<f32>, dimensions: Option<usize>) {
    vector.truncate(dimensions.unwrap_or(usize::MAX));
}

fn answer(app: &App, told: ToldVectors, vectors: TextVectors) -> VectorAnswer {
    let TextVectors { texts, tokens } = vectors;
    let pooled = app
        .embedder
        .as_ref()
        .is_some_and(|embedder| embedder.kind() == VectorKind::OfText);
    let order = if pooled { told.order } else { -1 };
    let each = texts.into_iter().enumerate().map(|(index, mut vectors)| {
        for vector in &mut vectors {
            shorten(vector, told.dimensions);
            normalise(vector, order);
        }
        (index, vectors)
    });
    if !told.openai {
        let native = each.map(|(index, embedding)| NativeEmbedding { index, embedding });
        return VectorAnswer::Native(native.collect());
    }
    let entry = |(index, vectors): (usize, Vec<Vec<f32>>)| EmbeddingEntry {
        object: "embedding".to_owned(),
        index,
        embedding: encoded(vectors.into_iter().next().unwrap_or_default(), told.base64),
        encoding_format: told.base64.then(|| "base64".to_owned()),
    };
    VectorAnswer::OpenAi(Embeddings {
        object: "list".to_owned(),
        model: app.model.name.clone(),
        data: each.map(entry).collect(),
        usage: InputUsage::of(tokens),
    })
}

/// A vector as it is told.
fn encoded(vector: Vec<f32>, base64: bool) -> EncodedVector {
    if !base64 {
        return EncodedVector::Numbers(vector);
    }
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    EncodedVector::Base64(STANDARD.encode(bytes))
}
