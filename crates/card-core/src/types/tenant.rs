//! Whose a request is.

/// Whose a request is. What one tenant's requests leave behind (KV cells of a prompt, what
/// the target wrote after a context) is never used for another's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(pub u64);

impl Tenant {
    /// Everybody's, where nobody is kept apart.
    pub const SHARED: Tenant = Tenant(0);
}
