//! A record named by number and hash: what a chain of hashes goes on from, and what a person
//! notes elsewhere.

use std::fmt;
use std::str::FromStr;

/// The hash that the first record names as that of its predecessor, which it does not have.
pub(crate) const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A record of a log by number and hash. Kept where nobody who writes the log can change it,
/// it shows whether what the log had up to there is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The record's number.
    pub n: u64,
    /// The hash of the record.
    pub hash: String,
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.n, self.hash)
    }
}

impl FromStr for Anchor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "an anchor is N:HASH, as `card audit head FILE` prints it".to_owned();
        let (n, hash) = text.trim().split_once(':').ok_or_else(wrong)?;
        let n = n.parse().map_err(|_| wrong())?;
        if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        Ok(Anchor {
            n,
            hash: hash.to_ascii_lowercase(),
        })
    }
}

impl Anchor {
    /// The place before the first record.
    pub(crate) fn genesis() -> Anchor {
        Anchor {
            n: 0,
            hash: GENESIS.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_read_as_it_is_shown_and_nothing_else_is() {
        let anchor = Anchor {
            n: 12,
            hash: GENESIS.replace('0', "a"),
        };
        assert_eq!(anchor.to_string().parse::<Anchor>(), Ok(anchor.clone()));
        assert_eq!(
            format!(" {anchor}\n").to_uppercase().parse::<Anchor>(),
            Ok(anchor)
        );
        for text in [
            "",
            ":",
            "12",
            "12:",
            "12:abc",
            &format!("-1:{GENESIS}"),
            GENESIS,
        ] {
            assert!(text.parse::<Anchor>().is_err(), "{text}");
        }
    }
}
