//! Keys of clients, each with a name. The name says whose a request is: in the audit log, in
//! the caches, on the page. The key itself is never shown.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::builder::{NonEmptyStringValueParser, TypedValueParser};

use crate::args::ServeArgs;

/// Shorter keys can be guessed.
const SHORT: usize = 8;
/// Longest name of a key: it stands in every record of the audit log.
const LONGEST_NAME: usize = 64;
/// Largest file of keys.
const LARGEST_FILE: u64 = 1 << 20;

/// A text that is not shown, by `{:?}` neither.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: String) -> Self {
        Secret(text)
    }

    /// The text itself, for whoever compares or sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Reads a secret from a flag or the environment, where an empty one is an error. Messages of
/// this parser do not repeat the value.
pub fn secret() -> impl TypedValueParser<Value = Secret> {
    NonEmptyStringValueParser::new().map(Secret::new)
}

/// A key and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedKey {
    /// Name of the key: the identity of who sends it.
    pub name: String,
    /// What a client has to send.
    pub key: Secret,
}

/// Who may use a server.
#[derive(Debug, Default)]
pub struct Access {
    /// The keys; none for everybody who reaches the server.
    pub keys: Vec<NamedKey>,
    /// A key that opens `/metrics` and nothing else.
    pub metrics_key: Option<Secret>,
    /// What is allowed but unwise, to be said at the start.
    pub warnings: Vec<String>,
}

impl ServeArgs {
    /// Who may use the server, checked.
    ///
    /// # Errors
    /// If a key cannot be one, if two are alike, or if the server would be open to a network
    /// without anybody having said so.
    pub fn access(&self) -> Result<Access> {
        let mut access = Access {
            keys: from_flags(&self.api_key),
            ..Access::default()
        };
        if let Some(file) = &self.api_key_file {
            let text = read(file, &mut access.warnings)?;
            let keys = parse(&text).with_context(|| format!("the keys in {}", file.display()))?;
            ensure!(!keys.is_empty(), "there is no key in {}", file.display());
            access.keys.extend(keys);
        }
        check(&access.keys)?;
        access.metrics_key = one(
            "--metrics-key",
            self.metrics_key.as_ref(),
            self.metrics_key_file.as_deref(),
            &mut access.warnings,
        )?;
        if let Some(key) = &access.metrics_key {
            ensure!(
                !access.keys.is_empty(),
                "--metrics-key does not close /metrics on a server without keys; set --api-key or \
                 --api-key-file too"
            );
            ensure!(
                access.keys.iter().all(|k| k.key != *key),
                "the --metrics-key is an API key too, so it would open everything; take another"
            );
        }
        let metrics = access.metrics_key.iter().map(|k| ("--metrics-key", k));
        let named = access.keys.iter().map(|k| (k.name.as_str(), &k.key));
        let short = named.chain(metrics).filter(|k| k.1.0.len() < SHORT);
        let warnings: Vec<String> = short
            .map(|(name, _)| format!("the key {name} has fewer than {SHORT} characters"))
            .collect();
        access.warnings.extend(warnings);
        ensure!(
            access.keys.is_empty() || !self.no_key,
            "there are keys, and --no-key; leave one of them out"
        );
        let local = self.host.to_canonical().is_loopback();
        ensure!(
            local || self.no_key || !access.keys.is_empty(),
            "everybody who reaches {} could use this server; set --api-key-file (or --api-key), or \
             say --no-key if that is what you want",
            self.host
        );
        ensure!(
            self.tls_cert.is_some() == self.tls_key.is_some(),
            "--tls-cert and --tls-key belong together"
        );
        ensure!(
            self.audit_key_file.is_none() || self.audit.is_some(),
            "--audit-key-file belongs to --audit FILE"
        );
        Ok(access)
    }
}

/// Keys from `--api-key`: `flag-1`, `flag-2`, …
fn from_flags(keys: &[Secret]) -> Vec<NamedKey> {
    let keys = keys.iter().enumerate();
    keys.map(|(i, key)| NamedKey {
        name: format!("flag-{}", i + 1),
        key: key.clone(),
    })
    .collect()
}

/// Reads the text of a key file: a key a line, as `NAME: KEY`, `NAME KEY` or `KEY`. The third
/// kind is named `key-N`, where N counts all keys of the file from 1. Empty lines and lines that
/// begin with `#` do not count.
///
/// # Errors
/// If a line is none of these. The key is not in the message.
fn parse(text: &str) -> Result<Vec<NamedKey>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut keys: Vec<NamedKey> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = number + 1;
        let (name, key) = match line.split_once(char::is_whitespace) {
            Some((name, key)) => (
                name.strip_suffix(':').unwrap_or(name).to_owned(),
                key.trim(),
            ),
            None => {
                ensure!(
                    !line.ends_with(':'),
                    "line {at}: the key is empty; write NAME: KEY"
                );
                ensure!(
                    !line.contains(':'),
                    "line {at}: is this NAME: KEY, or a key with a colon? Put a blank behind the \
                     name's colon"
                );
                (format!("key-{}", keys.len() + 1), line)
            }
        };
        check_name(&name).with_context(|| format!("line {at}"))?;
        keys.push(NamedKey {
            name,
            key: Secret::new(key.to_owned()),
        });
    }
    Ok(keys)
}

fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    ensure!(
        (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(plain),
        "the name of a key has 1 to {LONGEST_NAME} letters, digits, or any of - _ . @"
    );
    let taken = ["local", "metrics"].contains(&name) || name.parse::<IpAddr>().is_ok();
    ensure!(
        !taken,
        "{name:?} is what callers without a key are called; take another name for this one"
    );
    Ok(())
}

/// Checks that each key can be sent in a header, and that no two keys or names are alike.
fn check(keys: &[NamedKey]) -> Result<()> {
    let mut names = HashSet::new();
    let mut secrets: HashMap<&Secret, &str> = HashMap::new();
    for NamedKey { name, key } in keys {
        check_secret(name, key)?;
        if !names.insert(name.as_str()) {
            bail!("two keys have the name {name}; give each its own, as NAME: KEY");
        }
        if let Some(other) = secrets.insert(key, name) {
            bail!("{other} and {name} have the same key; give each its own");
        }
    }
    Ok(())
}

/// What cannot be sent in an `Authorization` header can open nothing.
fn check_secret(name: &str, key: &Secret) -> Result<()> {
    ensure!(!key.0.is_empty(), "the key {name} is empty");
    ensure!(
        key.0.bytes().all(|b| b.is_ascii_graphic()),
        "the key {name} has blanks or letters that no header carries; take ASCII without blanks"
    );
    Ok(())
}

/// A single secret from a flag or a file; `flag` is the flag's name, and `flag`-file the other's.
///
/// # Errors
/// If both are given, or if what is given is empty or no header carries it.
pub fn one(
    flag: &str,
    given: Option<&Secret>,
    file: Option<&Path>,
    warnings: &mut Vec<String>,
) -> Result<Option<Secret>> {
    let secret = match (given, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => bail!("there are {flag} and {flag}-file; leave one of them out"),
        (Some(secret), None) => secret.clone(),
        (None, Some(file)) => {
            let text = read(file, warnings)?;
            let text = text.trim();
            ensure!(!text.is_empty(), "{} is empty", file.display());
            Secret::new(text.to_owned())
        }
    };
    check_secret(flag, &secret)?;
    Ok(Some(secret))
}

/// The text of a file with secrets.
fn read(file: &Path, warnings: &mut Vec<String>) -> Result<String> {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::{CommandFactory, FromArgMatches};
    use proptest::prelude::*;

    use super::*;
    use crate::args::{Cli, Command};

    fn serve(arguments: &[&str]) -> ServeArgs {
        let line = [&["card", "serve"][..], arguments].concat();
        let matches = Cli::command().try_get_matches_from(line).unwrap();
        match Cli::from_arg_matches(&matches).unwrap().command {
            Command::Serve(args) => *args,
            _ => panic!("not serve"),
        }
    }

    fn pairs(text: &str) -> Vec<(String, String)> {
        let keys = parse(text).unwrap().into_iter();
        keys.map(|k| (k.name, k.key.0)).collect()
    }

    fn error(text: &str) -> String {
        let parsed = parse(text).and_then(|keys| check(&keys));
        format!("{:#}", parsed.unwrap_err())
    }

    fn temporary(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_line_is_a_key_with_or_without_a_name() {
        let text =
            "\u{feff}# the office\r\nanna: key-of-anna\nbert \t key-of-bert\n\n  third-key\n";
        let expected = [
            ("anna", "key-of-anna"),
            ("bert", "key-of-bert"),
            ("key-3", "third-key"),
        ];
        let expected = expected.map(|(n, k)| (n.to_owned(), k.to_owned()));
        assert_eq!(pairs(text), expected);
        // A key may have a colon, where a name says that it is one.
        assert_eq!(pairs("a: user:password")[0].1, "user:password");
    }

    #[test]
    fn a_number_stays_where_a_name_is_added_or_a_line_behind_it() {
        let name = |text| pairs(text)[1].0.clone();
        assert_eq!(name("first-key\nsecond-key"), "key-2");
        assert_eq!(name("anna: first-key\nsecond-key\nthird-key"), "key-2");
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        for (text, why) in [
            ("anna:", "the key is empty"),
            ("anna:secret-key", "Put a blank behind"),
            ("anna: secret key", "blanks"),
            ("anna: sécret-key", "ASCII"),
            ("a/b: secret-key", "the name of a key"),
            (": secret-key", "the name of a key"),
            (
                "anna: secret-key\nanna: other-key",
                "two keys have the name",
            ),
            ("secret-key\nkey-1: other-key", "two keys have the name"),
            ("anna: secret-key\nbert: secret-key", "the same key"),
        ] {
            let error = error(text);
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_empty_secret_is_an_error_from_wherever_it_comes() {
        let command = Cli::command();
        let secrets = crate::config::SECRETS.iter();
        let mut flags = 0;
        for sub in command.get_subcommands() {
            for arg in secrets.clone() {
                let found = sub.get_arguments().find(|a| a.get_id().as_str() == *arg);
                let Some(long) = found.and_then(|a| a.get_long()) else {
                    continue;
                };
                flags += 1;
                let line = ["card".to_owned(), sub.get_name().to_owned()];
                let line = line.into_iter().chain([format!("--{long}"), String::new()]);
                let parsed = Cli::command().try_get_matches_from(line);
                let error = parsed.unwrap_err().to_string();
                assert!(error.contains(long), "{} {long}: {error}", sub.get_name());
            }
        }
        assert!(flags > 3);
        let empty = temporary(" \n");
        let path = empty.path().to_str().unwrap();
        for flag in ["--api-key-file", "--metrics-key-file"] {
            let args = serve(&["--api-key", "a-good-key", flag, path]);
            assert!(args.access().is_err(), "{flag}");
        }
        assert!(
            serve(&["--api-key-file", "/no/such/file"])
                .access()
                .is_err()
        );
    }

    #[test]
    fn what_would_be_open_to_a_network_says_so() {
        let open = |arguments: &[&str]| serve(arguments).access().map(|a| a.keys.len());
        for host in ["0.0.0.0", "::", "192.168.1.2", "::ffff:10.0.0.1"] {
            let error = open(&["--host", host]).unwrap_err().to_string();
            assert!(error.contains("--no-key"), "{error}");
            assert_eq!(open(&["--host", host, "--no-key"]).unwrap(), 0);
            assert_eq!(open(&["--host", host, "--api-key", "abcdefgh"]).unwrap(), 1);
        }
        for host in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(open(&["--host", host]).unwrap(), 0, "{host}");
        }
        assert!(open(&["--no-key", "--api-key", "abcdefgh"]).is_err());
        // Without keys nothing would ask for this one.
        assert!(open(&["--metrics-key", "abcdefgh"]).is_err());
        assert!(open(&["--metrics-key", "abcdefgh", "--api-key", "abcdefgh"]).is_err());
    }

    #[test]
    fn flags_and_files_go_together_and_what_is_unwise_is_said() {
        let file = temporary("anna: short\n");
        let path = file.path().to_str().unwrap();
        let args = serve(&[
            "--api-key",
            "one-good-key,other-good-key",
            "--api-key-file",
            path,
        ]);
        let access = args.access().unwrap();
        let names: Vec<&str> = access.keys.iter().map(|k| k.name.as_str()).collect();
        assert_eq!(names, ["flag-1", "flag-2", "anna"]);
        assert_eq!(access.warnings.len(), 1, "{:?}", access.warnings);
        assert!(access.warnings[0].contains("anna"));
        let shown = format!("{access:?} {args:?}");
        assert!(
            !shown.contains("good-key") && !shown.contains("short"),
            "{shown}"
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(file.path(), mode).unwrap();
            let warnings = args.access().unwrap().warnings;
            assert!(warnings.iter().any(|w| w.contains("chmod 600")));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_keys_or_an_error(text in "(?s).{0,200}") {
            if let Ok(keys) = parse(&text).and_then(|keys| check(&keys).map(|()| keys)) {
                for NamedKey { name, key } in &keys {
                    prop_assert!(check_name(name).is_ok());
                    prop_assert!(!key.0.is_empty() && key.0.bytes().all(|b| b.is_ascii_graphic()));
                }
            }
        }

        #[test]
        fn what_is_written_as_a_key_file_is_read_again(
            keys in prop::collection::btree_map("[a-z][a-z0-9._-]{0,20}", "[!-~]{1,40}", 1..20)
        ) {
            let text: String = keys.iter().map(|(n, k)| format!("{n}: {k}\n")).collect();
            let read = parse(&text).unwrap();
            let read: BTreeMap<_, _> = read.into_iter().map(|k| (k.name, k.key.0)).collect();
            prop_assert_eq!(keys, read);
        }
    }
}
