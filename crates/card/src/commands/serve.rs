//! `card serve`.

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, ensure};
use card_audit::{AuditConfig, AuditKey};
use card_server::{
    ConnectionLimits, DefaultSampling, Key, LlamaServerConfig, ModelLimits, ServerConfig,
};
use card_setup::models::catalogue::Catalogue;
use card_setup::{LoadProgress, Settings, tenant_secret};

use super::run_server::run_server;
use super::vectors;
use crate::access::Access;
use crate::args::ServeArgs;
use crate::keys::NamedKey;
use crate::model_list::ModelList;
use crate::model_source::{AcceptAt, ServedModels};

/// Most time for the body of a request to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves until Ctrl-C or SIGTERM.
pub fn run(args: &ServeArgs, catalogue: Catalogue) -> Result<ExitCode> {
    let config = config(args)?;
    if args.no_key && !config.is_local() {
        let hosts: Vec<_> = config.hosts.iter().map(ToString::to_string).collect();
        let hosts = hosts.join(" or ");
        tracing::warn!("--no-key: everybody who reaches {hosts} can use this server");
    }
    let settings = Settings {
        parallel: args.parallel,
        ..args.model.settings()
    };
    if args.vectors.wanted() {
        return vectors::run(args, config, settings, catalogue);
    }
    let list = ModelList::of(&args.several, &settings, args.first_name().as_deref())?;
    let accepting = accepting(args, &settings, &list)?;
    let (default, count) = (list.default.clone(), list.models.len());
    let models = ServedModels {
        list,
        catalogue,
        sampling: args.sampling.settings(),
        parallel: args.parallel,
        accepting: Mutex::new(accepting),
        progress: LoadProgress::default(),
    };
    run_server(config, Arc::new(models), default.as_deref(), count)
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
        hosts: args.host.clone(),
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
        llama_server: llama_server(args),
        models: ModelLimits {
            most: args.several.models_max,
            idle: args.several.idle(),
        },
    })
}

/// What llama-server's paths do and tell.
fn llama_server(args: &ServeArgs) -> LlamaServerConfig {
    let told = &args.told;
    LlamaServerConfig {
        n_predict: told.most_tokens(),
        slots: !told.no_slots,
        slot_save_path: told.slot_save_path.clone(),
        metrics: !told.no_metrics,
        embd_normalize: args.vectors.embd_normalize,
        shortens_vectors: args.vectors.matryoshka,
        aliases: args.names(),
        tags: told.tags.clone(),
        autoload: !told.no_models_autoload,
        thinking: told.reasoning,
        verbose: told.verbose_answers,
        ..LlamaServerConfig::default()
    }
}

fn key(key: &NamedKey) -> Key {
    Key {
        name: key.name.clone(),
        secret: key.key.expose().to_owned(),
    }
}
