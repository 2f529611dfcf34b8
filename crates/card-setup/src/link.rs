//! Links to other machines: how they are kept safe, and the threads they run on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use card_link::{ClientSecurity, Secret, Secrets, ServerSecurity, SharedVocabulary, Tls};
use card_llama::Vocab;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::secret::{self, SecretText};

/// How links to other machines are kept safe, on the side that dials and on the one that
/// listens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LinkSettings {
    /// A secret that both machines know. It is read from settings and never written.
    #[serde(skip_serializing)]
    pub token: Option<SecretText>,
    /// A file with that secret.
    pub token_file: Option<PathBuf>,
    /// The authority of the other machine's certificate (PEM).
    pub ca: Option<PathBuf>,
    /// Certificate chain of this machine (PEM).
    pub cert: Option<PathBuf>,
    /// Private key of this machine (PEM).
    pub key: Option<PathBuf>,
}

/// Which drafters are let in, and whose text each of them gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GuestSettings {
    /// A file with lines of a drafter's scope and its secret; the scope `*` is everybody's text.
    pub secrets: Option<PathBuf>,
    /// The name in a certificate that gets everybody's text, where there are no secrets.
    pub everyone: Option<String>,
}

impl LinkSettings {
    /// The secret, as it is or from the file.
    fn secret(&self) -> Result<Option<Secret>> {
        let (given, file) = (self.token.as_ref(), self.token_file.as_deref());
        let secret = secret::from_flag_or_file_logged("--link-token", given, file)?;
        Ok(secret.map(|s| Secret::new(s.expose())).transpose()?)
    }

    /// For the side that listens, at `address`.
    ///
    /// # Errors
    /// If a file cannot be read, or if strangers could connect.
    pub fn server(&self, address: SocketAddr, guests: &GuestSettings) -> Result<ServerSecurity> {
        let tls = Tls::of(
            self.cert.as_deref(),
            self.key.as_deref(),
            self.ca.as_deref(),
        )?;
        let mut secrets = match &guests.secrets {
            Some(file) => Secrets::read(file)?,
            None => Secrets::default(),
        };
        if let Some(secret) = self.secret()? {
            secrets = secrets.with_everything(secret);
        }
        let security = ServerSecurity::new(tls, secrets, guests.everyone.clone())?;
        security.check(address)?;
        Ok(security)
    }

    /// For the side that dials.
    ///
    /// # Errors
    /// If a file cannot be read, or if there are two secrets.
    pub fn client(&self) -> Result<ClientSecurity> {
        Ok(ClientSecurity::new(
            self.secret()?,
            self.ca.as_deref(),
            self.cert.as_deref(),
            self.key.as_deref(),
        )?)
    }
}

/// The threads of all links of this process.
///
/// # Errors
/// If the system gives no threads.
pub fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let made = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .thread_name("card-link")
        .build()
        .context("cannot start the link's threads")?;
    Ok(RUNTIME.get_or_init(|| made))
}

/// What two machines compare of their vocabularies.
pub fn vocabulary_of(vocab: &Vocab) -> SharedVocabulary {
    SharedVocabulary {
        fingerprint: vocab.fingerprint(),
        tokens: u32::try_from(vocab.len()).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(change: impl FnOnce(&mut LinkSettings)) -> LinkSettings {
        let mut settings = LinkSettings::default();
        change(&mut settings);
        settings
    }

    fn file(text: &str) -> (tempfile::NamedTempFile, Option<std::path::PathBuf>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let path = Some(file.path().to_owned());
        (file, path)
    }

    const BEYOND: &str = "0.0.0.0:7070";
    const HERE: &str = "127.0.0.1:7070";

    fn refused(link: &LinkSettings, guests: &GuestSettings, address: &str) -> String {
        let made = link.server(address.parse().unwrap(), guests);
        made.map(|_| String::new())
            .unwrap_or_else(|e| e.to_string())
    }

    #[test]
    fn what_would_leave_a_link_open_is_refused_with_the_remedy() {
        let none = GuestSettings::default();
        assert!(refused(&link(|_| {}), &none, BEYOND).contains("--link-token"));
        assert_eq!(refused(&link(|_| {}), &none, HERE), "");
        let ca = link(|l| l.ca = Some("/nowhere".into()));
        for address in [HERE, BEYOND] {
            let why = refused(&ca, &none, address);
            assert!(why.contains("--link-cert"), "{why}");
        }
        let (_blank, path) = file(" \n");
        let empty = link(|l| l.token_file = path.clone());
        assert!(empty.client().is_err());
        assert!(!refused(&empty, &none, HERE).is_empty());
        let guests = GuestSettings {
            secrets: path,
            ..GuestSettings::default()
        };
        assert!(!refused(&link(|_| {}), &guests, HERE).is_empty());
        let unseen = GuestSettings {
            everyone: Some("all".into()),
            ..GuestSettings::default()
        };
        assert!(refused(&link(|_| {}), &unseen, HERE).contains("--link-everyone"));
    }

    #[test]
    fn a_secret_from_a_flag_or_a_file_guards_both_sides() {
        let (_kept, path) = file("hunter2\n");
        let of_file = link(|l| l.token_file = path.clone());
        let of_flag = link(|l| l.token = Some(SecretText::new("hunter2".into())));
        let none = GuestSettings::default();
        for settings in [&of_file, &of_flag] {
            assert_eq!(refused(settings, &none, BEYOND), "");
            let client = settings.client().unwrap();
            assert!(!format!("{client:?} {settings:?}").contains("hunter2"));
        }
        let both = link(|l| {
            l.token = Some(SecretText::new("a".into()));
            l.token_file = path;
        });
        assert!(both.client().is_err());
        let (_devices, devices) = file("laptop hunter3\n");
        let guests = GuestSettings {
            secrets: devices,
            ..GuestSettings::default()
        };
        assert_eq!(refused(&link(|_| {}), &guests, BEYOND), "");
    }
}
