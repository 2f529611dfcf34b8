//! A server of models runs until it is stopped.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use card_server::{ModelSource, ServeError, ServerConfig};

use crate::interrupt::{Listener, stopped};

/// Threads that may wait, beside one for each generation.
const MORE_THREADS: usize = 16;

/// Serves models, of which there are `count`; `default` is the one that is loaded at the start.
///
/// # Errors
/// If the server cannot start, or an engine fails.
pub(super) fn run_server(
    config: ServerConfig,
    models: Arc<dyn ModelSource>,
    default: Option<&str>,
    count: usize,
) -> Result<ExitCode> {
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let page = config.page;
    let more: Vec<IpAddr> = config.distinct_hosts().into_iter().skip(1).collect();
    let serving = words(default, count);
    let at_a_time = config.models.most.min(count);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .max_blocking_threads(config.parallel * at_a_time + MORE_THREADS)
        .thread_name("card-http")
        .build()
        .context("cannot start the server's threads")?;
    let listening = |address: SocketAddr| {
        if let Some(model) = default {
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
        for host in more {
            let address = SocketAddr::new(host, address.port());
            eprintln!("and at {scheme}://{address}/v1");
        }
        if page {
            eprintln!("the page is at {scheme}://{address}/");
        }
    };
    let served = runtime.block_on(card_server::serve(
        models,
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

/// The models in words: the default one, and how many there are in all.
fn words(default: Option<&str>, count: usize) -> String {
    match (default, count) {
        (Some(default), 1) => default.to_owned(),
        (Some(default), 2) => format!("{default} and one model more"),
        (Some(default), _) => format!("{default} and {} models more", count - 1),
        (None, _) => format!("{count} models"),
    }
}
