//! Secrets: what both sides know and nobody else.

use std::fmt;
use std::path::Path;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::error::LinkError;

/// Why a text is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is nothing in it.
    #[error("a secret must not be empty")]
    Empty,
    /// A header could not carry it, or a line of a file not hold it.
    #[error("a secret has printable ASCII characters and no blanks")]
    Characters,
}

/// A word that both sides know and nobody else.
///
/// Invariants: the text is not empty and has printable ASCII characters only; `digest` is its
/// SHA-256; neither is ever shown.
#[derive(Clone)]
pub struct Secret {
    text: String,
    digest: Vec<u8>,
}

impl Secret {
    /// The secret of that text; blanks around it do not count.
    ///
    /// # Errors
    /// If it is empty, or has characters that a header does not carry.
    pub fn new(text: &str) -> Result<Secret, SecretError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(SecretError::Characters);
        }
        Ok(Secret {
            digest: digest(text.as_bytes()),
            text: text.to_owned(),
        })
    }

    /// The secret in a file, which holds nothing else.
    ///
    /// # Errors
    /// If the file cannot be read, or holds no secret.
    pub fn read(file: &Path) -> Result<Secret, LinkError> {
        let text = read(file)?;
        Secret::new(&text).map_err(|why| LinkError::Settings(format!("{}: {why}", file.display())))
    }

    /// The text, to be sent to the other side.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Whether it is what was given, in a time that tells nothing of either. What is compared
    /// are digests, which are all equally long.
    fn is(&self, given: &[u8]) -> Choice {
        self.digest.ct_eq(given)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

fn digest(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

fn read(file: &Path) -> Result<String, LinkError> {
    std::fs::read_to_string(file).map_err(|why| LinkError::File {
        file: file.display().to_string(),
        why,
    })
}

/// What a secret, or a certificate, lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AllowedScopes {
    /// Any scope, and everybody's text.
    Everything,
    /// Requests of these scopes.
    Only(Vec<String>),
}

impl AllowedScopes {
    /// Whether a drafter of this scope may come in; `None` asks for everybody's text.
    pub(crate) fn admits(&self, scope: Option<&str>) -> Result<(), String> {
        match (self, scope) {
            (AllowedScopes::Everything, _) => Ok(()),
            (AllowedScopes::Only(own), Some(scope)) if own.iter().any(|o| o == scope) => Ok(()),
            (AllowedScopes::Only(_), Some(scope)) => Err(format!(
                "what was given does not belong to scope {scope:?}; give the scope that it belongs to with --scope"
            )),
            (AllowedScopes::Only(_), None) => Err(
                "without a scope a drafter gets everybody's text, which takes the secret of *; give one with --scope".into(),
            ),
        }
    }
}

/// The secrets a target knows, and what each lets in.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// Each secret with its scope; `None` lets in everything.
    known: Vec<(Option<String>, Secret)>,
}

impl Secrets {
    /// Secrets from lines of a scope and its secret; `*` stands for everything. Empty lines and those
    /// that begin with `#` do not count.
    ///
    /// # Errors
    /// Names the line that cannot be.
    pub fn parse(text: &str) -> Result<Secrets, String> {
        let mut secrets = Secrets::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let [scope, secret] = words[..] else {
                return Err(format!(
                    "line {number}: a line has a scope, a blank and its secret"
                ));
            };
            let scope = match scope {
                "*" => None,
                name => card_wire::scope(name).map_err(|why| format!("line {number}: {why}"))?,
            };
            let secret = Secret::new(secret).map_err(|why| format!("line {number}: {why}"))?;
            let twice = |(other, known): &(Option<String>, Secret)| {
                *other != scope && known.text == secret.text
            };
            if secrets.known.iter().any(twice) {
                return Err(format!(
                    "line {number}: another scope has the same secret; each needs its own"
                ));
            }
            secrets.known.push((scope, secret));
        }
        if secrets.is_empty() {
            return Err("there is no secret; a line has a scope, a blank and its secret".into());
        }
        Ok(secrets)
    }

    /// Secrets from a file of such lines.
    ///
    /// # Errors
    /// If it cannot be read, or a line of it cannot be.
    pub fn read(file: &Path) -> Result<Secrets, LinkError> {
        let text = read(file)?;
        Secrets::parse(&text)
            .map_err(|why| LinkError::Settings(format!("{}: {why}", file.display())))
    }

    /// These secrets, and one more that lets in everything.
    pub fn with_everything(mut self, secret: Secret) -> Secrets {
        self.known.push((None, secret));
        self
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// What this lets in; `None` if it is nobody's secret. All are looked at, so that the time
    /// does not tell which one is close.
    pub(crate) fn pass(&self, given: &[u8]) -> Option<AllowedScopes> {
        let given = digest(given);
        let mut scopes = Vec::new();
        let mut everything = false;
        for (scope, secret) in &self.known {
            let right = bool::from(secret.is(&given));
            match scope {
                None => everything |= right,
                Some(scope) if right => scopes.push(scope.clone()),
                Some(_) => {}
            }
        }
        match (everything, scopes.is_empty()) {
            (true, _) => Some(AllowedScopes::Everything),
            (false, true) => None,
            (false, false) => Some(AllowedScopes::Only(scopes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_empty_and_not_shown() {
        for empty in ["", " ", "\n", "\t \r\n"] {
            assert_eq!(Secret::new(empty).unwrap_err(), SecretError::Empty);
        }
        for odd in ["two words", "a\nb", "é", "a\u{0}b"] {
            assert_eq!(Secret::new(odd).unwrap_err(), SecretError::Characters);
        }
        let secret = Secret::new(" hunter2\n").unwrap();
        assert_eq!(secret.reveal(), "hunter2");
        let all = Secrets::default().with_everything(secret.clone());
        assert!(!format!("{secret:?} {all:?}").contains("hunter2"));
    }

    #[test]
    fn an_empty_secret_in_a_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "\n", "  \n\n"] {
            let file = folder.path().join("secret");
            std::fs::write(&file, text).unwrap();
            assert!(Secret::read(&file).is_err(), "{text:?}");
            assert!(Secrets::read(&file).is_err(), "{text:?}");
        }
        assert!(Secret::read(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_secret_lets_in_what_it_belongs_to() {
        let text = "# devices\nlaptop abc\n\nphone  def\n* ghi\nlaptop new\n";
        let secrets = Secrets::parse(text).unwrap();
        let laptop = AllowedScopes::Only(vec!["laptop".into()]);
        assert_eq!(secrets.pass(b"abc").as_ref(), Some(&laptop));
        assert_eq!(secrets.pass(b"new").as_ref(), Some(&laptop));
        assert_eq!(secrets.pass(b"ghi"), Some(AllowedScopes::Everything));
        for stranger in ["", "ab", "abcd", "ABC", "laptop", "*"] {
            assert_eq!(secrets.pass(stranger.as_bytes()), None, "{stranger:?}");
        }
        assert!(laptop.admits(Some("laptop")).is_ok());
        assert!(laptop.admits(Some("phone")).is_err());
        assert!(laptop.admits(None).is_err());
        assert!(AllowedScopes::Everything.admits(None).is_ok());
        assert!(AllowedScopes::Everything.admits(Some("phone")).is_ok());
    }

    #[test]
    fn a_line_that_is_no_secret_is_named() {
        for (text, line) in [
            ("laptop", "line 1"),
            ("a b c", "line 1"),
            ("a b\nc", "line 2"),
            ("a b\nc b", "line 2"),
            ("a b\n* b", "line 2"),
            ("a é", "line 1"),
            ("é a", "line 1"),
        ] {
            let why = Secrets::parse(text).unwrap_err();
            assert!(why.contains(line), "{text:?}: {why}");
        }
        for empty in ["", "\n", "# nothing\n"] {
            assert!(Secrets::parse(empty).is_err(), "{empty:?}");
        }
    }
}
