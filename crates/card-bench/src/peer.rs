//! Another OpenAI-compatible server on the same prompts.

use std::io::{BufRead, BufReader};
use std::time::Instant;

use serde_json::{Value, json};

use crate::contest::{Rules, Sample, Task};

/// A server.
pub struct Peer {
    url: String,
    agent: ureq::Agent,
    key: Option<String>,
}

/// Why a peer could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It cannot be reached, or says no.
    #[error("{url}: {source}; is the server running?")]
    Http {
        /// What was asked.
        url: String,
        /// Why not.
        source: Box<ureq::Error>,
    },
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    Broken(#[from] std::io::Error),
    /// The answer is not what the API says.
    #[error("the answer is no event stream with usage: {0}")]
    Strange(String),
}

impl Peer {
    /// The server at `url`, like `http://127.0.0.1:8080` (with or without `/v1`).
    pub fn new(url: &str, key: Option<String>) -> Self {
        let url = url.trim_end_matches('/').trim_end_matches("/v1");
        Peer {
            url: format!("{url}/v1/chat/completions"),
            agent: ureq::Agent::new_with_defaults(),
            key,
        }
    }

    /// Generates once and measures it. Greedy if the rules are; tokens are counted by the
    /// server (`usage`).
    ///
    /// # Errors
    /// If the server cannot be reached or does not answer as the API says.
    pub fn generate(&self, task: &Task, rules: &Rules) -> Result<Sample, PeerError> {
        let mut body = json!({
            "model": "default",
            "messages": [{ "role": "user", "content": task.text }],
            "max_tokens": rules.max_tokens,
            "temperature": rules.params.temperature,
            "top_p": rules.params.top_p,
            "seed": rules.params.seed,
            "stream": true,
            "stream_options": { "include_usage": true },
            // llama-server keeps the prompt of an earlier turn; every turn shall pay for it.
            "cache_prompt": false,
        });
        if rules.params.is_greedy() {
            // Some servers take 0 for "not set".
            body["top_k"] = json!(1);
        }
        let mut request = self.agent.post(&self.url);
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let start = Instant::now();
        let ms = |at: Instant| (at - start).as_secs_f64() * 1e3;
        let response = request.send_json(&body).map_err(|e| PeerError::Http {
            url: self.url.clone(),
            source: Box::new(e),
        })?;
        let reader = BufReader::new(response.into_body().into_reader());
        let mut sample = Sample::default();
        let mut last: Option<Instant> = None;
        let mut written = None;
        for line in reader.lines() {
            let line = line?;
            let Some(data) = line.strip_prefix("data:").map(str::trim) else {
                continue;
            };
            if data == "[DONE]" {
                break;
            }
            let event: Value =
                serde_json::from_str(data).map_err(|e| PeerError::Strange(e.to_string()))?;
            if let Some(n) = event["usage"]["completion_tokens"].as_u64() {
                written = Some(n as usize);
            }
            let said = event["choices"][0]["delta"]["content"].as_str();
            if said.is_some_and(|s| !s.is_empty()) {
                let now = Instant::now();
                match last {
                    None => sample.first_ms = ms(now),
                    Some(before) => sample.gaps_ms.push((now - before).as_secs_f64() * 1e3),
                }
                last = Some(now);
            }
        }
        let written = written.ok_or_else(|| PeerError::Strange("no usage".into()))?;
        let end = last.ok_or_else(|| PeerError::Strange("no text".into()))?;
        sample.decode_ms = ms(end) - sample.first_ms;
        sample.decoded = written.saturating_sub(1);
        Ok(sample)
    }
}
