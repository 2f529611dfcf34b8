//! What holds of bodies of Anthropic's and Ollama's APIs.

use card_api::anthropic::request::{parse_count, parse_messages};
use card_api::anthropic::response::error::AnthropicErrorAnswer;
use card_api::ollama::request::{parse_generate, parse_ollama_chat, parse_show};
use card_api::ollama::response::error::OllamaErrorAnswer;
use card_api::{ApiError, GenerationJob};

/// A body is a job that can run, one that asks for nothing, or an error in the shape of each
/// protocol.
pub fn request(body: &[u8]) {
    let messages = parse_messages(body).map(|request| request.job);
    if let Ok(job) = &messages {
        assert!(job.max_tokens.is_some_and(|most| most > 0));
    }
    let ollama = [parse_ollama_chat(body), parse_generate(body)];
    let ollama = ollama.map(|parsed| {
        parsed.map(|request| {
            assert_eq!(request.loads_only, request.job.prompts.is_empty());
            (!request.loads_only).then_some(request.job)
        })
    });
    let jobs = [messages, parse_count(body)].map(|parsed| parsed.map(Some));
    for parsed in jobs.into_iter().chain(ollama) {
        match parsed {
            Ok(Some(job)) => runs(&job),
            Ok(None) => {}
            Err(error) => refused(&error),
        }
    }
    if let Err(error) = parse_show(body) {
        refused(&error);
    }
}

fn runs(job: &GenerationJob) {
    assert_eq!((job.prompts.len(), job.n), (1, 1));
    assert!(job.stop.iter().all(|stop| !stop.is_empty()));
    assert!(job.max_tokens != Some(0));
    assert!(job.params.clone().checked().is_ok());
}

fn refused(error: &ApiError) {
    assert_eq!(error.status.as_u16(), 400);
    let anthropic = AnthropicErrorAnswer::new(error, None).error.message;
    let ollama = OllamaErrorAnswer::from(error).error;
    for message in [anthropic, ollama] {
        assert!(!message.is_empty() && message.len() < 16 << 10);
    }
}
