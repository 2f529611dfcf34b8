//! A server without a model, and somebody who asks it.

// Each test uses some of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use card_server::testing::{self, TestSetup};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

pub const CHAT: &str = "/v1/chat/completions";
pub const COMPLETIONS: &str = "/v1/completions";

/// How long what has to come is waited for. It is only waited for so long if it does not.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that does not wait long for those who still ask when it ends.
pub fn setup() -> TestSetup {
    let mut setup = TestSetup::default();
    setup.config.drain_timeout = Duration::from_millis(200);
    setup
}

/// With these keys: names and secrets.
pub fn with_keys(keys: &[(&str, &str)]) -> TestSetup {
    let owned = |&(name, secret): &(&str, &str)| (name.to_owned(), secret.to_owned());
    TestSetup {
        keys: keys.iter().map(owned).collect(),
        ..setup()
    }
}

/// A request whose text does not end by itself: the token that ends it is banned.
pub fn endless(tokens: u32) -> Value {
    json!({ "prompt": "a", "max_tokens": tokens, "stream": true, "logit_bias": { "257": -100 } })
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The field an error names (or nothing) and its message. Checks that it has the form
    /// that OpenAI's clients expect.
    pub fn error(&self) -> (String, String) {
        let body = self.json();
        let error = &body["error"];
        let message = error["message"].as_str().unwrap_or_default().to_owned();
        assert!(!message.is_empty() && error["type"].is_string(), "{self:?}");
        for key in ["param", "code"] {
            let value = error.get(key);
            assert!(
                value.is_some_and(|v| v.is_null() || v.is_string()),
                "{key}: {self:?}"
            );
        }
        let param = error["param"].as_str().unwrap_or_default().to_owned();
        (param, message)
    }

    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|v| v.to_str().ok());
        value.unwrap_or_default()
    }

    /// The events of a stream.
    pub fn events(&self) -> Vec<&str> {
        let events = self.text.lines().filter_map(|l| l.strip_prefix("data: "));
        events.collect()
    }
}

/// Who asks.
pub struct Client {
    http: reqwest::Client,
    pub server: testing::Server,
}

impl Client {
    /// A server that is ready.
    pub fn start(setup: &TestSetup) -> Client {
        Client::of(testing::start(setup).unwrap())
    }

    /// A server that listens, and may still be loading its model.
    pub fn listening(setup: &TestSetup) -> Client {
        Client::of(testing::start_listening(setup).unwrap())
    }

    fn of(server: testing::Server) -> Client {
        let http = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()
            .unwrap();
        Client { http, server }
    }

    /// Sends a request; its body is JSON where nothing else is said.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Response {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let url = format!("{}{path}", self.server.url);
        let mut request = self.http.request(method, url).body(body);
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for &(name, value) in headers {
            request = request.header(name, value);
        }
        request.send().await.unwrap()
    }

    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Reply {
        let response = self.send(method, path, headers, body).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Reply {
            status,
            headers,
            text: response.text().await.unwrap(),
        }
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.ask("POST", path, &[], body.to_string()).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], "").await
    }

    /// Asks as the holder of a key (`Bearer SECRET`).
    pub async fn post_as(&self, key: &str, path: &str, body: &Value) -> Reply {
        let headers = [("authorization", key)];
        self.ask("POST", path, &headers, body.to_string()).await
    }

    /// An event stream as it comes.
    pub async fn follow(&self, path: &str, headers: &[(&str, &str)]) -> Events {
        let response = self.send("GET", path, headers, "").await;
        assert_eq!(response.status().as_u16(), 200, "{path}");
        Events {
            response,
            held: Vec::new(),
        }
    }

    /// A connection of its own, with these bytes sent.
    pub fn open(&self, bytes: &[u8]) -> TcpStream {
        let address = self.server.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // A server that refuses early may close before it has read everything.
        let _ = stream.write_all(bytes);
        stream
    }

    /// What comes back for these bytes until the server closes; `None` if it does not.
    pub fn raw(&self, bytes: &[u8]) -> Option<String> {
        let mut answer = Vec::new();
        match self.open(bytes).read_to_end(&mut answer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            _ => Some(String::from_utf8_lossy(&answer).into_owned()),
        }
    }

    /// The status of that; 0 if it was closed without one.
    pub fn raw_status(&self, bytes: &[u8]) -> u16 {
        let answer = self.raw(bytes).expect("the server does not close");
        let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
        status.unwrap_or(0)
    }

    /// Waits until `/health` says so.
    pub async fn until(&self, what: &str, done: impl Fn(&Value) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(&self.get("/health").await.json()) {
            assert!(Instant::now() < end, "{what} never came");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until everything that was asked is over, and sees that it still answers.
    pub async fn serves(&self) {
        self.until("the end of all requests", |health| {
            health["running"] == 0 && health["waiting"] == 0
        })
        .await;
        let body = json!({ "prompt": "a", "max_tokens": 1 });
        let end = Instant::now() + PATIENCE;
        loop {
            let reply = self.post(COMPLETIONS, &body).await;
            // A place is given back a moment after its connection has ended.
            match reply.status {
                429 if Instant::now() < end => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                status => return assert_eq!(status, 200, "{reply:?}"),
            }
        }
    }
}

/// A request as bytes. What is asked here closes its connection.
pub fn request(method: &str, path: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    for header in headers {
        head += &format!("{header}\r\n");
    }
    if !body.is_empty() {
        let length = body.len();
        head += &format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
    }
    (head + "\r\n" + body).into_bytes()
}

/// The events of a stream as they come.
pub struct Events {
    response: reqwest::Response,
    held: Vec<u8>,
}

impl Events {
    /// The next one; `None` at the end.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(at) = self.held.windows(2).position(|w| w == b"\n\n") {
                let event: Vec<u8> = self.held.drain(..at + 2).collect();
                let event = String::from_utf8(event).unwrap();
                // What has no data keeps the connection open.
                if let Some(data) = event.trim().strip_prefix("data:") {
                    return Some(serde_json::from_str(data.trim()).unwrap());
                }
                continue;
            }
            let more = tokio::time::timeout(PATIENCE, self.response.chunk()).await;
            let more = more.expect("an event never came").unwrap()?;
            self.held.extend_from_slice(&more);
        }
    }
}
