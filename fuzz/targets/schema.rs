//! JSON schemas and tools of clients, through the server's own code: refused in one line, or
//! made into grammars that can be followed.
#![no_main]

use card_api::parse_chat;
use card_server::testing::constraint;

/// Tokens that are followed.
const STEPS: usize = 64;

libfuzzer_sys::fuzz_target!(|schema: &str| {
    for what in [
        format!(
            r#""response_format":{{"type":"json_schema","json_schema":{{"schema":{schema}}}}}"#
        ),
        format!(
            r#""tool_choice":"required","tools":[{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}]"#
        ),
    ] {
        let body = format!(r#"{{"messages":[{{"role":"user","content":""}}],{what}}}"#);
        let Ok(job) = parse_chat(body.as_bytes()) else {
            continue;
        };
        match constraint(&job) {
            None => {}
            Some(Err(error)) => {
                assert!(!error.message().contains('\n') && error.message().chars().count() < 400);
            }
            Some(Ok(mut grammar)) => {
                for step in 0..STEPS {
                    // It gives up on grammars that take too long; a client hears of that.
                    let Ok(mask) = grammar.allowed() else {
                        break;
                    };
                    let bit = |t: &u32| mask[*t as usize / 32] >> (t % 32) & 1 == 1;
                    let allowed: Vec<u32> = (0..258).filter(bit).collect();
                    let Some(&token) = allowed.get(step % allowed.len().max(1)) else {
                        break;
                    };
                    if token >= 256 || grammar.wrote(token).is_err() {
                        break;
                    }
                }
            }
        }
    }
});
