//! Keys of clients, each with a name. The name says whose a request is: in the audit log, in
//! the caches, on the page. The key itself is never shown.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use card_setup::secret::{self, SecretText};

/// Longest name of a key: it stands in every record of the audit log.
const LONGEST_NAME: usize = 64;

/// A key and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedKey {
    /// Name of the key: the identity of who sends it.
    pub name: String,
    /// What a client has to send.
    pub key: SecretText,
}

/// Keys from `--api-key`: `flag-1`, `flag-2`, …
pub fn from_flags(keys: &[SecretText]) -> Vec<NamedKey> {
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
pub fn parse(text: &str) -> Result<Vec<NamedKey>> {
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
            key: SecretText::new(key.to_owned()),
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
///
/// # Errors
/// Names the key that is wrong, and does not show it.
pub fn check(keys: &[NamedKey]) -> Result<()> {
    let mut names = HashSet::new();
    let mut secrets: HashMap<&SecretText, &str> = HashMap::new();
    for NamedKey { name, key } in keys {
        secret::check(name, key)?;
        if !names.insert(name.as_str()) {
            bail!("two keys have the name {name}; give each its own, as NAME: KEY");
        }
        if let Some(other) = secrets.insert(key, name) {
            bail!("{other} and {name} have the same key; give each its own");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let keys = parse(text).unwrap().into_iter();
        keys.map(|k| (k.name, k.key.expose().to_owned())).collect()
    }

    fn error(text: &str) -> String {
        let parsed = parse(text).and_then(|keys| check(&keys));
        format!("{:#}", parsed.unwrap_err())
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

    proptest! {
        #[test]
        fn any_text_is_keys_or_an_error(text in "(?s).{0,200}") {
            if let Ok(keys) = parse(&text).and_then(|keys| check(&keys).map(|()| keys)) {
                for NamedKey { name, key } in &keys {
                    prop_assert!(check_name(name).is_ok());
                    let key = key.expose();
                    prop_assert!(!key.is_empty() && key.bytes().all(|b| b.is_ascii_graphic()));
                }
            }
        }

        #[test]
        fn what_is_written_as_a_key_file_is_read_again(
            keys in prop::collection::btree_map("[a-z][a-z0-9._-]{0,20}", "[!-~]{1,40}", 1..20)
        ) {
            let text: String = keys.iter().map(|(n, k)| format!("{n}: {k}\n")).collect();
            let read = parse(&text).unwrap();
            let read = read.into_iter().map(|k| (k.name, k.key.expose().to_owned()));
            let read: BTreeMap<_, _> = read.collect();
            prop_assert_eq!(keys, read);
        }
    }
}
