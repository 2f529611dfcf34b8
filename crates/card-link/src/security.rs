//! Who may connect: a token, certificates, or both.

use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};
use tonic::{Request, Status};

use crate::LinkError;

/// Of the side that listens.
#[derive(Clone, Debug, Default)]
pub struct ServerSecurity {
    /// What the other side has to know.
    pub token: Option<String>,
    /// Certificate chain and private key (PEM).
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The other side needs a certificate of this authority (mutual TLS).
    pub client_ca: Option<PathBuf>,
}

/// Of the side that dials.
#[derive(Clone, Debug, Default)]
pub struct ClientSecurity {
    /// What the other side wants to hear.
    pub token: Option<String>,
    /// The authority of the other side's certificate.
    pub ca: Option<PathBuf>,
    /// Certificate chain and private key (PEM), for mutual TLS.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A program may have several of rustls' providers linked in; then one has to be named.
fn name_provider() {
    // Another part of the program may have done so already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

fn read(file: &Path) -> Result<Vec<u8>, LinkError> {
    std::fs::read(file).map_err(|why| LinkError::File {
        file: file.display().to_string(),
        why,
    })
}

fn identity((cert, key): &(PathBuf, PathBuf)) -> Result<Identity, LinkError> {
    Ok(Identity::from_pem(read(cert)?, read(key)?))
}

impl ServerSecurity {
    pub(crate) fn tls(&self) -> Result<Option<ServerTlsConfig>, LinkError> {
        let Some(own) = &self.identity else {
            return Ok(None);
        };
        name_provider();
        let mut tls = ServerTlsConfig::new().identity(identity(own)?);
        if let Some(ca) = &self.client_ca {
            tls = tls.client_ca_root(Certificate::from_pem(read(ca)?));
        }
        Ok(Some(tls))
    }

    /// Whether a request may come in.
    #[allow(clippy::result_large_err)]
    pub(crate) fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let given = request.metadata().get("authorization");
        let given = given.and_then(|v| v.to_str().ok());
        let given = given.and_then(|v| v.strip_prefix("Bearer ")).unwrap_or("");
        match bool::from(given.as_bytes().ct_eq(token.as_bytes())) {
            true => Ok(()),
            false => Err(Status::unauthenticated(
                "the token is missing or wrong; give the same --link-token on both machines",
            )),
        }
    }
}

impl ClientSecurity {
    pub(crate) fn tls(&self) -> Result<ClientTlsConfig, LinkError> {
        name_provider();
        let mut tls = ClientTlsConfig::new();
        if let Some(ca) = &self.ca {
            tls = tls.ca_certificate(Certificate::from_pem(read(ca)?));
        }
        if let Some(own) = &self.identity {
            tls = tls.identity(identity(own)?);
        }
        Ok(tls)
    }

    /// Puts the token into a request.
    pub(crate) fn sign<T>(&self, mut request: Request<T>) -> Result<Request<T>, LinkError> {
        if let Some(token) = &self.token {
            let value = format!("Bearer {token}").parse();
            let value = value.map_err(|_| {
                LinkError::Protocol("the token has characters that HTTP cannot carry".into())
            })?;
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}
