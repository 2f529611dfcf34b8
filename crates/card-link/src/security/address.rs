//! Which addresses are this machine's own.

use tonic::transport::Uri;

/// Whether an address is this machine's.
pub(crate) fn is_local(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = |ip: std::net::IpAddr| ip.to_canonical().is_loopback();
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(loopback)
}
