//! Whom a side that listens lets in: those with a secret, those with a certificate, or anyone.

use std::net::SocketAddr;

use tonic::transport::ServerTlsConfig;
use tonic::{Request, Status};

use super::tls::{Tls, name_provider};
use crate::error::LinkError;
use crate::limits::PATIENCE;
use crate::secret::{AllowedScopes, Secrets};
use crate::{certificate, connection};

/// Whom a side that listens lets in.
#[derive(Clone, Debug)]
enum Guests {
    Anyone,
    Secrets(Secrets),
    /// Those with a certificate, each for the scopes that it names. One of the name `everyone`
    /// comes in for everybody's text.
    Certificates {
        everyone: Option<String>,
    },
}

/// Whom a side that listens lets in, and how it is encrypted.
#[derive(Clone, Debug)]
pub struct ServerSecurity {
    tls: Tls,
    guests: Guests,
}

impl ServerSecurity {
    /// Whoever reaches the address may come in. For loopback only.
    pub fn open() -> Self {
        ServerSecurity {
            tls: Tls::None,
            guests: Guests::Anyone,
        }
    }

    /// With secrets, whoever has one comes in for what it belongs to. With mutual TLS and no
    /// secrets, whoever has a certificate comes in for the scopes it names, and one of the
    /// name `everyone` for everybody's text too. With neither it is open.
    ///
    /// # Errors
    /// If `everyone` would not be looked at.
    pub fn new(tls: Tls, secrets: Secrets, everyone: Option<String>) -> Result<Self, LinkError> {
        let guests = match (&tls, secrets.is_empty()) {
            (_, false) => Guests::Secrets(secrets),
            (Tls::Mutual { .. }, true) => Guests::Certificates {
                everyone: everyone.clone(),
            },
            (Tls::None | Tls::Server { .. }, true) => Guests::Anyone,
        };
        if everyone.is_some() && !matches!(guests, Guests::Certificates { .. }) {
            return Err(LinkError::Settings(
                "--link-everyone names a certificate: it goes with --link-cert, --link-key and --link-ca, and without secrets, which would decide instead".into(),
            ));
        }
        Ok(ServerSecurity { tls, guests })
    }

    /// Listening beyond this machine without secrets or mutual TLS is a mistake.
    ///
    /// # Errors
    /// If everybody who reaches the address could come in.
    pub fn check(&self, address: SocketAddr) -> Result<(), LinkError> {
        let local = address.ip().to_canonical().is_loopback();
        match (local, &self.guests) {
            (false, Guests::Anyone) => Err(LinkError::Settings(format!(
                "everybody who reaches {address} could connect; set --link-token (or --link-token-file), or all of --link-cert, --link-key and --link-ca"
            ))),
            _ => Ok(()),
        }
    }

    pub(crate) fn tls(&self) -> Option<ServerTlsConfig> {
        let (own, ca) = match &self.tls {
            Tls::None => return None,
            Tls::Server { identity } => (identity, None),
            Tls::Mutual {
                identity,
                client_ca,
            } => (identity, Some(client_ca)),
        };
        name_provider();
        let mut tls = ServerTlsConfig::new().timeout(PATIENCE);
        tls = tls.identity(own.clone());
        if let Some(ca) = ca {
            tls = tls.client_ca_root(ca.clone());
        }
        Some(tls)
    }

    /// Whether a target may have this machine draft for it. TLS has seen its certificate.
    #[allow(clippy::result_large_err)]
    pub(crate) fn admit_target<T>(&self, request: &Request<T>) -> Result<(), Status> {
        match &self.guests {
            Guests::Anyone | Guests::Certificates { .. } => Ok(()),
            Guests::Secrets(secrets) => match secret_of(secrets, request)? {
                AllowedScopes::Everything => Ok(()),
                AllowedScopes::Only(_) => Err(Status::permission_denied(
                    "a secret of a scope does not do here; give the same --link-token on both machines",
                )),
            },
        }
    }

    /// What a drafter that comes may draft for.
    #[allow(clippy::result_large_err)]
    pub(crate) fn admit_drafter<T>(&self, request: &Request<T>) -> Result<AllowedScopes, Status> {
        match &self.guests {
            Guests::Anyone => Ok(AllowedScopes::Everything),
            Guests::Secrets(secrets) => secret_of(secrets, request),
            Guests::Certificates { everyone } => {
                let shown = connection::certificate(request)
                    .ok_or_else(|| Status::unauthenticated("no certificate was shown"))?;
                let names = certificate::names(&shown).map_err(Status::unauthenticated)?;
                let all = everyone
                    .as_ref()
                    .is_some_and(|everyone| names.contains(everyone));
                Ok(if all {
                    AllowedScopes::Everything
                } else {
                    AllowedScopes::Only(names)
                })
            }
        }
    }
}

#[allow(clippy::result_large_err)]
fn secret_of<T>(secrets: &Secrets, request: &Request<T>) -> Result<AllowedScopes, Status> {
    let given = request.metadata().get("authorization");
    let given = given.and_then(|v| v.to_str().ok());
    let given = given.and_then(|v| v.strip_prefix("Bearer "));
    given
        .and_then(|given| secrets.pass(given.as_bytes()))
        .ok_or_else(|| {
            Status::unauthenticated(
                "the token is missing or wrong; give the same --link-token on both machines, or the scope's own of --link-secrets",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::super::tls::tests::each;
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn nobody_listens_beyond_this_machine_without_a_guard() {
        let secrets = || Secrets::default().with_everything(Secret::new("s").unwrap());
        each(|[cert, key, ca]| {
            let Ok(tls) = Tls::of(cert, key, ca) else {
                return;
            };
            for secrets in [Secrets::default(), secrets()] {
                let guarded = ca.is_some() || !secrets.is_empty();
                let security = ServerSecurity::new(tls.clone(), secrets, None).unwrap();
                for here in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
                    assert!(security.check(here.parse().unwrap()).is_ok(), "{here}");
                }
                for beyond in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"] {
                    let checked = security.check(beyond.parse().unwrap());
                    assert_eq!(checked.is_ok(), guarded, "{beyond} with {security:?}");
                }
            }
        });
        let open = ServerSecurity::open().check("0.0.0.0:1".parse().unwrap());
        assert!(open.unwrap_err().to_string().contains("--link-token"));
    }

    #[test]
    fn a_name_for_everyone_that_would_not_be_looked_at_is_refused() {
        let name = || Some("all".to_owned());
        let secrets = Secrets::default().with_everything(Secret::new("s").unwrap());
        each(|[cert, key, ca]| {
            let Ok(tls) = Tls::of(cert, key, ca) else {
                return;
            };
            let alone = ServerSecurity::new(tls.clone(), Secrets::default(), name());
            assert_eq!(alone.is_ok(), ca.is_some());
            assert!(ServerSecurity::new(tls, secrets.clone(), name()).is_err());
        });
    }
}
