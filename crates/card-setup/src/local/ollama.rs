//! Models that Ollama keeps: a manifest for each name says which blob is the model.
//!
//! ```text
//! manifests/REGISTRY/NAMESPACE/MODEL/TAG    JSON
//! blobs/sha256-DIGEST
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::header::is_gguf_file;
use crate::hub::shown;

/// What stands before the name of a model of Ollama's.
pub const PREFIX: &str = "ollama:";

/// Bytes of the largest manifest.
const LARGEST_MANIFEST: u64 = 1 << 20;
/// Namespace of the models whose names have none.
const LIBRARY: &str = "library";
/// Tag of the names that have none.
const LATEST: &str = "latest";
/// Models that are looked at.
const MOST: usize = 10_000;

/// A model that Ollama keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct OllamaModel {
    /// Its name as Ollama shows it, like `qwen3:8b`.
    pub name: String,
    /// The registry it came from.
    pub registry: String,
    /// Its manifest.
    manifest: PathBuf,
    /// The folder of all its models.
    root: PathBuf,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
    config: Option<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    #[serde(rename = "mediaType", default)]
    kind: String,
    digest: String,
    #[serde(default)]
    size: u64,
}

impl Layer {
    /// The blob that holds it.
    fn blob(&self, root: &Path) -> Option<PathBuf> {
        let digits = self.digest.strip_prefix("sha256:")?;
        let known = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        known.then(|| root.join("blobs").join(format!("sha256-{digits}")))
    }
}

/// Folders in which Ollama keeps models: the one that is set, the user's, and that of the service
/// on Linux.
pub fn folders() -> Vec<PathBuf> {
    let set = std::env::var_os("OLLAMA_MODELS").filter(|folder| !folder.is_empty());
    if let Some(folder) = set {
        return vec![PathBuf::from(folder)];
    }
    let home = dirs::home_dir().map(|home| home.join(".ollama/models"));
    let service = PathBuf::from("/usr/share/ollama/.ollama/models");
    home.into_iter().chain([service]).collect()
}

/// The models in these folders, by name.
pub fn models(folders: &[PathBuf]) -> Vec<OllamaModel> {
    let mut found = Vec::new();
    for root in folders {
        for registry in names(&root.join("manifests")) {
            let folder = root.join("manifests").join(&registry);
            for namespace in names(&folder) {
                for model in names(&folder.join(&namespace)) {
                    let tags = folder.join(&namespace).join(&model);
                    for tag in names(&tags) {
                        let manifest = tags.join(&tag);
                        if !manifest.is_file() || found.len() >= MOST {
                            continue;
                        }
                        let name = if namespace == LIBRARY {
                            format!("{model}:{tag}")
                        } else {
                            format!("{namespace}/{model}:{tag}")
                        };
                        found.push(OllamaModel {
                            name,
                            registry: registry.clone(),
                            manifest,
                            root: root.clone(),
                        });
                    }
                }
            }
        }
    }
    found.sort_by(|a, b| (&a.name, &a.registry).cmp(&(&b.name, &b.registry)));
    found
}

/// Names in a folder that can be a part of a model's name.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| !name.starts_with('.') && name.chars().all(plain))
        .collect()
}

/// The model of this name (without [`PREFIX`]) in these folders.
///
/// # Errors
/// If there is none, or several registries have one.
pub fn find(name: &str, folders: &[PathBuf]) -> Result<OllamaModel> {
    let all = models(folders);
    let name = name.strip_prefix("https://").unwrap_or(name);
    let tagged = match name.rsplit_once('/').map_or(name, |(_, last)| last) {
        last if last.contains(':') => name.to_owned(),
        _ => format!("{name}:{LATEST}"),
    };
    let is = |model: &&OllamaModel| {
        let full = format!("{}/{}", model.registry, model.name);
        let library = format!("{LIBRARY}/{}", model.name);
        let whole = format!("{}/{library}", model.registry);
        let named = [&model.name, &full, &library, &whole];
        named
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&tagged))
    };
    let found: Vec<&OllamaModel> = all.iter().filter(is).collect();
    match found[..] {
        [model] => Ok(model.clone()),
        [] => {
            let stem = name.split(':').next().unwrap_or(name).to_ascii_lowercase();
            let near = |model: &&OllamaModel| model.name.to_ascii_lowercase().contains(&stem);
            let mut known: Vec<&str> = all.iter().filter(near).map(|m| m.name.as_str()).collect();
            if known.is_empty() {
                known = all.iter().map(|m| m.name.as_str()).collect();
            }
            known.truncate(12);
            let folders: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
            let folders = folders.join(", ");
            let name = shown(name);
            if known.is_empty() {
                bail!(
                    "Ollama keeps no models here ({folders}); OLLAMA_MODELS names its folder, \
                     `ollama pull {name}` fetches one"
                );
            }
            bail!(
                "Ollama keeps no model {name:?} here ({folders}); it has {}. `ollama pull {name}` \
                 fetches one",
                known.join(", ")
            )
        }
        _ => {
            let known: Vec<String> = found
                .iter()
                .map(|m| format!("{PREFIX}{}/{}", m.registry, m.name))
                .collect();
            bail!("several models are called {name:?}: {}", known.join(", "))
        }
    }
}

impl OllamaModel {
    /// The name by which card finds it again.
    pub fn card_name(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    fn read(&self) -> Result<Manifest> {
        let known = fs::metadata(&self.manifest)
            .with_context(|| format!("cannot read {}", self.manifest.display()))?;
        ensure!(
            known.is_file() && known.len() <= LARGEST_MANIFEST,
            "{} is no manifest of Ollama's",
            self.manifest.display()
        );
        let text = fs::read(&self.manifest)
            .with_context(|| format!("cannot read {}", self.manifest.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is no manifest of Ollama's", self.manifest.display()))
    }

    /// The model's file, which is a whole GGUF file by its size and its beginning.
    ///
    /// # Errors
    /// If Ollama keeps it otherwise, or not all of it.
    pub fn file(&self) -> Result<PathBuf> {
        let manifest = self.read()?;
        let model = manifest
            .layers
            .iter()
            .find(|l| l.kind.ends_with(".image.model"));
        let model = model.with_context(|| {
            format!(
                "{}{} has no model here (it runs elsewhere, or is in another format)",
                PREFIX, self.name
            )
        })?;
        let file = model
            .blob(&self.root)
            .with_context(|| format!("{} names no blob by its SHA-256", self.manifest.display()))?;
        let length = fs::metadata(&file).map(|m| m.len()).with_context(|| {
            format!(
                "{PREFIX}{}: cannot read its blob {}; may this user read Ollama's folder?",
                self.name,
                file.display()
            )
        })?;
        ensure!(
            length == model.size,
            "{PREFIX}{} is not whole: {length} of {} bytes are here; `ollama pull {}` fetches the rest",
            self.name,
            model.size,
            self.name
        );
        ensure!(
            is_gguf_file(&file),
            "{PREFIX}{} is no GGUF model; card runs models in llama.cpp's GGUF format",
            self.name
        );
        Ok(file)
    }

    /// The LoRA adapters that Ollama runs the model with, as far as they are here.
    pub fn adapters(&self) -> Vec<PathBuf> {
        let layers = self.read().map(|manifest| manifest.layers);
        let layers = layers.unwrap_or_default().into_iter();
        let adapters = layers.filter(|layer| layer.kind.ends_with(".image.adapter"));
        adapters
            .filter_map(|layer| layer.blob(&self.root))
            .collect()
    }

    /// Removes the model as Ollama would: the name, and the blobs that no other name needs. Returns
    /// the bytes that became free.
    ///
    /// # Errors
    /// If what other names need is not known, or something cannot be removed.
    pub fn remove(&self) -> Result<u64> {
        let own = self.read()?.blobs(&self.root);
        let mut others = BTreeSet::new();
        for other in models(std::slice::from_ref(&self.root)) {
            if other.manifest != self.manifest {
                others.extend(other.read()?.blobs(&self.root));
            }
        }
        fs::remove_file(&self.manifest)
            .with_context(|| format!("cannot remove {}", self.manifest.display()))?;
        let mut free = 0;
        for blob in own.difference(&others) {
            let length = fs::metadata(blob).map_or(0, |m| m.len());
            match fs::remove_file(blob) {
                Ok(()) => free += length,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => {
                    return Err(e).with_context(|| format!("cannot remove {}", blob.display()));
                }
            }
        }
        Ok(free)
    }
}

impl Manifest {
    fn blobs(&self, root: &Path) -> BTreeSet<PathBuf> {
        let layers = self.layers.iter().chain(&self.config);
        layers.filter_map(|layer| layer.blob(root)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MODEL: &str = "application/vnd.ollama.image.model";
    const WORDS: &str = "application/vnd.ollama.image.license";

    fn digest(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    /// Makes a name, with layers of (kind, digit of the digest, content).
    fn keep(root: &Path, name: &str, layers: &[(&str, char, &str)]) {
        let manifest = root.join("manifests").join(name);
        fs::create_dir_all(manifest.parent().unwrap()).unwrap();
        fs::create_dir_all(root.join("blobs")).unwrap();
        let mut described = Vec::new();
        for (kind, digit, content) in layers {
            let blob = digest(*digit).replace(':', "-");
            fs::write(root.join("blobs").join(blob), content).unwrap();
            described.push(
                json!({ "mediaType": kind, "digest": digest(*digit), "size": content.len() }),
            );
        }
        let text = json!({ "schemaVersion": 2, "layers": described }).to_string();
        fs::write(manifest, text).unwrap();
    }

    fn blob(root: &Path, digit: char) -> PathBuf {
        root.join("blobs").join(digest(digit).replace(':', "-"))
    }

    #[test]
    fn a_name_leads_to_its_blob() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        keep(
            root,
            "one.test/library/qwen3/8b",
            &[(WORDS, 'a', "MIT"), (MODEL, 'b', "GGUF model")],
        );
        keep(
            root,
            "one.test/library/qwen3/latest",
            &[(MODEL, 'c', "GGUF other")],
        );
        keep(root, "one.test/me/mine/v1", &[(MODEL, 'd', "GGUF mine")]);
        let folders = [root.to_owned()];
        let file = |name: &str| find(name, &folders).and_then(|m| m.file());
        assert_eq!(file("qwen3:8b").unwrap(), blob(root, 'b'));
        assert_eq!(file("library/qwen3:8B").unwrap(), blob(root, 'b'));
        assert_eq!(file("qwen3").unwrap(), blob(root, 'c'));
        assert_eq!(file("me/mine:v1").unwrap(), blob(root, 'd'));
        assert_eq!(file("one.test/me/mine:v1").unwrap(), blob(root, 'd'));
        let whole = "one.test/library/qwen3:8b";
        assert_eq!(file(whole).unwrap(), blob(root, 'b'));
        assert_eq!(file(&format!("https://{whole}")).unwrap(), blob(root, 'b'));
        let error = file("qwen3:70b").unwrap_err().to_string();
        assert!(
            error.contains("qwen3:8b") && error.contains("ollama pull"),
            "{error}"
        );
        // Another registry has one of the same name.
        keep(root, "two.test/library/qwen3/8b", &[(MODEL, 'e', "GGUF")]);
        let error = file("qwen3:8b").unwrap_err().to_string();
        assert!(error.contains("ollama:two.test/qwen3:8b"), "{error}");
        assert_eq!(file("two.test/qwen3:8b").unwrap(), blob(root, 'e'));
    }

    #[test]
    fn adapters_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let adapter = "application/vnd.ollama.image.adapter";
        let layers = [(MODEL, 'a', "GGUF"), (adapter, 'b', "GGUF adapter")];
        keep(root, "r/library/tuned/latest", &layers);
        keep(root, "r/library/plain/latest", &layers[..1]);
        let of = |name| find(name, &[root.to_owned()]).unwrap().adapters();
        assert_eq!(of("tuned"), [blob(root, 'b')]);
        assert!(of("plain").is_empty());
    }

    #[test]
    fn what_is_not_whole_or_no_model_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        keep(root, "r/library/cut/latest", &[(MODEL, 'a', "GGUF model")]);
        fs::write(blob(root, 'a'), "GGUF").unwrap();
        keep(
            root,
            "r/library/odd/latest",
            &[(MODEL, 'b', "PK something")],
        );
        keep(root, "r/library/cloud/latest", &[(WORDS, 'c', "MIT")]);
        let bad = root.join("manifests/r/library/bad/latest");
        fs::create_dir_all(bad.parent().unwrap()).unwrap();
        let evil =
            json!({ "layers": [{ "mediaType": MODEL, "digest": "sha256:../../../etc/passwd" }] });
        fs::write(&bad, evil.to_string()).unwrap();
        for (name, why) in [
            ("cut", "not whole"),
            ("odd", "no GGUF"),
            ("cloud", "no model here"),
            ("bad", "no blob"),
        ] {
            let model = find(name, &[root.to_owned()]).unwrap();
            let error = format!("{:#}", model.file().unwrap_err());
            assert!(error.contains(why), "{name}: {error}");
        }
        fs::write(&bad, "{").unwrap();
        assert!(find("bad", &[root.to_owned()]).unwrap().file().is_err());
    }

    #[test]
    fn removing_keeps_what_other_names_need() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        keep(
            root,
            "r/library/a/latest",
            &[(WORDS, 'a', "MIT"), (MODEL, 'b', "GGUF model")],
        );
        keep(
            root,
            "r/library/a/copy",
            &[(WORDS, 'a', "MIT"), (MODEL, 'c', "GGUF")],
        );
        let folders = [root.to_owned()];
        assert_eq!(find("a", &folders).unwrap().remove().unwrap(), 10);
        assert!(!blob(root, 'b').exists() && blob(root, 'a').exists());
        assert!(find("a", &folders).is_err());
        assert_eq!(find("a:copy", &folders).unwrap().remove().unwrap(), 7);
        assert!(models(&folders).is_empty());
    }
}
