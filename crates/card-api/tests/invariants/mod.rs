//! What holds for whatever comes in: for the property tests here, and for `fuzz/`.

#![allow(dead_code)]

use card_api::tools::{Part, Splitter};
use card_api::{parse_chat, parse_completion};

/// A body of a request is a job that can run, or an error in OpenAI's shape.
pub fn request(body: &[u8]) {
    for parsed in [parse_chat(body), parse_completion(body)] {
        match parsed {
            Ok(job) => {
                assert!(!job.prompts.is_empty() && job.n >= 1);
                assert!(job.params.validate().is_ok());
            }
            Err(error) => {
                assert_eq!(error.status.as_u16(), 400);
                let body = error.body();
                let message = body["error"]["message"].as_str();
                assert!(message.is_some_and(|m| !m.is_empty()));
            }
        }
    }
}

/// However a text is cut into pieces, the calls in it are the same.
pub fn calls_are_the_same<'a>(text: &str, pieces: impl Iterator<Item = &'a str>) {
    assert_eq!(calls(std::iter::once(text)), calls(pieces));
}

fn calls<'a>(pieces: impl Iterator<Item = &'a str>) -> Vec<Part> {
    let mut splitter = Splitter::default();
    let mut all: Vec<Part> = pieces.flat_map(|p| splitter.push(p)).collect();
    all.extend(splitter.finish());
    all.retain(|p| matches!(p, Part::Call(..)));
    all
}
