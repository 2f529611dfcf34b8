//! The whole server without a model: a synthetic one writes, its tokens are bytes. For tests
//! of what is said over HTTP, which then take milliseconds; nothing here measures a model.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::HeaderMap;
use card_api::{ApiError, Job};
use card_core::constraint::Constraint;
use card_core::engine::Memory;
use card_core::forward::{Forward, KvOp, Limits, Logits, Model, ModelError};
use card_core::policy::{Lanes, Mode};
use card_core::synthetic::{Synthetic, SyntheticConfig};
use card_core::types::Token;
use card_engine::{Draft, Engine, Options};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::grammar::Grammars;
use crate::guard::Site;
use crate::{Exactness, Key, ServeError, Served, ServerConfig, Template, Tokenizer};

const TURN: &str = "<|im_start|>";
const END: &str = "<|im_end|>";
const TURN_TOKEN: Token = 256;
const END_TOKEN: Token = 257;
const TOKENS: usize = 258;

/// A vocabulary of 256 bytes and two control tokens.
pub struct Bytes;

impl Tokenizer for Bytes {
    fn len(&self) -> usize {
        TOKENS
    }

    fn tokenize(&self, text: &str, special: bool) -> Result<Vec<Token>, String> {
        let bytes = |part: &str| part.bytes().map(Token::from).collect::<Vec<_>>();
        if !special {
            return Ok(bytes(text));
        }
        let (mut tokens, mut rest) = (Vec::with_capacity(text.len()), text);
        while let Some(at) = rest.find("<|") {
            let (before, behind) = rest.split_at(at);
            tokens.extend(bytes(before));
            let control = [(TURN, TURN_TOKEN), (END, END_TOKEN)];
            let found = control.iter().find(|(name, _)| behind.starts_with(name));
            let length = found.map_or(2, |(name, _)| name.len());
            match found {
                Some(&(_, token)) => tokens.push(token),
                None => tokens.extend(bytes("<|")),
            }
            rest = &behind[length..];
        }
        tokens.extend(bytes(rest));
        Ok(tokens)
    }

    fn piece(&self, token: Token, special: bool) -> Vec<u8> {
        match token {
            TURN_TOKEN if special => TURN.into(),
            END_TOKEN if special => END.into(),
            _ => u8::try_from(token).map(|b| vec![b]).unwrap_or_default(),
        }
    }

    fn end_tokens(&self) -> Vec<Token> {
        vec![END_TOKEN]
    }

    fn control_texts(&self) -> Vec<String> {
        vec![TURN.into(), END.into()]
    }

    fn fingerprint(&self) -> u64 {
        258
    }
}

/// A chat template like ChatML's.
pub struct Turns;

impl Template for Turns {
    fn render(&self, messages: &Value, tools: Option<&Value>) -> Result<String, String> {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut whole = tools.map(Value::to_string).unwrap_or_default();
        for message in messages.as_array().into_iter().flatten() {
            let (role, content) = (text(&message["role"]), text(&message["content"]));
            whole += &format!("{TURN}{role}\n{content}{END}\n");
        }
        Ok(whole + TURN + "assistant\n")
    }

    fn knows_tools(&self) -> bool {
        true
    }
}

/// What a job's text has to be, compiled for [`Bytes`] as the server does; `None` if it may be
/// anything.
///
/// # Errors
/// What a client would hear.
pub fn constraint(job: &Job) -> Option<Result<Box<dyn Constraint>, ApiError>> {
    static GRAMMARS: OnceLock<Grammars> = OnceLock::new();
    let grammars = GRAMMARS.get_or_init(|| Grammars::new(Arc::new(Bytes)));
    let shape = job.shape.as_ref()?;
    let compiled = grammars.compile(shape, job.shape_field);
    Some(compiled.map(|c| c.constraint()))
}

/// Whether a server without keys that listens there lets a request in.
///
/// # Errors
/// What a client would hear.
pub fn lets_in(listens: IpAddr, request: &axum::http::request::Parts) -> Result<(), ApiError> {
    let site = Site {
        listens,
        names: &[],
        origins: &[],
    };
    site.check(&request.method, &request.uri, &request.headers)
}

/// The headers that `card edge` passes on of these.
pub fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new();
    crate::edge::copy(headers, &mut passed);
    passed
}

/// What to serve.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Names and secrets of keys.
    pub keys: Vec<(String, String)>,
    /// Generations at a time.
    pub parallel: usize,
    /// Requests that may wait.
    pub queue: usize,
    /// Tokens of context.
    pub context: u32,
    /// What a forward of the target takes.
    pub forward: Duration,
    /// The target's thread panics after so many forwards.
    pub break_after: Option<u64>,
    /// The rest of the settings.
    pub config: ServerConfig,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            keys: Vec::new(),
            parallel: 4,
            queue: 64,
            context: 4096,
            forward: Duration::ZERO,
            break_after: None,
            config: ServerConfig::default(),
        }
    }
}

/// A model that takes its time, and breaks down if it is told to.
struct Paced {
    inner: Synthetic,
    forward: Duration,
    left: Option<u64>,
}

impl Logits for Paced {
    fn row(&self, i: usize) -> &[f32] {
        self.inner.row(i)
    }
}

impl Model for Paced {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn vocab(&self) -> usize {
        self.inner.vocab()
    }

    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        self.inner.apply(op)
    }

    fn reset(&mut self) -> Result<(), ModelError> {
        self.inner.reset()
    }

    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        if let Some(left) = &mut self.left {
            assert!(*left > 0, "a synthetic breakdown");
            *left -= 1;
        }
        if !self.forward.is_zero() {
            std::thread::sleep(self.forward);
        }
        self.inner.forward(forward)
    }
}

/// What is served for a setup, and how.
///
/// # Errors
/// If the system gives no thread.
pub fn served(setup: &Setup) -> std::io::Result<(Served, ServerConfig)> {
    let model = |noise| {
        Synthetic::new(SyntheticConfig {
            vocab: TOKENS,
            seed: 7,
            spread: 2.0,
            noise,
            noise_seed: 11,
            limits: Limits {
                context: setup.context,
                cells: setup.context as usize * (2 * setup.parallel + 1),
                rows: 256,
                leaves: 16,
            },
        })
    };
    let target = Paced {
        inner: model(0.0),
        forward: setup.forward,
        left: setup.break_after,
    };
    let draft: Box<dyn Model + Send> = Box::new(model(0.5));
    let options = Options {
        mode: Mode::Card,
        lanes: Lanes::Shared,
        parked: setup.parallel,
        trace: true,
        ..Options::default()
    };
    let engine = Engine::start(Box::new(target), [Draft::from(draft)], options)?;
    let keys = setup.keys.iter().map(|(name, secret)| Key {
        name: name.clone(),
        secret: secret.clone(),
    });
    let config = ServerConfig {
        keys: keys.collect(),
        parallel: setup.parallel,
        queue: setup.queue,
        ..setup.config.clone()
    };
    let served = Served {
        engine: Arc::new(engine),
        tokenizer: Arc::new(Bytes),
        template: Some(Arc::new(Turns)),
        name: "synthetic".into(),
        context: setup.context,
        note: Some("a synthetic model".into()),
        exactness: Exactness {
            level: "exact".into(),
            means: Some("any-shape".into()),
            kernels: "no kernels, a synthetic model".into(),
            words: "exact: every shape of forward gives the same logits (no kernels, a synthetic \
                    model)"
                .into(),
        },
    };
    Ok((served, config))
}

/// A server that runs; it ends when this is dropped.
pub struct Server {
    /// Like `http://127.0.0.1:1234`.
    pub url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<Result<(), ServeError>>>,
}

impl Server {
    /// Ends it, and says how it went. Waits for running generations.
    pub fn stop(mut self) -> Result<(), ServeError> {
        self.stop = None;
        self.wait()
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> Result<(), ServeError> {
        let ended = self.thread.take().and_then(|t| t.join().ok());
        ended.unwrap_or_else(|| Err(ServeError::Engine("the server's thread failed".into())))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts a server on a thread of its own.
///
/// # Errors
/// If it cannot listen, or the system gives no thread.
pub fn start(setup: &Setup) -> Result<Server, ServeError> {
    let failed = |e: std::io::Error| ServeError::Engine(e.to_string());
    let (served, config) = served(setup).map_err(failed)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let (said, ready) = std::sync::mpsc::channel::<SocketAddr>();
    let thread = std::thread::Builder::new().name("card-test-server".into());
    let thread = thread.spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(2)
            .build()
            .map_err(|e| ServeError::Engine(e.to_string()))?;
        let shutdown = async {
            // Told, or dropped.
            let _ = stopped.await;
        };
        let ready = move |address| {
            let _ = said.send(address);
        };
        let serving = crate::serve(served, config, shutdown, ready, |_: &Memory| {});
        let ended = runtime.block_on(serving);
        runtime.shutdown_timeout(Duration::from_secs(1));
        ended
    });
    let thread = thread.map_err(failed)?;
    match ready.recv() {
        Ok(address) => Ok(Server {
            url: format!("http://{address}"),
            stop: Some(stop),
            thread: Some(thread),
        }),
        Err(_) => match thread.join() {
            Ok(Err(error)) => Err(error),
            _ => Err(ServeError::Engine("the server did not start".into())),
        },
    }
}
