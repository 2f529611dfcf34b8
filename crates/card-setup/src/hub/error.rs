//! What goes wrong with a hub, each with what can be done about it.

use std::path::PathBuf;
use std::time::Duration;

use indicatif::HumanBytes;

/// What goes wrong with a hub.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The text names no model of a hub.
    #[error(
        "{name:?} names no model of a hub; names are OWNER/REPO, OWNER/REPO:QUANT (like :Q4_K_M) \
         or OWNER/REPO/FILE.gguf"
    )]
    Name {
        /// The text.
        name: String,
    },
    /// The name is that of a revision.
    #[error(
        "{name:?} names a revision, and card fetches main only; leave it out, or download that file \
         by other means and name it (-m ./FILE.gguf)"
    )]
    Revision {
        /// The name.
        name: String,
    },
    /// A setting of the environment is of no use.
    #[error("{variable} is set, but {why}")]
    Environment {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The model is not here, and nothing may be fetched.
    #[error(
        "{name} is not in the hub's cache {} (or not all of it), and nothing is fetched: {because}. \
         `card pull {name}` fetches it once the network may be used; HF_HUB_CACHE names another cache",
        cache.display()
    )]
    Offline {
        /// The model.
        name: String,
        /// The folder of the cache.
        cache: PathBuf,
        /// Which setting says so.
        because: &'static str,
    },
    /// The hub cannot be reached, or the connection ended.
    #[error(
        "cannot reach the hub at {host}: {why}. Is the network there (HTTPS_PROXY for a proxy, \
         HF_ENDPOINT for another hub)? --offline uses what is here"
    )]
    Unreachable {
        /// Host of the address.
        host: String,
        /// What the system said.
        why: String,
    },
    /// The hub has too much to do, or fails for now.
    #[error(
        "the hub at {host} answers {status} for now; try again {}",
        later_words(after)
    )]
    Busy {
        /// Host of the address.
        host: String,
        /// The status of the answer.
        status: u16,
        /// Time after which the hub wants to be asked again.
        after: Option<Duration>,
    },
    /// The hub refuses. What it means depends on what was asked.
    #[error("the hub at {host} answers {status}{}", said_words(said))]
    Refused {
        /// Host of the address.
        host: String,
        /// The status of the answer.
        status: u16,
        /// The hub's word for the reason, like `GatedRepo`.
        code: Option<String>,
        /// What the hub says, made safe to show.
        said: Option<String>,
    },
    /// A host that is not the hub's refuses, to which the hub leads for what a file holds.
    #[error(
        "{host}, to which the hub leads for this file, answers {status}. Its addresses hold for a \
         while only, and only from where the hub was asked: try again, without a proxy for one of \
         the two hosts"
    )]
    RefusedElsewhere {
        /// Host of the address.
        host: String,
        /// The status of the answer.
        status: u16,
    },
    /// There is no such repository, or none that may be seen.
    #[error("the hub has no repository {repo}{}{}", near_words(near), token_words(*token))]
    NoRepo {
        /// The repository.
        repo: String,
        /// Repositories with similar names.
        near: Vec<String>,
        /// Whether a token was sent.
        token: bool,
    },
    /// The repository is for those only who accepted its conditions.
    #[error(
        "{repo} is gated: its conditions have to be accepted, once, at {page}. Then set HF_TOKEN \
         to a token of that account (or log in with `hf auth login`){}",
        gated_words(*token)
    )]
    Gated {
        /// The repository.
        repo: String,
        /// Address of its page.
        page: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// The hub refuses without a reason that is known.
    #[error(
        "the hub does not let this account read {repo}{}. If {page} asks for conditions to be \
         accepted, accept them, once; HF_TOKEN has to be a token with the right to read it (or log \
         in with `hf auth login`)",
        said_words(said)
    )]
    Forbidden {
        /// The repository.
        repo: String,
        /// Address of its page.
        page: String,
        /// What the hub says, made safe to show.
        said: Option<String>,
    },
    /// The hub does not know the token.
    #[error(
        "the hub does not accept the token for {repo}; set HF_TOKEN to one that is valid, or unset \
         it for a repository that needs none (HF_HUB_DISABLE_IMPLICIT_TOKEN=1 leaves out the one \
         of the token file)"
    )]
    Token {
        /// The repository.
        repo: String,
    },
    /// The repository has no such file.
    #[error("{repo} has {what}{}", near_words(near))]
    NoFile {
        /// The repository.
        repo: String,
        /// What it lacks, beginning with "no".
        what: String,
        /// What it has.
        near: Vec<String>,
    },
    /// The answer is not what a hub answers.
    #[error("the hub's answer about {what} is not as expected: {why}")]
    Malformed {
        /// What was asked for.
        what: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// Without a checksum, nobody knows what arrives.
    #[error(
        "the hub names no SHA-256 for {file}, so what arrives could not be checked; download it by \
         hand if you trust it, and name the file (-m ./FILE.gguf)"
    )]
    NoSum {
        /// The file.
        file: String,
    },
    /// What arrived is not the file.
    #[error(
        "what arrived is not {file}: its SHA-256 is {found}, the hub says {expected}; it was \
         deleted. A proxy or mirror in between may change files"
    )]
    Sum {
        /// The file.
        file: String,
        /// The checksum that was computed.
        found: String,
        /// The checksum that the hub names.
        expected: String,
    },
    /// More arrives than the file has.
    #[error("more than the {expected} bytes of {file} arrive; what arrived was deleted")]
    TooLong {
        /// The file.
        file: String,
        /// Bytes that the hub names.
        expected: u64,
    },
    /// There is no room for it.
    #[error(
        "not enough disk space in {}: {what} needs {}, and {} are free. Make room, or set \
         HF_HUB_CACHE to a directory on another disk",
        folder.display(), HumanBytes(*needed), HumanBytes(*free)
    )]
    NoRoom {
        /// The folder.
        folder: PathBuf,
        /// What does not fit.
        what: String,
        /// Bytes that are missing of it.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A file here cannot be read or written.
    #[error(
        "cannot write {}: {why}. What has arrived is kept, and the next try goes on from there; \
         HF_HUB_CACHE names a directory on another disk",
        path.display()
    )]
    Disk {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
}

impl HubError {
    /// Whether the same request may succeed a little later.
    pub fn passes(&self) -> bool {
        matches!(self, HubError::Unreachable { .. } | HubError::Busy { .. })
    }
}

fn near_words(near: &[String]) -> String {
    if near.is_empty() {
        String::new()
    } else {
        format!("; it has {}", near.join(", "))
    }
}

fn later_words(after: &Option<Duration>) -> String {
    match after {
        Some(after) => format!("in {} s, as it asks", after.as_secs()),
        None => "later".to_owned(),
    }
}

fn said_words(said: &Option<String>) -> String {
    said.as_ref()
        .map_or_else(String::new, |said| format!(": {said}"))
}

fn gated_words(token: bool) -> &'static str {
    if token {
        "; the token that is set now has no access"
    } else {
        ""
    }
}

fn token_words(token: bool) -> &'static str {
    if token {
        ". Is the name right? (If it is private, the token that is set has no access.)"
    } else {
        ". Is the name right? (If it is private, set HF_TOKEN to a token that has access.)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_are_named() {
        let gated = HubError::Gated {
            repo: "a/b".into(),
            page: "http://hub/a/b".into(),
            token: false,
        };
        let said = gated.to_string();
        assert!(said.contains("HF_TOKEN") && said.contains("http://hub/a/b"));
        let none = HubError::NoRepo {
            repo: "a/b".into(),
            near: vec!["a/c".into()],
            token: false,
        };
        let said = none.to_string();
        assert!(
            said.contains("it has a/c") && said.contains("HF_TOKEN"),
            "{said}"
        );
    }
}
