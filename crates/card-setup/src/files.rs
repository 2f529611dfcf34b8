//! The files of a target and its drafter: which they are, and that they are here.

use std::path::PathBuf;

use anyhow::{Result, bail};
use card_core::policy::Mode;

use crate::head::{self, HEAD};
use crate::head_file;
use crate::models::drafters::DrafterSearch;
use crate::models::locate::ModelPlaces;
use crate::settings::Settings;

/// The files of a target and its drafters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFiles {
    /// The target's.
    pub target: PathBuf,
    /// The drafter's, if there is one here. While one is still looked for, it is the one that room
    /// is left for ([`ModelFiles::with_likely_draft`]).
    pub draft: Option<PathBuf>,
    /// The second drafter's.
    pub draft2: Option<PathBuf>,
    /// Whether the target drafts with the head in its own file.
    pub head: bool,
    /// The file of the head that drafts for it, if that is one of its own.
    pub head_file: Option<PathBuf>,
    /// Whether a drafter is to be looked for, since neither the settings nor a pair names one.
    pub finds_draft: bool,
}

impl ModelFiles {
    /// The same files, with the largest of the models that may turn out to be the drafter, so that
    /// there will be room for whichever it is. Where no drafter is looked for, nothing changes.
    pub fn with_likely_draft(&self, plan: &DrafterSearch) -> Self {
        let mut files = self.clone();
        if self.finds_draft {
            files.draft = plan.largest().map(|candidate| candidate.file.clone());
        }
        files
    }

    /// Takes a file that was named as the second drafter, or as the first: it is a draft model, or a
    /// head that has a file of its own.
    fn take(&mut self, file: PathBuf, second: bool) -> Result<()> {
        if !head_file::is_head(&file) {
            let place = if second {
                &mut self.draft2
            } else {
                &mut self.draft
            };
            *place = Some(file);
            return Ok(());
        }
        head_file::check(&file, &self.target)?;
        match self.head_file.replace(file) {
            None => Ok(()),
            Some(other) => bail!(
                "a target drafts with one head, and {} is another; leave out one of --draft and \
                 --draft2",
                other.display()
            ),
        }
    }
}

/// Finds the files, fetching those that are not here.
///
/// # Errors
/// If a name means no model, or a file cannot be fetched.
pub fn find(settings: &Settings, models: &ModelPlaces) -> Result<ModelFiles> {
    let speculates = settings.mode != Mode::Plain;
    let located = models.locate(&settings.model)?;
    let mut files = ModelFiles {
        head: head::drafts(settings, &located.file)?,
        target: located.file,
        draft: None,
        draft2: None,
        head_file: None,
        finds_draft: false,
    };
    let second = settings.draft2.as_deref();
    if let Some(name) = second.filter(|name| speculates && *name != HEAD) {
        files.take(models.drafter(name)?, true)?;
    }
    // One that was named goes before the one that the target brings.
    files.head &= files.head_file.is_none() || head::is_demanded(settings);
    match settings.draft.as_deref() {
        _ if !speculates => {}
        Some("none" | HEAD) => {}
        // The target brings its own.
        None | Some("auto") if files.head => {}
        None | Some("auto") => {
            if settings.drafter.is_empty() {
                let own = located.draft.map(|entry| models.fetch(entry));
                find_drafter(&mut files, own.transpose()?)?;
            }
        }
        Some(name) => files.take(models.drafter(name)?, false)?,
    }
    if files.head && files.head_file.is_some() {
        bail!("a target drafts with one head: leave out `head`, or the file of another");
    }
    if files.draft.is_none() && (files.head || files.head_file.is_some()) {
        // Beside a head the second drafter is the only model.
        files.draft = files.draft2.take();
    }
    Ok(files)
}

/// The drafter of a target for which nobody named one: that of its pair, else the head that lies beside
/// it, else one that is looked for.
fn find_drafter(files: &mut ModelFiles, own: Option<PathBuf>) -> Result<()> {
    if let Some(own) = own {
        return files.take(own, false);
    }
    if files.head_file.is_none() {
        files.head_file = head_file::beside(&files.target);
    }
    files.finds_draft = files.head_file.is_none();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::models::catalogue::Catalogue;
    use crate::models::drafters::DraftCandidate;
    use crate::models::store::Store;

    #[test]
    fn where_a_drafter_is_asked_for_a_pair_means_its_drafter() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        let file = |name: &str| store.models().join(format!("{name}.gguf"));
        fs::create_dir_all(store.models()).unwrap();
        let mut text = String::new();
        for name in ["other", "large", "small"] {
            fs::write(file(name), "x").unwrap();
            text += &format!(
                "[[model]]\nname = {name:?}\ntitle = \"\"\nlicence = \"MIT\"\nbytes = 1\n\
                 sha256 = \"{}\"\nsource = [{{ kind = \"hub\", repo = \"a/b\", \
                 file = \"{name}.gguf\" }}]\n",
                "0".repeat(64)
            );
        }
        text += "[[pair]]\nname = \"pair\"\ntitle = \"\"\ntarget = \"large\"\ndraft = \"small\"\n";
        let path = dir.path().join("catalogue.toml");
        fs::write(&path, text).unwrap();
        let catalogue = Catalogue::load(Some(&path)).unwrap();
        let models = ModelPlaces::new(&catalogue, &store, true).unwrap();
        let found = |draft: &str, draft2: Option<&str>| {
            let settings = Settings {
                model: "other".into(),
                draft: Some(draft.into()),
                draft2: draft2.map(str::to_owned),
                ..Settings::default()
            };
            find(&settings, &models).unwrap()
        };
        let of_pair = found("pair", None);
        assert_eq!(
            (of_pair.target, of_pair.draft),
            (file("other"), Some(file("small")))
        );
        let both = found("large", Some("pair"));
        assert_eq!(
            (both.draft, both.draft2),
            (Some(file("large")), Some(file("small")))
        );
    }

    #[test]
    fn room_is_left_for_the_largest_model_that_may_draft() {
        let candidate = |name: &str, smaller: f64| DraftCandidate {
            name: name.to_owned(),
            file: PathBuf::from(name),
            smaller,
            translated: false,
        };
        let plan = DrafterSearch {
            candidates: vec![
                candidate("likeliest", 12.0),
                candidate("largest", 3.0),
                candidate("smallest", 40.0),
            ],
            fetch: None,
        };
        let looks = ModelFiles {
            target: "target".into(),
            draft: None,
            draft2: Some("second".into()),
            head: false,
            head_file: None,
            finds_draft: true,
        };
        let likely = looks.with_likely_draft(&plan);
        assert_eq!(likely.draft, Some("largest".into()));
        assert_eq!(
            (likely.draft2, likely.finds_draft),
            (Some("second".into()), true)
        );
        assert_eq!(looks.with_likely_draft(&DrafterSearch::default()), looks);
        // One that was named, or refused, stays what it is.
        for draft in [Some(PathBuf::from("named")), None] {
            let said = ModelFiles {
                draft,
                finds_draft: false,
                ..looks.clone()
            };
            assert_eq!(said.with_likely_draft(&plan), said);
        }
    }
}
