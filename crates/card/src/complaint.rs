//! How an error is told: on standard error, each of its causes once.

use anyhow::Error;
use card_core::words::with_causes;

/// Says what went wrong.
pub fn complain(error: &Error) {
    let style = anstyle::AnsiColor::Red.on_default().bold();
    anstream::eprintln!("{style}error:{style:#} {}", words(error));
}

/// An error in words, without the word "error" that some begin with.
fn words(error: &Error) -> String {
    let said = with_causes(&**error);
    let said = said.strip_prefix("error: ").unwrap_or(&said);
    said.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn neither_a_cause_nor_the_word_error_is_said_twice() {
        let missing = std::fs::read("/no/such/file").unwrap_err();
        let cause = missing.to_string();
        let told = card_llama::LlamaError::Open {
            path: "/no/such/file".into(),
            source: missing,
        };
        let error = Err::<(), _>(told).context("cannot start").unwrap_err();
        let said = words(&error);
        assert!(said.starts_with("cannot start: /no/such/file: "), "{said}");
        assert_eq!(said.matches(&cause).count(), 1, "{said}");
        let flags = clap::Command::new("card").try_get_matches_from(["card", "--no-such-flag"]);
        let said = words(&flags.unwrap_err().into());
        assert!(said.starts_with("unexpected argument"), "{said}");
    }
}
