//! Settings of `card serve` from a file: defaults for flags, so that flags and the
//! environment come first. Only a file that was named is read.

pub mod arguments;
mod file;
mod show;
#[cfg(test)]
mod testing;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use file::{FileModels, with_file};
pub use show::print;

use crate::args::{Cli, CliCommand, as_models, long_names, negative_numbers};

/// What `card plan` writes. It is not read unless it is named: whoever can write in the working
/// folder does not say to whom a server listens, or where it sends prompts.
const FILE: &str = "card.toml";

/// Parses the command line, with what a file says as defaults of `card serve`.
pub fn parse() -> Result<(Cli, ArgMatches)> {
    let mut command = negative_numbers(Cli::command());
    let (args, left_out) = long_names(std::env::args_os().collect());
    let args: Vec<OsString> = as_models(args);
    if !left_out.is_empty() {
        eprintln!("without effect here: {}", left_out.join(", "));
    }
    let mut models = FileModels::default();
    match settings_file(&args) {
        SettingsFile::None => {}
        SettingsFile::Named(file) => {
            (command, models) = with_file(command, &file)?;
            eprintln!("settings from {}", file.display());
        }
        SettingsFile::Unnamed => {
            if Path::new(FILE).exists() {
                eprintln!("{FILE} in this folder is not used; --config {FILE} uses it");
            }
        }
    }
    let matches = command.get_matches_from(args);
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit());
    if let (CliCommand::Serve(args), Some((_, serve))) = (&mut cli.command, matches.subcommand()) {
        args.several.model_named = models.names_model || is_given(serve, "model");
        args.several.table = models.table;
    }
    Ok((cli, matches))
}

/// Whether an argument was given on the command line or in the environment.
fn is_given(matches: &ArgMatches, id: &str) -> bool {
    let source = matches.value_source(id);
    matches!(
        source,
        Some(ValueSource::CommandLine | ValueSource::EnvVariable)
    )
}

/// The file that settings are read from.
#[derive(Debug, PartialEq)]
enum SettingsFile {
    /// The command takes no settings.
    None,
    /// No file was named.
    Unnamed,
    /// The file of this name.
    Named(PathBuf),
}

/// The file that was named, by --config or CARD_CONFIG. It has to be known before the flags are
/// parsed with what it says, so they are parsed once without.
fn settings_file(args: &[OsString]) -> SettingsFile {
    let command = negative_numbers(Cli::command()).ignore_errors(true);
    let Ok(matches) = command.try_get_matches_from(args) else {
        // Help, or the version.
        return SettingsFile::None;
    };
    let Some(("serve", serve)) = matches.subcommand() else {
        return SettingsFile::None;
    };
    match serve.get_one::<PathBuf>("config") {
        Some(file) => SettingsFile::Named(file.clone()),
        None => SettingsFile::Unnamed,
    }
}

#[cfg(test)]
mod tests {
    use super::testing::serve;
    use super::*;

    #[test]
    fn only_a_file_that_was_named_is_read() {
        let of = |line: &[&str]| {
            let line: Vec<OsString> = line.iter().map(OsString::from).collect();
            settings_file(&line)
        };
        let file = || SettingsFile::Named("a.toml".into());
        assert_eq!(of(&["card", "serve", "--config", "a.toml"]), file());
        assert_eq!(
            of(&["card", "serve", "--port", "1", "--config=a.toml"]),
            file()
        );
        assert_eq!(of(&["card", "-v", "serve"]), SettingsFile::Unnamed);
        // "serve" and "--config" may be a prompt.
        let prompt = ["card", "generate", "-p", "serve", "--stop", "--config"];
        assert_eq!(of(&prompt), SettingsFile::None);
        assert_eq!(of(&["card", "serve", "--help"]), SettingsFile::None);
    }

    #[test]
    fn numbers_that_would_overflow_are_refused() {
        let serve = serve();
        let numbers = ["N", "S", "KIB", "MIB"];
        let mut tried = 0;
        for arg in serve.get_arguments() {
            let names = arg.get_value_names().unwrap_or_default();
            // Counts of threads, layers and so on have other bounds, and their own tests.
            let ours = arg.get_env().is_some();
            if !ours || !names.iter().any(|n| numbers.contains(&n.as_str())) {
                continue;
            }
            tried += 1;
            let flag = format!("--{}", arg.get_long().unwrap());
            for value in ["18446744073709551615", "9223372036854775808", "-1", "1e3"] {
                if flag == "--n-predict" && value == "-1" {
                    // No limit, as llama-server has it.
                    continue;
                }
                let line = ["card", "serve", flag.as_str(), value];
                let parsed = Cli::command().try_get_matches_from(line);
                assert!(parsed.is_err(), "{flag} {value}");
            }
        }
        assert!(tried >= 8);
    }

    #[test]
    fn an_origin_that_no_browser_sends_is_refused_or_put_right() {
        let of = |origin: &str| {
            let line = ["card", "serve", "--cors", origin];
            let matches = Cli::command().try_get_matches_from(line).ok()?;
            let serve = matches.subcommand()?.1;
            serve.get_one::<String>("cors").cloned()
        };
        for (given, sent) in [
            ("*", "*"),
            ("https://example.org", "https://example.org"),
            ("https://example.org/", "https://example.org"),
            ("HTTPS://Example.ORG:443", "https://example.org"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ] {
            assert_eq!(of(given).as_deref(), Some(sent), "{given}");
        }
        for wrong in [
            "null",
            "example.org",
            "https://example.org/app",
            "https://*.example.org",
            "https://user@example.org",
            "https://example.org:99999",
            "https://",
            "",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
