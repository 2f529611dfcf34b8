//! What a hub says of a repository: its files with their sizes and checksums, and its licence.

use serde::Deserialize;
use serde_json::Value;

use super::client::HubClient;
use super::error::HubError;
use super::name::{RepoId, is_gguf, is_safe_path};
use super::patience;
use super::words::shown;

/// Files of the largest repository that is looked at.
const MOST_FILES: usize = 20_000;
/// Names that are shown where one is not found.
const MOST_NEAR: usize = 5;

/// A repository as it is at a commit.
#[derive(Debug)]
pub struct RepoListing {
    /// The commit: 40 hexadecimal digits.
    pub commit: String,
    /// The licence, as the repository's card names it.
    pub licence: Option<String>,
    /// Its GGUF files, in the hub's order. Their paths are safe below a folder.
    pub files: Vec<HubFile>,
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq)]
pub struct HubFile {
    /// Path in the repository.
    pub path: String,
    /// Bytes and SHA-256 in small hexadecimal digits; `None` where the listing has none.
    pub sum: Option<(u64, String)>,
}

#[derive(Deserialize)]
struct Info {
    sha: Option<String>,
    #[serde(rename = "cardData")]
    card: Option<Value>,
    tags: Option<Vec<Value>>,
    siblings: Option<Vec<Sibling>>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: Option<String>,
    size: Option<u64>,
}

/// Asks for a repository as it is now.
///
/// # Errors
/// If there is none that may be seen, the hub cannot be reached, or its answer is of another kind.
pub fn list(client: &HubClient, repo: &RepoId) -> Result<RepoListing, HubError> {
    let parts = [
        "api",
        "models",
        repo.owner(),
        repo.name(),
        "revision",
        "main",
    ];
    let mut url = client.address(&parts);
    url.set_query(Some("blobs=true"));
    let info: Info = patience::ask(|| client.json(&url, repo.as_str()))
        .map_err(|error| explained(client, repo, error))?;
    let malformed = |why: &str| HubError::Malformed {
        what: repo.to_string(),
        why: why.to_owned(),
    };
    let commit = info.sha.as_deref().filter(|sha| is_hex(sha, 40));
    let commit = commit.ok_or_else(|| malformed("it names no commit"))?;
    let commit = commit.to_ascii_lowercase();
    let siblings = info.siblings.unwrap_or_default();
    if siblings.len() > MOST_FILES {
        return Err(malformed("it has too many files"));
    }
    let licence = licence(info.card.as_ref(), info.tags.as_deref());
    let mut files = Vec::new();
    for sibling in siblings {
        if !is_gguf(&sibling.rfilename) {
            continue;
        }
        if !is_safe_path(&sibling.rfilename) {
            let name = shown(&sibling.rfilename);
            tracing::warn!("{repo} names a file {name:?}, which is left out: it is no safe path");
            continue;
        }
        files.push(HubFile {
            path: sibling.rfilename,
            sum: sibling.lfs.and_then(sum),
        });
    }
    Ok(RepoListing {
        commit,
        licence,
        files,
    })
}

fn sum(lfs: Lfs) -> Option<(u64, String)> {
    let sha256 = lfs.sha256?.to_ascii_lowercase();
    is_hex(&sha256, 64).then_some((lfs.size?, sha256))
}

/// Size and SHA-256 of a file whose listing has none, from the headers that come with it.
///
/// # Errors
/// If there are none, the hub cannot be reached or refuses.
pub fn sum_of(
    client: &HubClient,
    repo: &RepoId,
    commit: &str,
    path: &str,
) -> Result<(u64, String), HubError> {
    let address = client.file_address(repo, commit, path);
    let headers = patience::ask(|| client.headers(&address))
        .map_err(|error| explained(client, repo, error))?;
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let tag = header("x-linked-etag").or_else(|| header("etag"));
    let tag = tag.map(|tag| tag.trim_start_matches("W/").trim_matches('"'));
    let size = header("x-linked-size").or_else(|| header("content-length"));
    let size = size.and_then(|n| n.trim().parse().ok());
    match (size, tag.filter(|tag| is_hex(tag, 64))) {
        (Some(size), Some(tag)) => Ok((size, tag.to_ascii_lowercase())),
        _ => Err(HubError::NoSum {
            file: format!("{repo}/{path}"),
        }),
    }
}

/// Whether a text is so many hexadecimal digits.
pub fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The licence: the card's name of it, else its identifier, else the one among the tags.
fn licence(card: Option<&Value>, tags: Option<&[Value]>) -> Option<String> {
    let text = |key: &str| {
        let value = card?.get(key)?;
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Array(all) => {
                let all: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
                Some(all.join(", "))
            }
            _ => None,
        }
    };
    let given = text("license").filter(|name| name != "other" && !name.is_empty());
    let tagged = || {
        let mut tags = tags?.iter().filter_map(Value::as_str);
        tags.find_map(|tag| tag.strip_prefix("license:"))
            .map(str::to_owned)
    };
    let named = given.or_else(|| text("license_name")).or_else(tagged);
    named
        .map(|name| shown(&name))
        .filter(|name| !name.is_empty())
}

/// What a refusal means where a repository was asked for.
pub fn explained(client: &HubClient, repo: &RepoId, error: HubError) -> HubError {
    let HubError::Refused {
        status, code, said, ..
    } = &error
    else {
        return error;
    };
    let (status, code, said) = (*status, code.clone(), said.clone());
    let token = client.has_token();
    let none = || HubError::NoRepo {
        repo: repo.to_string(),
        near: near(client, repo),
        token,
    };
    match (status, code.as_deref()) {
        (401 | 403, Some("GatedRepo")) => HubError::Gated {
            repo: repo.to_string(),
            page: client.page(repo),
            token,
        },
        (404, Some(code @ ("EntryNotFound" | "RevisionNotFound"))) => HubError::NoFile {
            repo: repo.to_string(),
            what: if code == "EntryNotFound" {
                "no file of that name (any more)".to_owned()
            } else {
                "no branch main".to_owned()
            },
            near: Vec::new(),
        },
        (404, _) | (401, Some("RepoNotFound")) => none(),
        // Whoever sends no token is told the same of what is missing and of what is private.
        (401, _) if !token => none(),
        (401, _) => HubError::Token {
            repo: repo.to_string(),
        },
        (403, _) => HubError::Forbidden {
            repo: repo.to_string(),
            page: client.page(repo),
            said,
        },
        _ => error,
    }
}

/// Repositories with GGUF files whose names are like this one's. If the hub cannot say, none.
fn near(client: &HubClient, repo: &RepoId) -> Vec<String> {
    #[derive(Deserialize)]
    struct Found {
        id: String,
    }
    // A misspelt end does not hide what begins alike.
    let name = repo.name();
    let stem = name
        .strip_suffix("-GGUF")
        .or_else(|| name.strip_suffix("-gguf"))
        .unwrap_or(name);
    let mut searched = vec![stem];
    if let Some((start, _)) = stem.rsplit_once(['-', '_', '.']) {
        searched.push(start);
    }
    for text in searched {
        let mut url = client.address(&["api", "models"]);
        url.query_pairs_mut()
            .append_pair("search", text)
            .append_pair("filter", "gguf")
            .append_pair("limit", "5");
        let found: Result<Vec<Found>, HubError> = client.json(&url, "names");
        let names = found.unwrap_or_default().into_iter();
        let names: Vec<String> = names
            .filter_map(|found| RepoId::parse(&found.id).ok())
            .filter(|found| found != repo)
            .map(|found| found.to_string())
            .take(MOST_NEAR)
            .collect();
        if !names.is_empty() {
            return names;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_licence_is_the_cards() {
        let of = |card: Value, tags: &[&str]| {
            let tags: Vec<Value> = tags.iter().map(|t| json!(t)).collect();
            licence(Some(&card), Some(&tags))
        };
        assert_eq!(of(json!({"license": "mit"}), &[]).as_deref(), Some("mit"));
        let other = json!({"license": "other", "license_name": "llama3.2"});
        assert_eq!(of(other, &["license:other"]).as_deref(), Some("llama3.2"));
        assert_eq!(
            of(json!({}), &["x", "license:apache-2.0"]).as_deref(),
            Some("apache-2.0")
        );
        assert_eq!(of(json!({"license": 3}), &[]), None);
        let evil = of(json!({"license": "mit\u{1b}[2J"}), &[]);
        assert_eq!(evil.as_deref(), Some("mit[2J"));
    }

    #[test]
    fn a_sum_has_a_size_and_64_digits() {
        let of = |text: &str| sum(serde_json::from_str(text).unwrap());
        let digits = "A".repeat(64);
        let whole = format!("{{\"oid\": \"{digits}\", \"size\": 3}}");
        assert_eq!(of(&whole), Some((3, digits.to_lowercase())));
        assert_eq!(of("{\"sha256\": \"12\", \"size\": 3}"), None);
        assert_eq!(of(&format!("{{\"sha256\": \"{digits}\"}}")), None);
    }
}
