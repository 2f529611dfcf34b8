//! What a side that dials shows: a secret, a certificate, or both.

use std::fmt;
use std::path::Path;

use tonic::Request;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, Uri};

use super::address::is_local;
use super::tls::{identity, name_provider, read};
use crate::error::LinkError;
use crate::secret::Secret;

/// What a side that dials shows, and whom it believes.
#[derive(Clone, Default)]
pub struct ClientSecurity {
    secret: Option<Secret>,
    ca: Option<Certificate>,
    identity: Option<Identity>,
}

impl fmt::Debug for ClientSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSecurity")
            .field("secret", &self.secret)
            .field("ca", &self.ca.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

impl ClientSecurity {
    /// What the other side wants to hear, the authority of its certificate, and this side's
    /// certificate chain and private key for mutual TLS; files are PEM.
    ///
    /// # Errors
    /// If one is missing that another needs, or cannot be read.
    pub fn new(
        secret: Option<Secret>,
        ca: Option<&Path>,
        certificate: Option<&Path>,
        key: Option<&Path>,
    ) -> Result<Self, LinkError> {
        let identity = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(identity(certificate, key)?),
            _ => {
                return Err(LinkError::Settings(
                    "--link-cert and --link-key need each other".into(),
                ));
            }
        };
        let ca = ca.map(read).transpose()?.map(Certificate::from_pem);
        Ok(ClientSecurity {
            secret,
            ca,
            identity,
        })
    }

    /// Security by that secret only.
    pub fn with_secret(secret: Secret) -> Self {
        ClientSecurity {
            secret: Some(secret),
            ..ClientSecurity::default()
        }
    }

    /// Certificates are looked at by TLS only: with `http://` they would guard nothing.
    ///
    /// # Errors
    /// If they were given for such a connection beyond this machine.
    pub(crate) fn check_plain(&self, uri: &Uri) -> Result<(), LinkError> {
        let given = self.ca.is_some() || self.identity.is_some();
        if given && !is_local(uri) {
            return Err(LinkError::Settings(format!(
                "--link-ca, --link-cert and --link-key do nothing for {uri}; use https://"
            )));
        }
        Ok(())
    }

    /// Whether the secret, and all text, would cross a network for everybody to read.
    pub(crate) fn shows_secret(&self, uri: &Uri) -> bool {
        self.secret.is_some() && uri.scheme_str() == Some("http") && !is_local(uri)
    }

    pub(crate) fn tls(&self) -> Result<ClientTlsConfig, LinkError> {
        let Some(ca) = &self.ca else {
            return Err(LinkError::Settings(
                "https:// needs --link-ca, the authority of the other machine's certificate".into(),
            ));
        };
        name_provider();
        let mut tls = ClientTlsConfig::new().ca_certificate(ca.clone());
        if let Some(own) = &self.identity {
            tls = tls.identity(own.clone());
        }
        Ok(tls)
    }

    /// Puts the secret into a request.
    pub(crate) fn sign<T>(&self, mut request: Request<T>) -> Result<Request<T>, LinkError> {
        if let Some(secret) = &self.secret {
            let value = format!("Bearer {}", secret.reveal()).parse();
            let mut value: tonic::metadata::AsciiMetadataValue = value.map_err(|_| {
                LinkError::Settings("the token has characters that HTTP cannot carry".into())
            })?;
            value.set_sensitive(true);
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_not_given_for_connections_that_do_not_use_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let ca = ClientSecurity::new(None, Some(file.path()), None, None).unwrap();
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        assert!(ca.check_plain(&uri("http://10.0.0.1:7070")).is_err());
        assert!(ca.check_plain(&uri("http://[::1]:7070")).is_ok());
        assert!(ClientSecurity::default().tls().is_err());
        assert!(ClientSecurity::new(None, None, Some(file.path()), None).is_err());
        assert!(ClientSecurity::new(None, None, None, Some(file.path())).is_err());
    }

    #[test]
    fn a_secret_that_crosses_a_network_in_the_open_is_noticed() {
        let with = ClientSecurity::with_secret(Secret::new("s").unwrap());
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        for (text, shows) in [
            ("http://10.0.0.1:7070", true),
            ("http://cloud", true),
            ("http://localhost.example.org", true),
            ("https://cloud", false),
            ("http://localhost:7070", false),
            ("http://127.0.0.1", false),
            ("http://[::1]:7070", false),
        ] {
            assert_eq!(with.shows_secret(&uri(text)), shows, "{text}");
            assert!(!ClientSecurity::default().shows_secret(&uri(text)));
        }
        assert!(!format!("{with:?}").contains("\"s\""));
    }
}
