//! Whose a request is.

/// Whose a request is. What one tenant's requests leave behind (KV cells of a prompt, what
/// the target wrote after a context) is never used for another's.
///
/// ```
/// use card_core::types::Tenant;
///
/// assert_ne!(Tenant(7), Tenant::SHARED);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(pub u64);

impl Tenant {
    /// The one tenant of a server that keeps nobody apart.
    pub const SHARED: Tenant = Tenant(0);
}
