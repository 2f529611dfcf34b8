//! A hub with its cache here: the file that a name means, fetched if it is not here.

use std::path::{Path, PathBuf};

use indicatif::{HumanBytes, ProgressBar};

use super::cache::{self, CachedFile, HubCache};
use super::client::HubClient;
use super::download::Download;
use super::error::HubError;
use super::listing::{self, HubFile, RepoListing};
use super::name::{HubName, PREFIX, RepoId, Wanted};
use super::record::HubRecord;
use super::{choice, environment};
use crate::progress;

/// Room that stays free beside a file that is fetched.
const SPARE: u64 = 64 << 20;

/// A hub with its cache here.
pub struct Hub {
    cache: HubCache,
    record: HubRecord,
    offline: Option<&'static str>,
}

impl Hub {
    /// The hub that the environment names. `offline` forbids to fetch, as the environment may too.
    /// `record` is a file in which card keeps what it fetched itself.
    ///
    /// # Errors
    /// If the environment names no folder for the cache.
    pub fn open(offline: bool, record: PathBuf) -> Result<Self, HubError> {
        let said = offline.then_some("--offline");
        Ok(Hub {
            cache: HubCache::at(environment::cache()?),
            record: HubRecord::at(record),
            offline: said.or_else(environment::offline),
        })
    }

    /// Which setting forbids to fetch; `None` if none does.
    pub fn offline(&self) -> Option<&'static str> {
        self.offline
    }

    /// The cache.
    pub fn cache(&self) -> &HubCache {
        &self.cache
    }

    /// Whether card itself fetched a file of the cache.
    pub fn fetched(&self, file: &Path) -> bool {
        HubCache::sum(file).is_some_and(|sum| self.record.has(&sum))
    }

    /// The file of a model (the first, if it is split): from the cache, else fetched.
    ///
    /// # Errors
    /// If it is not here and cannot be fetched.
    pub fn file(&self, name: &HubName) -> Result<PathBuf, HubError> {
        if let Some(file) = self.cached(name, self.offline.is_some()) {
            return Ok(file);
        }
        match self.fetch(name) {
            // The hub is away, or the cache is not ours to write, but here is one that would have been
            // taken in its place.
            Err(error) if error.passes() || matches!(error, HubError::Disk { .. }) => {
                match self.cached(name, true) {
                    Some(file) => {
                        tracing::warn!("{error}; using {}", file.display());
                        Ok(file)
                    }
                    None => Err(error),
                }
            }
            fetched => fetched,
        }
    }

    /// The file of a model as the cache has it. Where no file is named, only the first choice will
    /// do, unless `any` of the usual ones shall.
    pub fn cached(&self, name: &HubName, any: bool) -> Option<PathBuf> {
        let first = Wanted::Quant(choice::USUAL[0].to_owned());
        let wanted = match &name.wanted {
            Wanted::Usual if !any => &first,
            wanted => wanted,
        };
        model_in(&self.cache.files(&name.repo), wanted)
    }

    /// The file of a model as the hub has it now, fetched if it is not here.
    ///
    /// # Errors
    /// If nothing may be fetched, there is no such model, or it does not arrive.
    pub fn fetch(&self, name: &HubName) -> Result<PathBuf, HubError> {
        let client = self.client(&name.to_string())?;
        let repo = &name.repo;
        let listing = listing::list(&client, repo)?;
        let files = chosen(repo, &listing, &name.wanted)?;
        let mut sums = Vec::new();
        for file in &files {
            sums.push(match &file.sum {
                Some(sum) => sum.clone(),
                None => listing::sum_of(&client, repo, &listing.commit, &file.path)?,
            });
        }
        let missing = |(_, sum): &&(u64, String)| !self.has(repo, sum);
        let needed: Vec<&(u64, String)> = sums.iter().filter(missing).collect();
        if !needed.is_empty() {
            let bytes = needed
                .iter()
                .fold(0, |all: u64, sum| all.saturating_add(sum.0));
            self.make_room(repo, &needed, bytes)?;
            let licence = listing.licence.as_deref().unwrap_or("licence not named");
            eprintln!("fetching {name} ({}, {licence})", HumanBytes(bytes));
            let bar = progress::bytes(bytes);
            for (file, (bytes, sum)) in files.iter().zip(&sums) {
                self.fetch_file(&client, &listing, repo, (file, *bytes, sum), &bar)?;
            }
            bar.finish_and_clear();
        }
        let mut first = None;
        for (file, (_, sum)) in files.iter().zip(&sums) {
            let linked = self.cache.link(repo, &listing.commit, &file.path, sum)?;
            first.get_or_insert(linked);
        }
        self.cache.set_commit(repo, &listing.commit)?;
        first.ok_or_else(|| HubError::NoFile {
            repo: repo.to_string(),
            what: "no model".into(),
            near: Vec::new(),
        })
    }

    /// Fetches one file of a repository into `part`, which lies outside the cache. Its length and
    /// checksum are known.
    ///
    /// # Errors
    /// If nothing may be fetched, or it does not arrive.
    pub fn fetch_to(
        &self,
        repo: &RepoId,
        path: &str,
        (bytes, sum): (u64, &str),
        part: &Path,
    ) -> Result<(), HubError> {
        let name = format!("{PREFIX}{repo}/{path}");
        let client = self.client(&name)?;
        let bar = progress::bytes(bytes);
        let download = Download {
            url: client.file_address(repo, "main", path),
            file: &name,
            bytes,
            sum,
        };
        let fetched = download.run(&client, part, &bar);
        bar.finish_and_clear();
        fetched.map_err(|error| listing::explained(&client, repo, error))
    }

    /// Asks the hub, if that is allowed. `name` is asked for.
    fn client(&self, name: &str) -> Result<HubClient, HubError> {
        if let Some(because) = self.offline {
            return Err(HubError::Offline {
                name: name.to_owned(),
                cache: self.cache.root().to_owned(),
                because,
            });
        }
        Ok(HubClient::new(
            environment::endpoint()?,
            environment::token()?,
        ))
    }

    /// Whether the cache has what has this checksum. It was checked before it got its name.
    fn has(&self, repo: &RepoId, sum: &str) -> bool {
        self.cache.blob(repo, sum).is_file()
    }

    /// Makes the folder of a repository, and sees to it that what is needed fits.
    fn make_room(
        &self,
        repo: &RepoId,
        needed: &[&(u64, String)],
        bytes: u64,
    ) -> Result<(), HubError> {
        let here = |sum: &str| {
            let part = part_of(&self.cache.blob(repo, sum));
            std::fs::metadata(part).map_or(0, |m| m.len())
        };
        let here = needed.iter().fold(0, |all: u64, (bytes, sum)| {
            all.saturating_add(here(sum).min(*bytes))
        });
        let blobs = self.cache.blob(repo, "");
        std::fs::create_dir_all(&blobs).map_err(|why| cache::disk(&blobs, why))?;
        let free = fs4::available_space(&blobs).map_err(|why| cache::disk(&blobs, why))?;
        let needed = bytes.saturating_sub(here).saturating_add(SPARE);
        if needed <= free {
            return Ok(());
        }
        Err(HubError::NoRoom {
            folder: self.cache.root().to_owned(),
            what: repo.to_string(),
            needed,
            free,
        })
    }

    /// Fetches a file into the cache's blob, unless another tool did meanwhile.
    fn fetch_file(
        &self,
        client: &HubClient,
        listing: &RepoListing,
        repo: &RepoId,
        (file, bytes, sum): (&HubFile, u64, &str),
        bar: &ProgressBar,
    ) -> Result<(), HubError> {
        if self.has(repo, sum) {
            return Ok(());
        }
        let _lock = self.cache.lock(repo, sum)?;
        let blob = self.cache.blob(repo, sum);
        if self.has(repo, sum) {
            bar.inc(bytes);
            return Ok(());
        }
        let part = part_of(&blob);
        let download = Download {
            url: client.file_address(repo, &listing.commit, &file.path),
            file: &file.path,
            bytes,
            sum,
        };
        let fetched = download.run(client, &part, bar);
        fetched.map_err(|error| listing::explained(client, repo, error))?;
        std::fs::rename(&part, &blob).map_err(|why| cache::disk(&blob, why))?;
        self.record.add(sum);
        Ok(())
    }
}

/// The file of the wanted model (the first, if it is split) among the files of a repository by commit
/// ([`HubCache::files`]): of the first commit that has all of it. Parts of different commits do not
/// make a model.
pub fn model_in(commits: &[Vec<CachedFile>], wanted: &Wanted) -> Option<PathBuf> {
    commits.iter().find_map(|files| {
        let paths: Vec<&str> = files.iter().map(|f| f.path.as_str()).collect();
        let chosen = choice::choose(&paths, wanted).ok()?;
        let first = files.iter().find(|f| chosen.first() == Some(&f.path))?;
        Some(first.file.clone())
    })
}

/// The name of a blob while it arrives, as other tools have it.
fn part_of(blob: &Path) -> PathBuf {
    let mut name = blob.as_os_str().to_owned();
    name.push(".incomplete");
    PathBuf::from(name)
}

/// The files of a listing that are the wanted model.
fn chosen(repo: &RepoId, listing: &RepoListing, wanted: &Wanted) -> Result<Vec<HubFile>, HubError> {
    let paths: Vec<&str> = listing.files.iter().map(|f| f.path.as_str()).collect();
    let chosen = choice::choose(&paths, wanted).map_err(|(what, near)| HubError::NoFile {
        repo: repo.to_string(),
        what,
        near,
    })?;
    let find = |path: &String| listing.files.iter().find(|f| f.path == *path).cloned();
    Ok(chosen.iter().filter_map(find).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of a commit.
    fn commit(folder: &str, paths: &[&str]) -> Vec<CachedFile> {
        let file = |path: &&str| CachedFile {
            path: (*path).to_owned(),
            file: Path::new(folder).join(path),
            bytes: 1,
        };
        paths.iter().map(file).collect()
    }

    #[test]
    fn a_model_is_found_in_the_first_commit_that_has_all_of_it() {
        let parts = ["b-00001-of-00002.gguf", "b-00002-of-00002.gguf"];
        let commits = [
            commit("new", &["a.gguf", parts[0]]),
            commit("old", &["a.gguf", parts[0], parts[1]]),
            commit("oldest", &["c.gguf"]),
        ];
        let found = |path: &str| model_in(&commits, &Wanted::File(path.to_owned()));
        assert_eq!(found("a.gguf"), Some("new/a.gguf".into()));
        assert_eq!(found(parts[0]), Some(Path::new("old").join(parts[0])));
        assert_eq!(found("c.gguf"), Some("oldest/c.gguf".into()));
        assert_eq!(found("d.gguf"), None);
        // A part of each of two commits is no model.
        let apart = [commit("new", &parts[..1]), commit("old", &parts[1..])];
        assert_eq!(model_in(&apart, &Wanted::File(parts[0].to_owned())), None);
    }
}
