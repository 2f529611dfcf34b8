//! The files of a target and its drafter: which they are, and that they are here.

use std::path::PathBuf;

use anyhow::Result;
use card_core::policy::Mode;

use crate::models::locate::Models;
use crate::settings::Settings;

/// The files of a target and its drafters.
pub struct ModelFiles {
    /// The target's.
    pub target: PathBuf,
    /// The drafter's, if there is one here.
    pub draft: Option<PathBuf>,
    /// The second drafter's.
    pub draft2: Option<PathBuf>,
    /// Whether a drafter is to be looked for, since neither the settings nor a pair names one.
    pub finds_draft: bool,
}

/// Finds the files, fetching those that are not here.
///
/// # Errors
/// If a name means no model, or a file cannot be fetched.
pub fn find(settings: &Settings, models: &Models) -> Result<ModelFiles> {
    let speculates = settings.mode != Mode::Plain;
    let located = models.locate(&settings.model)?;
    let draft2 = match settings.draft2.as_deref().filter(|_| speculates) {
        Some(name) => Some(models.locate(name)?.file),
        None => None,
    };
    let mut files = ModelFiles {
        target: located.file,
        draft: None,
        draft2,
        finds_draft: false,
    };
    match settings.draft.as_deref() {
        _ if !speculates => {}
        Some("none") => {}
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
