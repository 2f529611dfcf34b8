//! What holds for whatever comes in: for the property tests here, and for `fuzz/`.

#![allow(dead_code)]

pub mod calls;
pub mod other_protocols;

use card_api::llama_server::completion::NativeDefaults;
use card_api::openai::response::error::error_body;
use card_api::{
    ApiError, limits, parse_chat, parse_completion, parse_detokenize, parse_infill, parse_native,
    parse_response, parse_tokenize,
};

/// A body of a request is a job that can run, or an error in OpenAI's shape.
pub fn request(body: &[u8]) {
    let response = parse_response(body, &|_: &str| None).map(|parsed| parsed.job);
    for parsed in [parse_chat(body), parse_completion(body), response] {
        match parsed {
            Ok(job) => {
                assert!(!job.prompts.is_empty() && job.n >= 1);
                assert!(job.prompts.len() * job.n as usize <= limits::ANSWERS);
                assert!(job.stop.iter().all(|s| !s.is_empty()));
                assert!(job.max_tokens != Some(0) || job.echo);
                assert!(job.params.checked().is_ok());
            }
            Err(error) => refused(&error),
        }
    }
    let defaults = NativeDefaults::default();
    let infill = parse_infill(body, &defaults).map(|(request, _)| request);
    for parsed in [parse_native(body, &defaults), infill] {
        match parsed {
            Ok(request) => {
                assert!(request.prompts.len() * request.job.n as usize <= limits::ANSWERS);
                assert!(request.job.n >= 1 && request.job.max_tokens != Some(0));
                assert!(request.job.stop.iter().all(|s| !s.is_empty()));
                assert!(request.job.params.checked().is_ok());
            }
            Err(error) => refused(&error),
        }
    }
    if let Err(error) = parse_tokenize(body) {
        refused(&error);
    }
    match parse_detokenize(body) {
        Ok(tokens) => assert!(tokens.iter().all(|&t| i64::from(t) <= limits::TOKEN)),
        Err(error) => refused(&error),
    }
}

/// An error says what is wrong, and is not as long as what it quotes.
fn refused(error: &ApiError) {
    assert_eq!(error.status.as_u16(), 400);
    assert!(!error.message().is_empty());
    assert!(error_body(error).to_string().len() < 16 << 10);
}
