//! The files of a target and its drafter: which they are, and that they are here.

use std::path::PathBuf;

use anyhow::Result;
use card_core::policy::Mode;

use crate::head::{self, HEAD};
use crate::models::drafters::DrafterSearch;
use crate::models::locate::Models;
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
}

/// Finds the files, fetching those that are not here.
///
/// # Errors
/// If a name means no model, or a file cannot be fetched.
pub fn find(settings: &Settings, models: &Models) -> Result<ModelFiles> {
    let speculates = settings.mode != Mode::Plain;
    let located = models.locate(&settings.model)?;
    let head = head::drafts(settings, &located.file)?;
    let second = settings.draft2.as_deref();
    let draft2 = match second.filter(|name| speculates && *name != HEAD) {
        Some(name) => Some(models.locate(name)?.file),
        None => None,
    };
    let mut files = ModelFiles {
        target: located.file,
        draft: None,
        draft2,
        head,
        finds_draft: false,
    };
    match settings.draft.as_deref() {
        _ if !speculates => {}
        Some("none" | HEAD) => {}
        // The target brings its own.
        None | Some("auto") if head => {}
        None | Some("auto") => {
            if settings.drafter.is_empty() {
                let own = located.draft.map(|entry| models.fetch(entry));
                files.draft = own.transpose()?;
                files.finds_draft = files.draft.is_none();
            }
        }
        Some(name) => files.draft = Some(models.locate(name)?.file),
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::drafters::DraftCandidate;

    #[test]
    fn room_is_left_for_the_largest_model_that_may_draft() {
        let candidate = |name: &str, smaller: f64| DraftCandidate {
            name: name.to_owned(),
            file: PathBuf::from(name),
            smaller,
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
