//! `card serve`.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use card_audit::{AuditConfig, AuditKey};
use card_server::{
    ConnectionLimits, DefaultSampling, Key, LlamaServerConfig, ModelLimits, ServeError,
    ServerConfig,
};
use card_setup::models::catalogue::Catalogue;
use card_setup::{Settings, tenant_secret};

use crate::access::Access;
use crate::args::ServeArgs;
use crate::interrupt::{Listener, stopped};
use crate::keys::NamedKey;
use crate::model_list::ModelList;
use crate::model_source::{AcceptAt, ServedModels};

/// Most time for the body of a request to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Threads that may wait, beside one for each generation.
const MORE_THREADS: usize = 16;

/// Serves until Ctrl-C or SIGTERM.
pub fn run(args: &ServeArgs, catalogue: Catalogue) -> Result<ExitCode> {
    let config = config(args)?;
    if args.no_key && !config.host.to_canonical().is_loopback() {
        tracing::warn!(
            "--no-key: everybody who reaches {} can use this server",
            config.host
        );
    }
    let settings = Settings {
        parallel: args.parallel,
        ..args.model.settings()
    };
    let list = ModelList::of(&args.several, &settings, args.name.as_deref())?;
    let accepting = accepting(args, &settings, &list)?;
    let models = ServedModels {
        list,
        catalogue,
        sampling: args.sampling.settings(),
        parallel: args.parallel,
        accepting: Mutex::new(accepting),
    };
    serve(config, models)
}

/// Where drafters that come by themselves are accepted.
///
/// # Errors
/// If a secret cannot be used, or there are several models.
fn accepting(args: &ServeArgs, settings: &Settings, list: &ModelList) -> Result<Option<AcceptAt>> {
    let Some(address) = args.accept_drafters else {
        return Ok(None);
    };
    ensure!(
        list.models.len() == 1,
        "--accept-drafters lets drafters come for one model, and there are {}; start a server for \
         that model, without --models and [models]",
        list.models.len()
    );
    let security = settings.link.server(address, &args.guests.settings())?;
    Ok(Some((address, security)))
}

/// Serves these models.
fn serve(config: ServerConfig, models: ServedModels) -> Result<ExitCode> {
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let page = config.page;
    let (loading, serving) = (models.list.default.clone(), words(&models.list));
    let at_a_time = config.models.most.min(models.list.models.len());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .max_blocking_threads(config.parallel * at_a_time + MORE_THREADS)
        .thread_name("card-http")
        .build()
        .context("cannot start the server's threads")?;
    let listening = |address: SocketAddr| {
        if let Some(model) = loading {
            eprintln!(
                "listening on {scheme}://{address}; loading {model}, and /health says 503 until it \
                 is loaded"
            );
        }
    };
    // While the default model is loaded an interrupt ends the process at once.
    let mut listener = None;
    let ready = |address: SocketAddr| {
        listener = Some(Listener::new());
        eprintln!("serving {serving} at {scheme}://{address}/v1");
        if page {
            eprintln!("the page is at {scheme}://{address}/");
        }
    };
    let served = runtime.block_on(card_server::serve(
        Arc::new(models),
        config,
        stopped("finishing what runs; interrupt again to end at once"),
        listening,
        ready,
    ));
    drop(listener);
    runtime.shutdown_timeout(Duration::from_secs(5));
    if let Err(error @ ServeError::Engine(_)) = &served {
        // A thread that hangs would keep the process; what supervises it waits for its end.
        eprintln!("error: {error}");
        std::process::exit(1);
    }
    served?;
    Ok(ExitCode::SUCCESS)
}

/// The models in words.
fn words(list: &ModelList) -> String {
    let others = list.models.len() - 1;
    match (&list.default, others) {
        (Some(default), 0) => default.clone(),
        (Some(default), 1) => format!("{default} and one model more"),
        (Some(default), _) => format!("{default} and {others} models more"),
        (None, _) => format!("{} models", list.models.len()),
    }
}

fn config(args: &ServeArgs) -> Result<ServerConfig> {
    let access = Access::of(args)?;
    for warning in &access.warnings {
        tracing::warn!("{warning}");
    }
    let audit = args.audit.clone().map(|path| -> Result<AuditConfig> {
        let key = args.audit_key_file.as_deref();
        Ok(AuditConfig {
            path,
            text: args.audit_text,
            rotate_bytes: args.audit_rotate_mib << 20,
            key: key.map(AuditKey::from_file).transpose()?,
        })
    });
    let idle = Duration::from_secs(args.idle_timeout);
    Ok(ServerConfig {
        host: args.host,
        port: args.port,
        keys: access.keys.iter().map(key).collect(),
        metrics_key: access.metrics_key.map(|k| k.expose().to_owned()),
        allow_hosts: args.allow_host.clone(),
        share_caches: args.share_caches,
        tenant_secret: tenant_secret(!args.model.no_memory),
        tls: args.tls_cert.clone().zip(args.tls_key.clone()),
        cors: args.cors.clone(),
        parallel: args.parallel as usize,
        queue: args.queue,
        request_timeout: Duration::from_secs(args.request_timeout),
        body_timeout: BODY_TIMEOUT.min(idle),
        max_request_bytes: args.max_request_kib.saturating_mul(1024),
        connections: ConnectionLimits {
            most: args.max_connections,
            idle,
            stalled: idle,
        },
        drain_timeout: Duration::from_secs(args.drain_timeout),
        drain_delay: Duration::from_secs(args.drain_delay),
        stream_head_wait: Duration::from_millis(args.stream_head_wait),
        canary: args.canary,
        page: !args.no_page,
        audit: audit.transpose()?,
        sampling: DefaultSampling::default(),
        llama_server: LlamaServerConfig::default(),
        models: ModelLimits {
            most: args.several.models_max,
            idle: args.several.idle(),
        },
    })
}

fn key(key: &NamedKey) -> Key {
    Key {
        name: key.name.clone(),
        secret: key.key.expose().to_owned(),
    }
}
