//! What keeps the users of one server apart.

use sha2::{Digest, Sha256};

use crate::models::store::Store;
use crate::sealed;

/// The secret that keeps the users of a server apart in tables that all of them use. It is
/// random, and the same from run to run if it is kept.
pub fn tenant_secret(keep: bool) -> [u8; 32] {
    let file = Store::open().ok().map(|s| s.memory().join("tenants"));
    let file = file.filter(|_| keep);
    let known = file.as_ref().and_then(|file| {
        sealed::read(file, |bytes| {
            <[u8; 32]>::try_from(bytes).map_err(|_| "it is no secret".to_owned())
        })
    });
    known.unwrap_or_else(|| {
        let fresh = fresh_secret();
        if let Some(file) = file
            && let Err(error) = sealed::write(&file, &fresh)
        {
            tracing::warn!("cannot keep {}: {error}", file.display());
        }
        fresh
    })
}

/// A new secret, from the standard library's source of randomness, which is the system's.
fn fresh_secret() -> [u8; 32] {
    use std::hash::{BuildHasher, RandomState};
    let mut hasher = Sha256::new();
    for i in 0..8_u64 {
        hasher.update(RandomState::new().hash_one(i).to_le_bytes());
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_not_kept_is_another_each_time() {
        assert_ne!(tenant_secret(false), tenant_secret(false));
    }
}
