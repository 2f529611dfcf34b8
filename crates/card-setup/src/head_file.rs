//! A head in a file of its own, as a drafter: how it is known, whether it is the target's, and what is
//! said of it.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use card_llama::HeadFile;

/// How the names of such files begin where they lie beside their target, as llama-server looks for
/// them.
const PREFIXES: [&str; 3] = ["eagle3-", "dflash-", "dspark-"];

/// Whether a file is a head, not a model that drafts by itself.
pub(crate) fn is_head(file: &Path) -> bool {
    // What is wrong with a file is said when it is loaded.
    matches!(HeadFile::of_file(file), Ok(Some(_)))
}

/// Checks that a head can draft for a target, by what their files say.
///
/// # Errors
/// If it cannot, with what helps.
pub(crate) fn check(head: &Path, target: &Path) -> Result<()> {
    let Some(file) = HeadFile::of_file(head)? else {
        bail!("{} is no head of another model", head.display());
    };
    if let Some(why) = file.unfit(target)? {
        bail!(
            "the {} head in {} cannot draft for {}: {why}; name a head that was made for this model, \
             or another drafter (--draft auto, or a model's name)",
            file.kind(),
            head.display(),
            target.display()
        );
    }
    Ok(())
}

/// The head that lies beside a target, in the same folder, and can draft for it; the first by name.
pub(crate) fn beside(target: &Path) -> Option<PathBuf> {
    let folder = match target.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return None,
    };
    let named = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| {
            let name = name.to_ascii_lowercase();
            PREFIXES.iter().any(|p| name.starts_with(p)) && name.ends_with(".gguf")
        })
    };
    let entries = std::fs::read_dir(folder).ok()?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut heads: Vec<PathBuf> = paths.filter(named).collect();
    heads.sort();
    heads.into_iter().find(|head| check(head, target).is_ok())
}

/// The words for a model file in lists of drafters: what it is, if it is a head by itself, or which
/// head lies beside it; `None` if neither.
pub fn listed(file: &Path) -> Option<String> {
    if let Ok(Some(head)) = HeadFile::of_file(file) {
        let kind = head.kind();
        return Some(match head.unusable() {
            None => format!("none: it is a head itself ({kind}; --draft)"),
            Some(_) => format!("none: it is a head itself ({kind}), which card does not run"),
        });
    }
    let head = beside(file)?;
    let name = head.file_name().unwrap_or_default();
    Some(name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use card_llama::tiny::zoo;

    use super::*;

    /// A folder with a target and a head that was made for it.
    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let llama = zoo::find("llama").unwrap();
        let made = [
            (zoo::write(llama, 1).unwrap(), "target.gguf"),
            (zoo::head_file(llama, 2).unwrap(), "eagle3-target.gguf"),
        ];
        for (file, name) in made {
            std::fs::copy(&file, dir.path().join(name)).unwrap();
            let _ = std::fs::remove_file(file);
        }
        dir
    }

    #[test]
    fn a_head_is_found_beside_the_target_that_it_was_made_for() {
        let dir = folder();
        let (target, head) = (
            dir.path().join("target.gguf"),
            dir.path().join("eagle3-target.gguf"),
        );
        assert!(is_head(&head) && !is_head(&target));
        assert!(!is_head(Path::new("/nowhere/missing.gguf")));
        check(&head, &target).unwrap();
        assert_eq!(beside(&target), Some(head.clone()));
        assert_eq!(listed(&target).as_deref(), Some("eagle3-target.gguf"));
        let said = listed(&head).unwrap();
        assert!(said.contains("a head itself (EAGLE-3"), "{said}");
    }

    #[test]
    fn a_head_for_another_model_is_refused_by_name_and_not_found() {
        let dir = folder();
        let narrow = zoo::write(zoo::find("gemma4").unwrap(), 1).unwrap();
        let other = dir.path().join("another.gguf");
        std::fs::copy(&narrow, &other).unwrap();
        let _ = std::fs::remove_file(narrow);
        let head = dir.path().join("eagle3-target.gguf");
        let error = check(&head, &other).unwrap_err().to_string();
        for word in [
            "eagle3-target.gguf",
            "another.gguf",
            "256 numbers",
            "--draft auto",
        ] {
            assert!(error.contains(word), "{word}: {error}");
        }
        assert_eq!(beside(&other), None);
        assert_eq!(listed(&other), None);
        let error = check(&other, &head).unwrap_err().to_string();
        assert!(error.contains("no head"), "{error}");
    }
}
