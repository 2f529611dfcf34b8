//! A server of the tests, and what it answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A running server; killed when dropped.
pub struct Server {
    pub child: Child,
    pub address: String,
}

impl Server {
    pub fn start(arguments: &[&str]) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_card"));
        command
            .args(["serve", "-m", "smol", "--port", "0"])
            .args(arguments);
        command.env("CARD_NO_MEMORY", "true").stdin(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("the server ended").unwrap();
            if let Some((_, rest)) = line.split_once("serving ") {
                let url = rest.split("://").nth(1).unwrap();
                break url.trim_end_matches("/v1").to_owned();
            }
        };
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|l| eprintln!("{l}")));
        Server { child, address }
    }

    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(120)))
            .unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|h| h.starts_with("Host:")) {
            head += "Host: localhost\r\n";
        }
        for header in headers {
            head += &format!("{header}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        // A server that refuses early may close before it has read everything.
        let _ = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
        (status.unwrap_or(0), answer)
    }

    pub fn get(&self, path: &str) -> String {
        let (status, answer) = self.request("GET", path, &[], b"");
        assert_eq!(status, 200, "{path}: {answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, answer) = self.request("POST", path, &[], body.to_string().as_bytes());
        (status, json_of(&answer))
    }

    pub fn chat(&self, body: Value) -> Value {
        let mut whole = json!({ "messages": [{ "role": "user", "content": "Write a story about a dog." }],
            "temperature": 0, "max_tokens": 24 });
        for (key, value) in body.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let (status, answer) = self.post("/v1/chat/completions", &whole);
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// A value of `/metrics`.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics");
        let line = text.lines().find_map(|l| l.strip_prefix(name));
        line.and_then(|l| l.trim().parse().ok()).unwrap_or(-1.0)
    }

    pub fn until(&self, what: &str, done: impl Fn(&Server) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !done(self) {
            assert!(Instant::now() < end, "{what} never came");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &id]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The JSON in an answer, chunked or not.
pub fn json_of(answer: &str) -> Value {
    let start = answer.find("\r\n\r\n").map_or(0, |at| at + 4);
    let body = &answer[start..];
    let open = body.find('{').unwrap_or(0);
    let close = body.rfind('}').map_or(body.len(), |at| at + 1);
    serde_json::from_str(&body[open..close]).unwrap_or_else(|e| panic!("{e}: {answer}"))
}

pub fn text(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}
