//! Another OpenAI-compatible server on the same prompts.

use std::io::{BufRead, BufReader};
use std::time::Instant;

use serde_json::{Value, json};

use crate::sample::{BenchTask, Rules, Sample};

/// A server.
pub struct Peer {
    url: String,
    agent: ureq::Agent,
    key: Option<String>,
}

/// Why a peer could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The server cannot be reached, or says no.
    #[error("{url}: {source}; is the server running?")]
    Http {
        /// The address that was asked.
        url: String,
        /// The reason.
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
        // Packed answers would be waited for and unpacked, and both would be measured.
        let plain = ureq::Agent::config_builder().accept_encoding("identity");
        Peer {
            url: format!("{url}/v1/chat/completions"),
            agent: plain.build().into(),
            key,
        }
    }

    /// Generates once and measures it. Greedy if the rules are; tokens are counted by the
    /// server (`usage`).
    ///
    /// # Errors
    /// If the server cannot be reached or does not answer as the API says.
    pub fn generate(&self, task: &BenchTask, rules: &Rules) -> Result<Sample, PeerError> {
        let body = chat_request(task, rules);
        let mut request = self.agent.post(&self.url);
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let start = Instant::now();
        let response = request.send_json(&body).map_err(|e| PeerError::Http {
            url: self.url.clone(),
            source: Box::new(e),
        })?;
        timed(BufReader::new(response.into_body().into_reader()), start)
    }
}

fn chat_request(task: &BenchTask, rules: &Rules) -> Value {
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
    body
}

/// Reads an event stream to its end and measures when its texts come.
fn timed(reader: impl BufRead, start: Instant) -> Result<Sample, PeerError> {
    let ms = |at: Instant| (at - start).as_secs_f64() * 1e3;
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use card_core::sampler::SamplingParams;

    use super::*;

    /// A server on loopback that gives one answer; returns its URL.
    fn answers(body: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            let mut chunk = [0; 4096];
            // The whole request: its body ends with the only brace at the end of a read.
            while !asked.ends_with(b"}") {
                match stream.read(&mut chunk).unwrap() {
                    0 => return,
                    n => asked.extend_from_slice(&chunk[..n]),
                }
            }
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close";
            write!(stream, "{head}\r\n\r\n{body}").unwrap();
        });
        url
    }

    fn ask(url: &str) -> Result<Sample, PeerError> {
        let task = BenchTask {
            category: "chat".into(),
            text: "Hello".into(),
            prompt: vec![1],
            prediction: Vec::new(),
        };
        let rules = Rules {
            params: SamplingParams::default(),
            max_tokens: 8,
            stop_tokens: Vec::new(),
        };
        Peer::new(url, Some("key".into())).generate(&task, &rules)
    }

    #[test]
    fn a_stream_is_timed_and_its_tokens_are_counted_by_the_server() {
        let url = answers(
            "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n\
             data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n\
             data: {\"choices\":[{\"delta\":{\"content\":\"lo\"}}]}\n\n\
             data: {\"choices\":[],\"usage\":{\"completion_tokens\":5}}\n\n\
             data: [DONE]\n\n",
        );
        let sample = ask(&url).unwrap();
        assert_eq!((sample.decoded, sample.gaps_ms.len()), (4, 1));
    }

    #[test]
    fn servers_that_do_not_answer_as_they_should_are_named() {
        let strange = ask(&answers("data: nonsense\n\n")).unwrap_err();
        assert!(strange.to_string().contains("event stream"), "{strange}");
        let silent = ask(&answers("data: [DONE]\n\n")).unwrap_err();
        assert!(silent.to_string().contains("usage"), "{silent}");
        let gone = ask("http://127.0.0.1:1").unwrap_err();
        assert!(gone.to_string().contains("is the server running"), "{gone}");
    }
}
