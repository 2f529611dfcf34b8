//! Flags of what works for targets on other machines: `card draft`, `card edge`,
//! `card rpc-worker`.

use std::path::PathBuf;

use card_setup::secret::SecretText;
use card_setup::{DrafterSettings, KernelChoice};
use clap::builder::BoolishValueParser;
use clap::{Args, value_parser};

use super::hub::HubArgs;
use super::link::LinkArgs;
use super::model::KERNELS;
use super::values::{one_of, secret, sizes};

pub const DRAFT_HELP: &str = "\
Examples:
  card draft -m qwen2.5-coder-0.5b --listen 0.0.0.0:7070 --link-token-file secret
  card serve -m qwen2.5-coder-1.5b --drafter http://draft-box:7070 --link-token-file secret
One drafter serves several targets, a target may use several drafters (docs/remote.md).";

pub const EDGE_HELP: &str = "\
In the cloud, with a line `laptop SECRET` for this device in the file devices:
  card serve -m qwen2.5-coder-1.5b --host 0.0.0.0 --api-key-file keys \\
    --accept-drafters 0.0.0.0:7070 --link-secrets devices
On the device, with SECRET in the file secret:
  card edge -m qwen2.5-coder-0.5b --upstream http://cloud:8080 --scope laptop --link-token-file secret
Then point an OpenAI client at http://127.0.0.1:8080/v1 (docs/remote.md; use https:// beyond a
network you trust).";

pub const RPC_HELP: &str = "\
Example, two machines that each hold half of the target:
  card rpc-worker --listen 10.0.0.2:50052 --trusted-network
  card serve -m big.gguf --rpc 10.0.0.2:50052,127.0.0.1:50052
The protocol is ggml's: no keys, no encryption. Never let a stranger reach the port (docs/rpc.md).";

#[derive(Args, Debug)]
pub struct DraftModelArgs {
    /// The draft model: a name of the catalogue (of a pair, its drafter), a GGUF file,
    /// hf:OWNER/REPO[:QUANT], ollama:NAME or lmstudio:NAME
    #[arg(short, long, env = "CARD_DRAFT", default_value = "qwen2.5-coder-0.5b")]
    pub model: String,
    #[command(flatten)]
    pub hub: HubArgs,
    /// Fetch nothing: models that are here only (or HF_HUB_OFFLINE=1)
    #[arg(long, env = "CARD_OFFLINE", value_parser = BoolishValueParser::new())]
    pub offline: bool,
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
        value_parser = one_of(KERNELS),
        default_value = "auto",
        hide_default_value = true,
        env = "CARD_KERNELS"
    )]
    pub kernels: KernelChoice,
    /// Most tokens of context for all targets together; of a 0.5B model each takes about 12 KiB
    #[arg(long, default_value_t = 131_072, env = "CARD_MAX_CELLS", value_name = "N", value_parser = value_parser!(u64).range(64..=1 << 32))]
    pub max_cells: u64,
}

impl DraftModelArgs {
    /// What the flags mean to the library.
    pub fn settings(&self) -> DrafterSettings {
        DrafterSettings {
            model: self.model.clone(),
            threads: self.threads,
            gpu_layers: self.gpu_layers,
            device: self.device.clone(),
            kernels: self.kernels,
            max_cells: self.max_cells,
            offline: self.offline,
        }
    }
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
    pub upstream_key: Option<SecretText>,
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
