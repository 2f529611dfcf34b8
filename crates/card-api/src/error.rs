//! What went wrong with a request: a status, and what the client may hear of it. Each protocol
//! writes it in its own shape ([`openai::response::error`](crate::openai::response::error)).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;

/// Longest message, in characters.
const MESSAGE: usize = 1000;
/// Longest name of a field.
const PARAM: usize = 200;
/// Longest reason that another library gives.
const REASON: usize = 300;
/// Seconds after which a client may ask again for a model that is not loaded.
const LOADING_S: u32 = 5;

/// What went wrong, for the client.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<Box<str>>,
    message: String,
    retry_after: Option<u32>,
    overflow: Option<Box<Overflow>>,
    /// What the operator reads and the client does not.
    cause: Option<String>,
}

/// A prompt that does not fit the context, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow {
    /// Tokens of the prompt; at least so many where it was too long to count them all.
    pub prompt: usize,
    /// Tokens that the context holds.
    pub context: u32,
}

impl ApiError {
    /// Every error is made here, so that none says more than fits on a screen: what it quotes
    /// may be a body of megabytes.
    fn new(status: StatusCode, kind: &'static str, message: impl AsRef<str>) -> Self {
        ApiError {
            status,
            kind,
            code: None,
            param: None,
            message: one_line(message.as_ref(), MESSAGE),
            retry_after: None,
            overflow: None,
            cause: None,
        }
    }

    /// The request is wrong.
    pub fn invalid(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// A field of the request is wrong; `param` is its path, like `messages[3].content`.
    pub fn field(param: impl AsRef<str>, message: impl AsRef<str>) -> Self {
        ApiError {
            param: Some(one_line(param.as_ref(), PARAM).into()),
            ..Self::invalid(message)
        }
    }

    /// A schema cannot be enforced. `path` is where it stands in the request; `why` comes from
    /// the library that compiles it, of which the client gets one line.
    pub fn schema(path: impl AsRef<str>, why: impl AsRef<str>) -> Self {
        let first = why.as_ref().trim().lines().next().unwrap_or_default();
        let why = one_line(first, REASON);
        Self::field(path, format!("the schema cannot be enforced: {why}"))
    }

    /// The prompt, which this field holds, does not fit.
    pub fn too_long(param: impl AsRef<str>, message: impl AsRef<str>) -> Self {
        ApiError {
            code: Some("context_length_exceeded"),
            ..Self::field(param, message)
        }
    }

    /// The same error, with the numbers behind it.
    #[must_use]
    pub fn overflowing(self, prompt: usize, context: u32) -> Self {
        ApiError {
            overflow: Some(Box::new(Overflow { prompt, context })),
            ..self
        }
    }

    /// The server knows the request and does not do it.
    pub fn not_supported(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "not_supported_error", message)
    }

    /// Every slot is busy, and the client wanted a free one.
    pub fn no_free_slot() -> Self {
        let message = "every slot is busy";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable_error",
            message,
        )
    }

    /// The first model is still being loaded, which takes some seconds or minutes. The message is
    /// llama-server's, which clients look for.
    pub fn loading() -> Self {
        ApiError {
            retry_after: Some(LOADING_S),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable_error",
                "Loading model",
            )
        }
    }

    /// There is no model of this name; `known` are those there are.
    pub fn model_not_found(name: &str, known: &[String]) -> Self {
        let name = one_line(name, PARAM);
        let known = known.join(", ");
        ApiError {
            code: Some("model_not_found"),
            ..Self::model_field(
                StatusCode::NOT_FOUND,
                format!("there is no model {name:?}; there are {known}"),
            )
        }
    }

    /// The request names no model, and the server has no default; `known` are those there are.
    pub fn no_model_named(known: &[String]) -> Self {
        let known = known.join(", ");
        let message = format!("the request has to name one of these models: {known}");
        Self::model_field(StatusCode::BAD_REQUEST, message)
    }

    fn model_field(status: StatusCode, message: String) -> Self {
        ApiError {
            param: Some("model".into()),
            ..Self::new(status, "invalid_request_error", message)
        }
    }

    /// The model of this name is here and could not be loaded; `cause` is for the log.
    pub fn model_not_loaded(name: &str, cause: String) -> Self {
        let name = one_line(name, PARAM);
        ApiError {
            retry_after: Some(LOADING_S),
            ..Self::incident(
                StatusCode::SERVICE_UNAVAILABLE,
                &format!("the model {name:?} could not be loaded; ask for another one"),
                cause,
            )
        }
    }

    /// There is no room for the model of this name beside those that are at work.
    pub fn no_room_for_model(name: &str) -> Self {
        let name = one_line(name, PARAM);
        let message = format!(
            "there is no room for the model {name:?} beside those that are at work; try again, \
             or start the server with a larger --models-max, a smaller --ctx, or more memory"
        );
        ApiError {
            retry_after: Some(LOADING_S),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable_error",
                message,
            )
        }
    }

    /// The body is larger than allowed.
    pub fn too_large(bytes: usize) -> Self {
        let message = format!("the request is larger than {bytes} bytes; see --max-request-kib");
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request_error",
            message,
        )
    }

    /// The body comes too slowly.
    pub fn slow_body() -> Self {
        let message = "the body of the request did not come in time; send it without pauses, or \
                       start the server with a longer --request-timeout";
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "invalid_request_error",
            message,
        )
    }

    /// The headers are larger than allowed.
    pub fn headers_too_large() -> Self {
        let message = "the headers of the request are too large; send fewer or shorter ones";
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "invalid_request_error",
            message,
        )
    }

    /// The body does not say that it is JSON. A web page can send anything else to any server
    /// without asking it first.
    pub fn wrong_content_type() -> Self {
        let message =
            "the body must be JSON and say so; send the header `Content-Type: application/json`";
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "invalid_request_error",
            message,
        )
    }

    /// No key, or a wrong one.
    pub fn unauthorized() -> Self {
        let message = "no valid API key; send the header `Authorization: Bearer KEY`";
        ApiError {
            code: Some("invalid_api_key"),
            ..Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message)
        }
    }

    /// The name the client used is not this machine's.
    pub fn foreign_host(name: &str) -> Self {
        let name = one_line(name, PARAM);
        let message = format!(
            "a server without a key answers to localhost, or to its address, not to \
             {name:?}, so that web pages cannot reach it under a name of theirs; if {name:?} is \
             this server, start it with --allow-host {name}, or with --api-key"
        );
        Self::new(StatusCode::FORBIDDEN, "invalid_request_error", message)
    }

    /// A web page of another site asks.
    pub fn foreign_origin() -> Self {
        let message = "web pages of other sites may not use this server; if this page is yours, \
                       start the server with --cors ORIGIN, where ORIGIN is the page's scheme, \
                       host and port, like https://example.org";
        Self::new(StatusCode::FORBIDDEN, "invalid_request_error", message)
    }

    /// No such path or model.
    pub fn not_found(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found_error", message)
    }

    /// The path does not take this method. Which it takes, the header `Allow` says, which the
    /// router adds.
    pub fn method(message: impl AsRef<str>) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request_error",
            message,
        )
    }

    /// The queue is full.
    pub fn busy(seconds: u32) -> Self {
        let message = format!("all slots and the queue are full; try again in {seconds} s");
        ApiError {
            code: Some("rate_limit_exceeded"),
            retry_after: Some(seconds),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
        }
    }

    /// The server ends.
    pub fn draining() -> Self {
        let message = "the server is shutting down";
        ApiError {
            retry_after: Some(10),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
        }
    }

    /// The engine has ended or hangs, so that nothing can be generated; `reason` is for the log.
    pub fn engine_gone(reason: impl Into<String>) -> Self {
        Self::incident(
            StatusCode::SERVICE_UNAVAILABLE,
            "the engine has stopped, and the server has to be started again",
            reason.into(),
        )
    }

    /// The request took longer than allowed.
    pub fn timeout(seconds: u64) -> Self {
        let message = format!("no answer within {seconds} s; see --request-timeout");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "server_error", message)
    }

    /// A server behind this one cannot be reached.
    pub fn upstream(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "server_error", message)
    }

    /// The server's own fault. The client hears that it was, and a number; `cause` goes to the
    /// log under that number, since it may quote what the client shall not see.
    pub fn internal(cause: impl Into<String>) -> Self {
        Self::incident(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server failed",
            cause.into(),
        )
    }

    fn incident(status: StatusCode, what: &str, cause: String) -> Self {
        let number = incident_number();
        tracing::error!(incident = number.as_str(), "{what}: {cause}");
        let message = format!("{what}; its log has the cause under incident {number}");
        ApiError {
            cause: Some(cause),
            ..Self::new(status, "server_error", message)
        }
    }

    /// What the operator reads and the client does not, if there is something.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// What the client reads.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The path of the field that is wrong, if it is one.
    pub fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    /// The kind of error, for programs.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// A finer kind, for programs.
    pub fn code(&self) -> Option<&'static str> {
        self.code
    }

    /// How far the prompt is too long, if that is what is wrong.
    pub fn overflow(&self) -> Option<Overflow> {
        self.overflow.as_deref().copied()
    }

    /// Seconds after which the client may try again, if that helps.
    pub fn retry_after(&self) -> Option<u32> {
        self.retry_after
    }
}

/// A number for an incident, another one for each and in each run, so that logs of several
/// can be searched together.
fn incident_number() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.map_or(0, |d| d.as_secs());
    format!("{seconds:x}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The beginning of a text as one line: at most `most` characters, none of which moves the
/// cursor of a terminal.
fn one_line(text: &str, most: usize) -> String {
    let mut line: String = text
        .chars()
        .take(most)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(most).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_schema_s_fault_one_line_is_told() {
        let why = format!(
            "no such keyword\nschema: {{\"secret\": 1}}\n{}",
            "x".repeat(9999)
        );
        let error = ApiError::schema("response_format.json_schema.schema", why);
        assert!(error.message().ends_with("no such keyword"));
        assert_eq!(error.param(), Some("response_format.json_schema.schema"));
        let long = ApiError::schema("tools", "x".repeat(9999));
        assert!(long.message().chars().count() < 350);
    }

    #[test]
    fn a_model_that_is_not_there_yet_may_be_asked_for_again() {
        let cause = "a secret path".to_owned();
        for error in [
            ApiError::loading(),
            ApiError::no_room_for_model("a"),
            ApiError::model_not_loaded("a", cause),
        ] {
            assert_eq!(error.status, 503);
            assert!(error.retry_after().is_some(), "{}", error.message());
            assert!(!error.message().contains("secret"), "{}", error.message());
        }
        let unknown = ApiError::model_not_found("a", &[]);
        assert_eq!(unknown.code(), Some("model_not_found"));
        assert_eq!(unknown.param(), Some("model"));
    }

    #[test]
    fn who_is_refused_hears_the_remedy() {
        let remedies = [
            (ApiError::foreign_host("card"), "--allow-host card"),
            (ApiError::foreign_origin(), "--cors"),
            (
                ApiError::wrong_content_type(),
                "Content-Type: application/json",
            ),
            (ApiError::too_large(1), "--max-request-kib"),
            (ApiError::unauthorized(), "Authorization: Bearer"),
            (ApiError::timeout(1), "--request-timeout"),
            (ApiError::slow_body(), "--request-timeout"),
            (ApiError::no_room_for_model("a"), "--models-max"),
            (
                ApiError::model_not_found("a", &["b".to_owned()]),
                "there are b",
            ),
            (ApiError::no_model_named(&["b".to_owned()]), "models: b"),
        ];
        for (error, remedy) in remedies {
            assert!(error.message().contains(remedy), "{}", error.message());
        }
    }
}
