//! Log probabilities as Ollama's answers have them.

use card_api::ollama::response::answer::{OllamaLogprob, OllamaTopLogprob};
use card_api::openai::response::logprobs::logprob;

use crate::generation::PieceLogprob;

/// What the model thought of tokens.
pub(super) fn logprobs(tokens: Vec<PieceLogprob>) -> Vec<OllamaLogprob> {
    tokens.into_iter().map(of_token).collect()
}

fn of_token(token: PieceLogprob) -> OllamaLogprob {
    let top = token.top.into_iter().map(|(bytes, log)| OllamaTopLogprob {
        token: text(&bytes),
        logprob: logprob(log).min(0.0),
        bytes,
    });
    OllamaLogprob {
        token: text(&token.bytes),
        // Only a prompt that is repeated has a token without one, and none is.
        logprob: token.logprob.map_or(0.0, |log| logprob(log).min(0.0)),
        bytes: token.bytes,
        top_logprobs: top.collect(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
