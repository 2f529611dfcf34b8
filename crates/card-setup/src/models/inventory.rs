//! The models that are on this machine, whoever keeps them.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::locate::ModelPlaces;
use crate::hub::{HubName, RepoId, Wanted, is_model, model_in};
use crate::local::{header, lmstudio, ollama};

/// Who keeps a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ModelKeeper {
    /// card, by the catalogue.
    Card,
    /// The hub's cache, in which card put it.
    Hub,
    /// The hub's cache, in which another tool put it.
    HubOther,
    /// Ollama.
    Ollama,
    /// LM Studio.
    LmStudio,
}

impl ModelKeeper {
    /// Whether card put it there.
    pub fn is_card(self) -> bool {
        matches!(self, ModelKeeper::Card | ModelKeeper::Hub)
    }
}

impl fmt::Display for ModelKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ModelKeeper::Card => "card",
            ModelKeeper::Hub => "hub's cache",
            ModelKeeper::HubOther => "hub's cache, fetched by another tool",
            ModelKeeper::Ollama => "Ollama",
            ModelKeeper::LmStudio => "LM Studio",
        })
    }
}

/// A model that is here.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalModel {
    /// The name by which `-m` finds it.
    pub name: String,
    /// Its file; the first, if it is split.
    pub file: PathBuf,
    /// Its bytes, in all parts.
    pub bytes: u64,
    /// Who keeps it.
    pub keeper: ModelKeeper,
}

/// The models that are here, by keeper and name. Each file is there once: a model of the catalogue
/// that lies in the hub's cache is the catalogue's.
pub fn models(models: &ModelPlaces) -> Vec<LocalModel> {
    let mut found = Vec::new();
    for entry in &models.catalogue.entries {
        let Some(file) = models.here(entry) else {
            continue;
        };
        let keeper = if entry.known().is_some() {
            ModelKeeper::Card
        } else {
            hub_keeper(models, &file)
        };
        found.push(model(entry.name.clone(), file, keeper));
    }
    for repo in models.hub.cache().repos() {
        found.extend(of_repo(models, &repo));
    }
    for kept in ollama::models(&ollama::folders()) {
        // One that is not whole, or in another format, is nothing to run.
        if let Ok(file) = kept.file() {
            found.push(model(kept.card_name(), file, ModelKeeper::Ollama));
        }
    }
    for kept in lmstudio::models(&lmstudio::folders()) {
        found.push(model(kept.card_name(), kept.file, ModelKeeper::LmStudio));
    }
    let mut seen = BTreeSet::new();
    found.retain(|model| {
        let real = std::fs::canonicalize(&model.file);
        seen.insert(real.unwrap_or_else(|_| model.file.clone()))
    });
    found.sort_by(|a, b| (a.keeper, &a.name).cmp(&(b.keeper, &b.name)));
    found
}

fn of_repo(models: &ModelPlaces, repo: &RepoId) -> Vec<LocalModel> {
    let commits = models.hub.cache().files(repo);
    let paths = commits.iter().flatten().map(|file| file.path.as_str());
    let paths: BTreeSet<&str> = paths.filter(|path| is_model(path)).collect();
    let mut found = Vec::new();
    for path in paths {
        let wanted = Wanted::File(path.to_owned());
        // Of a model that is split, all parts have to be here.
        let Some(first) = model_in(&commits, &wanted) else {
            continue;
        };
        let name = HubName {
            repo: repo.clone(),
            wanted,
        };
        let keeper = hub_keeper(models, &first);
        found.push(model(name.to_string(), first, keeper));
    }
    found
}

fn hub_keeper(models: &ModelPlaces, file: &Path) -> ModelKeeper {
    if models.hub.fetched(file) {
        ModelKeeper::Hub
    } else {
        ModelKeeper::HubOther
    }
}

fn model(name: String, file: PathBuf, keeper: ModelKeeper) -> LocalModel {
    LocalModel {
        bytes: header::bytes(&file),
        name,
        file,
        keeper,
    }
}
