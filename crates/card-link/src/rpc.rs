//! Clients and servers generated from the definition of the messages.

#![allow(missing_docs, clippy::all, clippy::unwrap_used)]

tonic::include_proto!("card.link.v1");
