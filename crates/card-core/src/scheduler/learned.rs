//! What one run of the scheduler leaves to the next.

use crate::acceptance::Acceptance;
use crate::sources::Corrections;

/// What is worth keeping from one run to the next.
///
/// ```
/// use card_core::scheduler::Learned;
/// use card_core::sources::Corrections;
///
/// let learned = Learned {
///     corrections: Some(Corrections::new(1 << 16, 0)),
///     ..Learned::default()
/// };
/// assert!(learned.acceptance.fits());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// What the sources' words are worth.
    pub acceptance: Acceptance,
    /// What the target wrote before; `None` to remember nothing.
    pub corrections: Option<Corrections>,
}
