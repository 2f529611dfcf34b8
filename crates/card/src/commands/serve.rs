//! `card serve`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use card_audit::{AuditConfig, AuditKey};
use card_core::scheduler::Learned;
use card_engine::Engine;
use card_engine::selftest::Means;
use card_link::ServerSecurity;
use card_server::{
    ConnectionLimits, DefaultSampling, Key, LlamaServerConfig, ServeError, ServedModel,
    ServerConfig,
};
use card_setup::models::catalogue::Catalogue;
use card_setup::{RunConfig, SamplingSettings, Settings, Setup, link, tenant_secret};

use crate::access::Access;
use crate::args::ServeArgs;
use crate::interrupt::{Listener, stopped};
use crate::keys::NamedKey;
use crate::served::{ServedTemplate, ServedVocab, served_exactness};

/// Most time for the body of a request to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves until Ctrl-C or SIGTERM.
pub fn run(args: &ServeArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let mut config = config(args)?;
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
    let accepting = match args.accept_drafters {
        Some(address) => {
            let security = settings.link.server(address, &args.guests.settings())?;
            Some((address, security))
        }
        None => None,
    };
    let mut setup = Setup::start(&settings, catalogue)?;
    config.sampling = sampling(args.sampling.settings().or(setup.sampling))?;
    setup.accepts_drafters = args.accept_drafters.is_some();
    let run = RunConfig {
        trace: true,
        learned: setup.learned.clone(),
        sequences: args.parallel,
        ..setup.run()
    };
    let engine = Arc::new(setup.engine(&run)?);
    if let Some((address, security)) = accepting {
        accept(address, security, &setup, &run, &engine)?;
    }
    if setup.holds.means == Some(Means::OneClass) && args.parallel > 1 {
        tracing::warn!(
            "with these kernels a text is plain decoding's only if generations run one after the \
             other, so they do; --kernels card where it is possible, or --exactness fast, lets \
             them share forwards"
        );
    }
    let measuring = setup.measure_in_pauses(&engine);
    let served = serve(args, config, setup, engine);
    drop(measuring);
    served
}

/// Serves what was set up.
fn serve(
    args: &ServeArgs,
    config: ServerConfig,
    setup: Setup,
    engine: Arc<Engine>,
) -> Result<ExitCode> {
    let served = served_model(args, &setup, engine);
    let note = served.note.clone();
    let holds = setup.holds.to_string();
    let setup = Arc::new(setup);
    let keeper = setup.clone();
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let page = config.page;
    let listener = Listener::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .max_blocking_threads(args.parallel as usize + 16)
        .thread_name("card-http")
        .build()
        .context("cannot start the server's threads")?;
    let served = runtime.block_on(card_server::serve(
        served,
        config,
        stopped("finishing what runs; interrupt again to end at once"),
        |address| {
            eprintln!("serving {} at {scheme}://{address}/v1", args.model.model);
            if page {
                eprintln!("the page is at {scheme}://{address}/");
            }
            eprintln!("{holds}");
            if let Some(note) = note {
                eprintln!("{note}");
            }
        },
        move |learned: &Learned| keeper.keep(learned),
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

/// How to sample where a request does not say: as was asked for, over OpenAI's defaults.
fn sampling(asked: SamplingSettings) -> Result<DefaultSampling> {
    let usual = DefaultSampling::default();
    let params = asked.over(&usual.params)?;
    tracing::info!(
        "where a request does not say: temperature {}, top-k {}, top-p {}, min-p {}, repeat \
         penalty {}",
        params.temperature,
        params.top_k,
        params.top_p,
        params.min_p,
        params.repeat_penalty
    );
    Ok(DefaultSampling {
        params,
        seed: asked.seed,
    })
}

/// The model as the server knows it.
fn served_model(args: &ServeArgs, setup: &Setup, engine: Arc<Engine>) -> ServedModel {
    let emulation = setup.emulation.as_ref();
    let template = setup.template.clone();
    ServedModel {
        engine,
        tokenizer: Arc::new(ServedVocab(setup.vocab.clone())),
        template: template.map(|t| Arc::new(ServedTemplate(t)) as _),
        name: args
            .name
            .clone()
            .unwrap_or_else(|| name_of(&args.model.model)),
        context: setup.context,
        note: emulation.map(|e| format!("emulated devices: {}", e.profile.title)),
        exactness: served_exactness(&setup.holds),
    }
}

/// Takes in drafters that come by themselves.
fn accept(
    address: std::net::SocketAddr,
    security: ServerSecurity,
    setup: &Setup,
    run: &RunConfig,
    engine: &Arc<Engine>,
) -> Result<()> {
    let terms = setup.terms_of(run);
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
        canary: args.canary,
        page: !args.no_page,
        audit: audit.transpose()?,
        sampling: DefaultSampling::default(),
        llama_server: LlamaServerConfig::default(),
    })
}

fn key(key: &NamedKey) -> Key {
    Key {
        name: key.name.clone(),
        secret: key.key.expose().to_owned(),
    }
}

/// `models/x.gguf` is served as `x`.
fn name_of(model: &str) -> String {
    let path = std::path::Path::new(model);
    let stem = path.file_stem().and_then(|s| s.to_str());
    if model.ends_with(".gguf") {
        stem.unwrap_or(model).to_owned()
    } else {
        model.to_owned()
    }
}
