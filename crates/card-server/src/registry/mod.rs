//! Several models under one address: which there are, which are loaded, and who uses them.
//!
//! A model is loaded when a request asks for it, one at a time, and unloaded when nobody has used
//! it for a while or another one needs its room. A model in use is never unloaded: whoever uses one
//! holds a [`ModelLease`]. Nothing here knows what a model is: a [`Library`] loads and unloads it,
//! so that tests need none.
//!
//! | file | what |
//! |---|---|
//! | `source.rs` | where the models of a server come from |
//! | `library.rs` | what the registry asks of models |
//! | `shelf.rs` | the state of each model; it decides which one goes |
//! | `lending.rs` | models are lent, loaded and unloaded |
//! | `lease.rs` | what who uses a model holds |

mod lease;
mod lending;
mod library;
mod shelf;
mod source;
#[cfg(test)]
mod tests;

pub(crate) use lease::ModelLease;
pub(crate) use lending::{ModelRegistry, NotLent, NotUnloaded};
pub(crate) use library::{Library, Resident};
pub(crate) use shelf::{LoadState, ModelState};
pub use source::{ListedModel, ModelSource};
