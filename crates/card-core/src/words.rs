//! Words for people: a number with what it counts, and an error with its causes.

use std::error::Error;
use std::fmt::Display;

/// A number with what it counts, whose `noun` is given for one.
///
/// ```
/// use card_core::words::counted;
///
/// assert_eq!(counted(1, "token"), "1 token");
/// assert_eq!(counted(2_usize, "prompt token"), "2 prompt tokens");
/// assert_eq!(counted(0_u64, "entry"), "0 entries");
/// ```
pub fn counted<N: Display + PartialEq + From<u8>>(n: N, noun: &str) -> String {
    if n == N::from(1) {
        format!("{n} {noun}")
    } else {
        format!("{n} {}", plural(noun))
    }
}

/// The word for several of what `noun` is one of, by the rules of English spelling.
///
/// ```
/// use card_core::words::plural;
///
/// assert_eq!((plural("branch"), plural("reply")), ("branches".into(), "replies".into()));
/// ```
pub fn plural(noun: &str) -> String {
    const HISSES: [&str; 5] = ["s", "x", "z", "ch", "sh"];
    if HISSES.iter().any(|end| noun.ends_with(end)) {
        return format!("{noun}es");
    }
    match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{noun}s"),
    }
}

/// An error with what caused it, each cause once: many errors say their cause in their own words
/// already.
///
/// ```
/// use card_core::words::with_causes;
///
/// let error = std::io::Error::other("the disk is full");
/// assert_eq!(with_causes(&error), "the disk is full");
/// ```
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !said.contains(&words) {
            said = format!("{said}: {words}");
        }
        next = cause.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read {file}{}", said.as_deref().unwrap_or_default())]
    struct ReadError {
        file: &'static str,
        said: Option<String>,
        source: std::io::Error,
    }

    fn cause() -> std::io::Error {
        std::io::Error::from_raw_os_error(2)
    }

    #[test]
    fn one_is_singular_and_all_else_is_plural() {
        assert_eq!(counted(1_u32, "candidate"), "1 candidate");
        assert_eq!(counted(0_u32, "candidate"), "0 candidates");
        assert_eq!(counted(1.0, "millisecond"), "1 millisecond");
        for (one, several) in [
            ("branch", "branches"),
            ("day", "days"),
            ("query", "queries"),
            ("near-tie", "near-ties"),
        ] {
            assert_eq!(plural(one), several);
        }
    }

    #[test]
    fn a_cause_that_was_said_is_not_said_again() {
        let mut error = ReadError {
            file: "a.gguf",
            said: None,
            source: cause(),
        };
        let cause = cause().to_string();
        assert_eq!(with_causes(&error), format!("cannot read a.gguf: {cause}"));
        error.said = Some(format!(": {cause}. Is the path right?"));
        let said = with_causes(&error);
        assert_eq!(said.matches(&cause).count(), 1, "{said}");
    }
}
