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
//! [`DraftInput`]: card_core::protocol::DraftInput
//! [`Drafted`]: card_core::protocol::Drafted

#![forbid(unsafe_code)]

mod budget;
mod certificate;
mod channel;
mod connection;
mod drafter;
mod error;
#[cfg(test)]
mod hostile;
mod lane;
mod limits;
mod listen;
mod pump;
mod retry;
mod rpc;
mod scopes;
mod secret;
mod security;
mod target;

pub use budget::Budget;
pub use card_wire::{PROTOCOL, SharedVocabulary, scope};
pub use channel::{is_local, link_of};
pub use drafter::{attach, serve_drafter};
pub use error::LinkError;
pub use lane::{Drafting, MakeLane};
pub use secret::{Secret, SecretError, Secrets};
pub use security::{ClientSecurity, ServerSecurity, Tls};
pub use target::{Terms, dial, serve_targets};
