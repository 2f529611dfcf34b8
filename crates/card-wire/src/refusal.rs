//! Why a message is not taken.

/// Why a message is not taken, and what that means for the link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The message alone makes no sense. It is left out, and everything else goes on.
    #[error("{0}")]
    Message(String),
    /// The other side does not keep to the protocol. The link ends.
    #[error("{0}")]
    Link(String),
}
