//! `card edge`: an endpoint on a small device, which drafts here and lets a server decide.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use card_link::{ClientSecurity, Drafting, LinkError, scope as scope_of};
use card_server::edge::EdgeConfig;
use card_setup::models::catalogue::Catalogue;
use card_setup::secret::{self, SecretText};
use card_setup::{drafting, link};

use super::remote::{ENDING, say_connected};
use crate::args::EdgeArgs;
use crate::interrupt::{Listener, stopped};

/// `card edge`, until Ctrl-C or SIGTERM.
pub fn run(args: &EdgeArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let key = upstream_key(args)?;
    let scope = scope(args)?;
    let address = match &args.attach {
        Some(url) => url.clone(),
        None => card_link::link_of(&args.upstream)?,
    };
    let security = args.link.settings().client()?;
    let drafter = drafting::load(&args.model.settings(), catalogue)?;
    let budget = drafter.budget.clone();
    let drafts = Arc::new(AtomicBool::new(false));
    let config = EdgeConfig {
        address: args.listen,
        upstream: args.upstream.clone(),
        key: key.map(|k| k.expose().to_owned()),
        scope: scope.clone(),
        most_bytes: args.max_request_kib.saturating_mul(1024),
    };
    let listener = Listener::new();
    let ends = stopped("finishing what runs; interrupt again to end at once");
    link::runtime()?.block_on(async {
        let attached = attached(address, drafter, scope, security, drafts.clone());
        let attaching = tokio::spawn(attached);
        let ready = |address| {
            eprintln!(
                "http://{address}/v1 passes on to {}; drafted here, decided there",
                args.upstream
            );
        };
        let done = card_server::edge::edge(config, drafts, ends, ready).await;
        attaching.abort();
        budget.ended(ENDING).await;
        done
    })?;
    drop(listener);
    Ok(ExitCode::SUCCESS)
}

/// The key for the server, which strangers must not get to use.
fn upstream_key(args: &EdgeArgs) -> Result<Option<SecretText>> {
    let key = secret::from_flag_or_file_logged(
        "--upstream-key",
        args.upstream_key.as_ref(),
        args.upstream_key_file.as_deref(),
    )?;
    let local = args.listen.ip().to_canonical().is_loopback();
    ensure!(
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
    Ok(key)
}

/// The scope of the drafter: a name of its own, since nobody else's requests shall be drafted
/// here.
fn scope(args: &EdgeArgs) -> Result<String> {
    let scope = args.scope.clone();
    let scope = scope.unwrap_or_else(|| format!("edge-{:016x}", fresh()));
    let named = scope_of(&scope).map_err(anyhow::Error::msg)?;
    ensure!(
        named.is_some(),
        "an empty --scope is everybody's text; leave it out, or give a name"
    );
    Ok(scope)
}

/// Drafts for the server at `address`, and notes in `drafts` whether it is connected.
async fn attached(
    address: String,
    drafter: Drafting,
    scope: String,
    security: ClientSecurity,
    drafts: Arc<AtomicBool>,
) {
    let told = |connected: Result<(), &LinkError>| {
        drafts.store(connected.is_ok(), Ordering::Relaxed);
        say_connected(&address, connected);
    };
    let never = std::future::pending();
    let attached = card_link::attach(&address, drafter, &scope, security, never, told);
    if let Err(error) = attached.await {
        // The endpoint goes on: what it passes on is right without drafts too.
        eprintln!("drafting ends: {error}");
    }
    drafts.store(false, Ordering::Relaxed);
}

fn fresh() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // The standard library's source of randomness.
    RandomState::new().hash_one(std::process::id())
}
