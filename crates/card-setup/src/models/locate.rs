//! From the name of a model to its file, wherever it is: a file, a name of the catalogue, a model of
//! the hub, or one that another tool keeps.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::catalogue::{Catalogue, CatalogueEntry};
use super::fetch::fetch;
use super::store::Store;
use crate::hub::{self, Hub, HubName};
use crate::local::{lmstudio, ollama};

/// What a text says, where a model is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelName<'a> {
    /// A file.
    File(&'a Path),
    /// A name of the catalogue, or none at all.
    Catalogue(&'a str),
    /// A model of the hub.
    Hub(HubName),
    /// A model that Ollama keeps.
    Ollama(&'a str),
    /// A model that LM Studio keeps.
    LmStudio(&'a str),
}

/// All places of models, looked through by name.
pub struct ModelPlaces<'a> {
    /// The catalogue.
    pub catalogue: &'a Catalogue,
    /// Where the catalogue's models are kept.
    pub store: &'a Store,
    /// The hub, with its cache.
    pub hub: Hub,
}

/// A model that was found.
pub struct Located<'a> {
    /// Its file; the first, if it is split.
    pub file: PathBuf,
    /// The drafter of the pair that was named, if one was.
    pub draft: Option<&'a CatalogueEntry>,
}

impl<'a> ModelPlaces<'a> {
    /// All places. Nothing is fetched if `offline`, or if the environment says so.
    ///
    /// # Errors
    /// If the environment names no place for the hub's cache.
    pub fn new(catalogue: &'a Catalogue, store: &'a Store, offline: bool) -> Result<Self> {
        Ok(ModelPlaces {
            catalogue,
            store,
            hub: Hub::open(offline, store.hub_record())?,
        })
    }

    /// What a text says. Names of the catalogue come first, then what begins as names of other
    /// places do; a file of the working folder that is called like one is written as `./NAME`.
    ///
    /// # Errors
    /// If it begins as a name of the hub and is none, or is an address of another host.
    pub fn name<'n>(&self, text: &'n str) -> Result<ModelName<'n>> {
        if self.catalogue.knows(text) {
            return Ok(ModelName::Catalogue(text));
        }
        let rest = text.strip_prefix(hub::PREFIX);
        let file = rest.is_none() && Path::new(text).exists();
        let also = hub::own_address();
        let page = HubName::of_page(rest.unwrap_or(text), also.as_deref());
        if let Some(page) = page.filter(|_| !file) {
            return Ok(ModelName::Hub(page?));
        }
        if let Some(rest) = rest {
            return Ok(ModelName::Hub(HubName::parse(rest)?));
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            bail!(
                "{:?} is an address, and card fetches from the hub only (hf:OWNER/REPO); download \
                 the file by other means and name it (-m ./FILE.gguf)",
                hub::shown(text)
            );
        }
        if let Some(rest) = text.strip_prefix(ollama::PREFIX) {
            return Ok(ModelName::Ollama(rest));
        }
        if let Some(rest) = text.strip_prefix(lmstudio::PREFIX) {
            return Ok(ModelName::LmStudio(rest));
        }
        Ok(match self.catalogue.file(text) {
            Some(file) => ModelName::File(file),
            None => ModelName::Catalogue(text),
        })
    }

    /// The model that a text names, fetched if it is not here.
    ///
    /// # Errors
    /// If there is none, or it cannot be fetched.
    pub fn locate(&self, text: &str) -> Result<Located<'a>> {
        let alone = |file: PathBuf| Located { file, draft: None };
        Ok(match self.name(text)? {
            ModelName::File(file) => alone(file.to_owned()),
            ModelName::Hub(name) => alone(self.hub.file(&name)?),
            ModelName::Ollama(name) => {
                let kept = ollama::find(name, &ollama::folders())?;
                for adapter in kept.adapters() {
                    tracing::warn!(
                        "{} has a LoRA adapter, which is left out; --lora {} adds it",
                        kept.card_name(),
                        adapter.display()
                    );
                }
                alone(kept.file()?)
            }
            ModelName::LmStudio(name) => alone(lmstudio::find(name, &lmstudio::folders())?.file),
            ModelName::Catalogue(name) => {
                let (target, draft) = self.resolve(name)?;
                Located {
                    file: self.fetch(target)?,
                    draft,
                }
            }
        })
    }

    /// The file of the model that drafts, where one is asked for: of a pair, its drafter.
    ///
    /// # Errors
    /// If there is none, or it cannot be fetched.
    pub fn drafter(&self, text: &str) -> Result<PathBuf> {
        match self.name(text)? {
            ModelName::Catalogue(name) => {
                let (model, draft) = self.resolve(name)?;
                self.fetch(draft.unwrap_or(model))
            }
            _ => Ok(self.locate(text)?.file),
        }
    }

    /// The models behind a name of the catalogue. One that has none may be meant for another place.
    ///
    /// # Errors
    /// If the catalogue has no such name.
    pub fn resolve(&self, name: &str) -> Result<(&'a CatalogueEntry, Option<&'a CatalogueEntry>)> {
        if !self.catalogue.knows(name) && HubName::parse(name).is_ok() {
            bail!("there is no model {name:?} and no such file; a model of the hub is hf:{name}");
        }
        self.catalogue.resolve(name)
    }

    /// The file of a model of the catalogue, fetched if it is not here.
    ///
    /// # Errors
    /// If it cannot be fetched.
    pub fn fetch(&self, entry: &CatalogueEntry) -> Result<PathBuf> {
        fetch(self.store, &self.hub, entry)
    }

    /// The file of a model of the catalogue, if it is here.
    pub fn here(&self, entry: &CatalogueEntry) -> Option<PathBuf> {
        if entry.known().is_some() {
            return self.store.has(entry).then(|| self.store.path(entry));
        }
        self.hub.cached(&entry.hub()?.name().ok()?, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_where_to_look() {
        let catalogue = Catalogue::load(None).unwrap();
        let store = Store::open().unwrap();
        let models = ModelPlaces::new(&catalogue, &store, true).unwrap();
        let name = |text| models.name(text).unwrap();
        assert_eq!(name("qwen-coder"), ModelName::Catalogue("qwen-coder"));
        assert_eq!(name("nothing"), ModelName::Catalogue("nothing"));
        assert_eq!(name("a.gguf"), ModelName::File(Path::new("a.gguf")));
        assert_eq!(
            name("./hf:x.gguf"),
            ModelName::File(Path::new("./hf:x.gguf"))
        );
        assert_eq!(name("ollama:qwen3"), ModelName::Ollama("qwen3"));
        assert_eq!(name("lmstudio:a/b.gguf"), ModelName::LmStudio("a/b.gguf"));
        let hub = HubName::parse("a/b:Q8_0").unwrap();
        assert_eq!(name("hf:a/b:Q8_0"), ModelName::Hub(hub));
        let page = "https://hf.co/a/b/resolve/main/c.gguf?download=true";
        for text in [page.to_owned(), format!("hf:{page}")] {
            let file = HubName::parse("a/b/c.gguf").unwrap();
            assert_eq!(models.name(&text).unwrap(), ModelName::Hub(file));
        }
        let error = models.name("https://example.test/c.gguf").unwrap_err();
        assert!(error.to_string().contains("from the hub only"), "{error}");
        assert!(models.name("hf:nonsense").is_err());
        let error = models
            .locate("a/b")
            .map(|l| l.file)
            .unwrap_err()
            .to_string();
        assert!(error.contains("hf:a/b"), "{error}");
        let error = models
            .locate("nothing")
            .map(|l| l.file)
            .unwrap_err()
            .to_string();
        assert!(error.contains("which has qwen-coder"), "{error}");
    }
}
