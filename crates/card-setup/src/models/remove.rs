//! Removes models that are here.

use std::fs;

use anyhow::{Context, Result, bail};

use super::inventory::{LocalModel, ModelKeeper, models};
use super::locate::{ModelName, ModelPlaces};
use crate::hub::{HubCache, HubName, RepoId, Split, Wanted};
use crate::local::{header, lmstudio, ollama};

/// The models of a name that are here. A name of the hub without a file means all of its
/// quantisations that are here; a pair means both of its models.
///
/// # Errors
/// If none of them is here, or the name is a file's.
pub fn named(text: &str, all: &ModelPlaces) -> Result<Vec<LocalModel>> {
    let here = models(all);
    let mut found: Vec<LocalModel> = match all.name(text)? {
        ModelName::File(file) => {
            bail!(
                "{} is a file of yours, which no command of card's removes",
                file.display()
            )
        }
        ModelName::Catalogue(name) => {
            let (target, draft) = all.resolve(name)?;
            let names = [Some(target), draft];
            let names: Vec<&str> = names.iter().flatten().map(|e| e.name.as_str()).collect();
            let is = |model: &LocalModel| names.contains(&model.name.as_str());
            here.into_iter().filter(is).collect()
        }
        ModelName::Hub(name) => {
            let is = |model: &LocalModel| is_of(&name, model, all);
            here.into_iter().filter(is).collect()
        }
        ModelName::Ollama(name) => {
            let kept = ollama::find(name, &ollama::folders())?;
            vec![LocalModel {
                name: kept.card_name(),
                file: kept.file().unwrap_or_default(),
                bytes: kept.file().map_or(0, |file| header::bytes(&file)),
                keeper: ModelKeeper::Ollama,
            }]
        }
        ModelName::LmStudio(name) => {
            let kept = lmstudio::find(name, &lmstudio::folders())?;
            vec![LocalModel {
                name: kept.card_name(),
                bytes: header::bytes(&kept.file),
                file: kept.file,
                keeper: ModelKeeper::LmStudio,
            }]
        }
    };
    found.dedup_by(|a, b| a.file == b.file);
    if found.is_empty() {
        bail!("{text} is not here, so there is nothing to remove (`card list` shows what is)");
    }
    Ok(found)
}

/// Whether a model that is here is the one that a name of the hub means.
fn is_of(name: &HubName, model: &LocalModel, all: &ModelPlaces) -> bool {
    let Some((repo, path)) = place(model, all) else {
        return false;
    };
    repo == name.repo
        && match &name.wanted {
            Wanted::Usual => true,
            Wanted::Quant(quant) => {
                let has = crate::hub::quant(&path);
                has.is_some_and(|has| has.eq_ignore_ascii_case(quant))
            }
            Wanted::File(wanted) => *wanted == path,
        }
}

/// Where in the hub's cache a model lies: its repository, and its path there.
fn place(model: &LocalModel, all: &ModelPlaces) -> Option<(RepoId, String)> {
    let cache = all.hub.cache();
    let inside = model.file.strip_prefix(cache.root()).ok()?;
    let mut parts = inside.iter().map(|part| part.to_str());
    let repo = RepoId::of_folder(parts.next()??)?;
    let path: Option<Vec<&str>> = parts.skip(2).collect();
    Some((repo, path?.join("/")))
}

/// Removes a model. Returns the bytes that became free.
///
/// # Errors
/// If it cannot be removed.
pub fn remove(model: &LocalModel, all: &ModelPlaces) -> Result<u64> {
    match model.keeper {
        ModelKeeper::Card => remove_own(model, all),
        ModelKeeper::Hub | ModelKeeper::HubOther => {
            let (repo, path) = place(model, all).context("it is not in the hub's cache")?;
            Ok(all
                .hub
                .cache()
                .remove(&repo, &all_parts(all.hub.cache(), &repo, &path))?)
        }
        ModelKeeper::Ollama => {
            let name = model
                .name
                .strip_prefix(ollama::PREFIX)
                .unwrap_or(&model.name);
            ollama::find(name, &ollama::folders())?.remove()
        }
        ModelKeeper::LmStudio => {
            let mut free = 0;
            for part in header::parts(&model.file) {
                let bytes = fs::metadata(&part).map_or(0, |m| m.len());
                fs::remove_file(&part)
                    .with_context(|| format!("cannot remove {}", part.display()))?;
                free += bytes;
            }
            Ok(free)
        }
    }
}

/// All files of a model of the hub's cache.
fn all_parts(cache: &HubCache, repo: &RepoId, path: &str) -> Vec<String> {
    let Some(split) = Split::of(path) else {
        return vec![path.to_owned()];
    };
    let files = cache.files(repo).into_iter().flatten();
    let files = files.map(|file| file.path);
    let of_it = |other: &String| {
        Split::of(other).is_some_and(|o| o.prefix == split.prefix && o.count == split.count)
    };
    files.filter(of_it).collect()
}

/// Removes a file of the catalogue, and what was left of fetching it.
fn remove_own(model: &LocalModel, all: &ModelPlaces) -> Result<u64> {
    let folder = all.store.models();
    let bytes = fs::metadata(&model.file).map_or(0, |m| m.len());
    fs::remove_file(&model.file)
        .with_context(|| format!("cannot remove {}", model.file.display()))?;
    for rest in ["gguf.part", "gguf.part.mark", "gguf.part.hub"] {
        let _ = fs::remove_file(folder.join(format!("{}.{rest}", model.name)));
    }
    Ok(bytes)
}
