//! API keys: who holds them, and whose caches they use.

use std::sync::Arc;

use card_core::types::Tenant;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

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

/// The keys of a server, ready to compare with.
pub(crate) struct Keyring {
    keys: Vec<KeyHolder>,
}

/// A key, as a digest, and its holder.
struct KeyHolder {
    digest: [u8; 32],
    name: Arc<str>,
    tenant: Tenant,
}

impl Keyring {
    /// The keyring of these keys. With `share`, all of them use the same caches.
    pub(crate) fn new(keys: &[Key], secret: &[u8; 32], share: bool) -> Self {
        let held = |key: &Key| KeyHolder {
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

    /// Whether the server has no keys, so that anybody may ask.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whose key this is. All keys are looked at, and digests are compared in constant time, so
    /// that the time of the search tells neither which key is close nor how long it is.
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

/// The tenant of a key's holder. It is the same from run to run as long as the secret is, so that
/// what is learned for the holder can be kept.
fn tenant(name: &str, secret: &[u8; 32]) -> Tenant {
    let digest = Sha256::new_with_prefix(secret)
        .chain_update(name)
        .finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    // 0 is the tenant that everybody shares.
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
