//! Models of a hub, by name.
//!
//! [`Hub`] finds the file that a [`HubName`] means. What is in the cache (`cache`) is used without
//! asking anybody; what is not is looked up (`listing`, `choice`) and fetched (`download`).
//! The cache is the hub's own and shared with other tools; addresses, tokens and folders come from
//! the variables that they read too (`environment`).
//!
//! A hub is a stranger. Its names of files are checked before they become paths, its sizes before
//! memory or disk is taken by them, every file by its SHA-256 before it gets its name, and whatever
//! it says before it is shown. The token goes to the hub itself, never to where it leads.

mod access;
mod cache;
mod choice;
mod client;
mod download;
mod environment;
mod error;
mod listing;
mod name;
mod partial;
mod patience;
mod record;
mod words;

pub use access::{Hub, model_in};
pub use cache::{CachedFile, HubCache};
pub use choice::{Split, is_model, quant};
pub use environment::own_address;
pub use error::HubError;
pub use name::{HubName, PREFIX, RepoId, Wanted, is_gguf};
pub use words::shown;
