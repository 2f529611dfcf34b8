//! The head in a target's file, as a drafter: when it drafts, and what is said of it.

use std::path::Path;

use anyhow::{Result, bail};
use card_core::policy::Mode;
use card_llama::DraftHead;

use crate::settings::Settings;

/// The name of the target's own head where a draft model could be named.
pub const HEAD: &str = "head";

/// Whether the head of the target shall draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeadWish {
    /// It shall not.
    Unwanted,
    /// It shall if the target has one.
    IfThere,
    /// Without it nothing shall run.
    Demanded,
}

impl HeadWish {
    fn of(settings: &Settings) -> Self {
        let (first, second) = (settings.draft.as_deref(), settings.draft2.as_deref());
        match (first, second) {
            _ if settings.mode == Mode::Plain => HeadWish::Unwanted,
            (Some(HEAD), _) | (_, Some(HEAD)) => HeadWish::Demanded,
            (None | Some("auto"), _) => HeadWish::IfThere,
            _ => HeadWish::Unwanted,
        }
    }
}

/// Whether the settings let the head of a target draft, if the target has one.
pub(crate) fn may_draft(settings: &Settings) -> bool {
    HeadWish::of(settings) != HeadWish::Unwanted
}

/// Whether the target in `file` drafts with its own head.
///
/// # Errors
/// If the settings demand a head, and the file has none that can draft.
pub(crate) fn drafts(settings: &Settings, file: &Path) -> Result<bool> {
    let wish = HeadWish::of(settings);
    if wish == HeadWish::Unwanted {
        return Ok(false);
    }
    let why = match DraftHead::of_file(file) {
        Ok(Some(head)) => match head.unusable {
            None => return Ok(true),
            Some(why) => format!("the head in {} cannot draft: {why}", file.display()),
        },
        Ok(None) => format!("{} has no head", file.display()),
        // What is wrong with the file is said when it is loaded.
        Err(_) => return Ok(false),
    };
    if wish == HeadWish::Demanded {
        bail!(
            "{why}; name a model that has one, or another drafter (--draft auto, or a model's \
             name)"
        );
    }
    tracing::info!("{why}");
    Ok(false)
}

/// The word for the head of a model file in lists of drafters; `None` if it has none that can draft.
pub fn listed(file: &Path) -> Option<&'static str> {
    let head = DraftHead::of_file(file).ok().flatten()?;
    head.is_usable().then_some(HEAD)
}

/// What is said where the head drafts, alone or beside a draft model.
pub(crate) fn told(alone: bool) -> &'static str {
    if alone {
        "drafting with the head in the target's file: it was trained to (--draft NAME for a draft \
         model, --draft none for no drafter)"
    } else {
        "drafting with the head in the target's file beside the draft model"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(draft: Option<&str>, draft2: Option<&str>, mode: Mode) -> HeadWish {
        HeadWish::of(&Settings {
            draft: draft.map(str::to_owned),
            draft2: draft2.map(str::to_owned),
            mode,
            ..Settings::default()
        })
    }

    #[test]
    fn a_head_drafts_unless_something_else_was_asked_for() {
        use HeadWish::{Demanded, IfThere, Unwanted};
        let cases = [
            (None, None, IfThere),
            (Some("auto"), None, IfThere),
            (Some("auto"), Some("small"), IfThere),
            (Some("head"), None, Demanded),
            (Some("small"), Some("head"), Demanded),
            (Some("small"), None, Unwanted),
            (Some("none"), None, Unwanted),
        ];
        for (draft, draft2, expected) in cases {
            assert_eq!(wish(draft, draft2, Mode::Auto), expected, "{draft:?}");
            assert_eq!(wish(draft, draft2, Mode::Plain), Unwanted, "{draft:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_left_to_whoever_loads_it() {
        let demanded = Settings {
            draft: Some(HEAD.into()),
            ..Settings::default()
        };
        let missing = Path::new("/nowhere/missing.gguf");
        assert!(!drafts(&demanded, missing).unwrap());
        assert_eq!(listed(missing), None);
    }
}
