//! Settings of `card serve` from a file: defaults for flags, so that flags and the
//! environment come first. Only a file that was named is read.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::args::Cli;

/// What `card plan` writes. It is not read unless it is named: whoever can write in the working
/// folder does not say to whom a server listens, or where it sends prompts.
const FILE: &str = "card.toml";
/// Largest file of settings.
const LARGEST: u64 = 1 << 20;
/// Arguments whose values are secrets; those of all commands.
pub const SECRETS: [&str; 5] = [
    "api_key",
    "metrics_key",
    "link_token",
    "upstream_key",
    "peer_key",
];
/// Arguments that say what to do, and set nothing.
const NO_SETTINGS: [&str; 3] = ["config", "print_config", "help"];

/// Parses the command line, with what a file says as defaults of `card serve`.
pub fn parse() -> Result<(Cli, ArgMatches)> {
    let mut command = Cli::command();
    let args: Vec<OsString> = std::env::args_os().collect();
    match settings_file(&args) {
        SettingsFile::None => {}
        SettingsFile::Named(file) => {
            command = with_file(command, &file)?;
            eprintln!("settings from {}", file.display());
        }
        SettingsFile::Unnamed => {
            if Path::new(FILE).exists() {
                eprintln!("{FILE} in this folder is not used; --config {FILE} uses it");
            }
        }
    }
    let matches = command.get_matches_from(args);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit());
    Ok((cli, matches))
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
    let command = Cli::command().ignore_errors(true);
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

fn with_file(command: Command, file: &Path) -> Result<Command> {
    let metadata = std::fs::metadata(file);
    let text = metadata.and_then(|m| {
        if m.len() <= LARGEST {
            std::fs::read_to_string(file)
        } else {
            Err(std::io::Error::other("it is too large"))
        }
    });
    let text = text.with_context(|| format!("cannot read the settings from {}", file.display()))?;
    let serve = command
        .find_subcommand("serve")
        .context("no serve command")?;
    let defaults = settings(&text, serve).with_context(|| file.display().to_string())?;
    Ok(command.mut_subcommand("serve", |mut serve| {
        for (id, values) in defaults {
            let hide = SECRETS.contains(&id.as_str());
            serve = serve.mut_arg(id, |arg| {
                // `--help` shows defaults.
                let hide = hide || arg.is_hide_default_value_set();
                arg.default_values(values).hide_default_value(hide)
            });
        }
        serve
    }))
}

/// What a text of settings says: arguments by id, each with its values.
fn settings(text: &str, serve: &Command) -> Result<Vec<(String, Vec<String>)>> {
    let parsed: Result<toml::Table, toml::de::Error> = text.parse();
    let table = match parsed {
        Ok(table) => table,
        Err(error) => {
            // The error's own text would repeat the line, which may hold a key.
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            bail!("line {line} is not TOML: {}", error.message());
        }
    };
    let mut defaults: Vec<(String, Vec<String>)> = Vec::new();
    for (key, value) in table {
        let name = key.replace('_', "-");
        let known = serve.get_arguments().find(|a| a.get_long() == Some(&name));
        let Some(arg) = known.filter(|a| !NO_SETTINGS.contains(&a.get_id().as_str())) else {
            let all = serve.get_arguments().filter_map(|a| a.get_long());
            let near = nearest(&name, all);
            let hint = near.map_or(String::new(), |n| format!(", did you mean {n:?}?"));
            bail!("there is no setting {key:?}{hint}");
        };
        let list = matches!(value, toml::Value::Array(_));
        let values = match value {
            toml::Value::Array(values) => values.iter().map(text_of).collect::<Option<Vec<_>>>(),
            value => text_of(&value).map(|v| vec![v]),
        };
        let Some(values) = values else {
            bail!("{key} must be a text, a number, true or false, or a list");
        };
        ensure!(
            !list || matches!(arg.get_action(), ArgAction::Append),
            "{key} is one value, not a list"
        );
        let id = arg.get_id().to_string();
        ensure!(
            defaults.iter().all(|(other, _)| *other != id),
            "{key} is there twice, once with - and once with _"
        );
        defaults.push((id, values));
    }
    Ok(defaults)
}

fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(n) => Some(n.to_string()),
        toml::Value::Float(x) => Some(x.to_string()),
        toml::Value::Boolean(b) => Some(b.to_string()),
        _ => None,
    }
}

/// The known name that shares most of its beginning.
fn nearest<'a>(name: &str, all: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let common = |other: &str| {
        name.bytes()
            .zip(other.bytes())
            .take_while(|(a, b)| a == b)
            .count()
    };
    let best = all.map(|other| (common(other), other)).max()?;
    (best.0 >= 3).then_some(best.1)
}

/// Prints the settings of `card serve`, as a file that would give the same, with where each
/// comes from. Secrets are not shown.
pub fn print(matches: &ArgMatches) -> Result<ExitCode> {
    let Some(("serve", serve)) = matches.subcommand() else {
        bail!("--print-config belongs to card serve");
    };
    for line in shown(serve)? {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The lines of [`print`].
fn shown(serve: &ArgMatches) -> Result<Vec<String>> {
    let command = Cli::command();
    let known = command
        .find_subcommand("serve")
        .context("no serve command")?;
    let mut lines = Vec::new();
    for arg in known.get_arguments() {
        let id = arg.get_id().as_str();
        let (Some(name), false) = (arg.get_long(), NO_SETTINGS.contains(&id)) else {
            continue;
        };
        let source = match serve.value_source(id) {
            Some(ValueSource::CommandLine) => "flag",
            Some(ValueSource::EnvVariable) => "environment",
            Some(ValueSource::DefaultValue) if is_default(arg, serve) => "default",
            Some(_) => "file",
            None => {
                lines.push(format!("# {name} is not set"));
                continue;
            }
        };
        let raw = serve.get_raw(id).into_iter().flatten();
        let values: Vec<String> = raw
            .map(|v| without_password(&v.to_string_lossy()))
            .collect();
        let shown = match &values[..] {
            _ if SECRETS.contains(&id) => HIDDEN_VALUE.to_owned(),
            [one] => quoted(one),
            many => {
                let many: Vec<String> = many.iter().map(|v| quoted(v)).collect();
                format!("[{}]", many.join(", "))
            }
        };
        lines.push(format!("{:40} # {source}", format!("{name} = {shown}")));
    }
    Ok(lines)
}

/// What stands for a secret.
const HIDDEN_VALUE: &str = "\"(hidden)\"";

/// An address without what may be secret in it: user and password before the host, and what
/// follows a `?`. Other texts stay as they are.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?(hidden)"),
        None => (rest, ""),
    };
    let host = rest.find('/').unwrap_or(rest.len());
    // A password may hold an @ that should have been written as %40.
    let (host, path) = match rest.rfind('@') {
        Some(at) if at > host => rest.split_at(at + 1),
        _ => rest.split_at(host),
    };
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://(hidden)@{host}{path}{query}"),
        None => format!("{scheme}://{host}{path}{query}"),
    }
}

/// Whether the value is the one that is built in.
fn is_default(arg: &clap::Arg, matches: &ArgMatches) -> bool {
    let values: Vec<_> = matches
        .get_raw(arg.get_id().as_str())
        .into_iter()
        .flatten()
        .collect();
    let flag = arg.get_default_values().is_empty() && values.iter().all(|v| *v == "false");
    let built_in = arg.get_default_values().iter();
    flag || values == built_in.map(|v| v.as_os_str()).collect::<Vec<_>>()
}

fn quoted(value: &str) -> String {
    let plain = value.parse::<f64>().is_ok() || ["true", "false"].contains(&value);
    if plain {
        value.to_owned()
    } else {
        toml::Value::from(value).to_string()
    }
}

#[cfg(test)]
mod tests {
    use clap::Arg;
    use proptest::prelude::*;

    use super::*;

    const PASSWORD: &str = "hunter2";

    fn serve() -> Command {
        Cli::command().find_subcommand("serve").unwrap().clone()
    }

    fn is_file(arg: &Arg) -> bool {
        let names = arg.get_value_names().unwrap_or_default();
        names.iter().any(|n| n.as_str() == "FILE")
    }

    /// Whether a name says that the value is a secret.
    fn sounds_secret(arg: &Arg) -> bool {
        let secret =
            |word| ["key", "keys", "token", "secret", "secrets", "password"].contains(&word);
        let name = arg.get_long().unwrap_or_default();
        arg.get_action().takes_values() && !is_file(arg) && name.split('-').any(secret)
    }

    #[test]
    fn what_is_named_like_a_secret_is_one() {
        let command = Cli::command();
        let mut found = 0;
        for sub in command.get_subcommands() {
            for arg in sub.get_arguments().filter(|a| sounds_secret(a)) {
                found += 1;
                let name = (sub.get_name(), arg.get_id().as_str());
                assert!(SECRETS.contains(&name.1), "{name:?} is not in SECRETS");
                // Help shows what is in the environment, and what a file says.
                assert!(arg.is_hide_env_values_set(), "{name:?}");
            }
        }
        assert!(found >= SECRETS.len());
    }

    #[test]
    fn no_secret_is_shown() {
        let serve = serve();
        let mut line = vec!["card".to_owned(), "serve".to_owned()];
        let mut given = 0;
        for arg in serve.get_arguments() {
            let names = arg.get_value_names().unwrap_or_default();
            let url = names.iter().any(|n| n.as_str() == "URL");
            let value = match (sounds_secret(arg), url) {
                (true, _) => PASSWORD.to_owned(),
                (_, true) => format!("http://user:{PASSWORD}@host:1/path?key={PASSWORD}"),
                _ => continue,
            };
            given += 1;
            line.extend([format!("--{}", arg.get_long().unwrap()), value]);
        }
        assert!(given >= 5, "{line:?}");
        let matches = Cli::command().try_get_matches_from(line).unwrap();
        let lines = shown(matches.subcommand().unwrap().1).unwrap().join("\n");
        assert!(!lines.contains(PASSWORD), "{lines}");
        assert!(
            lines.contains("http://(hidden)@host:1/path?(hidden)"),
            "{lines}"
        );
    }

    #[test]
    fn a_secret_from_a_file_is_in_no_help_and_in_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("card.toml");
        let text: String = SECRETS
            .iter()
            .filter(|id| serve().get_arguments().any(|a| a.get_id().as_str() == **id))
            .map(|id| format!("{id} = \"{PASSWORD}\"\n"))
            .collect();
        assert!(text.lines().count() >= 3);
        std::fs::write(&file, &text).unwrap();
        let command = with_file(Cli::command(), &file).unwrap();
        let help = command.try_get_matches_from(["card", "serve", "--help"]);
        let help = help.unwrap_err().to_string();
        assert!(help.contains("--api-key") && !help.contains(PASSWORD));
        std::fs::write(&file, text + "port = = 1").unwrap();
        let error = format!("{:#}", with_file(Cli::command(), &file).unwrap_err());
        assert!(
            error.contains("is not TOML") && !error.contains(PASSWORD),
            "{error}"
        );
    }

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
    fn settings_that_are_none_are_refused_with_the_reason() {
        for (text, why) in [
            ("paralel = 2", "did you mean \"parallel\""),
            ("config = \"b.toml\"", "no setting"),
            ("print-config = true", "no setting"),
            ("print_config = true", "no setting"),
            ("port = [1, 2]", "not a list"),
            ("port = { a = 1 }", "must be a text"),
            ("max-request-kib = 1\nmax_request_kib = 2", "twice"),
            ("port = = 1", "line 1 is not TOML"),
        ] {
            let error = settings(text, &serve()).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        let good = settings("cors = [\"https://a\"]\nno_page = true", &serve()).unwrap();
        assert_eq!(good.len(), 2);
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

    proptest! {
        #[test]
        fn any_text_is_settings_or_an_error(text in "(?s).{0,200}") {
            let _ = settings(&text, &serve());
        }

        #[test]
        fn any_value_of_any_setting_is_taken_or_refused(
            at in any::<prop::sample::Index>(),
            value in prop_oneof![
                any::<i64>().prop_map(|n| n.to_string()),
                any::<f64>().prop_filter("TOML", |x| x.is_finite()).prop_map(|x| format!("{x:?}")),
                any::<bool>().prop_map(|b| b.to_string()),
                "[a-z:/.%@-]{0,20}".prop_map(|t| format!("{t:?}")),
                "[a-z:/.%@-]{0,20}".prop_map(|t| format!("[{t:?}, {t:?}]")),
            ],
        ) {
            let serve = serve();
            let names: Vec<&str> = serve.get_arguments().filter_map(|a| a.get_long()).collect();
            let text = format!("{} = {value}", at.get(&names));
            if let Ok(defaults) = settings(&text, &serve) {
                let command = Cli::command().mut_subcommand("serve", |mut serve| {
                    for (id, values) in defaults {
                        serve = serve.mut_arg(id, |arg| arg.default_values(values));
                    }
                    serve
                });
                let _ = command.try_get_matches_from(["card", "serve"]);
            }
        }

        #[test]
        fn a_password_in_an_address_is_hidden(
            scheme in "[a-z]{1,8}",
            user in "[a-z]{0,8}",
            password in "[A-Z@/:]{4,12}",
            host in "[a-z.]{1,12}",
        ) {
            let shown = without_password(&format!("{scheme}://{user}:{password}@{host}/v1"));
            prop_assert!(!shown.contains(&password), "{shown}");
        }
    }
}
