//! Settings of a server.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use card_audit::AuditConfig;
use card_core::sampler::SamplingParams;

use crate::caller::keys::Key;
use crate::connections::ConnectionLimits;

/// Settings of a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Addresses to listen on, at least one.
    pub hosts: Vec<IpAddr>,
    /// Port to listen on at each of them; 0 for a free one.
    pub port: u16,
    /// Keys that clients may use; none for no check.
    pub keys: Vec<Key>,
    /// A key that opens `/metrics` and nothing else.
    pub metrics_key: Option<String>,
    /// Names by which a server without keys on loopback may be reached, beside localhost.
    pub allow_hosts: Vec<String>,
    /// Whether all keys use the same prefix cache and the same corrections.
    pub share_caches: bool,
    /// A secret of this server, from which each key's tenant number is made: without it nobody
    /// can work out where in a shared table the entries of a key are.
    pub tenant_secret: [u8; 32],
    /// Certificate chain and private key (PEM); `None` for plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Web pages of these origins may use the server; `*` for all.
    pub cors: Vec<String>,
    /// Generations at a time.
    pub parallel: usize,
    /// Requests that may wait beside those that are generated.
    pub queue: usize,
    /// Most time for a request, from its first byte to the last of its answer.
    pub request_timeout: Duration,
    /// Most time for the body of a request to arrive.
    pub body_timeout: Duration,
    /// Largest body of a request.
    pub max_request_bytes: usize,
    /// Bounds of connections.
    pub connections: ConnectionLimits,
    /// How long the server lets generations finish when it ends.
    pub drain_timeout: Duration,
    /// How long the server still takes requests when it is told to end, while `/health` says that it
    /// leaves, so that whoever spreads requests turns to others first.
    pub drain_delay: Duration,
    /// Most time that the head of a stream waits for the stream's first news. Until it was sent, a
    /// failure is an answer with a status, and a gateway may ask another server.
    pub stream_head_wait: Duration,
    /// Share of requests that speculate, the others being plain; `None` for all.
    pub canary: Option<f64>,
    /// Whether `/` shows the page.
    pub page: bool,
    /// The audit log, if there shall be one.
    pub audit: Option<AuditConfig>,
    /// How to sample where a request does not say, and the model says nothing.
    pub sampling: DefaultSampling,
    /// What llama-server's own paths do and tell.
    pub llama_server: LlamaServerConfig,
    /// How many models are loaded at a time, and for how long.
    pub models: ModelLimits,
}

/// How many models of a server are loaded at a time, and for how long. With one model it is loaded
/// as long as the server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelLimits {
    /// Most models that are loaded at a time; at least one.
    pub most: usize,
    /// How long a model stays loaded that nobody uses; `None` for as long as the server runs.
    pub idle: Option<Duration>,
}

impl Default for ModelLimits {
    /// Four models, each until nobody has used it for a quarter of an hour.
    fn default() -> Self {
        ModelLimits {
            most: 4,
            idle: Some(Duration::from_secs(15 * 60)),
        }
    }
}

/// What llama-server's own paths do and tell.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaServerConfig {
    /// Most tokens of an answer where a request does not say; `None` for what fits.
    pub n_predict: Option<u32>,
    /// Where the model came from, for `/props`; nothing if that is nobody's business.
    pub model_path: String,
    /// Whether `/slots` lists slots.
    pub slots: bool,
    /// Where `/slots/ID` may save slots and restore them from; `None` if it may not.
    pub slot_save_path: Option<PathBuf>,
    /// Whether `/metrics` tells metrics.
    pub metrics: bool,
    /// The order of the norm by which vectors are normalised where a request does not say: 2 for
    /// the length, -1 for none.
    pub embd_normalize: i32,
    /// Whether a request may ask for the first numbers of a vector only: of a model that was trained
    /// for it (Matryoshka).
    pub shortens_vectors: bool,
    /// Other names of the model, for `/v1/models`; the model's own among them.
    pub aliases: Vec<String>,
    /// What the model is good for, in the operator's words, for `/v1/models`.
    pub tags: Vec<String>,
    /// Whether a request loads the model that it names, if that is not loaded.
    pub autoload: bool,
    /// Whether the model thinks before it answers, where a request does not say; `None` for what
    /// its template does.
    pub thinking: Option<bool>,
    /// Whether every answer of a chat tells its prompt and its settings (`__verbose`).
    pub verbose: bool,
}

impl Default for LlamaServerConfig {
    /// llama-server's defaults.
    fn default() -> Self {
        LlamaServerConfig {
            n_predict: None,
            model_path: String::new(),
            slots: true,
            slot_save_path: None,
            metrics: true,
            embd_normalize: 2,
            shortens_vectors: false,
            aliases: Vec::new(),
            tags: Vec::new(),
            autoload: true,
            thinking: None,
            verbose: false,
        }
    }
}

/// How to sample where a request does not say.
#[derive(Clone, Debug, PartialEq)]
pub struct DefaultSampling {
    /// The settings; their seed is not used.
    pub params: SamplingParams,
    /// The seed; `None` for a new one each time.
    pub seed: Option<u64>,
}

impl Default for DefaultSampling {
    /// OpenAI's defaults.
    fn default() -> Self {
        DefaultSampling {
            params: card_api::sampling::openai_defaults(),
            seed: None,
        }
    }
}

impl ServerConfig {
    /// The addresses to listen on, each once, in the order in which they are named.
    pub fn distinct_hosts(&self) -> Vec<IpAddr> {
        let mut distinct = Vec::new();
        for host in &self.hosts {
            if !distinct.contains(host) {
                distinct.push(*host);
            }
        }
        distinct
    }

    /// Whether only programs of this machine reach the server.
    pub fn is_local(&self) -> bool {
        self.hosts.iter().all(|h| h.to_canonical().is_loopback())
    }
}

impl Default for ServerConfig {
    /// Loopback, a free port, no keys.
    fn default() -> Self {
        ServerConfig {
            hosts: vec![IpAddr::from([127, 0, 0, 1])],
            port: 0,
            keys: Vec::new(),
            metrics_key: None,
            allow_hosts: Vec::new(),
            share_caches: false,
            tenant_secret: [0; 32],
            tls: None,
            cors: Vec::new(),
            parallel: 4,
            queue: 64,
            request_timeout: Duration::from_secs(600),
            body_timeout: Duration::from_secs(30),
            max_request_bytes: 4 << 20,
            connections: ConnectionLimits::default(),
            drain_timeout: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            stream_head_wait: Duration::from_millis(250),
            canary: None,
            page: true,
            audit: None,
            sampling: DefaultSampling::default(),
            llama_server: LlamaServerConfig::default(),
            models: ModelLimits::default(),
        }
    }
}
