//! Who asks. A request belongs to somebody: what is cached, shown and logged goes by that.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use card_core::types::Tenant;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::connections::Busy;

/// A key that clients may use, and who uses it.
#[derive(Clone)]
pub struct Key {
    /// The name of its holder: it stands in the audit log, and keeps caches apart.
    pub name: String,
    /// What the client sends.
    pub secret: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.name)
    }
}

/// Who sent a request, and when it came.
#[derive(Clone)]
pub(crate) struct Caller {
    /// The name of the key, or of the machine where no keys are used.
    pub(crate) name: Arc<str>,
    /// Whose caches it uses.
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

/// The keys of a server, ready to compare with.
pub(crate) struct Keyring {
    keys: Vec<Held>,
}

struct Held {
    digest: [u8; 32],
    name: Arc<str>,
    tenant: Tenant,
}

impl Keyring {
    /// With `share`, all of them use the same caches.
    pub(crate) fn new(keys: &[Key], secret: &[u8; 32], share: bool) -> Self {
        let held = |key: &Key| Held {
            digest: digest(&key.secret),
            name: key.name.as_str().into(),
            tenant: if share {
                Tenant::SHARED
            } else {
                tenant(&key.name, secret)
            },
        };
        Keyring {
            keys: keys.iter().map(held).collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whose key this is. All are looked at, and digests are compared, so that the time it
    /// takes tells neither which key is close nor how long it is.
    pub(crate) fn find(&self, given: &str) -> Option<(Arc<str>, Tenant)> {
        let given = digest(given);
        let mut found = None;
        for key in &self.keys {
            if bool::from(key.digest.ct_eq(&given)) {
                found = Some((key.name.clone(), key.tenant));
            }
        }
        found
    }
}

/// Whether a secret is the one that is wanted, in the same time for any that is not.
pub(crate) fn same_secret(given: &str, wanted: &str) -> bool {
    let same: Choice = digest(given).ct_eq(&digest(wanted));
    same.into()
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Of a name, the same from run to run where the secret is: what is learned for it is kept.
fn tenant(name: &str, secret: &[u8; 32]) -> Tenant {
    let digest = Sha256::new_with_prefix(secret)
        .chain_update(name)
        .finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    // 0 is everybody.
    Tenant(u64::from_le_bytes(first).max(1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_holder_and_holders_are_apart() {
        let key = |name: &str, secret: &str| Key {
            name: name.into(),
            secret: secret.into(),
        };
        let keys = [key("a", "one"), key("b", "two"), key("a", "three")];
        let ring = Keyring::new(&keys, &[7; 32], false);
        let elsewhere = Keyring::new(&keys, &[8; 32], false);
        assert_ne!(
            ring.find("one").unwrap().1,
            elsewhere.find("one").unwrap().1
        );
        let (name, a) = ring.find("one").unwrap();
        assert_eq!(&*name, "a");
        let b = ring.find("two").unwrap().1;
        assert!(a != b && a != Tenant::SHARED && b != Tenant::SHARED);
        // A second key of the same holder sees the same caches.
        assert_eq!(ring.find("three").unwrap().1, a);
        for wrong in ["", "on", "ones", "One", "one "] {
            assert!(ring.find(wrong).is_none(), "{wrong:?}");
        }
        let shared = Keyring::new(&keys, &[7; 32], true);
        assert_eq!(shared.find("two").unwrap().1, Tenant::SHARED);
        assert!(!format!("{keys:?}").contains("two"));
    }
}
