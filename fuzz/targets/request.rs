//! Bodies of requests: a job that can run, or an error in OpenAI's shape.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    for parsed in [card_api::parse_chat(body), card_api::parse_completion(body)] {
        match parsed {
            Ok(job) => {
                assert!(!job.prompts.is_empty() && job.n >= 1);
                assert!(job.params.validate().is_ok());
            }
            Err(error) => {
                assert_eq!(error.status.as_u16(), 400);
                let said = error.body();
                assert!(
                    said["error"]["message"]
                        .as_str()
                        .is_some_and(|m| !m.is_empty())
                );
            }
        }
    }
});
