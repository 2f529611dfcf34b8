//! Which models a server has: that of --model, those of a folder, those of the settings file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use card_setup::Settings;
use card_setup::hub::{Split, is_model, quant};

use crate::args::{SeveralArgs, TableModel};

/// Words of the name of a file that only drafts.
const DRAFTS: [&str; 2] = ["draft", "drafter"];
/// The word for no draft model.
const NONE: &str = "none";

/// A model by its name.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedModel {
    /// The name by which requests ask for it.
    pub name: String,
    /// What to load, and where.
    pub settings: Settings,
}

/// The models of a server.
#[derive(Debug, PartialEq)]
pub struct ModelList {
    /// All of them; at least one, each with another name.
    pub models: Vec<NamedModel>,
    /// The name of the one that is loaded at the start, and answers requests which name none.
    pub default: Option<String>,
}

impl ModelList {
    /// The models that were asked for. `settings` are those of --model, `name` is the name that was
    /// given to it.
    ///
    /// # Errors
    /// If the folder cannot be read, there is no model, or two have the same name.
    pub fn of(several: &SeveralArgs, settings: &Settings, name: Option<&str>) -> Result<Self> {
        let named = || NamedModel {
            name: name.map_or_else(|| name_of(&settings.model), str::to_owned),
            settings: settings.clone(),
        };
        if !several.asked() {
            let only = named();
            return Ok(ModelList {
                default: Some(only.name.clone()),
                models: vec![only],
            });
        }
        ensure!(
            name.is_none() || several.model_named,
            "--name is the name of the model of --model; give that too, or leave --name out"
        );
        let shared = shared(settings);
        let of_table = |model: &TableModel| of_table(model, &shared);
        let mut models: Vec<NamedModel> = several.table.iter().map(of_table).collect();
        if let Some(folder) = &several.models {
            for model in in_folder(folder, &shared)? {
                // What the settings file says of a name goes before a file that is called so.
                if models.iter().all(|m| m.name != model.name) {
                    models.push(model);
                }
            }
        }
        let mut list = ModelList {
            models,
            default: None,
        };
        if several.model_named {
            list.add_default(named(), &several.table);
        }
        if let [only] = &list.models[..] {
            list.default = Some(only.name.clone());
        }
        ensure!(
            !list.models.is_empty(),
            "there is no GGUF file in {}; put models there, or name one with --model",
            several
                .models
                .as_deref()
                .unwrap_or(Path::new("."))
                .display()
        );
        Ok(list)
    }

    /// Adds the model of --model, as the first one. If its text is the name of one that is listed,
    /// that one is meant, with the flags that are for --model alone.
    fn add_default(&mut self, named: NamedModel, table: &[TableModel]) {
        let asked = &named.settings.model;
        let listed = self.models.iter().position(|m| m.name == *asked);
        let default = match listed.map(|at| self.models.remove(at)) {
            Some(listed) => NamedModel {
                name: listed.name,
                settings: Settings {
                    model: listed.settings.model,
                    draft: listed.settings.draft.or(named.settings.draft.clone()),
                    ctx: listed.settings.ctx,
                    ..named.settings
                },
            },
            None => named,
        };
        // A file of the folder may be the same one; what the settings file names has its own name.
        let of_table = |m: &NamedModel| table.iter().any(|named| named.name == m.name);
        let same = |m: &NamedModel| {
            m.name == default.name || (m.settings.model == default.settings.model && !of_table(m))
        };
        self.models.retain(|m| !same(m));
        self.default = Some(default.name.clone());
        self.models.insert(0, default);
    }

    /// The settings of the model of this name.
    pub fn settings(&self, name: &str) -> Option<&Settings> {
        let model = self.models.iter().find(|m| m.name == name)?;
        Some(&model.settings)
    }
}

/// The settings that all models share. What belongs to one target, such as its adapters and its
/// template, is that of --model alone; `--draft none` holds for all.
fn shared(settings: &Settings) -> Settings {
    let draft = settings.draft.clone();
    Settings {
        draft: draft.filter(|draft| draft == NONE),
        draft2: None,
        drafter: Vec::new(),
        lora: Vec::new(),
        lora_scaled: Vec::new(),
        chat_template: None,
        chat_template_file: None,
        chat_template_kwargs: None,
        ..settings.clone()
    }
}

fn of_table(model: &TableModel, shared: &Settings) -> NamedModel {
    let fields = model.fields.clone();
    NamedModel {
        name: model.name.clone(),
        settings: Settings {
            model: fields.model,
            draft: fields.draft.or_else(|| shared.draft.clone()),
            ctx: fields.context.or(shared.ctx),
            ..shared.clone()
        },
    }
}

/// The models in a folder, by name.
fn in_folder(folder: &Path, shared: &Settings) -> Result<Vec<NamedModel>> {
    let cannot = || format!("--models: the folder {} cannot be read", folder.display());
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(is_model) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let (drafters, targets): (Vec<_>, Vec<_>) = files
        .into_iter()
        .partition(|file| draft_base(&stem(file)).is_some());
    let models = targets.iter().map(|file| {
        let found = drafters.iter().filter(|d| drafts_for(d, file));
        // The one that names more of the model.
        let best = found.max_by_key(|d| draft_base(&stem(d)).map_or(0, |base| base.len()));
        let drafter = best.map(|d| d.display().to_string());
        NamedModel {
            name: stem(file),
            settings: Settings {
                model: file.display().to_string(),
                draft: shared.draft.clone().or(drafter),
                ..shared.clone()
            },
        }
    });
    Ok(models.collect())
}

/// Whether a drafter's file is for a model's file: the model's name begins with the drafter's.
fn drafts_for(drafter: &Path, model: &Path) -> bool {
    let base = draft_base(&stem(drafter)).unwrap_or_default();
    !base.is_empty() && words(&stem(model)).starts_with(&base)
}

/// The words of a drafter's name but for the word that says so; `None` if it is no drafter.
fn draft_base(stem: &str) -> Option<Vec<String>> {
    let quantisation = quant(&format!("{stem}.gguf"));
    let end = quantisation.map_or(0, |q| q.len());
    let named = stem.get(..stem.len() - end).unwrap_or(stem);
    let is_draft = |word: &String| DRAFTS.contains(&word.as_str());
    if !words(stem).iter().any(is_draft) {
        return None;
    }
    let rest = |name: &str| -> Vec<String> {
        let words = words(name).into_iter();
        words.filter(|word| !is_draft(word)).collect()
    };
    // What looks like a quantisation may be all there is of a name: `draft-qwen2`.
    let base = rest(named);
    Some(if base.is_empty() { rest(stem) } else { base })
}

/// The words of a name, in small letters.
fn words(name: &str) -> Vec<String> {
    let name = name.to_ascii_lowercase();
    let words = name.split(['-', '_', '.', ' ']).filter(|w| !w.is_empty());
    words.map(str::to_owned).collect()
}

/// The name of a file without its ending and, if it is split, without the number of its part.
fn stem(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if let Some(split) = Split::of(&name) {
        return split.prefix.to_owned();
    }
    let stem = Path::new(&*name).file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// `models/x.gguf` is served as `x`.
pub fn name_of(model: &str) -> String {
    if model.ends_with(".gguf") {
        stem(Path::new(model))
    } else {
        model.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            std::fs::write(folder.path().join(file), "GGUF").unwrap();
        }
        folder
    }

    fn asked(folder: Option<&Path>, table: &[(&str, &str)], model_named: bool) -> SeveralArgs {
        let parse = |(name, model): &(&str, &str)| {
            TableModel::parse(name, toml::Value::from(*model)).unwrap()
        };
        SeveralArgs {
            models: folder.map(Path::to_owned),
            table: table.iter().map(parse).collect(),
            model_named,
            ..SeveralArgs::default()
        }
    }

    fn names(list: &ModelList) -> Vec<&str> {
        list.models.iter().map(|m| m.name.as_str()).collect()
    }

    #[test]
    fn without_more_there_is_the_model_of_the_flag() {
        let settings = Settings {
            model: "models/x.gguf".into(),
            ..Settings::default()
        };
        let list = ModelList::of(&asked(None, &[], false), &settings, None).unwrap();
        assert_eq!(
            (names(&list), list.default.as_deref()),
            (vec!["x"], Some("x"))
        );
        let list = ModelList::of(&asked(None, &[], true), &settings, Some("y")).unwrap();
        assert_eq!(list.settings("y"), Some(&settings));
    }

    #[test]
    fn a_folder_is_its_models_each_once_with_its_drafter() {
        let folder = folder(&[
            "Qwen-7B-Q4_K_M.gguf",
            "Qwen-7B-draft-Q8_0.gguf",
            "draft-qwen2.gguf",
            "qwen2-1.gguf",
            "large-00001-of-00002.gguf",
            "large-00002-of-00002.gguf",
            "mmproj-large.gguf",
            "notes.txt",
            "overdraft.gguf",
        ]);
        let settings = Settings {
            draft: Some("named.gguf".into()),
            draft2: Some("second".into()),
            ctx: Some(512),
            ..Settings::default()
        };
        let list = ModelList::of(&asked(Some(folder.path()), &[], false), &settings, None);
        let list = list.unwrap();
        let expected = ["Qwen-7B-Q4_K_M", "large", "overdraft", "qwen2-1"];
        assert_eq!(names(&list), expected);
        let small = list.settings("qwen2-1").unwrap();
        assert!(small.draft.as_ref().unwrap().ends_with("draft-qwen2.gguf"));
        assert_eq!(list.default, None);
        let qwen = list.settings("Qwen-7B-Q4_K_M").unwrap();
        assert!(
            qwen.draft
                .as_ref()
                .unwrap()
                .ends_with("Qwen-7B-draft-Q8_0.gguf")
        );
        assert_eq!((qwen.ctx, &qwen.draft2), (Some(512), &None));
        let large = list.settings("large").unwrap();
        assert!(large.model.ends_with("large-00001-of-00002.gguf"));
        // The drafter that was named is the default model's.
        assert_eq!(large.draft, None);
    }

    #[test]
    fn the_model_of_the_flag_is_the_default_one() {
        let folder = folder(&["a.gguf", "b.gguf"]);
        let table = [("t", "qwen"), ("a", "another.gguf")];
        let several = asked(Some(folder.path()), &table, true);
        let model = |model: &str| Settings {
            model: model.to_owned(),
            lora: vec!["l.gguf".into()],
            ..Settings::default()
        };
        let list = ModelList::of(&several, &model("x.gguf"), None).unwrap();
        assert_eq!(names(&list), ["x", "t", "a", "b"]);
        assert_eq!(list.default.as_deref(), Some("x"));
        assert_eq!(list.settings("x").unwrap().lora.len(), 1);
        assert!(list.settings("b").unwrap().lora.is_empty());
        assert_eq!(list.settings("a").unwrap().model, "another.gguf");
        // By the name of one that is listed, that one is meant.
        let list = ModelList::of(&several, &model("t"), None).unwrap();
        assert_eq!(names(&list), ["t", "a", "b"]);
        assert_eq!(list.settings("t").unwrap().model, "qwen");
        assert_eq!(list.settings("t").unwrap().lora.len(), 1);
        // A file of the folder is there once.
        let file = folder.path().join("b.gguf").display().to_string();
        let list = ModelList::of(&several, &model(&file), Some("mine")).unwrap();
        assert_eq!(names(&list), ["mine", "t", "a"]);
    }

    #[test]
    fn no_model_and_no_folder_are_errors_with_a_remedy() {
        let empty = folder(&["notes.txt"]);
        let settings = Settings::default();
        let error = ModelList::of(&asked(Some(empty.path()), &[], false), &settings, None);
        assert!(error.unwrap_err().to_string().contains("--model"));
        let missing = empty.path().join("nothing");
        let error = ModelList::of(&asked(Some(&missing), &[], false), &settings, None);
        assert!(error.unwrap_err().to_string().contains("--models"));
        let error = ModelList::of(&asked(Some(empty.path()), &[], false), &settings, Some("x"));
        assert!(error.unwrap_err().to_string().contains("--name"));
        // A folder of one model has a default.
        let one = folder(&["a.gguf"]);
        let list = ModelList::of(&asked(Some(one.path()), &[], false), &settings, None).unwrap();
        assert_eq!(list.default.as_deref(), Some("a"));
    }
}
