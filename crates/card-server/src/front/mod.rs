//! The front of a server: what there is before it is known which model a request is for.
//!
//! | file | what |
//! |---|---|
//! | `state.rs` | what all requests share, whatever their model |
//! | `library.rs` | models are loaded and unloaded with their engines |
//! | `body.rs` | a body that is read here, to find out which model it names |
//! | `lent.rs` | an answer of a model, which keeps the model loaded |
//! | `known_paths.rs` | which paths need a model, and which one was meant |

mod body;
mod known_paths;
mod lent;
mod library;
mod state;

pub(crate) use body::ReadBody;
pub(crate) use known_paths::KnownPaths;
pub(crate) use lent::lent;
pub(crate) use library::ResidentModel;
pub(crate) use state::{AppLease, Front};
