//! Settings as they are shown: each with where it comes from, and no secrets.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory};

use super::arguments::{NO_SETTINGS, SECRETS};
use crate::args::{Cli, TableModel};

/// Prints the settings of `card serve`, as a file that would give the same, with where each
/// comes from, and the models that the file lists. Secrets are not shown.
pub fn print(matches: &ArgMatches, models: &[TableModel]) -> Result<ExitCode> {
    let Some(("serve", serve)) = matches.subcommand() else {
        bail!("--print-config belongs to card serve");
    };
    for line in shown(serve)? {
        println!("{line}");
    }
    if !models.is_empty() {
        println!("\n[models]{:32} # file", "");
    }
    for model in models {
        println!("{}", model.line());
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
    use proptest::prelude::*;

    use super::*;
    use crate::config::testing::{PASSWORD, serve, sounds_secret};

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

    proptest! {
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
