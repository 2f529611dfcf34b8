//! Which implementation of cryptography TLS uses: `ring`, the one in this workspace.

use tokio_rustls::rustls;

/// Names the provider, for the server's connections and for those that it opens. Where another part
/// of the program has named one, that one stays.
pub(crate) fn name_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
