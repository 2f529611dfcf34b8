//! Settings from a file, as defaults of flags.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::{ArgAction, Command};

use super::arguments::{NO_SETTINGS, SECRETS};
use crate::args::TableModel;

/// Largest file of settings, in bytes.
const LARGEST: u64 = 1 << 20;

/// The key of the table of models, which is no flag; as a text it is that of --models.
const MODELS: &str = "models";

/// What a file says that is no default of a flag.
#[derive(Debug, Default, PartialEq)]
pub struct FileModels {
    /// The models of its table `[models]`, by their names in alphabetical order.
    pub table: Vec<TableModel>,
    /// Whether it names a model for --model.
    pub names_model: bool,
}

/// What a file says: arguments by id, each with its values, and its models.
#[derive(Debug, Default)]
struct FileSettings {
    defaults: Vec<(String, Vec<String>)>,
    models: FileModels,
}

/// The command with what a file says as defaults of `card serve`, and the models that it lists.
///
/// # Errors
/// If the file cannot be read, or something in it is no setting.
pub fn with_file(command: Command, file: &Path) -> Result<(Command, FileModels)> {
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
    let said = settings(&text, serve).with_context(|| file.display().to_string())?;
    let command = command.mut_subcommand("serve", |mut serve| {
        for (id, values) in said.defaults {
            let hide = SECRETS.contains(&id.as_str());
            serve = serve.mut_arg(id, |arg| {
                // `--help` shows defaults.
                let hide = hide || arg.is_hide_default_value_set();
                arg.default_values(values).hide_default_value(hide)
            });
        }
        serve
    });
    Ok((command, said.models))
}

/// What a text of settings says.
fn settings(text: &str, serve: &Command) -> Result<FileSettings> {
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
    let mut said = FileSettings::default();
    for (key, value) in table {
        let name = key.replace('_', "-");
        let value = match value {
            toml::Value::Table(models) if name == MODELS => {
                said.models.table = listed(models)?;
                continue;
            }
            value => value,
        };
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
            said.defaults.iter().all(|(other, _)| *other != id),
            "{key} is there twice, once with - and once with _"
        );
        said.models.names_model |= id == "model";
        said.defaults.push((id, values));
    }
    Ok(said)
}

/// The models of the table `[models]`.
fn listed(models: toml::Table) -> Result<Vec<TableModel>> {
    let parsed = models.into_iter().map(|(name, value)| {
        let model = TableModel::parse(&name, value);
        model.map_err(|why| anyhow::anyhow!("{name:?} in [models]: {why}"))
    });
    parsed.collect()
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use proptest::prelude::*;

    use super::*;
    use crate::args::Cli;
    use crate::config::testing::{PASSWORD, serve};

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
        let (command, _) = with_file(Cli::command(), &file).unwrap();
        let help = command.try_get_matches_from(["card", "serve", "--help"]);
        let help = help.unwrap_err().to_string();
        assert!(help.contains("--api-key") && !help.contains(PASSWORD));
        std::fs::write(&file, text + "port = = 1").unwrap();
        let error = with_file(Cli::command(), &file).map(|_| ());
        let error = format!("{:#}", error.unwrap_err());
        assert!(
            error.contains("is not TOML") && !error.contains(PASSWORD),
            "{error}"
        );
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
        assert_eq!(good.defaults.len(), 2);
        assert_eq!(good.models, FileModels::default());
    }

    #[test]
    fn a_table_lists_models_and_a_text_is_a_folder() {
        let text = "model = 'b'\n[models]\nb = 'b.gguf'\na = { model = 'c', context = 64 }";
        let said = settings(text, &serve()).unwrap();
        let names: Vec<&str> = said.models.table.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(said.models.names_model);
        let folder = settings("models = 'folder'", &serve()).unwrap();
        assert_eq!(
            folder.defaults,
            [("models".to_owned(), vec!["folder".to_owned()])]
        );
        assert!(folder.models.table.is_empty() && !folder.models.names_model);
        for (wrong, why) in [
            ("models = ['a', 'b']", "not a list"),
            ("[models]\na = { modle = 'b' }", "\"a\" in [models]"),
            ("[model]\na = 'b'", "must be a text"),
        ] {
            let error = settings(wrong, &serve()).unwrap_err().to_string();
            assert!(error.contains(why), "{wrong}: {error}");
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
            if let Ok(said) = settings(&text, &serve) {
                let command = Cli::command().mut_subcommand("serve", |mut serve| {
                    for (id, values) in said.defaults {
                        serve = serve.mut_arg(id, |arg| arg.default_values(values));
                    }
                    serve
                });
                let _ = command.try_get_matches_from(["card", "serve"]);
            }
        }
    }
}
