//! Drafters on other machines: `card draft`, `card edge`, and what `--drafter` and
//! `--accept-drafters` need.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use card_engine::start_lane;
use card_link::{
    Budget, ClientSecurity, Drafting, LinkError, MakeLane, Secret, Secrets, ServerSecurity, Tls,
    Vocabulary, scope as scope_of,
};
use card_llama::{Cores, LlamaModel, LoadOptions, Vocab};
use card_server::edge::EdgeConfig;
use card_setup::secret::from_flag_or_file_logged;
use tokio::runtime::Runtime;

use crate::args::{DraftArgs, DraftModelArgs, EdgeArgs, GuestArgs, LinkArgs};
use crate::devices;
use crate::interrupt::Listener;
use crate::kernels;
use crate::loader::{llama_contexts, load, threads};
use crate::serve::stopped;
use card_setup::models::catalogue::Catalogue;
use card_setup::models::fetch;
use card_setup::models::store::Store;

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
    /// The secret, from the flag, the environment or the file.
    fn secret(&self) -> Result<Option<Secret>> {
        let (given, file) = (self.link_token.as_ref(), self.link_token_file.as_deref());
        let secret = from_flag_or_file_logged("--link-token", given, file)?;
        Ok(secret.map(|s| Secret::new(s.expose())).transpose()?)
    }

    /// For the side that listens, there.
    pub fn server(&self, address: SocketAddr, guests: &GuestArgs) -> Result<ServerSecurity> {
        let tls = Tls::of(
            self.link_cert.as_deref(),
            self.link_key.as_deref(),
            self.link_ca.as_deref(),
        )?;
        let mut secrets = match &guests.link_secrets {
            Some(file) => Secrets::read(file)?,
            None => Secrets::default(),
        };
        if let Some(secret) = self.secret()? {
            secrets = secrets.with_everything(secret);
        }
        let security = ServerSecurity::new(tls, secrets, guests.link_everyone.clone())?;
        security.check(address)?;
        Ok(security)
    }

    /// For the side that dials.
    pub fn client(&self) -> Result<ClientSecurity> {
        Ok(ClientSecurity::new(
            self.secret()?,
            self.link_ca.as_deref(),
            self.link_cert.as_deref(),
            self.link_key.as_deref(),
        )?)
    }
}

/// What two machines compare of their vocabularies.
pub fn vocabulary_of(vocab: &Vocab) -> Vocabulary {
    Vocabulary {
        fingerprint: vocab.fingerprint(),
        tokens: u32::try_from(vocab.len()).unwrap_or(u32::MAX),
    }
}

/// The draft model of this machine, loaded: lanes are made of it.
fn drafting(args: &DraftModelArgs, catalogue: &Catalogue) -> Result<Drafting> {
    // A name of the catalogue is never a file that happens to be here.
    let path = match catalogue.file(&args.model) {
        Some(file) => file.to_owned(),
        None => {
            let (model, draft) = catalogue.resolve(&args.model)?;
            fetch::fetch(&Store::open()?, draft.unwrap_or(model))?
        }
    };
    let options = LoadOptions {
        gpu_layers: args.gpu_layers,
        devices: args.device.clone(),
        workers: Vec::new(),
        kernels: kernels::preferred(
            args.kernels,
            devices::all_on_gpu(&args.device, args.gpu_layers),
        ),
    };
    let model = load(&path, &options, "draft")?;
    let cores = Cores::one_lane(threads(args.threads));
    Ok(drafting_with(model, cores, args.max_cells))
}

fn drafting_with(model: LlamaModel, cores: Cores, cells: u64) -> Drafting {
    let vocabulary = vocabulary_of(&model.vocab());
    let budget = Budget::new(Budget::LINKS, cells, model.info().trained_context);
    // Lanes of several targets take turns on these cores.
    let turns = Arc::new(Mutex::new(()));
    let make: MakeLane = Arc::new(move |plan, context, sequences| {
        let made = llama_contexts(&model, "draft", context, sequences, &cores);
        let made = made.map_err(|e| e.to_string())?;
        start_lane(Box::new(made), plan, turns.clone()).map_err(|e| e.to_string())
    });
    Drafting {
        vocabulary,
        make,
        budget,
    }
}

/// A drafter of this process that listens on loopback, like another machine's; its URL.
pub fn beside(model: &LlamaModel, cores: Cores) -> Result<String> {
    // The target is this process, too.
    let drafting = drafting_with(model.clone(), cores, u64::MAX);
    let (tell, address) = crossbeam_channel::bounded(1);
    runtime()?.spawn(async move {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let ready = |address| drop(tell.send(Ok(address)));
        let (security, never) = (ServerSecurity::open(), std::future::pending());
        let served = card_link::serve_drafter(any, drafting, security, never, ready).await;
        drop(tell.send(served.map(|()| any)));
    });
    let address = address.recv().context("the drafter did not start")??;
    Ok(format!("http://{address}"))
}

/// Longest wait for lanes to end, when the process does.
const ENDING: Duration = Duration::from_secs(10);

/// `card draft`, until Ctrl-C or SIGTERM.
pub fn draft(args: &DraftArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let scope = args.scope.clone().unwrap_or_default();
    scope_of(&scope).map_err(anyhow::Error::msg)?;
    // What cannot be is said before a model is loaded.
    let side = match &args.attach {
        Some(url) => Side::Dials(url, args.link.client()?),
        None => Side::Listens(args.link.server(args.listen, &GuestArgs::default())?),
    };
    let drafting = drafting(&args.model, catalogue)?;
    let budget = drafting.budget.clone();
    let listener = Listener::new();
    let ends = stopped("drafting ends; targets go on by themselves");
    runtime()?.block_on(async {
        match side {
            Side::Dials(url, security) => {
                let told = |state: Result<(), &LinkError>| told(url, state);
                card_link::attach(url, drafting, &scope, security, ends, told).await?;
            }
            Side::Listens(security) => {
                let ready = |address| eprintln!("drafting for targets that dial {address}");
                card_link::serve_drafter(args.listen, drafting, security, ends, ready).await?;
            }
        }
        budget.ended(ENDING).await;
        Ok::<(), LinkError>(())
    })?;
    drop(listener);
    Ok(ExitCode::SUCCESS)
}

enum Side<'a> {
    Dials(&'a str, ClientSecurity),
    Listens(ServerSecurity),
}

fn told(url: &str, state: Result<(), &LinkError>) {
    match state {
        Ok(()) => eprintln!("drafting for {url}"),
        Err(error) => eprintln!("not connected: {error}; trying again"),
    }
}

/// `card edge`, until Ctrl-C or SIGTERM.
pub fn edge(args: &EdgeArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let (given, file) = (
        args.upstream_key.as_ref(),
        args.upstream_key_file.as_deref(),
    );
    let key = from_flag_or_file_logged("--upstream-key", given, file)?;
    let local = args.listen.ip().to_canonical().is_loopback();
    anyhow::ensure!(
        local || key.is_none(),
        "everybody who reaches {} would use your --upstream-key; listen on 127.0.0.1, or let clients bring their own key",
        args.listen
    );
    if key.is_some()
        && args.upstream.starts_with("http://")
        && card_link::is_local(&args.upstream) == Some(false)
    {
        tracing::warn!(
            "the key and all text go to {} unencrypted; use https://",
            args.upstream
        );
    }
    // Nobody else's requests shall be drafted here.
    let scope = args.scope.clone();
    let scope = scope.unwrap_or_else(|| format!("edge-{:016x}", fresh()));
    let named = scope_of(&scope).map_err(anyhow::Error::msg)?;
    anyhow::ensure!(
        named.is_some(),
        "an empty --scope is everybody's text; leave it out, or give a name"
    );
    let address = match &args.attach {
        Some(url) => url.clone(),
        None => card_link::link_of(&args.upstream)?,
    };
    let security = args.link.client()?;
    let drafter = drafting(&args.model, catalogue)?;
    let budget = drafter.budget.clone();
    let drafting = Arc::new(AtomicBool::new(false));
    let config = EdgeConfig {
        address: args.listen,
        upstream: args.upstream.clone(),
        key: key.map(|k| k.expose().to_owned()),
        scope: scope.clone(),
        most_bytes: args.max_request_kib.saturating_mul(1024),
    };
    let state = drafting.clone();
    let listener = Listener::new();
    let ends = stopped("finishing what runs; interrupt again to end at once");
    runtime()?.block_on(async {
        let attaching = tokio::spawn(async move {
            let told = |connected: Result<(), &LinkError>| {
                state.store(connected.is_ok(), Ordering::Relaxed);
                told(&address, connected);
            };
            let never = std::future::pending();
            let attached = card_link::attach(&address, drafter, &scope, security, never, told);
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
        let done = card_server::edge::edge(config, drafting, ends, ready).await;
        attaching.abort();
        budget.ended(ENDING).await;
        done
    })?;
    drop(listener);
    Ok(ExitCode::SUCCESS)
}

fn fresh() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // The standard library's source of randomness.
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use card_setup::secret::SecretText;

    use super::*;

    fn link(change: impl FnOnce(&mut LinkArgs)) -> LinkArgs {
        let mut args = LinkArgs::default();
        change(&mut args);
        args
    }

    fn file(text: &str) -> (tempfile::NamedTempFile, Option<std::path::PathBuf>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let path = Some(file.path().to_owned());
        (file, path)
    }

    const BEYOND: &str = "0.0.0.0:7070";
    const HERE: &str = "127.0.0.1:7070";

    fn refused(args: &LinkArgs, guests: &GuestArgs, address: &str) -> String {
        let made = args.server(address.parse().unwrap(), guests);
        made.map(|_| String::new())
            .unwrap_or_else(|e| e.to_string())
    }

    #[test]
    fn what_would_leave_a_link_open_is_refused_with_the_remedy() {
        let none = GuestArgs::default();
        assert!(refused(&link(|_| {}), &none, BEYOND).contains("--link-token"));
        assert_eq!(refused(&link(|_| {}), &none, HERE), "");
        let ca = link(|l| l.link_ca = Some("/nowhere".into()));
        for address in [HERE, BEYOND] {
            let why = refused(&ca, &none, address);
            assert!(why.contains("--link-cert"), "{why}");
        }
        let (_blank, path) = file(" \n");
        let empty = link(|l| l.link_token_file = path.clone());
        assert!(empty.client().is_err());
        assert!(!refused(&empty, &none, HERE).is_empty());
        let guests = GuestArgs {
            link_secrets: path,
            ..GuestArgs::default()
        };
        assert!(!refused(&link(|_| {}), &guests, HERE).is_empty());
        let unseen = GuestArgs {
            link_everyone: Some("all".into()),
            ..GuestArgs::default()
        };
        assert!(refused(&link(|_| {}), &unseen, HERE).contains("--link-everyone"));
    }

    #[test]
    fn a_secret_from_a_flag_or_a_file_guards_both_sides() {
        let (_kept, path) = file("hunter2\n");
        let of_file = link(|l| l.link_token_file = path.clone());
        let of_flag = link(|l| l.link_token = Some(SecretText::new("hunter2".into())));
        let none = GuestArgs::default();
        for args in [&of_file, &of_flag] {
            assert_eq!(refused(args, &none, BEYOND), "");
            let client = args.client().unwrap();
            assert!(!format!("{client:?} {args:?}").contains("hunter2"));
        }
        let both = link(|l| {
            l.link_token = Some(SecretText::new("a".into()));
            l.link_token_file = path;
        });
        assert!(both.client().is_err());
        let (_devices, devices) = file("laptop hunter3\n");
        let guests = GuestArgs {
            link_secrets: devices,
            ..GuestArgs::default()
        };
        assert_eq!(refused(&link(|_| {}), &guests, BEYOND), "");
    }
}
