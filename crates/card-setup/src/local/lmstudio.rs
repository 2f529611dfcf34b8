//! Models that LM Studio keeps, as PUBLISHER/REPOSITORY/FILE.gguf below one folder.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::header::is_gguf_file;
use crate::hub::{is_model, quant, shown};

/// What stands before the name of a model of LM Studio's.
pub const PREFIX: &str = "lmstudio:";

/// Folders within folders that are looked into.
const DEEPEST: usize = 5;
/// Models that are listed.
const MOST: usize = 20_000;
/// Files and folders that are looked at below one folder: a user may have chosen `/` for models.
const MOST_ENTRIES: usize = 200_000;
/// Bytes of the largest file of settings.
const LARGEST_SETTINGS: u64 = 1 << 20;
/// The quantisation that is meant where a name fits several files of one repository.
const USUAL: &str = "Q4_K_M";

/// A model that LM Studio keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct LmStudioModel {
    /// Its path below the folder, with `/` between the parts.
    pub path: String,
    /// Its file; the first, if it is split.
    pub file: PathBuf,
}

impl LmStudioModel {
    /// The name by which card finds it again.
    pub fn card_name(&self) -> String {
        format!("{PREFIX}{}", self.path)
    }
}

/// Folders in which LM Studio keeps models: those that the user chose, the newer and the older.
pub fn folders() -> Vec<PathBuf> {
    dirs::home_dir().map_or_else(Vec::new, |home| folders_of(&home))
}

/// The same of the user whose home this is.
fn folders_of(home: &Path) -> Vec<PathBuf> {
    let pointer = read_small(&home.join(".lmstudio-home-pointer"));
    let pointed = pointer.map(|text| PathBuf::from(text.trim()));
    let usual = [home.join(".lmstudio"), home.join(".cache/lm-studio")];
    let homes: Vec<PathBuf> = pointed.into_iter().chain(usual).collect();
    let chosen = homes.iter().filter_map(|home| downloads(home));
    let own = homes.iter().map(|home| home.join("models"));
    let mut folders: Vec<PathBuf> = Vec::new();
    for folder in chosen.chain(own) {
        if folder.is_absolute() && !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// The folder for models that the settings in LM Studio's home name.
fn downloads(home: &Path) -> Option<PathBuf> {
    let text = read_small(&home.join("settings.json"))?;
    let settings: serde_json::Value = serde_json::from_str(&text).ok()?;
    let folder = settings.get("downloadsFolder")?.as_str()?;
    Some(PathBuf::from(folder))
}

/// The text of a file of LM Studio's, if it has no more than such files have.
fn read_small(file: &Path) -> Option<String> {
    let small = fs::metadata(file).is_ok_and(|m| m.is_file() && m.len() <= LARGEST_SETTINGS);
    small.then(|| fs::read_to_string(file).ok()).flatten()
}

/// The models in these folders, by path.
pub fn models(folders: &[PathBuf]) -> Vec<LmStudioModel> {
    let mut found: Vec<LmStudioModel> = Vec::new();
    for root in folders {
        if !add_models(root, MOST_ENTRIES, &mut found) {
            tracing::warn!(
                "{} has too many files for a folder of models, so some of its models may be left \
                 out; choose a folder for models alone in LM Studio, or name a file itself \
                 (-m ./FILE.gguf)",
                root.display()
            );
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup_by(|a, b| a.path == b.path);
    found
}

/// Adds the models below a folder, and looks at so many files and folders at most: first at those
/// that lie least deep. Returns whether that was all.
fn add_models(root: &Path, most: usize, found: &mut Vec<LmStudioModel>) -> bool {
    let mut open = VecDeque::from([(String::new(), root.to_owned(), 0)]);
    let mut seen = 0;
    while let Some((before, folder, depth)) = open.pop_front() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            if seen >= most || found.len() >= MOST {
                return false;
            }
            seen += 1;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let (path, file) = (format!("{before}{name}"), entry.path());
            // Users put links to files and folders here, which lead no deeper than others.
            match fs::metadata(&file) {
                Ok(known) if known.is_dir() && depth < DEEPEST => {
                    open.push_back((format!("{path}/"), file, depth + 1));
                }
                Ok(known) if known.is_file() && is_model(&path) => {
                    found.push(LmStudioModel { path, file });
                }
                _ => {}
            }
        }
    }
    true
}

/// The model that a name (without [`PREFIX`]) means in these folders: its path, or words that are
/// in the path of one only.
///
/// # Errors
/// If none is meant, or several are.
pub fn find(name: &str, folders: &[PathBuf]) -> Result<LmStudioModel> {
    let all = models(folders);
    let found = meant(name, &all);
    let model = match found[..] {
        [model] => model,
        [] => {
            let folders: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
            let known: Vec<&str> = all.iter().take(12).map(|m| m.path.as_str()).collect();
            let known = if known.is_empty() {
                "nothing".to_owned()
            } else {
                known.join(", ")
            };
            bail!(
                "LM Studio keeps no model {:?} here ({}); it has {known}",
                shown(name),
                folders.join(", ")
            )
        }
        _ => {
            let known: Vec<&str> = found.iter().take(8).map(|m| m.path.as_str()).collect();
            bail!(
                "{:?} means several models of LM Studio's: {}; write more of the name",
                shown(name),
                known.join(", ")
            )
        }
    };
    if !is_gguf_file(&model.file) {
        bail!(
            "{} is no GGUF model, or has not arrived whole; fetch it again in LM Studio",
            model.file.display()
        );
    }
    Ok(model.clone())
}

/// The models that a name may mean: the one at that path, else those whose paths have all of its
/// words, of which the usual quantisation wins where all are of one repository.
fn meant<'a>(name: &str, all: &'a [LmStudioModel]) -> Vec<&'a LmStudioModel> {
    let name = name.to_ascii_lowercase();
    let bare = name.strip_suffix(".gguf").unwrap_or(&name);
    let exact = |model: &&LmStudioModel| {
        let path = model.path.to_ascii_lowercase();
        path == name || path.strip_suffix(".gguf") == Some(bare)
    };
    let found: Vec<&LmStudioModel> = all.iter().filter(exact).collect();
    if !found.is_empty() {
        return found;
    }
    let is_break = |c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.';
    let words: Vec<&str> = bare.split(is_break).filter(|w| !w.is_empty()).collect();
    let fits = |model: &&LmStudioModel| {
        let path = model.path.to_ascii_lowercase();
        !words.is_empty() && words.iter().all(|word| path.contains(word))
    };
    // One file may be there by two paths, where one folder is in another or a link leads to it.
    let mut files = HashSet::new();
    let mut is_new = |model: &&LmStudioModel| {
        let real = fs::canonicalize(&model.file);
        files.insert(real.unwrap_or_else(|_| model.file.clone()))
    };
    let fitting = all.iter().filter(fits);
    let found: Vec<&LmStudioModel> = fitting.filter(|model| is_new(model)).collect();
    let folder = |model: &LmStudioModel| model.file.parent().map(Path::to_owned);
    let one_folder = found.windows(2).all(|two| folder(two[0]) == folder(two[1]));
    let usual = |model: &&&LmStudioModel| quant(&model.path).as_deref() == Some(USUAL);
    let chosen: Vec<&LmStudioModel> = found.iter().filter(usual).copied().collect();
    if one_folder && found.len() > 1 && chosen.len() == 1 {
        chosen
    } else {
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(files: &[&str]) -> (tempfile::TempDir, [PathBuf; 1]) {
        let dir = tempfile::tempdir().unwrap();
        for path in files {
            let file = dir.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "GGUF").unwrap();
        }
        let folders = [dir.path().to_owned()];
        (dir, folders)
    }

    #[test]
    fn folders_that_the_user_chose_come_first() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        let usual = [".lmstudio/models", ".cache/lm-studio/models"].map(|f| home.join(f));
        assert_eq!(folders_of(home), usual);
        let (moved, chosen) = (home.join("moved"), home.join("chosen"));
        fs::create_dir_all(&moved).unwrap();
        let pointer = home.join(".lmstudio-home-pointer");
        fs::write(pointer, format!("{}\n", moved.display())).unwrap();
        let settings = serde_json::json!({ "downloadsFolder": chosen }).to_string();
        fs::write(moved.join("settings.json"), settings).unwrap();
        let [newer, older] = usual;
        assert_eq!(
            folders_of(home),
            [chosen, moved.join("models"), newer, older]
        );
        for settings in [
            "{",
            "[]",
            r#"{"downloadsFolder": 7}"#,
            r#"{"downloadsFolder": "x"}"#,
        ] {
            fs::write(moved.join("settings.json"), settings).unwrap();
            assert_eq!(folders_of(home)[0], moved.join("models"), "{settings}");
        }
    }

    #[test]
    fn a_name_is_a_path_or_words_of_it() {
        let (_dir, folders) = shelf(&[
            "lmstudio-community/Qwen3-8B-GGUF/Qwen3-8B-Q4_K_M.gguf",
            "lmstudio-community/Qwen3-8B-GGUF/Qwen3-8B-Q8_0.gguf",
            "lmstudio-community/Qwen3-8B-GGUF/mmproj-Qwen3-8B.gguf",
            "google/gemma-3/gemma-3-00001-of-00002.gguf",
            "google/gemma-3/gemma-3-00002-of-00002.gguf",
        ]);
        let path = |name: &str| find(name, &folders).map(|m| m.path);
        let usual = "lmstudio-community/Qwen3-8B-GGUF/Qwen3-8B-Q4_K_M.gguf";
        assert_eq!(path(usual).unwrap(), usual);
        assert_eq!(
            path("lmstudio-community/qwen3-8b-gguf/qwen3-8b-q4_k_m").unwrap(),
            usual
        );
        assert_eq!(path("qwen3 8b").unwrap(), usual);
        assert!(path("qwen3-8b-q8_0").unwrap().ends_with("Q8_0.gguf"));
        assert!(path("gemma").unwrap().ends_with("00001-of-00002.gguf"));
        let error = path("llama").unwrap_err().to_string();
        assert!(error.contains("gemma-3"), "{error}");
        let error = path("gguf").map_err(|e| e.to_string());
        assert!(error.is_ok() || error.unwrap_err().contains("several"));
    }

    #[test]
    fn words_that_fit_several_repositories_are_asked_about() {
        let (_dir, folders) = shelf(&["a/one/m-Q4_K_M.gguf", "b/two/m-Q4_K_M.gguf"]);
        let error = find("m", &folders).unwrap_err().to_string();
        assert!(
            error.contains("several") && error.contains("a/one"),
            "{error}"
        );
        assert!(find("two m", &folders).is_ok());
        assert!(find("", &folders).is_err());
    }

    #[test]
    fn a_folder_of_everything_is_looked_at_in_bounded_time() {
        let (dir, _) = shelf(&["deep/a/b/c.gguf", "x/one/m.gguf", "n.gguf"]);
        let looked_at = |most: usize| {
            let mut found = Vec::new();
            let whole = add_models(dir.path(), most, &mut found);
            (whole, found.len())
        };
        // Three on top, then two folders in them, then a folder and a file, then a file.
        assert_eq!(looked_at(8), (true, 3));
        assert_eq!(looked_at(7), (false, 2));
        assert_eq!(looked_at(3), (false, 1));
        assert_eq!(looked_at(0), (false, 0));
    }

    #[test]
    fn one_file_by_two_paths_is_one_model() {
        let (dir, [models]) = shelf(&["a/one/m-Q8_0.gguf"]);
        let above = dir.path().parent().unwrap().to_owned();
        let inside = dir.path().file_name().unwrap().to_str().unwrap();
        let file = models.join("a/one/m-Q8_0.gguf");
        let twice = [
            LmStudioModel {
                path: "a/one/m-Q8_0.gguf".to_owned(),
                file: file.clone(),
            },
            LmStudioModel {
                path: format!("{inside}/a/one/m-Q8_0.gguf"),
                file: above.join(inside).join("a/./one/m-Q8_0.gguf"),
            },
        ];
        assert_eq!(meant("one m", &twice), [&twice[0]]);
        // Each path by itself still means it.
        assert_eq!(meant(&twice[1].path, &twice), [&twice[1]]);
    }

    #[test]
    fn what_is_no_model_is_refused() {
        let (dir, folders) = shelf(&["a/one/m.gguf"]);
        fs::write(dir.path().join("a/one/m.gguf"), "<html>").unwrap();
        let error = find("one", &folders).unwrap_err().to_string();
        assert!(error.contains("no GGUF"), "{error}");
    }
}
