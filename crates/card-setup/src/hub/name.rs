//! Names of models on a hub: a repository, and which of its files.

use std::fmt;

use super::error::HubError;
use super::words::{is_unseen, shown};

/// What stands before the name of a hub's model, where a model of any kind may be named.
pub const PREFIX: &str = "hf:";

/// The hub's hosts, without their top-level domain: browsers show the long one, and names of other
/// tools begin with the short one.
const HOSTS: [&str; 3] = ["huggingface", "www.huggingface", "hf"];
/// The top-level domain of the hub's hosts.
const DOMAIN: &str = ".co";
/// The revision of a repository that is fetched.
const REVISION: &str = "main";
/// The quantisation of those who name none, in llama-server's words.
const ANY: &str = "latest";

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
    /// If it is none of them, or names another revision than main (`OWNER/REPO@REVISION`).
    pub fn parse(text: &str) -> Result<Self, HubError> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let wrong = || HubError::Name { name: shown(text) };
        let slash = text.match_indices('/').nth(1).map(|(at, _)| at);
        if let Some(at) = slash {
            let path = &text[at + 1..];
            if !is_safe_path(path) || !is_gguf(path) {
                return Err(wrong());
            }
            return Ok(HubName {
                repo: repo_of(&text[..at], text)?,
                wanted: Wanted::File(path.to_owned()),
            });
        }
        let (repo, wanted) = match text.split_once(':') {
            Some((repo, quant)) if quant.eq_ignore_ascii_case(ANY) => (repo, Wanted::Usual),
            Some((repo, quant)) if is_quant(quant) => (repo, Wanted::Quant(quant.to_owned())),
            Some(_) => return Err(wrong()),
            None => (text, Wanted::Usual),
        };
        let repo = repo_of(repo, text)?;
        Ok(HubName { repo, wanted })
    }

    /// What a text means that is an address of the hub, as a browser shows it, or begins with the
    /// hub's host, as names of other tools do; `None` for any other text. `also` is a further host of
    /// the hub, with its port, and the path where the hub begins there, if it has one.
    pub fn of_page(text: &str, also: Option<&str>) -> Option<Result<Self, HubError>> {
        let schemes = ["https://", "http://"];
        let bare = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
        let (host, path) = bare.unwrap_or(text).split_once('/')?;
        let lower = host.to_ascii_lowercase();
        let of_hub = |name: &str| HOSTS.contains(&name);
        let own = also.and_then(|also| {
            let (own, folder) = also.split_once('/').unwrap_or((also, ""));
            let path = own.eq_ignore_ascii_case(host).then_some(path)?;
            if folder.is_empty() {
                return Some(path);
            }
            path.strip_prefix(folder)?.strip_prefix('/')
        });
        let known = lower.strip_suffix(DOMAIN).is_some_and(of_hub);
        let path = own.or(known.then_some(path))?;
        Some(HubName::at(path, text))
    }

    /// The model at a path of the hub's pages. `text` is the whole name, for errors.
    fn at(path: &str, text: &str) -> Result<Self, HubError> {
        let wrong = || HubError::Name { name: shown(text) };
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let path = decoded(path).ok_or_else(wrong)?;
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let main = |revision: &str| match revision {
            REVISION => Ok(()),
            _ => Err(HubError::Revision { name: shown(text) }),
        };
        match parts.as_slice() {
            [owner, repo, "tree", revision, folders @ ..] => {
                main(revision)?;
                let folder = folders.last().map(|folder| format!(":{folder}"));
                HubName::parse(&format!("{owner}/{repo}{}", folder.unwrap_or_default()))
            }
            [owner, repo, "blob" | "resolve", revision, file @ ..] if !file.is_empty() => {
                main(revision)?;
                HubName::parse(&format!("{owner}/{repo}/{}", file.join("/")))
            }
            _ => HubName::parse(&parts.join("/")),
        }
        .map_err(|error| match error {
            HubError::Name { .. } => wrong(),
            error => error,
        })
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

/// The repository that a part of a name says, which may name its revision. `text` is the whole name,
/// for errors.
fn repo_of(repo: &str, text: &str) -> Result<RepoId, HubError> {
    let (repo, revision) = repo.split_once('@').unwrap_or((repo, REVISION));
    let repo = RepoId::parse(repo).map_err(|_| HubError::Name { name: shown(text) })?;
    if revision == REVISION {
        Ok(repo)
    } else {
        Err(HubError::Revision { name: shown(text) })
    }
}

/// A path of an address with its escaped bytes; `None` if they are no text.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        let byte = match (first, behind) {
            (b'%', [high, low, behind @ ..]) => {
                rest = behind;
                let digit = |digit: &u8| char::from(*digit).to_digit(16);
                (digit(high)? * 16 + digit(low)?) as u8
            }
            (b'%', _) => return None,
            (first, _) => *first,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
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
    fn a_hub_of_ones_own_may_begin_at_a_path() {
        let page = |text: &str| HubName::of_page(text, Some("mirror.test/hf"));
        for (text, name) in [
            (
                "https://mirror.test/hf/a/b/blob/main/c.gguf",
                "hf:a/b/c.gguf",
            ),
            ("Mirror.test/hf/a/b:Q8_0", "hf:a/b:Q8_0"),
            ("https://hf.co/a/b", "hf:a/b"),
        ] {
            assert_eq!(page(text).unwrap().unwrap().to_string(), name, "{text}");
        }
        for other in ["https://mirror.test/a/b", "https://mirror.test/hfx/a/b"] {
            assert!(page(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_name_may_be_written_as_other_tools_and_browsers_have_it() {
        for (text, name) in [
            ("a/b/", "hf:a/b"),
            ("a/b:latest", "hf:a/b"),
            ("a/b@main", "hf:a/b"),
            ("a/b@main:Q8_0", "hf:a/b:Q8_0"),
            ("a/b@main/c.gguf", "hf:a/b/c.gguf"),
        ] {
            assert_eq!(HubName::parse(text).unwrap().to_string(), name, "{text}");
        }
        let page = |text: &str| HubName::of_page(text, Some("127.0.0.1:8000"));
        for (text, name) in [
            ("https://hf.co/a/b", "hf:a/b"),
            ("https://hf.co/a/b/", "hf:a/b"),
            ("https://hf.co/a/b?library=llama-cpp", "hf:a/b"),
            ("https://hf.co/a/b/tree/main", "hf:a/b"),
            ("https://hf.co/a/b/tree/main/Q8_0", "hf:a/b:Q8_0"),
            (
                "https://hf.co/a/b/blob/main/x/c%20d.gguf",
                "hf:a/b/x/c d.gguf",
            ),
            (
                "http://127.0.0.1:8000/a/b/resolve/main/c.gguf?download=true",
                "hf:a/b/c.gguf",
            ),
            ("hf.co/a/b:Q4_K_M", "hf:a/b:Q4_K_M"),
            (format!("HuggingFace{DOMAIN}/a/b").as_str(), "hf:a/b"),
        ] {
            assert_eq!(page(text).unwrap().unwrap().to_string(), name, "{text}");
        }
        for other in ["a/b", "https://example.test/a/b", "x.gguf", "hf.co"] {
            assert!(page(other).is_none(), "{other}");
        }
        for wrong in [
            "hf.co/a",
            "hf.co/a/b/discussions/1",
            "hf.co/a/b/blob/main/",
            "hf.co/a/b/blob/main/c.bin",
            "hf.co/a/b/blob/main/%2e%2e/c.gguf",
            "hf.co/a/b/blob/main/%zz.gguf",
            "hf.co/a/b/blob/main/%",
            "hf.co/a/b/blob/main/%ff.gguf",
        ] {
            let error = page(wrong).unwrap().unwrap_err().to_string();
            assert!(
                error.contains("names no model of a hub"),
                "{wrong}: {error}"
            );
        }
        for revision in [
            page("hf.co/a/b/blob/v2/c.gguf").unwrap(),
            page("hf.co/a/b/tree/0123").unwrap(),
            HubName::parse("a/b@v2"),
            HubName::parse("a/b@v2:Q8_0"),
        ] {
            let error = revision.unwrap_err().to_string();
            assert!(error.contains("main"), "{error}");
        }
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
