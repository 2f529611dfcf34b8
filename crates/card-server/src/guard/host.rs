//! Names of hosts, as requests write them.

use std::net::IpAddr;

/// Whether this is a host with or without a port (RFC 9110, 7.2), and no more.
pub(super) fn is_host(host: &str) -> bool {
    let behind = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map(|(_, behind)| behind),
        None => Some(host.find(':').map_or("", |at| &host[at..])),
    };
    let port = |b: &str| {
        b.is_empty()
            || b.strip_prefix(':')
                .is_some_and(|p| p.bytes().all(|c| c.is_ascii_digit()))
    };
    !host.contains('@') && behind.is_some_and(port)
}

/// `localhost:8080` is `localhost`, `[::1]:80` is `::1`.
pub(super) fn name_of(host: &str) -> &str {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether a host is this one, with or without a port.
pub(super) fn same_name(name: &str, host: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case(name_of(host)) || name.eq_ignore_ascii_case(host)
}

/// Whether a host is a name or an address of this machine's own.
pub(super) fn is_local(host: &str) -> bool {
    let name = name_of(host);
    let loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(loopback)
}

/// The origin that stands for all of this machine's own.
pub(crate) const LOCALHOST: &str = "localhost";

/// Whether an origin is a page of this machine's own, whatever its port.
pub(crate) fn is_local_origin(origin: &str) -> bool {
    let host = origin.split_once("://").map(|(_, host)| host);
    host.is_some_and(|host| is_host(host) && is_local(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_this_machine_by_name() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.",
            "127.0.0.1:1",
            "[::1]:8080",
            "[::ffff:127.0.0.1]:80",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "example.org",
            "example.org:80",
            "10.0.0.1",
            "127.0.0.1.nip.io",
            "localhost.example.org",
            "",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn knows_pages_of_this_machine() {
        for origin in [
            "http://localhost",
            "http://localhost:8080",
            "https://127.0.0.1:3000",
            "http://[::1]:3000",
        ] {
            assert!(is_local_origin(origin), "{origin}");
        }
        for origin in [
            "http://web.example",
            "http://notlocalhost",
            "http://localhost.evil.example",
            "http://localhost@evil.example",
            "null",
            "localhost",
        ] {
            assert!(!is_local_origin(origin), "{origin}");
        }
    }

    #[test]
    fn what_is_more_than_a_host_is_none() {
        for odd in [
            "127.0.0.1:80@evil.example",
            "[::1]evil.example",
            "localhost:evil",
            "[::1",
        ] {
            assert!(!is_host(odd), "{odd}");
        }
    }
}
