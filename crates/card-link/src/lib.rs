//! A drafter on another machine.
//!
//! The messages are those between threads of one process (`card-core`'s [`DraftInput`] and
//! [`Drafted`]), over gRPC. The drafter keeps its own replica of the candidate tree, so there
//! is no round trip on the decode path: commits go one way, expansions the other, and the
//! target goes on with what has arrived. Either side may dial: the target to a drafter that
//! listens, or a drafter to a target, from behind a NAT.
//!
//! What is received is never believed: ranges, tokens and sizes are checked where messages
//! come in (`card-wire`). A message that makes no sense is left out, a side that breaks the
//! protocol loses its connection. A drafter that comes says whose text it wants, and needs
//! the secret or the certificate for it ([`Secrets`], [`ServerSecurity`]). A drafter's machine
//! gives all targets together no more than its [`Budget`].
//!
//! [`DraftInput`]: card_core::drafter::DraftInput
//! [`Drafted`]: card_core::drafter::Drafted

#![forbid(unsafe_code)]

mod budget;
mod certificate;
mod channel;
mod drafter;
#[cfg(test)]
mod hostile;
mod listen;
mod pump;
mod retry;
mod secret;
mod security;
mod target;

use std::time::Duration;

pub use budget::Budget;
pub use card_wire::{PROTOCOL, Vocabulary, scope};
pub use channel::{is_local, link_of};
pub use drafter::{Drafting, MakeLane, attach, serve_drafter};
pub use secret::{Secret, SecretError, Secrets};
pub use security::{ClientSecurity, ServerSecurity, Tls};
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
/// Longest wait for the first message, and for a connection to be used for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for a drafter to get its model ready.
pub(crate) const READY: Duration = Duration::from_secs(120);
/// Messages on their way on one side; more wait.
pub(crate) const IN_FLIGHT: usize = 64;

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address is none.
    #[error("{0:?} is no address, like http://host:7070 or https://host:7070")]
    Address(String),
    /// A file of certificates, keys or secrets cannot be read.
    #[error("cannot read {file}: {why}")]
    File {
        /// Which file.
        file: String,
        /// Why not.
        why: std::io::Error,
    },
    /// What was asked for cannot be, or would not guard what it is meant to.
    #[error("{0}")]
    Settings(String),
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

impl LinkError {
    /// Whether the same would happen again, so that trying again is of no use.
    pub fn is_final(&self) -> bool {
        match self {
            LinkError::Address(_)
            | LinkError::File { .. }
            | LinkError::Settings(_)
            | LinkError::Refused(_) => true,
            LinkError::Transport(_) | LinkError::Protocol(_) => false,
        }
    }

    /// Of a link that was lost after both sides had agreed on it.
    pub(crate) fn lost(status: &tonic::Status) -> Self {
        LinkError::Transport(format!("the connection is lost: {}", shown(status)))
    }
}

/// What the other side says, fit to be shown and logged.
pub(crate) fn shown(status: &tonic::Status) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = status.message().chars().map(clean).take(400).collect();
    match text.is_empty() {
        true => status.code().to_string(),
        false => text,
    }
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

/// Of an answer to the first message. Only a side that says no there ends it for good.
impl From<tonic::Status> for LinkError {
    fn from(status: tonic::Status) -> Self {
        use tonic::Code::{FailedPrecondition, PermissionDenied, Unauthenticated};
        match status.code() {
            FailedPrecondition | PermissionDenied | Unauthenticated => {
                LinkError::Refused(shown(&status))
            }
            _ => LinkError::Transport(shown(&status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::{Code, Status};

    #[test]
    fn only_a_refusal_at_the_hello_is_final() {
        for code in (0..17).map(Code::from_i32) {
            let refused = [
                Code::FailedPrecondition,
                Code::PermissionDenied,
                Code::Unauthenticated,
            ]
            .contains(&code);
            let status = Status::new(code, "why");
            assert!(!LinkError::lost(&status).is_final(), "{code}");
            assert_eq!(LinkError::from(status).is_final(), refused, "{code}");
        }
    }

    #[test]
    fn what_the_other_side_says_cannot_write_to_the_terminal() {
        let status = Status::internal(format!("a\u{1b}[2Jb\nc{}", "x".repeat(10_000)));
        let text = shown(&status);
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(text.len() <= 400);
        assert!(!shown(&Status::new(Code::Unavailable, "")).is_empty());
    }
}
