//! The files of a target and its drafter: which they are, and that they are here.

use std::path::PathBuf;

use anyhow::Result;
use card_core::policy::Mode;

use crate::models::catalogue::Catalogue;
use crate::models::fetch::fetch;
use crate::models::store::Store;
use crate::settings::Settings;

/// The files of a target and its drafters.
pub struct ModelFiles {
    /// The target's.
    pub target: PathBuf,
    /// The drafter's, if there is one here.
    pub draft: Option<PathBuf>,
    /// The second drafter's.
    pub draft2: Option<PathBuf>,
}

/// Finds the files, fetching those that the catalogue has and the user has not.
///
/// # Errors
/// If a name is neither a file nor in the catalogue, or a file cannot be fetched.
pub fn find(settings: &Settings, catalogue: &Catalogue, store: &Store) -> Result<ModelFiles> {
    let speculates = settings.mode != Mode::Plain;
    let wants_own_draft = speculates && settings.draft.is_none() && settings.drafter.is_empty();
    let get = |name: &str| -> Result<(PathBuf, Option<PathBuf>)> {
        if let Some(file) = catalogue.file(name) {
            return Ok((file.to_owned(), None));
        }
        let (target, draft) = catalogue.resolve(name)?;
        let target = fetch(store, target)?;
        let draft = match draft.filter(|_| wants_own_draft) {
            Some(entry) => Some(fetch(store, entry)?),
            None => None,
        };
        Ok((target, draft))
    };
    let (target, mut draft) = get(&settings.model)?;
    match settings.draft.as_deref() {
        None => {}
        Some("none") => draft = None,
        Some(name) => draft = Some(get(name)?.0),
    }
    let mut draft2 = match &settings.draft2 {
        Some(name) => Some(get(name)?.0),
        None => None,
    };
    if !speculates {
        (draft, draft2) = (None, None);
    }
    Ok(ModelFiles {
        target,
        draft,
        draft2,
    })
}
