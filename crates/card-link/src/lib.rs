//! A drafter on another machine.
//!
//! The messages are those between threads of one process (`card-core`'s [`DraftInput`] and
//! [`Drafted`]), over gRPC. The drafter keeps its own replica of the candidate tree, so there
//! is no round trip on the decode path: commits go one way, expansions the other, and the
//! target goes on with what has arrived. Either side may dial: the target to a drafter that
//! listens, or a drafter to a target, from behind a NAT.
//!
//! What is received is never believed: tokens, places and probabilities are checked where
//! they are used, and a side that breaks the protocol loses its connection.
//!
//! [`DraftInput`]: card_core::drafter::DraftInput
//! [`Drafted`]: card_core::drafter::Drafted

#![forbid(unsafe_code)]

mod drafter;
mod pump;
mod security;
mod target;

use std::time::Duration;

pub use card_wire::PROTOCOL;
pub use drafter::{MakeLane, attach, serve_drafter};
pub use security::{ClientSecurity, ServerSecurity};
pub use target::{Terms, dial, serve_targets};

/// Clients and servers generated from the definition of the messages.
#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
mod rpc {
    tonic::include_proto!("card.link.v1");
}

/// Pause between keep-alives.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(2);
/// A side that does not answer one for so long is gone.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for a connection and the first message.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Messages on their way on one side; more wait.
pub(crate) const IN_FLIGHT: usize = 64;

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address is none.
    #[error("{0:?} is no address, like http://host:7070 or https://host:7070")]
    Address(String),
    /// A certificate, key or token cannot be used.
    #[error("cannot read {file}: {why}")]
    File {
        /// Which file.
        file: String,
        /// Why not.
        why: std::io::Error,
    },
    /// The connection cannot be made, or broke.
    #[error("{0}")]
    Transport(String),
    /// The other side says no.
    #[error("the other side refuses: {0}")]
    Refused(String),
    /// The other side cannot be understood.
    #[error("{0}")]
    Protocol(String),
}

impl From<tonic::transport::Error> for LinkError {
    fn from(error: tonic::transport::Error) -> Self {
        // The cause says more than the error.
        let mut why = error.to_string();
        let mut at: &dyn std::error::Error = &error;
        while let Some(source) = at.source() {
            why = format!("{why}: {source}");
            at = source;
        }
        LinkError::Transport(why)
    }
}

impl From<tonic::Status> for LinkError {
    fn from(status: tonic::Status) -> Self {
        use tonic::Code::{FailedPrecondition, InvalidArgument, PermissionDenied, Unauthenticated};
        match status.code() {
            FailedPrecondition | InvalidArgument | PermissionDenied | Unauthenticated => {
                LinkError::Refused(status.message().to_owned())
            }
            _ => LinkError::Transport(status.message().to_owned()),
        }
    }
}
