//! JSON schemas of clients: refused in one line, or made into grammars that can be followed.
#![no_main]

use std::sync::LazyLock;

use card_api::{ApiError, Shape, parse_chat};
use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use toktrie::ApproximateTokEnv;

/// Tokens that are followed.
const STEPS: usize = 64;

/// For a vocabulary of single bytes.
static FACTORY: LazyLock<ParserFactory> = LazyLock::new(|| {
    let env = ApproximateTokEnv::single_byte_env();
    let mut factory = ParserFactory::new_simple(&env).expect("a vocabulary of bytes");
    factory.quiet();
    factory
});

libfuzzer_sys::fuzz_target!(|schema: &str| {
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":""}}],"response_format":{{"type":"json_schema","json_schema":{{"schema":{schema}}}}}}}"#
    );
    let Ok(job) = parse_chat(body.as_bytes()) else {
        return;
    };
    let Some(Shape::Schema(schema)) = job.shape else {
        return;
    };
    let grammar = TopLevelGrammar::from_json_schema(schema);
    let mut matcher = Matcher::new(FACTORY.create_parser(grammar));
    if let Some(why) = matcher.get_error() {
        let error = ApiError::schema(job.shape_field, why);
        assert!(!error.message().contains('\n') && error.message().chars().count() < 400);
        return;
    }
    for step in 0..STEPS {
        if matcher.is_stopped() {
            return;
        }
        // It gives up on grammars that take too long; a client hears of that.
        let Ok(mask) = matcher.compute_mask_or_eos() else {
            return;
        };
        let allowed = mask.to_list();
        let Some(&token) = allowed.get(step % allowed.len().max(1)) else {
            return;
        };
        if matcher.consume_token(token).is_err() {
            return;
        }
    }
});
