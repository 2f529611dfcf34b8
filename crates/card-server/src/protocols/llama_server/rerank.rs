//! `/rerank`: documents, ordered by how well they answer a question.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use card_api::llama_server::embedding::InputUsage;
use card_api::llama_server::rerank::{DocumentText, RankedDocument, Reranked, ScoredText};
use card_api::{ApiError, RerankRequest, parse_rerank};
use card_core::types::Token;
use serde::Serialize;

use super::error::NativeErrorResponse;
use crate::app::App;
use crate::caller::Caller;
use crate::request::{
    IncomingRequest, TextVectors, TokenLists, check_bytes, check_tokens, embedder, vectors,
};
use crate::text::{Embedder, VectorKind};

/// Bytes in which the question may be read, which is read with each document.
const MOST_QUESTIONS: usize = 16 << 20;

/// Either form of an answer.
#[derive(Serialize)]
#[serde(untagged)]
enum RerankAnswer {
    Whole(Reranked),
    List(Vec<ScoredText>),
}

/// Orders documents.
pub(super) async fn rerank(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let answered = vectors(app, IncomingRequest::new(caller, request), read, answer).await;
    answered.unwrap_or_else(|error| NativeErrorResponse(error).into_response())
}

fn read(app: &App, body: &[u8], lists: &mut TokenLists<'_>) -> Result<RerankRequest, ApiError> {
    let embedder = &**embedder(app)?;
    if embedder.kind() != VectorKind::Score {
        let why = "This server does not support reranking. Start it with `--reranking`, and with a \
                   model that was made for it";
        return Err(ApiError::not_supported(why));
    }
    let request = parse_rerank(body)?;
    check_question(&request)?;
    for (number, document) in request.documents.iter().enumerate() {
        let path = format!("{}[{number}]", request.field);
        lists.add(|| pair_tokens(embedder, &path, &request.query, document))?;
    }
    Ok(request)
}

/// Whether the question may be read with so many documents.
fn check_question(request: &RerankRequest) -> Result<(), ApiError> {
    let (query, documents) = (request.query.len(), request.documents.len());
    if query.saturating_mul(documents) <= MOST_QUESTIONS {
        return Ok(());
    }
    let why = format!(
        "the question has {query} bytes and would be read with each of {documents} documents, in \
         more than {MOST_QUESTIONS} bytes; send a shorter one, or fewer documents at once"
    );
    Err(ApiError::field("query", why))
}

/// The tokens of the question and a document, which stands at `path`.
fn pair_tokens(
    embedder: &dyn Embedder,
    path: &str,
    query: &str,
    document: &str,
) -> Result<Vec<Token>, ApiError> {
    check_bytes(embedder, path, query.len() + document.len())?;
    let tokens = embedder.pair(query, document);
    let tokens = tokens.map_err(|why| ApiError::field(path, why))?;
    check_tokens(embedder, path, tokens.len())?;
    Ok(tokens)
}

fn answer(app: &App, request: RerankRequest, vectors: TextVectors) -> RerankAnswer {
    let score = |vectors: &Vec<Vec<f32>>| vectors.first().and_then(|v| v.first()).copied();
    let scores = vectors.texts.iter().map(|v| score(v).unwrap_or_default());
    let mut ranked: Vec<(usize, f32)> = scores.enumerate().collect();
    // The sort is stable: of documents that are as good, the first comes first.
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.truncate(request.top);
    let text = |index: usize| {
        let document = request.documents.get(index).filter(|_| request.texts);
        document.cloned()
    };
    if request.list {
        let list = ranked.into_iter().map(|(index, score)| ScoredText {
            index,
            score,
            text: text(index),
        });
        return RerankAnswer::List(list.collect());
    }
    let results = ranked.into_iter().map(|(index, score)| RankedDocument {
        index,
        relevance_score: score,
        document: text(index).map(|text| DocumentText { text }),
    });
    RerankAnswer::Whole(Reranked {
        object: "list".to_owned(),
        model: app.model.name.clone(),
        results: results.collect(),
        usage: InputUsage::of(vectors.tokens),
    })
}
