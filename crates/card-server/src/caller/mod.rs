//! Who asks. A request belongs to somebody: what is cached, shown and logged goes by that.

pub(crate) mod keys;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use card_core::types::Tenant;

use crate::connections::Busy;

/// Who sent a request, and when it came.
#[derive(Clone)]
pub(crate) struct Caller {
    /// The name of the key, or of the machine where no keys are used.
    pub(crate) name: Arc<str>,
    /// The tenant whose caches the request uses.
    pub(crate) tenant: Tenant,
    /// The other side of the connection.
    pub(crate) peer: Option<SocketAddr>,
    /// When its first byte came.
    pub(crate) came: Instant,
    /// The request on its connection.
    pub(crate) busy: Option<Arc<Busy>>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Caller({}, {:?})", self.name, self.peer)
    }
}

impl Caller {
    /// Somebody without a key. Those of other machines are told apart by their addresses.
    pub(crate) fn without_key(peer: Option<SocketAddr>, came: Instant) -> Self {
        let name = match peer.map(|p| p.ip().to_canonical()) {
            Some(ip) if !ip.is_loopback() => ip.to_string().into(),
            _ => "local".into(),
        };
        Caller {
            name,
            tenant: Tenant::SHARED,
            peer,
            came,
            busy: None,
        }
    }

    /// The address for the audit log.
    pub(crate) fn address(&self) -> Option<String> {
        self.peer.map(|p| p.ip().to_canonical().to_string())
    }
}
