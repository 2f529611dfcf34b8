//! Flags and settings of a server of several models.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde::Deserialize;

use super::values::{LEAST_CONTEXT, MOST_CONTEXT, sizes};

/// Most minutes that a model stays loaded which nobody uses: a year.
const YEAR: u64 = 366 * 24 * 60;

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Several models")]
pub struct SeveralArgs {
    /// Serve the models in this folder, each GGUF file under its own name without `.gguf`. A model is
    /// loaded when a request names it. Requests that name none are answered by --model, if that is
    /// given. A file with the word `draft` in its name drafts for the model whose name begins like
    /// the rest of it
    #[arg(
        long,
        visible_alias = "models-dir",
        env = "CARD_MODELS",
        value_name = "FOLDER"
    )]
    pub models: Option<PathBuf>,
    /// Most models that are loaded at a time; where memory is short it is fewer. The one that was
    /// used longest ago makes room, and never one that is in use
    #[arg(long, default_value_t = 4, env = "CARD_MODELS_MAX", value_name = "N", value_parser = sizes(1..=64))]
    pub models_max: usize,
    /// Minutes after which a model is unloaded that nobody uses; 0 for never
    #[arg(long, default_value_t = 15, env = "CARD_MODELS_IDLE", value_name = "MINUTES", value_parser = RangedU64ValueParser::<u64>::new().range(0..=YEAR))]
    pub models_idle: u64,
    /// The models that the settings file lists under `[models]`.
    #[arg(skip)]
    pub table: Vec<TableModel>,
    /// Whether --model was given, on the command line, in the environment or in the settings file.
    #[arg(skip)]
    pub model_named: bool,
}

impl SeveralArgs {
    /// Whether more models were asked for than that of --model.
    pub fn asked(&self) -> bool {
        self.models.is_some() || !self.table.is_empty()
    }

    /// After how long a model is unloaded that nobody uses; `None` for never.
    pub fn idle(&self) -> Option<Duration> {
        let minutes = (self.models_idle > 0).then_some(self.models_idle)?;
        Some(Duration::from_secs(minutes * 60))
    }
}

/// A model that the settings file lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableModel {
    /// The name by which requests ask for it.
    pub name: String,
    /// What it is.
    pub fields: TableFields,
}

/// What the settings file says of a model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableFields {
    /// The model, named as for --model.
    pub model: String,
    /// Its draft model, named as for --draft.
    pub draft: Option<String>,
    /// Tokens of context, as for --ctx.
    pub context: Option<u32>,
}

impl TableModel {
    /// The model of this name that a value of the table `[models]` describes: a text, which is the
    /// model, or a table of fields.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(name: &str, value: toml::Value) -> Result<Self, String> {
        let fields = match value {
            toml::Value::String(model) => TableFields {
                model,
                draft: None,
                context: None,
            },
            toml::Value::Table(fields) => fields
                .try_into::<TableFields>()
                .map_err(|error| error.message().to_owned())?,
            _ => {
                return Err(
                    "it must be the name of a model, or { model = .., draft = .., context = .. }"
                        .to_owned(),
                );
            }
        };
        if name.trim().is_empty() || fields.model.trim().is_empty() {
            return Err("a model has a name, and says which model it is".to_owned());
        }
        let allowed = LEAST_CONTEXT..=MOST_CONTEXT;
        if fields
            .context
            .is_some_and(|n| n != 0 && !allowed.contains(&n))
        {
            return Err(format!(
                "context must be from {LEAST_CONTEXT} to {MOST_CONTEXT} tokens, or 0 for all that \
                 the model was trained for"
            ));
        }
        Ok(TableModel {
            name: name.to_owned(),
            fields,
        })
    }

    /// The line of a settings file that says the same.
    pub fn line(&self) -> String {
        let text = |text: &str| toml::Value::from(text).to_string();
        let mut fields = format!("model = {}", text(&self.fields.model));
        if let Some(draft) = &self.fields.draft {
            fields += &format!(", draft = {}", text(draft));
        }
        if let Some(context) = self.fields.context {
            fields += &format!(", context = {context}");
        }
        format!("{} = {{ {fields} }}", text(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<TableModel, String> {
        let table: toml::Table = text.parse().unwrap();
        let (name, value) = table.into_iter().next().unwrap();
        TableModel::parse(&name, value)
    }

    #[test]
    fn a_model_of_the_table_is_a_text_or_has_fields() {
        let short = parsed("small = 'a.gguf'").unwrap();
        assert_eq!(
            (short.name.as_str(), short.fields.model.as_str()),
            ("small", "a.gguf")
        );
        let long = parsed("'a b' = { model = 'a', draft = 'none', context = 512 }").unwrap();
        assert_eq!(long.fields.context, Some(512));
        assert_eq!(long.fields.draft.as_deref(), Some("none"));
        // As for --ctx: all that the model was trained for.
        let trained = parsed("a = { model = 'b', context = 0 }").unwrap();
        assert_eq!(trained.fields.context, Some(0));
        for model in [short, long] {
            assert_eq!(parsed(&model.line()), Ok(model.clone()), "{}", model.line());
        }
        for (wrong, why) in [
            ("a = 5", "the name of a model"),
            ("a = {}", "model"),
            ("a = { model = 'b', drafter = 'c' }", "drafter"),
            ("a = { model = 'b', context = 3 }", "64"),
            ("a = { model = 'b', context = -3 }", ""),
            ("a = ''", "says which model"),
            ("'' = 'b'", "has a name"),
        ] {
            let error = parsed(wrong).unwrap_err();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
