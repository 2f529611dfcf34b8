//! `card rpc-worker`: holds a part of a target's layers for another machine.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use card_setup::devices::threads;

use crate::args::RpcWorkerArgs;

/// `card rpc-worker`, which never ends by itself.
pub fn run(args: &RpcWorkerArgs) -> Result<ExitCode> {
    ensure!(
        args.listen.ip().to_canonical().is_loopback() || args.trusted_network,
        "the protocol has neither keys nor encryption: whoever reaches {} can read the model and use \
         up this machine. If only machines you trust do, add --trusted-network; else listen on \
         127.0.0.1 and forward the port (ssh -L, WireGuard)",
        args.listen
    );
    if let Some(cache) = &args.cache {
        std::fs::create_dir_all(cache)
            .with_context(|| format!("cannot keep weights in {}", cache.display()))?;
    }
    let cache = args.cache.as_deref();
    eprintln!("computing for targets that dial {}", args.listen);
    let never = card_llama::rpc::serve(args.listen, &args.device, threads(args.threads), cache)?;
    match never {}
}
