//! The command line.

use std::ffi::OsStr;
use std::path::PathBuf;

use card_core::sampler::SamplingParams;
use clap::builder::{
    BoolishValueParser, EnumValueParser, PossibleValue, RangedU64ValueParser, TypedValueParser,
};
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};

use crate::keys::{Secret, secret};

/// Lossless LLM acceleration by cache-assisted parallel speculative decoding.
///
/// A small draft model fills a cache of candidates while the large target model verifies
/// them, many at a time. The output is the target's own, token for token; it just arrives
/// sooner.
#[derive(Parser, Debug)]
#[command(
    version,
    after_help = "Start with:\n  card pull qwen-coder\n  card generate --chat -p \"Write a quicksort in Rust\""
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Say more (-v: what card does, -vv: llama.cpp's messages too)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Use this catalogue of models in place of the built-in one
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub catalogue: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Generate text from a prompt, streaming it
    Generate(GenerateArgs),
    /// Talk with a model
    Chat(ChatArgs),
    /// Serve a model to others: an OpenAI-compatible server, with a page at `/`
    #[command(after_help = SERVE_HELP)]
    Serve(Box<ServeArgs>),
    /// Draft for targets on other machines
    #[command(after_help = DRAFT_HELP)]
    Draft(DraftArgs),
    /// An endpoint on a small device: drafted here, decided by a server in the cloud
    #[command(after_help = EDGE_HELP)]
    Edge(EdgeArgs),
    /// Check audit logs
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Explain a request from an audit log: one page that shows where each token came from
    Explain(ExplainArgs),
    /// Fetch a model or a pair of the catalogue
    Pull {
        /// Name of a model or a pair (see `card list`)
        #[arg(default_value = crate::models::catalogue::DEFAULT_PAIR)]
        name: String,
    },
    /// Show the catalogue, and what you have of it
    List,
    /// Write a model with another type of weights
    #[command(after_help = "Example: card quantize qwen2.5-coder-1.5b target-f16.gguf F16")]
    Quantize {
        /// Model file, or a name of the catalogue
        input: PathBuf,
        /// File to write
        output: PathBuf,
        /// Weight type: F16, BF16, Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q4_0, …
        r#type: String,
        /// Embeddings and output layer too, which by default keep a finer type
        #[arg(long)]
        pure: bool,
        /// For a draft model: an output layer for the N most common tokens only. The others
        /// are proposed only after they were read; INPUT must stay where it is
        #[arg(long, value_name = "N")]
        vocabulary: Option<usize>,
    },
    /// Find out which forwards give the same logits here, and what each costs
    Selftest(SelftestArgs),
    /// Measure what forwards cost here, and show the way to run a pair that follows
    Calibrate(CalibrateArgs),
    /// Compare modes, drafters and other servers with plain decoding, on real prompts
    #[command(after_help = BENCH_HELP)]
    Bench(Box<BenchArgs>),
    /// Simulate devices, links, fleets and faults: the same engine in virtual time
    #[command(after_help = SIM_HELP)]
    Sim(SimArgs),
    /// Measure this machine, try the ways to run a pair on your prompts, and write card.toml
    #[command(after_help = PLAN_HELP)]
    Plan(PlanArgs),
    /// What a rollout pays: bench, canary or metrics become a page for whoever decides
    #[command(after_help = REPORT_HELP)]
    Report(ReportArgs),
    /// Write where a draft model is wrong as JSON lines, for those who want to train it
    ExportPairs(ExportArgs),
    /// Hold a part of the layers of a target on another machine that is too large for it
    #[command(after_help = RPC_HELP)]
    RpcWorker(RpcWorkerArgs),
    /// Show the devices models can run on
    Devices,
}

const BENCH_HELP: &str = "\
Examples:
  card bench                                   the built-in prompts: modes against plain decoding
  card bench my.jsonl --prompts 5 --tokens 128 your own prompts
  card bench --sweep cache                     memory of the cache against speed
  card bench --emulate a100-70b-1b             paced like devices you do not have
  card bench --peer http://127.0.0.1:8080      another server on the same prompts (docs/bench.md)";

const DRAFT_HELP: &str = "\
Examples:
  card draft -m qwen2.5-coder-0.5b --listen 0.0.0.0:7070 --link-token-file secret
  card serve -m qwen2.5-coder-1.5b --drafter http://draft-box:7070 --link-token-file secret
One drafter serves several targets, a target may use several drafters (docs/remote.md).";

const EDGE_HELP: &str = "\
In the cloud, with a line `laptop SECRET` for this device in the file devices:
  card serve -m qwen2.5-coder-1.5b --host 0.0.0.0 --api-key-file keys \\
    --accept-drafters 0.0.0.0:7070 --link-secrets devices
On the device, with SECRET in the file secret:
  card edge -m qwen2.5-coder-0.5b --upstream http://cloud:8080 --scope laptop --link-token-file secret
Then point an OpenAI client at http://127.0.0.1:8080/v1 (docs/remote.md; use https:// beyond a
network you trust).";

const RPC_HELP: &str = "\
Example, two machines that each hold half of the target:
  card rpc-worker --listen 10.0.0.2:50052 --trusted-network
  card serve -m big.gguf --rpc 10.0.0.2:50052,127.0.0.1:50052
The protocol is ggml's: no keys, no encryption. Never let a stranger reach the port (docs/rpc.md).";

const PLAN_HELP: &str = "\
Examples:
  card plan my.jsonl -m qwen-coder          then: card serve --config card.toml
  card plan -m target.gguf --draft small.gguf --drafts tiny.gguf,middle.gguf
  card plan --drafter http://draft-box:7070 --link-token-file secret     is the other machine worth it?";

const REPORT_HELP: &str = "\
Examples:
  card report card-bench/bench.json --price-per-hour 1.20 -o report.html
  card report http://127.0.0.1:8080/metrics --price-per-hour 1.20 --lang ja -o report.html";

const SIM_HELP: &str = "\
Examples:
  card sim                               a 70B target and a 1B drafter, against the published 4.83×
  card sim --vary latency --html a.html  how far away the drafter may be
  card sim fleet                         4 targets, 4 drafters, machines that fail, and what it costs
  card sim fleet --print > mine.toml     a scenario to change: then card sim mine.toml
  card sim --acceptance card-bench/acceptance.jsonl   drafts as right as on your own prompts";

const SERVE_HELP: &str = "\
Settings come from flags, then the environment, then the file that --config FILE names. Its keys
are the long flags without dashes in front:
  model = \"qwen-coder\"
  parallel = 8
Then point an OpenAI client at http://127.0.0.1:8080/v1 (docs/serving.md).";

#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Address to listen on; 0.0.0.0 is the whole network, and wants a key (or --no-key)
    #[arg(
        long,
        default_value = "127.0.0.1",
        env = "CARD_HOST",
        value_name = "ADDR"
    )]
    pub host: std::net::IpAddr,
    /// Port to listen on; 0 for a free one
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
    pub api_key: Vec<Secret>,
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
    pub metrics_key: Option<Secret>,
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
    #[arg(long, env = "CARD_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key for HTTPS (PEM)
    #[arg(long, env = "CARD_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Web pages of this origin may use the server; * for all [default: none]
    #[arg(long, env = "CARD_CORS", value_delimiter = ',', value_name = "ORIGIN", value_parser = origin)]
    pub cors: Vec<String>,
    /// Name of the model in answers [default: as for --model]
    #[arg(long, env = "CARD_SERVED_NAME", value_name = "NAME")]
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
    /// Speculate on this share of the requests only, and compare the two (`card report`): 5%
    #[arg(long, env = "CARD_CANARY", value_name = "SHARE", value_parser = share)]
    pub canary: Option<f64>,
    /// No page at `/`
    #[arg(long, env = "CARD_NO_PAGE", value_parser = BoolishValueParser::new())]
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
    pub guests: GuestArgs,
    #[command(flatten)]
    pub model: ModelArgs,
}

/// A share, like `5%` or `0.05`.
fn share(text: &str) -> Result<f64, String> {
    let (number, of) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let share: f64 = number
        .trim()
        .parse()
        .map_err(|_| "a share is like 5% or 0.05")?;
    match share / of {
        s if (0.0..=1.0).contains(&s) => Ok(s),
        _ => Err("a share is between 0% and 100%".into()),
    }
}

/// Seconds, up to a day.
fn seconds(least: u64) -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(least..=86_400)
}

/// A number of things in memory.
fn sizes(range: std::ops::RangeInclusive<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

/// An amount: no less than nothing, and finite.
fn amount(text: &str) -> Result<f64, String> {
    let amount: f64 = text.trim().parse().map_err(|_| "it is no number")?;
    match amount.is_finite() && amount >= 0.0 {
        true => Ok(amount),
        false => Err("it is a number from 0 on".into()),
    }
}

/// An origin as browsers send it: `https://example.org`, without a path, a slash at the end, or
/// the port that goes without saying. One that never matches would be a silent mistake.
fn origin(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text == "*" {
        return Ok(text.into());
    }
    let wrong = "an origin is like https://example.org or http://localhost:3000, or * for all";
    let (scheme, rest) = text.split_once("://").ok_or(wrong)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let letter = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    if !letter || !scheme.chars().all(plain) {
        return Err(wrong.into());
    }
    let scheme = scheme.to_ascii_lowercase();
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (name, port) = match rest.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (rest, None),
    };
    let name = host_name(name).map_err(|_| wrong)?;
    let usual = match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let port: Option<u16> = match port {
        Some(port) => Some(port.parse().map_err(|_| wrong)?),
        None => None,
    };
    Ok(match port.filter(|p| Some(*p) != usual) {
        Some(port) => format!("{scheme}://{name}:{port}"),
        None => format!("{scheme}://{name}"),
    })
}

/// The name of a host, without a scheme or a port, in small letters.
fn host_name(text: &str) -> Result<String, String> {
    let text = text.trim();
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        let address: std::net::Ipv6Addr = inner.parse().map_err(|_| "it is no address")?;
        return Ok(format!("[{address}]"));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match !name.is_empty() && name.len() <= 253 && name.chars().all(plain) {
        true => Ok(name.to_ascii_lowercase()),
        false => Err("a name is like host.docker.internal, without a port".into()),
    }
}

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Links to other machines")]
pub struct LinkArgs {
    /// A secret both machines know
    #[arg(
        long,
        env = "CARD_LINK_TOKEN",
        hide_env_values = true,
        hide_default_value = true,
        value_name = "TOKEN",
        value_parser = secret()
    )]
    pub link_token: Option<Secret>,
    /// A file with that secret, which then is not in the list of processes
    #[arg(long, env = "CARD_LINK_TOKEN_FILE", value_name = "FILE")]
    pub link_token_file: Option<PathBuf>,
    /// The authority of the other machine's certificate (PEM)
    #[arg(long, env = "CARD_LINK_CA", value_name = "FILE")]
    pub link_ca: Option<PathBuf>,
    /// Certificate chain of this machine (PEM)
    #[arg(
        long,
        env = "CARD_LINK_CERT",
        value_name = "FILE",
        requires = "link_key"
    )]
    pub link_cert: Option<PathBuf>,
    /// Private key of this machine (PEM)
    #[arg(
        long,
        env = "CARD_LINK_KEY",
        value_name = "FILE",
        requires = "link_cert"
    )]
    pub link_key: Option<PathBuf>,
}

/// Which drafters come in.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Links to other machines")]
pub struct GuestArgs {
    /// A file with lines of a drafter's scope and its secret; * is everybody's text
    #[arg(long, env = "CARD_LINK_SECRETS", value_name = "FILE")]
    pub link_secrets: Option<PathBuf>,
    /// With --link-ca and without secrets: a certificate of this name gets everybody's text
    #[arg(long, env = "CARD_LINK_EVERYONE", value_name = "NAME")]
    pub link_everyone: Option<String>,
}

#[derive(Args, Debug)]
pub struct DraftModelArgs {
    /// The draft model: a name of the catalogue, or a GGUF file
    #[arg(short, long, env = "CARD_DRAFT", default_value = "qwen2.5-coder-0.5b")]
    pub model: String,
    /// Threads in all [default: all cores]
    #[arg(short, long, value_name = "N", value_parser = value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Layers on the GPU [default: all]
    #[arg(long, value_name = "N")]
    pub gpu_layers: Option<u32>,
    /// Devices, by the names `card devices` shows
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub device: Vec<String>,
    /// Whose matrix kernels processors run [default: card's own, if the processor can]
    #[arg(
        long,
        value_enum,
        default_value_t = KernelsArg::Auto,
        hide_default_value = true,
        env = "CARD_KERNELS"
    )]
    pub kernels: KernelsArg,
    /// Most tokens of context for all targets together; of a 0.5B model each takes about 12 KiB
    #[arg(long, default_value_t = 131_072, env = "CARD_MAX_CELLS", value_name = "N", value_parser = value_parser!(u64).range(64..=1 << 32))]
    pub max_cells: u64,
}

#[derive(Args, Debug)]
pub struct DraftArgs {
    #[command(flatten)]
    pub model: DraftModelArgs,
    /// Address for targets to dial
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDR:PORT")]
    pub listen: std::net::SocketAddr,
    /// Dial this target in place of listening (`card serve --accept-drafters`)
    #[arg(long, value_name = "URL", conflicts_with = "listen")]
    pub attach: Option<String>,
    /// Draft only for requests whose header x-card-drafter has this value, with the secret of
    /// that scope; without, for everybody's, with the secret of * or the
    /// target's --link-token
    #[arg(long, value_name = "NAME", requires = "attach")]
    pub scope: Option<String>,
    #[command(flatten)]
    pub link: LinkArgs,
}

#[derive(Args, Debug)]
pub struct RpcWorkerArgs {
    /// Address for targets
    #[arg(long, default_value = "127.0.0.1:50052", value_name = "ADDR:PORT")]
    pub listen: std::net::SocketAddr,
    /// Only machines you trust reach that address; needed for any but this one
    #[arg(long)]
    pub trusted_network: bool,
    /// Threads [default: all cores]
    #[arg(short, long, value_name = "N", value_parser = value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Devices to compute on, by the names `card devices` shows [default: GPUs, else the CPU]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub device: Vec<String>,
    /// Keep the weights that targets send in this folder: the next start is faster
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct EdgeArgs {
    /// The server that decides
    #[arg(long, env = "CARD_UPSTREAM", value_name = "URL")]
    pub upstream: String,
    /// Key for it, in place of what applications send
    #[arg(
        long,
        env = "CARD_UPSTREAM_KEY",
        hide_env_values = true,
        hide_default_value = true,
        value_name = "KEY",
        value_parser = secret()
    )]
    pub upstream_key: Option<Secret>,
    /// A file with that key, which then is not in the list of processes
    #[arg(long, env = "CARD_UPSTREAM_KEY_FILE", value_name = "FILE")]
    pub upstream_key_file: Option<PathBuf>,
    /// Where it accepts drafters [default: its host, port 7070]
    #[arg(long, value_name = "URL")]
    pub attach: Option<String>,
    /// Name of the drafter here, if the server knows its secret by one [default: a new one
    /// each time, which takes the secret of *]
    #[arg(long, env = "CARD_SCOPE", value_name = "NAME")]
    pub scope: Option<String>,
    /// Address for applications
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR:PORT")]
    pub listen: std::net::SocketAddr,
    /// Largest body of a request
    #[arg(long, default_value_t = 4096, env = "CARD_MAX_REQUEST_KIB", value_name = "KIB", value_parser = sizes(1..=65_536))]
    pub max_request_kib: usize,
    #[command(flatten)]
    pub model: DraftModelArgs,
    #[command(flatten)]
    pub link: LinkArgs,
}

#[derive(Subcommand, Debug)]
pub enum AuditCommand {
    /// Check that a log is as it was written, and whole; without its key that finds accidents only
    Verify(VerifyArgs),
    /// Print number and hash of the last record, to be kept elsewhere and given to `verify`
    Head {
        /// The log; or some of its files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// List the requests in a log
    List {
        /// The log, with all files that were set aside from it; or some of its files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// The log, with all files that were set aside from it; or some of its files
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// The key that the log is sealed with (`card serve --audit-key-file`)
    #[arg(long, env = "CARD_AUDIT_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// A record as `card audit head` printed it earlier: it must still be there; may be repeated
    #[arg(long, value_name = "N:HASH")]
    pub anchor: Vec<card_audit::Anchor>,
    /// The log may begin with the oldest record there is: older files were removed on purpose
    #[arg(long)]
    pub from_oldest: bool,
    /// The files are a part of a log that may end anywhere
    #[arg(long)]
    pub without_head: bool,
}

#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The log, with all files that were set aside from it; or some of its files
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Name of the request; what comes after `chatcmpl-` in an answer's id, or `card audit list`
    #[arg(short, long, value_name = "ID")]
    pub request: String,
    /// Which of its answers
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub choice: usize,
    /// The page to write, for its owner only; - is standard output
    #[arg(short, long, default_value = "explain.html", value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Args, Debug)]
pub struct CalibrateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Write a page with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SweepArg {
    /// Several draft models (--drafts)
    Draft,
    /// Bytes for candidates
    Cache,
    /// In turns or at the same time
    Lanes,
    /// Which sources propose
    Sources,
    /// How far away the drafter is (with --emulate)
    Latency,
    /// The drafter in this process, or another's over a socket
    Link,
}

#[derive(Args, Debug)]
pub struct BenchArgs {
    /// Files of prompts, one JSON object a line with `question`, `text`, `prompt` or `turns`
    /// (and `prediction`, if an answer is expected) [default: a small built-in set]
    pub files: Vec<PathBuf>,
    /// Prompts of each file or built-in category
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub prompts: usize,
    /// These built-in categories, beside the files if there are any: code, maths, chat, edit,
    /// json, japanese
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub category: Vec<String>,
    /// Most tokens of an answer
    #[arg(long, default_value_t = 96, value_name = "N", value_parser = value_parser!(u32).range(2..))]
    pub tokens: u32,
    /// Times every prompt is asked
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = sizes(1..=100_000))]
    pub repeats: usize,
    /// Temperature; 0 takes the most probable token
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    pub temp: f32,
    /// Seed of the sampling noise
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Chain lengths of draft-then-verify to compare with
    #[arg(long, default_values_t = [2, 4, 7], value_delimiter = ',', value_name = "N", value_parser = value_parser!(u32).range(1..=32))]
    pub draft_lens: Vec<u32>,
    /// Vary one thing in place of comparing the modes
    #[arg(long, value_enum)]
    pub sweep: Option<SweepArg>,
    /// Draft models of `--sweep draft`
    #[arg(long, value_delimiter = ',', value_name = "MODEL")]
    pub drafts: Vec<String>,
    /// Another OpenAI-compatible server, measured on the same prompts (may be given several times)
    #[arg(long, value_name = "URL")]
    pub peer: Vec<String>,
    /// Key for the peers
    #[arg(
        long,
        env = "CARD_PEER_KEY",
        hide_env_values = true,
        hide_default_value = true,
        value_name = "KEY",
        value_parser = secret()
    )]
    pub peer_key: Option<Secret>,
    /// Folder for the report
    #[arg(short, long, default_value = "card-bench", value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub model: ModelArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VaryArg {
    /// One-way latency of the links
    Latency,
    /// How often drafts are right
    Agreement,
    /// What a draft forward takes
    DraftCost,
    /// Memory for candidates
    Cache,
    /// Nodes per draft forward
    Nodes,
    /// Requests at a time
    Load,
    /// Drafters for each target
    Drafters,
}

#[derive(Args, Debug)]
pub struct SimArgs {
    /// A TOML file or a built-in scenario: published-70b-1b, edge-cloud, fleet
    #[arg(default_value = "published-70b-1b")]
    pub scenario: String,
    /// Vary one thing
    #[arg(long, value_enum)]
    pub vary: Option<VaryArg>,
    /// Drafts are right where they were in this recording (acceptance.jsonl of `card bench`), in
    /// place of a share the scenario names
    #[arg(long, value_name = "FILE")]
    pub acceptance: Option<PathBuf>,
    /// Seed of everything that is left to chance [default: the scenario's]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Write a page with a plot
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print the scenario as TOML, and end
    #[arg(long)]
    pub print: bool,
}

#[derive(Args, Debug)]
pub struct PlanArgs {
    /// Your prompts, as for `card bench` [default: its built-in set]
    pub files: Vec<PathBuf>,
    /// Prompts of each file or built-in category
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub prompts: usize,
    /// Most tokens of an answer
    #[arg(long, default_value_t = 48, value_name = "N", value_parser = value_parser!(u32).range(2..))]
    pub tokens: u32,
    /// More draft models to try, of other sizes say
    #[arg(long, value_delimiter = ',', value_name = "MODEL")]
    pub drafts: Vec<String>,
    /// File to write
    #[arg(short, long, default_value = "card.toml", value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    pub model: ModelArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LanguageArg {
    /// English
    En,
    /// 日本語
    Ja,
}

#[derive(Args, Debug)]
pub struct ReportArgs {
    /// bench.json files, files of metrics, or addresses of metrics (http://…/metrics)
    #[arg(required = true, value_name = "FILE or URL")]
    pub sources: Vec<String>,
    /// What the machine costs per hour
    #[arg(long, value_name = "PRICE", value_parser = amount)]
    pub price_per_hour: f64,
    /// What drafting adds per hour, if the drafter has a machine of its own
    #[arg(long, default_value_t = 0.0, value_name = "PRICE", value_parser = amount)]
    pub draft_price_per_hour: f64,
    /// Currency of the prices
    #[arg(long, default_value = "EUR", value_name = "NAME")]
    pub currency: String,
    /// Tokens written in a month, for what that saves
    #[arg(long, value_name = "N", value_parser = amount)]
    pub tokens_per_month: Option<f64>,
    /// Language of the page
    #[arg(long, value_enum, default_value_t = LanguageArg::En)]
    pub lang: LanguageArg,
    /// File to write, .html or .md [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Files of prompts as for `card bench` [default: its built-in set]
    pub files: Vec<PathBuf>,
    /// Prompts of each file or built-in category
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub prompts: usize,
    /// Most tokens of an answer
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = value_parser!(u32).range(2..))]
    pub tokens: u32,
    /// File to write
    #[arg(short, long, default_value = "pairs.jsonl", value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    pub model: ModelArgs,
}

#[derive(Args, Debug)]
pub struct SelftestArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    /// One token per forward; no drafter
    Plain,
    /// Draft a chain of --draft-len tokens, verify it, start over
    DraftThenVerify,
    /// Query-and-correct: verify what the cache has while the drafter goes on
    Card,
    /// Whatever is fastest by the costs measured here, plain decoding included
    Auto,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExactnessArg {
    /// The text is plain decoding's, by the cheapest means the self-test finds here
    Exact,
    /// As fast as it comes: a near-tie may come out otherwise, and is reported
    Fast,
}

/// Reads an [`ExactnessArg`], and knows what the levels of earlier versions are called now.
#[derive(Clone)]
struct ExactnessParser;

impl TypedValueParser for ExactnessParser {
    type Value = ExactnessArg;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<ExactnessArg, clap::Error> {
        let now = match value.to_str() {
            Some("default") => "fast",
            Some("strict" | "bitwise") => "exact",
            _ => return EnumValueParser::<ExactnessArg>::new().parse_ref(command, arg, value),
        };
        let before = value.to_string_lossy();
        let why = format!("--exactness {before} is now --exactness {now} (docs/exactness.md)");
        let error = clap::Error::raw(clap::error::ErrorKind::ValueValidation, why);
        Err(error.with_cmd(command))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let all = ExactnessArg::value_variants().iter();
        Some(Box::new(all.filter_map(ValueEnum::to_possible_value)))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KernelsArg {
    /// Whichever is faster here, found once
    Auto,
    /// card's own: every shape of forward gives the same logits
    Card,
    /// llama.cpp's
    Ggml,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DraftWeightsArg {
    /// The copy (4 bits a weight, made in seconds) if measurements say it is faster
    Auto,
    /// The file's own
    AsIs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LanesArg {
    /// What measurements on this machine say is faster
    Auto,
    /// The models take turns
    Shared,
    /// The models run at the same time; on one CPU they split the threads
    Disjoint,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Models")]
pub struct ModelArgs {
    /// Pair or model of the catalogue, or a GGUF file: the target
    #[arg(short, long, default_value = crate::models::catalogue::DEFAULT_PAIR, env = "CARD_MODEL")]
    pub model: String,
    /// Draft model: a name, a GGUF file, or `none` [default: the pair's]
    #[arg(short, long, env = "CARD_DRAFT")]
    pub draft: Option<String>,
    /// A second draft model; each step goes to the one that promises more
    #[arg(long, value_name = "MODEL")]
    pub draft2: Option<String>,
    /// Draft models on other machines (`card draft`), in place of one here
    #[arg(long, env = "CARD_DRAFTER", value_delimiter = ',', value_name = "URL")]
    pub drafter: Vec<String>,
    #[command(flatten)]
    pub link: LinkArgs,
    /// Whether a lighter copy of the draft model may stand in for it, where that is faster:
    /// the text is the target's either way
    #[arg(long, value_enum, default_value_t = DraftWeightsArg::Auto, env = "CARD_DRAFT_WEIGHTS")]
    pub draft_weights: DraftWeightsArg,
    /// How to schedule the two
    #[arg(long, value_enum, default_value_t = ModeArg::Auto)]
    pub mode: ModeArg,
    /// How close to plain decoding's text
    #[arg(long, value_name = "LEVEL", default_value = "exact", value_parser = ExactnessParser)]
    pub exactness: ExactnessArg,
    /// Whose matrix kernels processors run
    #[arg(long, value_enum, default_value_t = KernelsArg::Auto, env = "CARD_KERNELS")]
    pub kernels: KernelsArg,
    /// Chain length of `--mode draft-then-verify`
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = value_parser!(u32).range(1..=32))]
    pub draft_len: u32,
    /// Whether the models run at the same time
    #[arg(long, value_enum, default_value_t = LanesArg::Auto)]
    pub lanes: LanesArg,
    /// Threads in all [default: all cores]
    #[arg(short, long, value_name = "N", value_parser = value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Threads of the drafter when both run on one CPU at the same time [default: a share]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1024))]
    pub draft_threads: Option<u32>,
    /// Tokens of context, prompt included [default: 4096, or what the model was trained for]
    #[arg(short, long, value_name = "N", value_parser = value_parser!(u32).range(64..=1_048_576))]
    pub ctx: Option<u32>,
    /// Layers of the target on the GPU [default: all]
    #[arg(long, value_name = "N")]
    pub gpu_layers: Option<u32>,
    /// Layers of the drafter on the GPU [default: all]
    #[arg(long, value_name = "N")]
    pub draft_gpu_layers: Option<u32>,
    /// Devices of the target, by the names `card devices` shows
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub device: Vec<String>,
    /// Devices of the drafter
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub draft_device: Vec<String>,
    /// Other machines that hold a part of the target's layers (`card rpc-worker`, docs/rpc.md);
    /// --gpu-layers says how many layers go there [default: all]
    #[arg(
        long,
        env = "CARD_RPC",
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    pub rpc: Vec<String>,
    /// Most memory for the candidates of one generation
    #[arg(long, default_value_t = 128, value_name = "KIB", value_parser = sizes(0..=1 << 20))]
    pub cache_kib: usize,
    /// Do not use, or add to, what earlier runs learned (docs/sources.md)
    #[arg(long, env = "CARD_NO_MEMORY", value_parser = BoolishValueParser::new())]
    pub no_memory: bool,
    /// Pace the models like devices you do not have: a TOML file or a built-in profile
    #[arg(long, value_name = "PROFILE", hide_short_help = true)]
    pub emulate: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// 0 takes the most probable token; higher is more varied
    #[arg(
        long,
        visible_alias = "temperature",
        default_value_t = 0.0,
        value_name = "T"
    )]
    pub temp: f32,
    /// Only the K most probable tokens; 0 for all
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub top_k: u32,
    /// Only the most probable tokens that add up to P
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    pub top_p: f32,
    /// Only tokens at least P times as probable as the best
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    pub min_p: f32,
    /// Divides the logits of recent tokens; 1 for none
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub repeat_penalty: f32,
    /// Subtracted from a logit for each recent occurrence
    #[arg(
        long,
        default_value_t = 0.0,
        value_name = "X",
        allow_hyphen_values = true
    )]
    pub frequency_penalty: f32,
    /// Subtracted once from the logit of a recent token
    #[arg(
        long,
        default_value_t = 0.0,
        value_name = "X",
        allow_hyphen_values = true
    )]
    pub presence_penalty: f32,
    /// How many tokens are recent
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub repeat_last_n: u32,
    /// Seed of the sampling noise [default: a new one each time]
    #[arg(short, long, value_name = "N")]
    pub seed: Option<u64>,
    /// End before this text (may be given several times)
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Most tokens to generate
    #[arg(short = 'n', long, default_value_t = 512, value_name = "N")]
    pub max_tokens: u32,
    /// Go on past the model's end-of-text token
    #[arg(long)]
    pub ignore_eos: bool,
}

impl SamplingArgs {
    /// The settings, checked.
    pub fn params(&self) -> anyhow::Result<SamplingParams> {
        let fresh = || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(0, |d| d.as_nanos() as u64)
        };
        let params = SamplingParams {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            penalty_window: self.repeat_last_n,
            logit_bias: Default::default(),
            seed: self.seed.unwrap_or_else(fresh),
        };
        params.clone().checked()?;
        Ok(params)
    }
}

#[derive(Args, Debug)]
pub struct GenerateArgs {
    /// The prompt [default: standard input]
    #[arg(short, long)]
    pub prompt: Option<String>,
    /// Read the prompt from a file
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt")]
    pub file: Option<PathBuf>,
    /// Put the prompt into the model's chat template, as a user's message
    #[arg(long)]
    pub chat: bool,
    /// System message for --chat
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub system: Option<String>,
    /// Show the candidates and corrections of every round
    #[arg(long)]
    pub show_cache: bool,
    /// Say why each round was scheduled as it was, on standard error
    #[arg(long)]
    pub explain_policy: bool,
    /// A file with the text you expect back (say, the file to be edited): what agrees with
    /// it is verified many tokens at a time
    #[arg(long, value_name = "FILE")]
    pub prediction: Option<PathBuf>,
    /// Print nothing but the text
    #[arg(short, long)]
    pub quiet: bool,
    /// Print the text's token ids as JSON in place of the text
    #[arg(long, conflicts_with = "show_cache")]
    pub tokens: bool,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

#[derive(Args, Debug)]
pub struct ChatArgs {
    /// System message
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}
