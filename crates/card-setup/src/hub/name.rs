//! Names of models on a hub: a repository, and which of its files.

use std::fmt;

use super::error::HubError;
use super::words::{is_unseen, shown};

/// What stands before the name of a hub's model, where a model of any kind may be named.
pub const PREFIX: &str = "hf:";

/// Characters of the longest name of a repository, owner included.
const LONGEST_REPO: usize = 200;
/// Bytes of the longest path of a file.
const LONGEST_PATH: usize = 1024;
/// Bytes of the longest part of a path, as file systems have it.
const LONGEST_PART: usize = 255;

/// A repository of a hub, as `OWNER/NAME`.
///
/// Invariant: both parts are safe as names of folders and as parts of an address, and the text
/// with `--` in place of the `/` names one repository only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RepoId(String);

impl RepoId {
    /// Reads `OWNER/NAME`.
    ///
    /// # Errors
    /// If it is no name that a hub gives.
    pub fn parse(text: &str) -> Result<Self, HubError> {
        let is_part = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty()
                && part.chars().all(plain)
                && !part.starts_with(['-', '.'])
                && !part.ends_with(['-', '.'])
                && !part.contains("--")
                && !part.contains("..")
        };
        let fits = text.len() <= LONGEST_REPO;
        match text.split_once('/') {
            Some((owner, name)) if fits && is_part(owner) && is_part(name) => {
                Ok(RepoId(text.to_owned()))
            }
            _ => Err(HubError::Name { name: shown(text) }),
        }
    }

    /// The repository whose folder in a cache is called so.
    pub fn of_folder(folder: &str) -> Option<Self> {
        let (owner, name) = folder.strip_prefix("models--")?.split_once("--")?;
        RepoId::parse(&format!("{owner}/{name}")).ok()
    }

    /// The text `OWNER/NAME`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the `/`.
    pub fn owner(&self) -> &str {
        self.0.split_once('/').map_or("", |(owner, _)| owner)
    }

    /// The part after the `/`.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// The name of its folder in a cache.
    pub fn folder(&self) -> String {
        format!("models--{}--{}", self.owner(), self.name())
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which file of a repository is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The one that llama-server takes too: Q4_K_M, else Q8_0, else the first.
    Usual,
    /// The one with this quantisation, whatever the case of its letters.
    Quant(String),
    /// The one at this path.
    File(String),
}

/// A model on a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubName {
    /// The repository.
    pub repo: RepoId,
    /// The file in it.
    pub wanted: Wanted,
}

impl HubName {
    /// Reads `OWNER/REPO`, `OWNER/REPO:QUANT` or `OWNER/REPO/PATH/TO/FILE.gguf`, without
    /// [`PREFIX`].
    ///
    /// # Errors
    /// If it is none of them.
    pub fn parse(text: &str) -> Result<Self, HubError> {
        let wrong = || HubError::Name { name: shown(text) };
        let slash = text.match_indices('/').nth(1).map(|(at, _)| at);
        if let Some(at) = slash {
            let path = &text[at + 1..];
            if !is_safe_path(path) || !is_gguf(path) {
                return Err(wrong());
            }
            return Ok(HubName {
                repo: RepoId::parse(&text[..at])?,
                wanted: Wanted::File(path.to_owned()),
            });
        }
        let (repo, wanted) = match text.split_once(':') {
            Some((repo, quant)) if is_quant(quant) => (repo, Wanted::Quant(quant.to_owned())),
            Some(_) => return Err(wrong()),
            None => (text, Wanted::Usual),
        };
        let repo = RepoId::parse(repo).map_err(|_| wrong())?;
        Ok(HubName { repo, wanted })
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HubName { repo, wanted } = self;
        match wanted {
            Wanted::Usual => write!(f, "{PREFIX}{repo}"),
            Wanted::Quant(quant) => write!(f, "{PREFIX}{repo}:{quant}"),
            Wanted::File(path) => write!(f, "{PREFIX}{repo}/{path}"),
        }
    }
}

fn is_quant(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=64).contains(&text.len()) && text.chars().all(plain)
}

/// Whether a path ends as model files do.
pub fn is_gguf(path: &str) -> bool {
    let end = path.len().checked_sub(".gguf".len());
    let end = end.and_then(|at| path.get(at..));
    end.is_some_and(|end| end.eq_ignore_ascii_case(".gguf"))
}

/// Whether a path of a hub may become a path below a folder here: it is relative, goes nowhere but
/// down, and has no part that a file system or a terminal reads otherwise.
pub fn is_safe_path(path: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.len() <= LONGEST_PART
            && !part.starts_with('.')
            && !part.ends_with(['.', ' '])
            && !part.contains(['\\', ':', '*', '?', '"', '<', '>', '|'])
            && !part.chars().any(is_unseen)
    };
    path.len() <= LONGEST_PATH && path.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_again() {
        for text in [
            "Qwen/Qwen3-8B-GGUF",
            "Qwen/Qwen3-8B-GGUF:q8_0",
            "a/b.c_d-e:UD-Q4_K_XL",
            "a/b/one.gguf",
            "a/b/Q4_K_M/one-00001-of-00002.GGUF",
        ] {
            let name = HubName::parse(text).unwrap();
            assert_eq!(name.to_string(), format!("hf:{text}"));
        }
        let name = HubName::parse("a/b:Q8_0").unwrap();
        assert_eq!(name.wanted, Wanted::Quant("Q8_0".into()));
        assert_eq!((name.repo.owner(), name.repo.name()), ("a", "b"));
    }

    #[test]
    fn what_could_lead_elsewhere_is_no_name() {
        for text in [
            "",
            "a",
            "a/",
            "/b",
            "../b",
            "a/..",
            "a/b:",
            "a/b:../c",
            "a/b/../../c.gguf",
            "a/b//c.gguf",
            "a/b/.hidden.gguf",
            "a/b/c.bin",
            "a/b/c:d.gguf",
            "a--b/c",
            "a/b--c",
            "a/b c",
            "a/b?x=1",
            "a/b#c",
            "-a/b",
            "a/b\u{202e}",
            "a/b/c\u{1b}[2J.gguf",
        ] {
            let read = HubName::parse(text);
            assert!(read.is_err(), "{text:?}");
        }
        assert!(HubName::parse(&format!("a/{}", "b".repeat(500))).is_err());
    }

    #[test]
    fn a_folder_of_a_cache_names_its_repository() {
        let repo = RepoId::parse("Qwen/Qwen3-8B-GGUF").unwrap();
        assert_eq!(repo.folder(), "models--Qwen--Qwen3-8B-GGUF");
        assert_eq!(RepoId::of_folder(&repo.folder()), Some(repo));
        for folder in ["datasets--a--b", "models--a", "models--a--..", ".locks"] {
            assert_eq!(RepoId::of_folder(folder), None, "{folder}");
        }
    }
}
