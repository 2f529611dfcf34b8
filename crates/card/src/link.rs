//! Drafters on other machines: `card draft`, `card edge`, and what `--drafter` and
//! `--accept-drafters` need.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Context, Result};
use card_engine::start_lane;
use card_link::{ClientSecurity, LinkError, MakeLane, ServerSecurity};
use card_llama::{Cores, LlamaModel, LoadOptions};
use card_server::edge::EdgeConfig;
use tokio::runtime::Runtime;

use crate::args::{DraftArgs, DraftModelArgs, EdgeArgs, LinkArgs};
use crate::loader::{llama_contexts, load, threads};
use crate::models::catalogue::Catalogue;
use crate::models::fetch;
use crate::models::store::Store;

/// The threads of all links of this process.
pub fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let made = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .thread_name("card-link")
        .build()
        .context("cannot start the link's threads")?;
    Ok(RUNTIME.get_or_init(|| made))
}

impl LinkArgs {
    /// For the side that listens.
    pub fn server(&self) -> ServerSecurity {
        ServerSecurity {
            token: self.link_token.clone(),
            identity: self.link_cert.clone().zip(self.link_key.clone()),
            client_ca: self.link_ca.clone(),
        }
    }

    /// For the side that dials.
    pub fn client(&self) -> ClientSecurity {
        ClientSecurity {
            token: self.link_token.clone(),
            ca: self.link_ca.clone(),
            identity: self.link_cert.clone().zip(self.link_key.clone()),
        }
    }

    /// Listening beyond this machine without a token or mutual TLS is a mistake.
    pub fn check_listening(&self, address: SocketAddr) -> Result<()> {
        let guarded = self.link_token.is_some() || self.link_ca.is_some();
        anyhow::ensure!(
            address.ip().is_loopback() || guarded,
            "everybody who reaches {address} could connect; set --link-token, or --link-ca with --link-cert and --link-key"
        );
        Ok(())
    }
}

/// The draft model of this machine, loaded: lanes are made of it. Also its vocabulary's
/// fingerprint.
fn lanes(args: &DraftModelArgs, catalogue: &Catalogue) -> Result<(u64, MakeLane)> {
    let path = match catalogue.model(&args.model) {
        Some(model) if !std::path::Path::new(&args.model).exists() => {
            fetch::fetch(&Store::open()?, model)?
        }
        _ => std::path::PathBuf::from(&args.model),
    };
    let options = LoadOptions {
        gpu_layers: args.gpu_layers,
        devices: args.device.clone(),
        workers: Vec::new(),
        repack: true,
    };
    let model = load(&path, &options, "draft")?;
    Ok(lanes_of(model, Cores::one_lane(threads(args.threads))))
}

fn lanes_of(model: LlamaModel, cores: Cores) -> (u64, MakeLane) {
    let vocabulary = model.vocab().fingerprint();
    let trained = model.info().trained_context;
    // Lanes of several targets take turns on these cores.
    let turns = Arc::new(Mutex::new(()));
    let make: MakeLane = Arc::new(move |plan, context, sequences| {
        let context = context.clamp(64, trained.max(64));
        let made = llama_contexts(&model, "draft", context, sequences, &cores);
        let made = made.map_err(|e| e.to_string())?;
        start_lane(Box::new(made), plan, turns.clone()).map_err(|e| e.to_string())
    });
    (vocabulary, make)
}

/// A drafter of this process that listens on loopback, like another machine's; its URL.
pub fn beside(model: &LlamaModel, cores: Cores) -> Result<String> {
    let (vocabulary, make) = lanes_of(model.clone(), cores);
    let (tell, address) = crossbeam_channel::bounded(1);
    runtime()?.spawn(async move {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let ready = |address| drop(tell.send(Ok(address)));
        let security = ServerSecurity::default();
        let served =
            card_link::serve_drafter(any, vocabulary, make, security, forever(), ready).await;
        drop(tell.send(served.map(|()| any)));
    });
    let address = address.recv().context("the drafter did not start")??;
    Ok(format!("http://{address}"))
}

/// `card draft`.
pub fn draft(args: &DraftArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    if args.attach.is_none() {
        args.link.check_listening(args.listen)?;
    }
    let (vocabulary, make) = lanes(&args.model, catalogue)?;
    let scope = args.scope.clone().unwrap_or_default();
    runtime()?.block_on(async {
        match &args.attach {
            Some(url) => {
                let security = args.link.client();
                let told = |state: Result<(), &LinkError>| told(url, state);
                card_link::attach(url, vocabulary, &scope, make, security, forever(), told).await
            }
            None => {
                let ready = |address| eprintln!("drafting for targets that dial {address}");
                let security = args.link.server();
                card_link::serve_drafter(args.listen, vocabulary, make, security, forever(), ready)
                    .await
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn told(url: &str, state: Result<(), &LinkError>) {
    match state {
        Ok(()) => eprintln!("drafting for {url}"),
        Err(error) => eprintln!("not connected: {error}; trying again"),
    }
}

/// Until the process is ended.
fn forever() -> std::future::Pending<()> {
    std::future::pending()
}

/// `card edge`.
pub fn edge(args: &EdgeArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    anyhow::ensure!(
        args.listen.ip().is_loopback() || args.upstream_key.is_none(),
        "everybody who reaches {} would use your --upstream-key; listen on 127.0.0.1, or let clients bring their own key",
        args.listen
    );
    let (vocabulary, make) = lanes(&args.model, catalogue)?;
    // Nobody else's requests shall be drafted here.
    let scope = format!("edge-{:016x}", fresh());
    let drafting = Arc::new(AtomicBool::new(false));
    let config = EdgeConfig {
        address: args.listen,
        upstream: args.upstream.clone(),
        key: args.upstream_key.clone(),
        scope: scope.clone(),
    };
    let address = match &args.attach {
        Some(url) => url.clone(),
        None => link_of(&args.upstream)?,
    };
    let security = args.link.client();
    let state = drafting.clone();
    runtime()?.block_on(async {
        let attaching = tokio::spawn(async move {
            let told = |connected: Result<(), &LinkError>| {
                state.store(connected.is_ok(), Ordering::Relaxed);
                told(&address, connected);
            };
            let attached = card_link::attach(
                &address,
                vocabulary,
                &scope,
                make,
                security,
                forever(),
                told,
            );
            if let Err(error) = attached.await {
                // The endpoint goes on: what it passes on is right without drafts too.
                eprintln!("drafting ends: {error}");
            }
            state.store(false, Ordering::Relaxed);
        });
        let ready = |address| {
            eprintln!(
                "http://{address}/v1 passes on to {}; drafted here, decided there",
                args.upstream
            );
        };
        let done = card_server::edge::edge(config, drafting, forever(), ready).await;
        attaching.abort();
        done
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The link's address of a server: the same host, the port drafters are accepted on.
fn link_of(upstream: &str) -> Result<String> {
    const PORT: u16 = 7070;
    let bad = || format!("{upstream:?} is no URL, like https://host:8080");
    let (scheme, rest) = upstream.split_once("://").with_context(bad)?;
    let host = rest.split('/').next().unwrap_or(rest);
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    anyhow::ensure!(!host.is_empty(), bad());
    Ok(format!("{scheme}://{host}:{PORT}"))
}

fn fresh() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // The standard library's source of randomness.
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_links_address_follows_from_the_servers() {
        let of = |u| super::link_of(u).ok();
        assert_eq!(
            of("https://a.b:8080/v1").as_deref(),
            Some("https://a.b:7070")
        );
        assert_eq!(of("http://cloud").as_deref(), Some("http://cloud:7070"));
        assert_eq!(of("cloud"), None);
    }
}
