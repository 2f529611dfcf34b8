//! Secrets from flags and files. Neither logs nor messages ever show one.

use std::fmt;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// Largest file of secrets.
const LARGEST_FILE: u64 = 1 << 20;

/// A text that is not shown, by `{:?}` neither, and is never written as a setting.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// Hides a text.
    pub fn new(text: String) -> Self {
        SecretText(text)
    }

    /// The text itself, for whoever compares or sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Checks that an `Authorization` header can carry a secret: one that cannot be sent opens
/// nothing. `name` stands for it in messages.
///
/// # Errors
/// If the secret is empty, or has blanks or letters that are not ASCII.
pub fn check(name: &str, secret: &SecretText) -> Result<()> {
    ensure!(!secret.0.is_empty(), "the key {name} is empty");
    ensure!(
        secret.0.bytes().all(|b| b.is_ascii_graphic()),
        "the key {name} has blanks or letters that no header carries; take ASCII without blanks"
    );
    Ok(())
}

/// A single secret from a flag or a file; `flag` is the flag's name, and `flag`-file the other's.
/// What is allowed but unwise is added to `warnings`.
///
/// # Errors
/// If both are given, or if what is given is empty or no header carries it.
pub fn from_flag_or_file(
    flag: &str,
    given: Option<&SecretText>,
    file: Option<&Path>,
    warnings: &mut Vec<String>,
) -> Result<Option<SecretText>> {
    let secret = match (given, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => bail!("there are {flag} and {flag}-file; leave one of them out"),
        (Some(secret), None) => secret.clone(),
        (None, Some(file)) => {
            let text = read_file(file, warnings)?;
            let text = text.trim();
            ensure!(!text.is_empty(), "{} is empty", file.display());
            SecretText::new(text.to_owned())
        }
    };
    check(flag, &secret)?;
    Ok(Some(secret))
}

/// Like [`from_flag_or_file`], with warnings in the log.
///
/// # Errors
/// As there.
pub fn from_flag_or_file_logged(
    flag: &str,
    given: Option<&SecretText>,
    file: Option<&Path>,
) -> Result<Option<SecretText>> {
    let mut warnings = Vec::new();
    let secret = from_flag_or_file(flag, given, file, &mut warnings)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(secret)
}

/// The text of a file with secrets. If others can read the file, `warnings` says so.
///
/// # Errors
/// If the file cannot be read, or is too large to be one.
pub fn read_file(file: &Path, warnings: &mut Vec<String>) -> Result<String> {
    let shown = file.display();
    let mut text = String::new();
    let opened = std::fs::File::open(file);
    let opened = opened.with_context(|| format!("cannot read keys from {shown}"))?;
    if open_to_others(&opened) {
        warnings.push(format!(
            "everybody on this machine can read {shown}; `chmod 600 {shown}` changes that"
        ));
    }
    let length = opened.take(LARGEST_FILE + 1).read_to_string(&mut text);
    let length = length.with_context(|| format!("cannot read keys from {shown}"))?;
    ensure!(
        length as u64 <= LARGEST_FILE,
        "{shown} is larger than {} KiB, so it is no file of keys",
        LARGEST_FILE >> 10
    );
    Ok(text)
}

#[cfg(unix)]
fn open_to_others(file: &std::fs::File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata();
    metadata.is_ok_and(|m| m.is_file() && m.mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn open_to_others(_: &std::fs::File) -> bool {
    false
}
