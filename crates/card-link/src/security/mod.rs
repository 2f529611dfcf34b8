//! Who may connect: secrets, certificates, or both.

mod address;
mod client;
mod server;
mod tls;

pub(crate) use address::is_local;
pub use client::ClientSecurity;
pub use server::ServerSecurity;
pub use tls::Tls;
