//! Connections: accepted, bounded in number, and closed when they cost something without
//! asking for something.
//!
//! HTTP/1.1 only, with and without TLS. Nothing that people point at a model server needs
//! HTTP/2, and each of its streams would have to be bounded as a connection is.

mod accept;
mod busy;
mod first_byte;
mod limits;
mod open_files;
mod registry;

pub(crate) use accept::PeerAddress;
pub(crate) use busy::Busy;
pub(crate) use first_byte::FirstByte;
pub use limits::ConnectionLimits;
pub(crate) use open_files::raise_open_files;
pub(crate) use registry::Connections;
