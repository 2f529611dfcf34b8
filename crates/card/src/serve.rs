//! `card serve`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use card_audit::AuditConfig;
use card_core::engine::Memory;
use card_engine::Engine;
use card_link::ServerSecurity;
use card_server::{Served, ServerConfig};

use crate::args::{ExactnessArg, ServeArgs};
use crate::interrupt::Listener;
use crate::link;
use crate::models::catalogue::Catalogue;
use crate::rig::{Rig, Run};

/// Serves until Ctrl-C or SIGTERM.
pub fn run(args: &ServeArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let config = config(args)?;
    if config.keys.is_empty() && !config.host.is_loopback() {
        tracing::warn!(
            "everybody who reaches {} can use this server; set --api-key to change that",
            config.host
        );
    }
    let accepting = match args.accept_drafters {
        Some(address) => Some((address, args.model.link.server(address, &args.guests)?)),
        None => None,
    };
    let mut rig = Rig::load(&args.model, catalogue)?;
    rig.accepts = args.accept_drafters.is_some();
    let run = Run {
        trace: true,
        memory: rig.memory.clone(),
        sequences: args.parallel,
        ..rig.run()
    };
    let engine = Arc::new(rig.engine(&run)?);
    if let Some((address, security)) = accepting {
        accept(address, security, &rig, &run, &engine)?;
    }
    if args.model.exactness == ExactnessArg::Bitwise && args.parallel > 1 {
        tracing::info!("bitwise: generations run one after the other");
    }
    let note = rig.emulation.as_ref();
    let note = note.map(|e| format!("emulated devices: {}", e.title));
    let served = Served {
        engine,
        vocab: rig.vocab.clone(),
        template: rig.template.clone(),
        name: args
            .name
            .clone()
            .unwrap_or_else(|| name_of(&args.model.model)),
        context: rig.context,
        note: note.clone(),
    };
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let page = config.page;
    let rig = Arc::new(rig);
    let keeper = rig.clone();
    let listener = Listener::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .max_blocking_threads(args.parallel as usize + 16)
        .thread_name("card-http")
        .build()
        .context("cannot start the server's threads")?;
    runtime.block_on(card_server::serve(
        served,
        config,
        stopped(),
        |address| {
            eprintln!("serving {} at {scheme}://{address}/v1", args.model.model);
            if page {
                eprintln!("the page is at {scheme}://{address}/");
            }
            if let Some(note) = note {
                eprintln!("{note}");
            }
        },
        move |memory: &Memory| keeper.keep(memory),
    ))?;
    drop(listener);
    runtime.shutdown_timeout(Duration::from_secs(5));
    Ok(ExitCode::SUCCESS)
}

/// Takes in drafters that come by themselves.
fn accept(
    address: std::net::SocketAddr,
    security: ServerSecurity,
    rig: &Rig,
    run: &Run,
    engine: &Arc<Engine>,
) -> Result<()> {
    let terms = rig.terms_of(run);
    // The engine ends when the server does.
    let engine = Arc::downgrade(engine);
    let came = move |end, scope| match engine.upgrade() {
        Some(engine) => engine.attach(end, scope).map_err(|e| e.to_string()),
        None => Err("the server ends".to_owned()),
    };
    let (said, begun) = std::sync::mpsc::channel();
    let ready = said.clone();
    link::runtime()?.spawn(async move {
        let ready = move |address| {
            let _ = ready.send(Ok(address));
        };
        let ended = card_link::serve_targets(address, terms, security, came, ready).await;
        if let Err(error) = ended {
            tracing::warn!("drafters are not accepted any more: {error}");
            let _ = said.send(Err(error));
        }
    });
    let address = begun.recv().context("the link's threads failed")??;
    eprintln!("accepting drafters at {address}");
    Ok(())
}

/// Ends with the first interrupt; a second one ends the process.
async fn stopped() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let waiting = std::thread::Builder::new().name("card-signal".into());
    let waiting = waiting.spawn(move || {
        let _ = Listener::channel().recv();
        eprintln!("finishing what runs; interrupt again to end at once");
        let _ = sender.send(());
    });
    match waiting {
        Ok(_) => {
            let _ = receiver.await;
        }
        Err(error) => {
            tracing::warn!("signals cannot be heard: {error}");
            std::future::pending().await
        }
    }
}

fn config(args: &ServeArgs) -> Result<ServerConfig> {
    let mut keys = args.api_key.clone();
    if let Some(file) = &args.api_key_file {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read keys from {}", file.display()))?;
        let lines = text.lines().map(str::trim);
        keys.extend(
            lines
                .filter(|l| !l.is_empty() && !l.starts_with('#'))
                .map(str::to_owned),
        );
        anyhow::ensure!(!keys.is_empty(), "there is no key in {}", file.display());
    }
    anyhow::ensure!(!keys.iter().any(String::is_empty), "an API key is empty");
    Ok(ServerConfig {
        host: args.host,
        port: args.port,
        keys,
        tls: args.tls_cert.clone().zip(args.tls_key.clone()),
        cors: args.cors.clone(),
        parallel: args.parallel as usize,
        queue: args.queue,
        request_timeout: Duration::from_secs(args.request_timeout.max(1)),
        max_request_bytes: args.max_request_kib.max(1).saturating_mul(1024),
        drain_timeout: Duration::from_secs(args.drain_timeout),
        canary: args.canary,
        page: !args.no_page,
        audit: args.audit.clone().map(|path| AuditConfig {
            path,
            text: args.audit_text,
            rotate_bytes: args.audit_rotate_mib << 20,
        }),
    })
}

/// `models/x.gguf` is served as `x`.
fn name_of(model: &str) -> String {
    let path = std::path::Path::new(model);
    let stem = path.file_stem().and_then(|s| s.to_str());
    match model.ends_with(".gguf") {
        true => stem.unwrap_or(model).to_owned(),
        false => model.to_owned(),
    }
}
