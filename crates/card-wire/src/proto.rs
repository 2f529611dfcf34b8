//! The messages as Rust types. `card-wire-code` writes them from `proto/link.proto`.

#![allow(missing_docs, clippy::all, clippy::unwrap_used)]

include!("card.link.v1.rs");
