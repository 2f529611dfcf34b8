//! Generated from `proto/link.proto`.

#![allow(missing_docs, clippy::all, clippy::unwrap_used)]

include!(concat!(env!("OUT_DIR"), "/card.link.v1.rs"));
