//! A drafter without asking: which models that are here could draft for a target, and if none could,
//! what to fetch.
//!
//! A drafter has to speak the target's vocabulary and be much smaller. Which of several is best
//! depends on this machine and on the pair, so that is measured (`crate::draft_choice`). If there is
//! none, the model that the target's family names will do, whose tokens are translated where they
//! are others: in some families only the names of special tokens are.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use card_llama::HeadFileKind;

use super::inventory::{self, LocalModel, ModelKeeper};
use super::locate::ModelPlaces;
use crate::hub::is_model;
use crate::local::header::{self, Header};

/// Times a drafter has to be smaller than its target.
const SMALLER: u64 = 2;
/// How much smaller a drafter is that is neither slow nor often wrong: where sizes start to be
/// compared from, before anything is measured.
const USUAL: f64 = 12.0;
/// Candidates that are measured.
pub const MOST_CANDIDATES: usize = 3;
/// Files whose headers are read.
const MOST_HEADS: usize = 64;

/// A model that could draft.
#[derive(Clone, Debug, PartialEq)]
pub struct DraftCandidate {
    /// Its name, for people.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// How many times smaller than the target it is.
    pub smaller: f64,
    /// Whether its vocabulary is another one than the target's.
    pub translated: bool,
}

/// What is known of drafters for a target.
#[derive(Debug, Default)]
pub struct DrafterSearch {
    /// Models here that could draft, the likeliest first; at most [`MOST_CANDIDATES`].
    pub candidates: Vec<DraftCandidate>,
    /// What to fetch, if none is here and the target's family is known: the family, and the name
    /// that `card pull` takes.
    pub fetch: Option<(String, String)>,
}

impl DrafterSearch {
    /// The candidate that takes the most memory.
    pub fn largest(&self) -> Option<&DraftCandidate> {
        let candidates = self.candidates.iter();
        candidates.min_by(|a, b| a.smaller.total_cmp(&b.smaller))
    }

    /// The plan in a few words, for lists.
    pub fn words(&self) -> String {
        match (self.candidates.first(), &self.fetch) {
            (Some(candidate), _) => candidate.name.clone(),
            (None, Some((_, name))) => format!("card pull {name}"),
            (None, None) => "none".to_owned(),
        }
    }
}

/// Headers of files that were read, kept since one file may be looked at for many targets.
#[derive(Default)]
pub struct HeaderCache {
    read: HashMap<PathBuf, Option<Header>>,
}

impl HeaderCache {
    /// The header of a file, if it has one.
    fn of(&mut self, file: &Path) -> Option<Header> {
        let read = self.read.entry(file.to_owned());
        read.or_insert_with(|| Header::read(file).ok()).clone()
    }
}

/// Looks for drafters of the model in `target`: in the catalogue, the hub's cache, what other tools
/// keep, and beside the file.
pub fn plan(target: &Path, models: &ModelPlaces) -> DrafterSearch {
    let here = inventory::models(models);
    plan_among(target, models, &here, &mut HeaderCache::default())
}

/// As [`plan`], among models that are known to be here.
pub fn plan_among(
    target: &Path,
    models: &ModelPlaces,
    here: &[LocalModel],
    headers: &mut HeaderCache,
) -> DrafterSearch {
    let Some(header) = headers.of(target) else {
        // Loading it says why.
        return DrafterSearch::default();
    };
    let beside = beside(target);
    let all = here.iter().chain(&beside);
    let target_bytes = header::bytes(target);
    let real = |file: &Path| std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let own = real(target);
    let mut small: Vec<&LocalModel> = all
        .filter(|model| model.bytes > 0 && model.bytes <= target_bytes / SMALLER)
        .filter(|model| real(&model.file) != own)
        .collect();
    small.truncate(MOST_HEADS);
    let name = name_of(&header, target);
    let family = models.catalogue.family(&header.architecture, &name);
    let preferred = family.map(|(_, entry)| entry.name.as_str());
    let mut ranked = Vec::new();
    let mut translated = None;
    for model in small {
        let Some(other) = headers.of(&model.file) else {
            continue;
        };
        // A head that has a file of its own is no model that drafts by itself.
        let is_head = HeadFileKind::of_architecture(&other.architecture).is_some();
        let named = preferred == Some(model.name.as_str());
        let speaks = other.speaks_as(&header);
        if is_head || !(speaks || named) {
            continue;
        }
        let smaller = target_bytes as f64 / model.bytes as f64;
        let candidate = DraftCandidate {
            name: model.name.clone(),
            file: model.file.clone(),
            smaller,
            translated: !speaks,
        };
        if !speaks {
            translated = Some(candidate);
            continue;
        }
        let rank = Rank {
            named: !named,
            family: other.architecture != header.architecture,
            far: (smaller / USUAL).ln().abs(),
        };
        ranked.push((rank, candidate));
    }
    ranked.sort_by(|(a, _), (b, _)| {
        let order = (a.named, a.family).cmp(&(b.named, b.family));
        order.then(a.far.total_cmp(&b.far))
    });
    ranked.truncate(MOST_CANDIDATES);
    let mut candidates: Vec<_> = ranked.into_iter().map(|(_, c)| c).collect();
    if candidates.is_empty() {
        candidates.extend(translated);
    }
    let fetch = family.filter(|(_, entry)| {
        // One that is here, or is the target itself, was looked at.
        candidates.is_empty() && models.here(entry).is_none()
    });
    DrafterSearch {
        candidates,
        fetch: fetch.map(|(family, entry)| (family.name.clone(), entry.name.clone())),
    }
}

/// How likely a candidate is to be the best, before anything is measured; less is better.
struct Rank {
    /// Whether it is another than the one the family names.
    named: bool,
    /// Whether it is of another architecture.
    family: bool,
    /// How far its size is from the usual one.
    far: f64,
}

/// What a model may be called: by its header, and by its file.
fn name_of(header: &Header, file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    format!("{} {stem}", header.name.as_deref().unwrap_or_default())
}

/// The models in the folder of a file.
fn beside(file: &Path) -> Vec<LocalModel> {
    let folder = match file.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return Vec::new(),
    };
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = entry.path();
        if is_model(&name) && path.is_file() {
            found.push(LocalModel {
                bytes: header::bytes(&path),
                name: path.display().to_string(),
                file: path,
                keeper: ModelKeeper::Card,
            });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::header::testing::{header_bytes, tokens};
    use crate::models::catalogue::Catalogue;
    use crate::models::store::Store;

    /// A folder with model files: name, architecture, first letters of the tokens, bytes.
    fn folder(files: &[(&str, &str, &str, usize)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, architecture, start, bytes) in files {
            let mut content = header_bytes(architecture, name, &tokens(start, 300));
            assert!(content.len() <= *bytes);
            content.resize(*bytes, 0);
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        dir
    }

    fn planned(dir: &tempfile::TempDir, target: &str) -> DrafterSearch {
        planned_among(dir, target, &[])
    }

    fn planned_among(dir: &tempfile::TempDir, target: &str, here: &[LocalModel]) -> DrafterSearch {
        let catalogue = Catalogue::load(None).unwrap();
        let store = Store::open().unwrap();
        let models = ModelPlaces::new(&catalogue, &store, true).unwrap();
        plan_among(
            &dir.path().join(target),
            &models,
            here,
            &mut HeaderCache::default(),
        )
    }

    fn names(plan: &DrafterSearch) -> Vec<String> {
        let files = plan.candidates.iter().map(|c| c.file.file_name().unwrap());
        files.map(|n| n.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_small_model_of_the_same_vocabulary_drafts() {
        let dir = folder(&[
            ("target.gguf", "qwen2", "t", 1_200_000),
            ("small.gguf", "qwen2", "t", 100_000),
            ("foreign.gguf", "qwen2", "u", 100_000),
            ("large.gguf", "qwen2", "t", 700_000),
            ("mmproj.gguf", "qwen2", "t", 50_000),
            ("head.gguf", "eagle3", "t", 100_000),
        ]);
        let plan = planned(&dir, "target.gguf");
        assert_eq!(names(&plan), ["small.gguf"]);
        assert!((plan.candidates[0].smaller - 12.0).abs() < 0.1);
        assert!(plan.fetch.is_none());
        // Nothing is smaller than the smallest.
        assert!(planned(&dir, "small.gguf").candidates.is_empty());
    }

    #[test]
    fn the_likeliest_come_first_and_few_are_measured() {
        let dir = folder(&[
            ("target.gguf", "qwen2", "t", 1_200_000),
            ("a.gguf", "qwen2", "t", 500_000),
            ("b.gguf", "qwen2", "t", 90_000),
            ("c.gguf", "llama", "t", 100_000),
            ("d.gguf", "qwen2", "t", 15_000),
        ]);
        let plan = planned(&dir, "target.gguf");
        assert_eq!(names(&plan), ["b.gguf", "a.gguf", "d.gguf"]);
        assert!(plan.words().ends_with("b.gguf"));
    }

    #[test]
    fn the_drafter_of_a_family_is_translated_if_no_model_here_speaks_the_vocabulary() {
        let name = "DeepSeek-R1-Distill-Llama-70B.gguf";
        let dir = folder(&[(name, "llama", "t", 1_200_000)]);
        let elsewhere = folder(&[
            ("named.gguf", "llama", "u", 100_000),
            ("foreign.gguf", "llama", "u", 100_000),
            ("speaks.gguf", "llama", "t", 15_000),
        ]);
        let here = |name: &str, file: &str| LocalModel {
            name: name.to_owned(),
            file: elsewhere.path().join(file),
            bytes: header::bytes(&elsewhere.path().join(file)),
            keeper: ModelKeeper::Card,
        };
        let named = here("llama-3.2-1b", "named.gguf");
        let foreign = here("another", "foreign.gguf");
        let plan = planned_among(&dir, name, &[foreign.clone(), named.clone()]);
        assert_eq!(names(&plan), ["named.gguf"]);
        assert!(plan.candidates[0].translated && plan.fetch.is_none());
        let plan = planned_among(&dir, name, &[foreign, named, here("small", "speaks.gguf")]);
        assert_eq!(names(&plan), ["speaks.gguf"]);
        assert!(!plan.candidates[0].translated);
    }

    #[test]
    fn a_known_family_says_what_to_fetch() {
        let dir = folder(&[
            ("gpt-oss-120b.gguf", "gpt-oss", "t", 50_000),
            ("unheard-of.gguf", "mamba", "t", 50_000),
        ]);
        let plan = planned(&dir, "gpt-oss-120b.gguf");
        let fetch = plan
            .fetch
            .clone()
            .map(|(family, name)| format!("{family}: {name}"));
        // Unless somebody has fetched it here.
        if let Some(fetch) = fetch {
            assert_eq!(fetch, "gpt-oss: gpt-oss-20b");
            assert_eq!(plan.words(), "card pull gpt-oss-20b");
        }
        let plan = planned(&dir, "unheard-of.gguf");
        assert!(plan.candidates.is_empty() && plan.fetch.is_none());
        assert_eq!(plan.words(), "none");
        assert!(planned(&dir, "nowhere.gguf").candidates.is_empty());
    }
}
