//! Who may connect: secrets, certificates, or both.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig, Uri};
use tonic::{Request, Status};

use crate::secret::{Pass, Secret, Secrets};
use crate::{LinkError, PATIENCE, certificate, listen};

/// How a side that listens uses TLS. There is no half of it.
#[derive(Clone, Default)]
pub enum Tls {
    /// Not at all.
    #[default]
    None,
    /// It shows a certificate.
    Server {
        /// Its certificate chain and private key.
        identity: Identity,
    },
    /// Both sides show a certificate.
    Mutual {
        /// Its certificate chain and private key.
        identity: Identity,
        /// The authority of those that come.
        client_ca: Certificate,
    },
}

impl Tls {
    /// From files (PEM): its certificate chain, its private key, and the authority of those
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

/// Whom a side that listens lets in.
#[derive(Clone, Debug)]
enum Guests {
    Anyone,
    Secrets(Secrets),
    /// Those with a certificate, each for the scopes it names; one of this name for
    /// everybody's text.
    Certificates {
        everyone: Option<String>,
    },
}

/// Of the side that listens.
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
                Pass::Everything => Ok(()),
                Pass::Scopes(_) => Err(Status::permission_denied(
                    "a secret of a scope does not do here; give the same --link-token on both machines",
                )),
            },
        }
    }

    /// What a drafter that comes may draft for.
    #[allow(clippy::result_large_err)]
    pub(crate) fn admit_drafter<T>(&self, request: &Request<T>) -> Result<Pass, Status> {
        match &self.guests {
            Guests::Anyone => Ok(Pass::Everything),
            Guests::Secrets(secrets) => secret_of(secrets, request),
            Guests::Certificates { everyone } => {
                let shown = listen::certificate(request)
                    .ok_or_else(|| Status::unauthenticated("no certificate was shown"))?;
                let names = certificate::names(&shown).map_err(Status::unauthenticated)?;
                let all = everyone
                    .as_ref()
                    .is_some_and(|everyone| names.contains(everyone));
                Ok(match all {
                    true => Pass::Everything,
                    false => Pass::Scopes(names),
                })
            }
        }
    }
}

#[allow(clippy::result_large_err)]
fn secret_of<T>(secrets: &Secrets, request: &Request<T>) -> Result<Pass, Status> {
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

/// Of the side that dials.
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

    /// With that secret only.
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
        match given && !is_local(uri) {
            true => Err(LinkError::Settings(format!(
                "--link-ca, --link-cert and --link-key do nothing for {uri}; use https://"
            ))),
            false => Ok(()),
        }
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

/// Whether an address is this machine's.
pub(crate) fn is_local(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = |ip: std::net::IpAddr| ip.to_canonical().is_loopback();
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(loopback)
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

fn identity(certificate: &Path, key: &Path) -> Result<Identity, LinkError> {
    Ok(Identity::from_pem(read(certificate)?, read(key)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of three files given or not: in order, the certificate, the key, the authority.
    fn each(of: impl Fn([Option<&Path>; 3])) {
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
