//! Parts of the server by themselves, for `fuzz/`.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::http::HeaderMap;
use axum::http::request::Parts;
use card_api::{ApiError, GenerationJob};
use card_core::constraint::Constraint;

use super::tokenizer::ByteTokenizer;
use crate::edge::headers::copy;
use crate::grammar::Grammars;
use crate::grammar::frame::AnswerFrame;
use crate::guard::site::Site;

/// What a job's text has to be, compiled for [`ByteTokenizer`] as the server does; `None` if it
/// may be anything.
///
/// # Errors
/// What a client would hear.
pub fn constraint(job: &GenerationJob) -> Option<Result<Box<dyn Constraint>, ApiError>> {
    static GRAMMARS: OnceLock<Grammars> = OnceLock::new();
    let grammars = GRAMMARS.get_or_init(|| Grammars::new(Arc::new(ByteTokenizer)));
    let shape = job.shape.as_ref()?;
    let compiled = grammars.compile(shape, &AnswerFrame::default(), job.shape_field);
    Some(compiled.map(|c| c.constraint()))
}

/// Whether a server without keys that listens there lets a request in.
///
/// # Errors
/// What a client would hear.
pub fn lets_in(listens: IpAddr, request: &Parts) -> Result<(), ApiError> {
    let site = Site {
        local: listens.to_canonical().is_loopback(),
        names: &[],
        origins: &[],
    };
    site.check(&request.method, &request.uri, &request.headers)
}

/// The headers that `card edge` passes on of these.
pub fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new();
    copy(headers, &mut passed);
    passed
}
