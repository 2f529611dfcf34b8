//! Flags of `card serve`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use card_setup::secret::SecretText;
use clap::builder::BoolishValueParser;
use clap::{Args, value_parser};

use super::link::GuestArgs;
use super::model::ModelArgs;
use super::sampling::DefaultSamplingArgs;
use super::several::SeveralArgs;
use super::told::ToldArgs;
use super::values::{host_name, origin, seconds, secret, share, sizes};
use super::vectors::VectorArgs;

pub const SERVE_HELP: &str = "\
Settings come from flags, then the environment, then the file that --config FILE names. Its keys
are the long flags without dashes in front:
  model = \"qwen-coder\"
  parallel = 8
Several models are a folder of GGUF files (--models FOLDER), or names in that file:
  [models]
  small = \"qwen2.5-coder-1.5b\"
  large = { model = \"large.gguf\", draft = \"small.gguf\", context = 8192 }
Then point an OpenAI client at http://127.0.0.1:8080/v1 (docs/serving.md).";

#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Address to listen on (may be given several times, or with commas); 0.0.0.0 is the whole
    /// network, and wants a key (or --no-key)
    #[arg(
        long,
        default_value = "127.0.0.1",
        env = "CARD_HOST",
        value_delimiter = ',',
        value_name = "ADDR"
    )]
    pub host: Vec<std::net::IpAddr>,
    /// Port to listen on at each address; 0 for a free one
    #[arg(long, default_value_t = 8080, env = "CARD_PORT", value_name = "N")]
    pub port: u16,
    /// A key that clients have to send (may be given several times, or with commas). Others on
    /// this machine see it in the list of processes: --api-key-file is safer
    #[arg(
        long,
        env = "CARD_API_KEY",
        hide_env_values = true,
        hide_default_value = true,
        value_delimiter = ',',
        value_name = "KEY",
        value_parser = secret()
    )]
    pub api_key: Vec<SecretText>,
    /// A file with keys, one a line: NAME: KEY, or KEY. The name is the identity of who sends the
    /// key: caches, /live and the audit log go by it
    #[arg(long, env = "CARD_API_KEY_FILE", value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Let everybody who reaches the address use the server, without a key
    #[arg(long, env = "CARD_NO_KEY", value_parser = BoolishValueParser::new())]
    pub no_key: bool,
    /// A key that opens /metrics and nothing else, for Prometheus
    #[arg(
        long,
        env = "CARD_METRICS_KEY",
        hide_env_values = true,
        hide_default_value = true,
        value_name = "KEY",
        value_parser = secret()
    )]
    pub metrics_key: Option<SecretText>,
    /// A file with that key
    #[arg(long, env = "CARD_METRICS_KEY_FILE", value_name = "FILE")]
    pub metrics_key_file: Option<PathBuf>,
    /// Without keys: a name beside localhost by which clients may call this server, like
    /// host.docker.internal (may be given several times, or with commas)
    #[arg(long, env = "CARD_ALLOW_HOST", value_delimiter = ',', value_name = "NAME", value_parser = host_name)]
    pub allow_host: Vec<String>,
    /// Clients with different keys share what was computed and learned: prefixes of prompts, and
    /// corrections. Faster, but who measures times can find out what others asked
    #[arg(long, env = "CARD_SHARE_CACHES", value_parser = BoolishValueParser::new())]
    pub share_caches: bool,
    /// Certificate chain for HTTPS (PEM)
    #[arg(
        long,
        visible_alias = "ssl-cert-file",
        env = "CARD_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// Private key for HTTPS (PEM)
    #[arg(
        long,
        visible_alias = "ssl-key-file",
        env = "CARD_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// Web pages of this origin may use the server; localhost for all of this machine, * for all
    /// there are [default: none]
    #[arg(long, visible_alias = "cors-origins", env = "CARD_CORS", value_delimiter = ',', value_name = "ORIGIN", value_parser = origin)]
    pub cors: Vec<String>,
    /// Name of the model in answers [default: as for --model]. Of several, with commas, the first
    /// in alphabetical order is the name, and /v1/models tells the others too
    #[arg(
        short = 'a',
        long,
        visible_alias = "alias",
        env = "CARD_SERVED_NAME",
        value_name = "NAME"
    )]
    pub name: Option<String>,
    /// Generations at a time; each has its own context
    #[arg(long, default_value_t = 4, env = "CARD_PARALLEL", value_name = "N", value_parser = value_parser!(u32).range(1..=64))]
    pub parallel: u32,
    /// Requests that may wait; more get status 429
    #[arg(long, default_value_t = 64, env = "CARD_QUEUE", value_name = "N", value_parser = sizes(0..=4096))]
    pub queue: usize,
    /// Most seconds for a request, from its first byte, waiting included
    #[arg(long, default_value_t = 600, env = "CARD_REQUEST_TIMEOUT", value_name = "S", value_parser = seconds(1))]
    pub request_timeout: u64,
    /// Seconds that a connection may say nothing, or not take what it is sent
    #[arg(long, default_value_t = 75, env = "CARD_IDLE_TIMEOUT", value_name = "S", value_parser = seconds(1))]
    pub idle_timeout: u64,
    /// Most connections at a time
    #[arg(long, default_value_t = 1024, env = "CARD_MAX_CONNECTIONS", value_name = "N", value_parser = sizes(1..=1 << 20))]
    pub max_connections: usize,
    /// Largest body of a request
    #[arg(long, default_value_t = 4096, env = "CARD_MAX_REQUEST_KIB", value_name = "KIB", value_parser = sizes(1..=65_536))]
    pub max_request_kib: usize,
    /// Seconds that running generations get to finish when the server is stopped
    #[arg(long, default_value_t = 30, env = "CARD_DRAIN_TIMEOUT", value_name = "S", value_parser = seconds(0))]
    pub drain_timeout: u64,
    /// Seconds that a server which is stopped still takes requests, while /health says 503: set it
    /// behind a gateway or load balancer, so that it turns to other servers before the port is
    /// closed; running generations get --drain-timeout after that
    #[arg(long, default_value_t = 0, env = "CARD_DRAIN_DELAY", value_name = "S", value_parser = seconds(0))]
    pub drain_delay: u64,
    /// Most milliseconds that the head of a stream waits for the first token: until the head is sent,
    /// an error has a status, and a gateway can ask another server; some seconds behind a gateway
    /// that retries
    #[arg(long, default_value_t = 250, env = "CARD_STREAM_HEAD_WAIT", value_name = "MS", value_parser = value_parser!(u64).range(0..=3_600_000))]
    pub stream_head_wait: u64,
    /// Speculate on this share of the requests only, and compare the two (`card report`): 5%
    #[arg(long, env = "CARD_CANARY", value_name = "SHARE", value_parser = share)]
    pub canary: Option<f64>,
    /// No page at `/`
    #[arg(long, visible_aliases = ["no-webui", "no-ui"], env = "CARD_NO_PAGE", value_parser = BoolishValueParser::new())]
    pub no_page: bool,
    /// Log every candidate and decision to this file (`card audit`, `card explain`)
    #[arg(long, env = "CARD_AUDIT", value_name = "FILE")]
    pub audit: Option<PathBuf>,
    /// The audit log contains prompts and answers too
    #[arg(long, env = "CARD_AUDIT_TEXT", value_parser = BoolishValueParser::new())]
    pub audit_text: bool,
    /// Seal the audit log with the key in this file, so that only who has it can change what
    /// was written; make one with: openssl rand -hex 32 > FILE
    #[arg(long, env = "CARD_AUDIT_KEY_FILE", value_name = "FILE")]
    pub audit_key_file: Option<PathBuf>,
    /// An audit log of this size is set aside and a new one begun
    #[arg(long, default_value_t = 100, env = "CARD_AUDIT_ROTATE_MIB", value_name = "MIB", value_parser = value_parser!(u64).range(1..=1 << 20))]
    pub audit_rotate_mib: u64,
    /// Send traces to the OpenTelemetry collector at this URL, like http://host:4318
    #[arg(long, env = "CARD_OTLP", value_name = "URL")]
    pub otlp: Option<String>,
    /// Let drafters connect here (`card draft --attach`, `card edge`)
    #[arg(long, env = "CARD_ACCEPT_DRAFTERS", value_name = "ADDR:PORT")]
    pub accept_drafters: Option<std::net::SocketAddr>,
    /// Settings from this file, like the card.toml that `card plan` writes
    #[arg(long, env = "CARD_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the settings and where each comes from, and end
    #[arg(long)]
    pub print_config: bool,
    #[command(flatten)]
    pub several: SeveralArgs,
    #[command(flatten)]
    pub sampling: DefaultSamplingArgs,
    #[command(flatten)]
    pub vectors: VectorArgs,
    #[command(flatten)]
    pub told: ToldArgs,
    #[command(flatten)]
    pub guests: GuestArgs,
    #[command(flatten)]
    pub model: ModelArgs,
}

impl ServeArgs {
    /// The names that flags give the model, in alphabetical order, each once.
    pub fn names(&self) -> Vec<String> {
        let names = self.name.iter().flat_map(|names| names.split(','));
        let names = names.map(str::trim).filter(|name| !name.is_empty());
        let names: BTreeSet<&str> = names.collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// The first of them: that of answers.
    pub fn first_name(&self) -> Option<String> {
        self.names().into_iter().next()
    }
}
