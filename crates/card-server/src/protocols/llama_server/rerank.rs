//! `/rerank`: documents, ordered by how well they answer a question.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use card_api::llama_server::embedding::InputUsage;
use card_api::llama_server::rerank::{DocumentText, RankedDocument, Reranked, ScoredText};
use card_api::{ApiError, RerankRequest, parse_rerank};
use card_core::types::Token;
use serde::Serialize;

use super::error::NativeError;
use crate::app::App;
use crate::caller::Caller;
use crate::request::{Incoming, TextVectors, check_bytes, check_tokens, embedder, vectors};
use crate::text::VectorKind;

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
    let answered = vectors(app, Incoming::new(caller, request), read, answer).await;
    answered.unwrap_or_else(|error| NativeError(error).into_response())
}

fn read(app: &App, body: &[u8]) -> Result<(Vec<Vec<Token>>, RerankRequest), ApiError> {
    let embedder = &**embedder(app)?;
    if embedder.kind() != VectorKind::Score {
        let why = "This server does not support reranking. Start it with `--reranking`, and with a \
                   model that was made for it";
        return Err(ApiError::not_supported(why));
    }
    let request = parse_rerank(body)?;
    let field = request.field;
    let pair = |(number, document): (usize, &String)| {
        let path = format!("{field}[{number}]");
        check_bytes(embedder, &path, request.query.len() + document.len())?;
        let tokens = embedder.pair(&request.query, document);
        let tokens = tokens.map_err(|why| ApiError::field(&path, why))?;
        check_tokens(embedder, &path, tokens.len())?;
        Ok(tokens)
    };
    let pairs = request.documents.iter().enumerate().map(pair);
    let pairs = pairs.collect::<Result<_, ApiError>>()?;
    Ok((pairs, request))
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
