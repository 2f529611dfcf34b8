//! Clients and servers of the link's services. `card-wire-code` writes them from the definition
//! of the messages.

#![allow(missing_docs, clippy::all, clippy::unwrap_used)]

include!("card.link.v1.rs");
