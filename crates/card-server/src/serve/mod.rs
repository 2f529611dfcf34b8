//! The life of a server: it listens, loads its default model, serves, keeps what was learned, and
//! ends.

mod tasks;
mod tls;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};

use crate::clock::LONGEST;
use crate::config::ServerConfig;
use crate::connections::{Connections, raise_open_files};
use crate::error::ServeError;
use crate::front::Front;
use crate::registry::ModelSource;
use crate::routes::router;

use tasks::{dead, keep_all, keep_now_and_then, log_strangers, unload_now_and_then};
use tls::acceptor;

/// How long the engines may take to say what they learned, at the end.
const LAST_KEEP: Duration = Duration::from_secs(5);
/// How long probes can see that the engine is dead before the server ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves until `shutdown` comes, and for the time of `drain_delay` after that; then lets running
/// generations finish. It listens at once: `listening` hears the address that is named first, and the
/// port is that of all of them. Then the default model is loaded, if there is one; until that is done
/// `/health` and all paths that need a model answer 503, and `ready` hears when it is.
///
/// # Errors
/// If the address, the certificate or the audit log cannot be used, or the default model cannot be
/// loaded; or an engine ends or hangs, after which nothing more can be served: the process should
/// end, so that what supervises it starts it again.
pub async fn serve(
    source: Arc<dyn ModelSource>,
    config: ServerConfig,
    shutdown: impl Future<Output = ()>,
    listening: impl FnOnce(SocketAddr),
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let (listeners, address) = listen_on_all(&config.distinct_hosts(), config.port)?;
    let tls = config.tls.as_ref();
    let tls = tls.map(|(cert, key)| acceptor(cert, key)).transpose()?;
    raise_open_files(config.connections.most);
    let drain = config.drain_timeout;
    let connections = Connections::new(config.connections);
    let front = Arc::new(Front::new(source, config, connections.clone())?);
    let router = router(front.clone())?;
    let ends = front.common.draining.subscribe();
    let mut each = JoinSet::new();
    for listener in listeners {
        let (tls, router, ends) = (tls.clone(), router.clone(), ends.clone());
        each.spawn(
            connections
                .clone()
                .serve(listener, tls, router, ends, drain),
        );
    }
    let serving = tokio::spawn(async move { while each.join_next().await.is_some() {} });
    listening(address);
    tokio::pin!(shutdown);
    let started = tokio::select! {
        started = front.start() => started.map(|()| true),
        () = &mut shutdown => Ok(false),
    };
    if !matches!(started, Ok(true)) {
        serving.abort();
        return started.map(|_| ());
    }
    ready(address);
    let beside = [
        tokio::spawn(keep_now_and_then(front.clone())),
        tokio::spawn(log_strangers(front.clone())),
        tokio::spawn(unload_now_and_then(front.clone())),
    ];
    let ended = until_it_ends(&front, serving, shutdown).await;
    for task in beside {
        task.abort();
    }
    front.common.audit.add_strangers();
    if ended.is_ok() {
        let _ = tokio::time::timeout(LAST_KEEP, keep_all(&front)).await;
    }
    ended
}

/// Listens on all addresses, at the same port; returns the one that is named first too. An address
/// that a wildcard among them listens on already needs nothing of its own.
fn listen_on_all(
    hosts: &[IpAddr],
    port: u16,
) -> Result<(Vec<tokio::net::TcpListener>, SocketAddr), ServeError> {
    let Some(&named) = hosts.first() else {
        return Err(ServeError::NoAddress);
    };
    let mut port = port;
    let (mut listeners, mut wildcards) = (Vec::new(), Vec::new());
    for host in wildcards_first(hosts) {
        match listen(SocketAddr::new(host, port)) {
            Ok((listener, own)) => {
                port = own.port();
                listeners.push(listener);
                if host.is_unspecified() {
                    wildcards.push(host);
                }
            }
            Err(error) if in_use(&error) && wildcards.iter().any(|&all| covers(all, host)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((listeners, SocketAddr::new(named, port)))
}

/// The addresses in the order in which they are listened on: before the others those that stand for
/// all addresses, IPv6's first, since it may stand for those of IPv4 too.
fn wildcards_first(hosts: &[IpAddr]) -> Vec<IpAddr> {
    let mut hosts = hosts.to_vec();
    hosts.sort_by_key(|host| match host {
        host if !host.is_unspecified() => 2,
        IpAddr::V6(_) => 0,
        IpAddr::V4(_) => 1,
    });
    hosts
}

/// Whether an address cannot be listened on since somebody does.
fn in_use(error: &ServeError) -> bool {
    matches!(error, ServeError::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse)
}

/// Whether a wildcard that is listened on takes the connections to `host` too. On Linux nobody else
/// can listen there then; other systems let both be listened on.
fn covers(wildcard: IpAddr, host: IpAddr) -> bool {
    let same = wildcard.is_ipv6() == host.is_ipv6();
    cfg!(target_os = "linux") && (same || (wildcard.is_ipv6() && takes_both()))
}

/// Whether Linux lets a listener of IPv6's wildcard take connections of IPv4 too.
fn takes_both() -> bool {
    let only = std::fs::read_to_string("/proc/sys/net/ipv6/bindv6only");
    only.is_ok_and(|only| only.trim() == "0")
}

/// Listens on an address; returns the one that the system gave.
fn listen(address: SocketAddr) -> Result<(tokio::net::TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let own = listener.local_addr().map_err(failed)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    Ok((listener, own))
}

/// Waits until the server has to end, and lets what runs finish: until `shutdown` comes, or an
/// engine dies, before or while generations finish. Between the two it still takes requests for as
/// long as the settings say, while `/health` says that it leaves.
async fn until_it_ends(
    front: &Front,
    serving: JoinHandle<()>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let told_to_end = async {
        shutdown.await;
        front.common.leave();
        tokio::time::sleep(front.config.drain_delay.min(LONGEST)).await;
    };
    let died = tokio::select! {
        () = told_to_end => None,
        why = dead(front) => Some(why),
    };
    if let Some(why) = died {
        tokio::time::sleep(LAST_WORDS).await;
        serving.abort();
        return Err(ServeError::Engine(why));
    }
    front.common.draining.send_replace(true);
    tokio::select! {
        _ = serving => Ok(()),
        why = dead(front) => Err(ServeError::Engine(why)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn hosts(names: &str) -> Vec<IpAddr> {
        names.split(' ').map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn wildcards_are_listened_on_before_what_they_cover() {
        for (named, order) in [
            ("0.0.0.0 ::", ":: 0.0.0.0"),
            ("127.0.0.1 0.0.0.0", "0.0.0.0 127.0.0.1"),
            ("127.0.0.2 ::1 :: 127.0.0.1", ":: 127.0.0.2 ::1 127.0.0.1"),
        ] {
            assert_eq!(wildcards_first(&hosts(named)), hosts(order));
        }
        let all = hosts("0.0.0.0 :: ::1");
        assert!(!covers(all[0], all[2]));
        assert_eq!(covers(all[1], all[2]), cfg!(target_os = "linux"));
    }

    #[test]
    fn an_address_is_listened_on_once() {
        let config = ServerConfig {
            hosts: hosts("127.0.0.1 ::1 127.0.0.1"),
            ..ServerConfig::default()
        };
        assert_eq!(config.distinct_hosts(), hosts("127.0.0.1 ::1"));
    }

    #[tokio::test]
    async fn an_address_that_somebody_else_has_is_an_error() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let refused = listen_on_all(&hosts("127.0.0.1"), port).unwrap_err();
        assert!(in_use(&refused), "{refused}");
    }
}
