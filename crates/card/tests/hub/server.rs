//! A small hub on loopback: it answers what a test tells it to, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The commit of every repository here.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET` or `HEAD`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The header `range`.
    pub range: Option<String>,
    /// The header `authorization`.
    pub authorization: Option<String>,
}

impl Request {
    /// The first byte that is asked for.
    pub fn start(&self) -> usize {
        let range = self.range.as_deref().unwrap_or("bytes=0-");
        let start = range
            .strip_prefix("bytes=")
            .and_then(|r| r.strip_suffix('-'));
        start.unwrap().parse().unwrap()
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Bytes of the body after which the connection ends.
    pub cut: Option<usize>,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Reply {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            cut: None,
        }
    }

    pub fn json(value: &Value) -> Self {
        Reply::status(200).with_body(value.to_string().into_bytes())
    }

    pub fn with_body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    /// A file, from the byte on that is asked for.
    pub fn file(request: &Request, content: &[u8]) -> Self {
        let from = request.start();
        if from == 0 {
            return Reply::status(200).with_body(content.to_vec());
        }
        let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
        Reply::status(206)
            .with("content-range", range)
            .with_body(content[from..].to_vec())
    }
}

/// A hub.
pub struct HubServer {
    pub url: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl HubServer {
    /// Starts one that answers so. It ends with the process.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (answer, log) = (answer.clone(), log.clone());
                std::thread::spawn(move || {
                    // Whoever asked may be gone by now.
                    let _ = serve(stream, &*answer, &log);
                });
            }
        });
        HubServer { url, asked }
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    /// What it was asked for files.
    pub fn asked_for_files(&self) -> Vec<Request> {
        let asked = self.asked().into_iter();
        asked.filter(|r| r.path.contains("/resolve/")).collect()
    }
}

fn serve(
    mut stream: TcpStream,
    answer: &dyn Fn(&Request) -> Reply,
    log: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?.take(64 << 10));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let mut request = Request {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        range: None,
        authorization: None,
    };
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = Some(value.trim().to_owned());
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = value,
            "authorization" => request.authorization = value,
            _ => {}
        }
    }
    log.lock().unwrap().push(request.clone());
    let reply = answer(&request);
    let mut head = format!(
        "HTTP/1.1 {} Whatever\r\nconnection: close\r\ncontent-length: {}\r\n",
        reply.status,
        reply.body.len()
    );
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if request.method != "HEAD" {
        let end = reply.cut.unwrap_or(reply.body.len()).min(reply.body.len());
        stream.write_all(&reply.body[..end])?;
    }
    stream.flush()
}

/// SHA-256 in hexadecimal digits.
pub fn sum(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// So many bytes that begin as a model does and do not repeat.
pub fn content(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let whole = b"GGUF".iter().copied().chain(noise);
    whole.take(bytes).collect()
}

/// A description of a repository with these files: path, size, checksum.
pub fn described(files: &[(&str, usize, String)]) -> Value {
    let siblings = files.iter().map(|(path, size, sum)| {
        json!({ "rfilename": path, "size": size,
            "lfs": { "sha256": sum, "size": size, "pointerSize": 130 } })
    });
    let siblings: Vec<Value> = siblings.collect();
    json!({ "id": "me/toy-GGUF", "sha": COMMIT, "cardData": { "license": "mit" },
        "siblings": siblings })
}

/// A repository with these files, path and content, all in order.
pub fn repository(files: &[(&str, &[u8])]) -> impl Fn(&Request) -> Reply + Send + Sync + use<> {
    let files: Vec<(String, Vec<u8>)> = files
        .iter()
        .map(|(path, content)| ((*path).to_owned(), content.to_vec()))
        .collect();
    move |request| {
        if request.path.starts_with("/api/models/") {
            let listed: Vec<(&str, usize, String)> = files
                .iter()
                .map(|(path, content)| (path.as_str(), content.len(), sum(content)))
                .collect();
            return Reply::json(&described(&listed));
        }
        let found = files.iter().find(|(path, _)| request.path.ends_with(path));
        match found {
            Some((_, content)) => Reply::file(request, content),
            None => Reply::status(404),
        }
    }
}
