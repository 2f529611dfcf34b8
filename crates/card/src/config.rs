//! Settings of `card serve` from a file: defaults for flags, so that flags and the
//! environment come first.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::args::Cli;

/// Looked for in the working folder.
const FILE: &str = "card.toml";

/// Parses the command line, with what a file says as defaults of `card serve`.
pub fn parse() -> Result<(Cli, ArgMatches)> {
    let mut command = Cli::command();
    let args: Vec<_> = std::env::args_os().collect();
    let serves = args.iter().skip(1).any(|a| a == "serve");
    if let Some(file) = wanted(&args).filter(|_| serves) {
        command = with_file(command, &file)?;
    }
    let matches = command.get_matches_from(args);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit());
    Ok((cli, matches))
}

/// The file to read, if any. It has to be known before the flags are parsed.
fn wanted(args: &[std::ffi::OsString]) -> Option<PathBuf> {
    let given = args.iter().enumerate().find_map(|(i, arg)| {
        let arg = arg.to_str()?;
        match arg.strip_prefix("--config") {
            Some("") => args.get(i + 1).map(PathBuf::from),
            Some(rest) => rest.strip_prefix('=').map(PathBuf::from),
            None => None,
        }
    });
    given.or_else(|| Path::new(FILE).exists().then(|| PathBuf::from(FILE)))
}

fn with_file(command: Command, file: &Path) -> Result<Command> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the settings from {}", file.display()))?;
    let table: toml::Table = text
        .parse()
        .with_context(|| format!("{} is not TOML", file.display()))?;
    let mut defaults: Vec<(String, Vec<String>)> = Vec::new();
    let serve = command
        .find_subcommand("serve")
        .context("no serve command")?;
    for (key, value) in table {
        let name = key.replace('_', "-");
        let known = serve.get_arguments().find(|a| a.get_long() == Some(&name));
        let Some(arg) =
            known.filter(|a| !["config", "print-config"].contains(&a.get_id().as_str()))
        else {
            let all = serve.get_arguments().filter_map(|a| a.get_long());
            let near = nearest(&name, all);
            let hint = near.map_or(String::new(), |n| format!(", did you mean {n:?}?"));
            bail!("{}: there is no setting {key:?}{hint}", file.display());
        };
        let values = match value {
            toml::Value::Array(values) => values.iter().map(text_of).collect::<Option<Vec<_>>>(),
            value => text_of(&value).map(|v| vec![v]),
        };
        let Some(values) = values else {
            bail!(
                "{}: {key} must be a text, a number, true or false, or a list",
                file.display()
            );
        };
        defaults.push((arg.get_id().to_string(), values));
    }
    Ok(command.mut_subcommand("serve", |mut serve| {
        for (id, values) in defaults {
            serve = serve.mut_arg(id, |arg| arg.default_values(values));
        }
        serve
    }))
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
/// comes from. Keys are not shown.
pub fn print(matches: &ArgMatches) -> Result<ExitCode> {
    let Some(("serve", serve)) = matches.subcommand() else {
        bail!("--print-config belongs to card serve");
    };
    let command = Cli::command();
    let known = command
        .find_subcommand("serve")
        .context("no serve command")?;
    for arg in known.get_arguments() {
        let id = arg.get_id().as_str();
        let (Some(name), false) = (
            arg.get_long(),
            ["config", "print_config", "help"].contains(&id),
        ) else {
            continue;
        };
        let source = match serve.value_source(id) {
            Some(ValueSource::CommandLine) => "flag",
            Some(ValueSource::EnvVariable) => "environment",
            Some(ValueSource::DefaultValue) if is_default(arg, serve) => "default",
            Some(_) => "file",
            None => {
                println!("# {name} is not set");
                continue;
            }
        };
        let raw = serve.get_raw(id).into_iter().flatten();
        let values: Vec<String> = raw.map(|v| v.to_string_lossy().into_owned()).collect();
        let shown = match (id, &values[..]) {
            ("api_key", _) => "\"(hidden)\"".to_owned(),
            (_, [one]) => quoted(one),
            (_, many) => {
                let many: Vec<String> = many.iter().map(|v| quoted(v)).collect();
                format!("[{}]", many.join(", "))
            }
        };
        println!("{:40} # {source}", format!("{name} = {shown}"));
    }
    Ok(ExitCode::SUCCESS)
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
    match plain {
        true => value.to_owned(),
        false => toml::Value::from(value).to_string(),
    }
}
