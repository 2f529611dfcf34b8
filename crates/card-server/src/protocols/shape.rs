//! Errors of parts of the server that know no protocol (who may ask, which paths there are), in
//! the shape of the protocol that is spoken at the path.

use axum::body::Body;
use axum::http::header;
use axum::response::Response;
use card_api::llama_server::error::native_error_body;

use super::anthropic;
use super::llama_server;
use super::ollama;
use super::told::ToldError;
use crate::app::RequestNumbers;

/// A protocol with errors of a shape of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// OpenAI's, which is spoken wherever no other is.
    OpenAi,
    /// Anthropic's.
    Anthropic,
    /// Ollama's.
    Ollama,
    /// llama-server's own, where it is not OpenAI's.
    LlamaServer,
}

impl Protocol {
    /// The protocol that is spoken at a path, whether there is such a path or not.
    pub(crate) fn spoken_at(path: &str) -> Self {
        if path == anthropic::ROOT || path.starts_with(anthropic::BELOW) {
            Protocol::Anthropic
        } else if path.starts_with(ollama::BELOW) {
            Protocol::Ollama
        } else if llama_server::is_own(path) {
            Protocol::LlamaServer
        } else {
            Protocol::OpenAi
        }
    }

    /// A response as this protocol's clients read it. Only an error in OpenAI's shape becomes
    /// another one; its status and its headers stay.
    pub(crate) fn told(self, response: Response, numbers: &RequestNumbers) -> Response {
        let told = response.extensions().get::<ToldError>();
        let Some(ToldError(error)) = told.cloned() else {
            return response;
        };
        let (id, json) = match self {
            Protocol::OpenAi => return response,
            Protocol::Anthropic => {
                let id = numbers.name();
                let json = anthropic::error::body(&error, &id);
                (Some(id), json)
            }
            Protocol::Ollama => (None, ollama::error::body(&error)),
            Protocol::LlamaServer => (None, native_error_body(&error).to_string().into_bytes()),
        };
        let (mut parts, _) = response.into_parts();
        parts.headers.remove(header::CONTENT_LENGTH);
        let response = Response::from_parts(parts, Body::from(json));
        match id {
            Some(id) => anthropic::request_id::named(response, &id),
            None => response,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_the_protocol() {
        let cases = [
            ("/v1/messages", Protocol::Anthropic),
            ("/v1/messages/count_tokens", Protocol::Anthropic),
            ("/v1/messages/nothing", Protocol::Anthropic),
            ("/v1/messages2", Protocol::OpenAi),
            ("/api/chat", Protocol::Ollama),
            ("/api/nothing", Protocol::Ollama),
            ("/api", Protocol::OpenAi),
            ("/v1/chat/completions", Protocol::OpenAi),
            ("/v1/completions", Protocol::OpenAi),
            ("/chat/completions", Protocol::OpenAi),
            ("/tokenize", Protocol::OpenAi),
            ("/completion", Protocol::LlamaServer),
            ("/completions", Protocol::LlamaServer),
            ("/slots", Protocol::LlamaServer),
            ("/slots/0", Protocol::LlamaServer),
            ("/v1/chat/completions/input_tokens", Protocol::LlamaServer),
            ("/", Protocol::OpenAi),
        ];
        for (path, protocol) in cases {
            assert_eq!(Protocol::spoken_at(path), protocol, "{path}");
        }
    }
}
