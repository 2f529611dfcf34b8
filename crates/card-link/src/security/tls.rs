//! TLS of a side that listens, and the files of certificates and keys.

use std::fmt;
use std::path::Path;

use tonic::transport::{Certificate, Identity};

use crate::error::LinkError;

/// How a side that listens uses TLS. There is no half of it.
#[derive(Clone, Default)]
pub enum Tls {
    /// Nothing is encrypted.
    #[default]
    None,
    /// The side that listens shows a certificate.
    Server {
        /// The certificate chain and private key of the side that listens.
        identity: Identity,
    },
    /// Both sides show a certificate.
    Mutual {
        /// The certificate chain and private key of the side that listens.
        identity: Identity,
        /// The authority that signed the certificates of those that come.
        client_ca: Certificate,
    },
}

impl Tls {
    /// TLS by files (PEM): the certificate chain, the private key, and the authority of those
    /// that come.
    ///
    /// # Errors
    /// If one is missing that another needs, or cannot be read.
    pub fn of(
        certificate: Option<&Path>,
        key: Option<&Path>,
        client_ca: Option<&Path>,
    ) -> Result<Tls, LinkError> {
        let missing = |what: &str| Err(LinkError::Settings(what.to_owned()));
        match (certificate, key, client_ca) {
            (None, None, None) => Ok(Tls::None),
            (None, None, Some(_)) => missing(
                "--link-ca guards a side that listens only together with --link-cert and --link-key: nothing is encrypted, and nobody shows a certificate, without them",
            ),
            (Some(_), None, _) => missing("--link-cert needs --link-key"),
            (None, Some(_), _) => missing("--link-key needs --link-cert"),
            (Some(certificate), Some(key), None) => Ok(Tls::Server {
                identity: identity(certificate, key)?,
            }),
            (Some(certificate), Some(key), Some(ca)) => Ok(Tls::Mutual {
                identity: identity(certificate, key)?,
                client_ca: Certificate::from_pem(read(ca)?),
            }),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tls::None => "Tls::None",
            Tls::Server { .. } => "Tls::Server",
            Tls::Mutual { .. } => "Tls::Mutual",
        })
    }
}

/// `ring` is the one provider of cryptography in this workspace (deny.toml). A program that uses
/// this crate may have several linked in; then one has to be named.
pub(super) fn name_provider() {
    // Another part of the program may have done so already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>, LinkError> {
    std::fs::read(file).map_err(|why| LinkError::File {
        file: file.display().to_string(),
        why,
    })
}

pub(super) fn identity(certificate: &Path, key: &Path) -> Result<Identity, LinkError> {
    Ok(Identity::from_pem(read(certificate)?, read(key)?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Each of three files given or not: in order, the certificate, the key, the authority.
    pub fn each(of: impl Fn([Option<&Path>; 3])) {
        let file = tempfile::NamedTempFile::new().unwrap();
        for bits in 0..8 {
            let given = |bit: u32| ((bits >> bit) & 1 == 1).then(|| file.path());
            of([given(0), given(1), given(2)]);
        }
    }

    #[test]
    fn tls_of_a_listener_is_whole_or_not_there() {
        each(|[cert, key, ca]| {
            let whole = cert.is_some() == key.is_some() && (ca.is_none() || cert.is_some());
            let tls = Tls::of(cert, key, ca);
            assert_eq!(tls.is_ok(), whole, "{cert:?} {key:?} {ca:?}");
            match tls {
                Ok(Tls::None) => assert!(cert.is_none()),
                Ok(Tls::Server { .. }) => assert!(ca.is_none()),
                Ok(Tls::Mutual { .. }) => assert!(ca.is_some()),
                Err(why) => assert!(why.to_string().contains("--link-"), "{why}"),
            }
        });
        let gone = Path::new("/nowhere/ca.pem");
        let why = Tls::of(Some(gone), Some(gone), Some(gone)).unwrap_err();
        assert!(why.to_string().contains("/nowhere/ca.pem"), "{why}");
    }
}
