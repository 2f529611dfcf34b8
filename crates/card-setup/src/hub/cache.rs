//! The hub's cache on this disk, which other tools share: what Python's `huggingface_hub`,
//! llama-server and the crate `hf-hub` keep there is used in place, and they find what card keeps.
//!
//! ```text
//! models--OWNER--NAME/
//!   blobs/SHA256             what a file holds; SHA256.incomplete while it arrives
//!   snapshots/COMMIT/PATH    a link to a blob
//!   refs/main                the commit that is the newest known
//! .locks/models--OWNER--NAME/SHA256.lock
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use fs4::FileExt;

use super::error::HubError;
use super::listing::is_hex;
use super::name::{RepoId, is_gguf, is_safe_path};

/// Bytes of the longest file that names a commit.
const LONGEST_REF: u64 = 256;

/// Folders within folders that are looked into.
const DEEPEST: usize = 8;
/// Files of a repository that are looked at.
const MOST_FILES: usize = 20_000;

/// The cache.
#[derive(Clone, Debug)]
pub struct HubCache {
    root: PathBuf,
}

/// A file of the cache.
#[derive(Clone, Debug, PartialEq)]
pub struct CachedFile {
    /// Path in the repository.
    pub path: String,
    /// Where it lies: a link in a snapshot.
    pub file: PathBuf,
    /// Its bytes.
    pub bytes: u64,
}

impl HubCache {
    /// The cache in a folder, which need not exist.
    pub fn at(root: PathBuf) -> Self {
        HubCache { root }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn repo(&self, repo: &RepoId) -> PathBuf {
        self.root.join(repo.folder())
    }

    /// Where what has this checksum lies, or will lie.
    pub fn blob(&self, repo: &RepoId, sum: &str) -> PathBuf {
        self.repo(repo).join("blobs").join(sum)
    }

    /// The repositories that are here, by name.
    pub fn repos(&self) -> Vec<RepoId> {
        let Ok(entries) = fs::read_dir(&self.root) else {
            return Vec::new();
        };
        let folders = entries.flatten().map(|entry| entry.file_name());
        let mut repos: Vec<RepoId> = folders
            .filter_map(|name| RepoId::of_folder(name.to_str()?))
            .collect();
        repos.sort();
        repos
    }

    /// The commit that was the newest when a repository was last asked for.
    fn commit(&self, repo: &RepoId) -> Option<String> {
        let file = self.repo(repo).join("refs/main");
        let fits = fs::metadata(&file).is_ok_and(|m| m.is_file() && m.len() <= LONGEST_REF);
        let text = fits.then(|| fs::read_to_string(&file).ok())??;
        let commit = text.trim();
        is_hex(commit, 40).then(|| commit.to_owned())
    }

    /// The commits of which something is here, the newest known first.
    fn commits(&self, repo: &RepoId) -> Vec<String> {
        let newest = self.commit(repo);
        let Ok(entries) = fs::read_dir(self.repo(repo).join("snapshots")) else {
            return Vec::new();
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        let mut commits: Vec<String> = names
            .filter_map(|name| name.into_string().ok())
            .filter(|name| is_hex(name, 40))
            .collect();
        commits.sort_by_key(|commit| (Some(commit) != newest.as_ref(), commit.clone()));
        commits
    }

    /// The GGUF files that are here of a repository, by path: for each commit of which something is
    /// here, the newest known first.
    pub fn files(&self, repo: &RepoId) -> Vec<Vec<CachedFile>> {
        let snapshots = self.repo(repo).join("snapshots");
        let commits = self.commits(repo).into_iter();
        commits
            .map(|commit| self.files_of(&snapshots.join(commit)))
            .collect()
    }

    /// The GGUF files below a snapshot's folder, by path.
    fn files_of(&self, snapshot: &Path) -> Vec<CachedFile> {
        let mut files = Vec::new();
        for (path, file) in links(snapshot) {
            // A link whose blob is gone is no file.
            let known = fs::metadata(&file).ok().filter(|m| m.is_file());
            if let Some(known) = known.filter(|_| is_gguf(&path) && is_safe_path(&path)) {
                files.push(CachedFile {
                    path,
                    file,
                    bytes: known.len(),
                });
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }

    /// Makes a file of a commit be the blob of this checksum, if it is not yet: a cache may be one
    /// that only others write, and another program may be opening the file. Returns where it lies.
    ///
    /// # Errors
    /// If the cache cannot be written.
    pub fn link(
        &self,
        repo: &RepoId,
        commit: &str,
        path: &str,
        sum: &str,
    ) -> Result<PathBuf, HubError> {
        let file = self.repo(repo).join("snapshots").join(commit).join(path);
        let above = "../".repeat(2 + path.matches('/').count());
        let to = format!("{above}blobs/{sum}");
        if fs::read_link(&file).is_ok_and(|there| there == Path::new(&to)) {
            return Ok(file);
        }
        let make = || -> io::Result<()> {
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder)?;
            }
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            make_link(&to, &self.blob(repo, sum), &file)
        };
        make().map_err(|why| disk(&file, why))?;
        Ok(file)
    }

    /// Remembers which commit is the newest.
    ///
    /// # Errors
    /// If the cache cannot be written.
    pub fn set_commit(&self, repo: &RepoId, commit: &str) -> Result<(), HubError> {
        if self.commit(repo).as_deref() == Some(commit) {
            return Ok(());
        }
        let file = self.repo(repo).join("refs/main");
        let write = || -> io::Result<()> {
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&file, commit)
        };
        write().map_err(|why| disk(&file, why))
    }

    /// Waits until no other tool fetches what has this checksum, and keeps others from it while the
    /// returned file lives.
    ///
    /// # Errors
    /// If the cache cannot be written.
    pub fn lock(&self, repo: &RepoId, sum: &str) -> Result<File, HubError> {
        let folder = self.root.join(".locks").join(repo.folder());
        let path = folder.join(format!("{sum}.lock"));
        let lock = || -> io::Result<File> {
            fs::create_dir_all(&folder)?;
            let file = File::create(&path)?;
            if FileExt::try_lock(&file).is_err() {
                eprintln!("another program is fetching the same file; waiting for it");
                FileExt::lock(&file)?;
            }
            Ok(file)
        };
        lock().map_err(|why| disk(&path, why))
    }

    /// The checksum by which a file of the cache is kept, if the cache keeps it by one.
    pub fn sum(file: &Path) -> Option<String> {
        let blob = fs::read_link(file).ok()?;
        let name = blob.file_name()?.to_str()?;
        is_hex(name, 64).then(|| name.to_owned())
    }

    /// Removes files of a repository, in whichever commits they are, and the blobs that no other
    /// file needs. Returns the bytes that became free.
    ///
    /// # Errors
    /// If something cannot be removed; the rest is tried all the same.
    pub fn remove(&self, repo: &RepoId, paths: &[String]) -> Result<u64, HubError> {
        let folder = self.repo(repo);
        let snapshots: Vec<PathBuf> = match fs::read_dir(folder.join("snapshots")) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(_) => Vec::new(),
        };
        let (mut going, mut staying) = (BTreeSet::new(), BTreeSet::new());
        let mut removed = Vec::new();
        for snapshot in &snapshots {
            for (path, file) in links(snapshot) {
                let blob = fs::canonicalize(&file).ok();
                if paths.contains(&path) {
                    going.extend(blob);
                    removed.push(file);
                } else {
                    staying.extend(blob);
                }
            }
        }
        let mut failed = None;
        let mut free = 0;
        let blobs = fs::canonicalize(folder.join("blobs")).ok();
        let mut remove = |file: &Path, bytes: u64| match fs::remove_file(file) {
            Ok(()) => free += bytes,
            Err(why) => failed = Some(disk(file, why)),
        };
        for file in &removed {
            // Where there are no links, the file is here itself.
            let own =
                fs::symlink_metadata(file).map_or(0, |m| if m.is_file() { m.len() } else { 0 });
            remove(file, own);
        }
        for blob in going.difference(&staying) {
            // Never anything that a link leads to elsewhere.
            if blobs.as_deref() == blob.parent() {
                remove(blob, fs::metadata(blob).map_or(0, |m| m.len()));
            }
        }
        for snapshot in &snapshots {
            remove_empty(snapshot, DEEPEST);
        }
        if staying.is_empty() {
            let _ = fs::remove_dir(folder.join("blobs"));
            let _ = fs::remove_dir(folder.join("snapshots"));
            if !folder.join("blobs").exists() && !folder.join("snapshots").exists() {
                let _ = fs::remove_file(folder.join("refs/main"));
                let _ = fs::remove_dir(folder.join("refs"));
                let _ = fs::remove_dir(&folder);
            }
        }
        failed.map_or(Ok(free), Err)
    }
}

/// An error of the disk, with its file.
pub fn disk(path: &Path, why: io::Error) -> HubError {
    HubError::Disk {
        path: path.to_owned(),
        why,
    }
}

#[cfg(unix)]
fn make_link(to: &str, _blob: &Path, file: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, file)
}

/// Elsewhere links want rights that users do not have, so the file gets a second name.
#[cfg(not(unix))]
fn make_link(_to: &str, blob: &Path, file: &Path) -> io::Result<()> {
    fs::hard_link(blob, file).or_else(|_| fs::copy(blob, file).map(drop))
}

/// The files below a folder, with their paths in it. Folders that are links are not entered.
fn links(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), folder.to_owned(), 0)];
    while let Some((before, folder, depth)) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let (Ok(kind), Ok(name)) = (entry.file_type(), entry.file_name().into_string()) else {
                continue;
            };
            let path = format!("{before}{name}");
            if kind.is_dir() {
                if depth < DEEPEST {
                    open.push((format!("{path}/"), entry.path(), depth + 1));
                }
            } else if found.len() < MOST_FILES {
                found.push((path, entry.path()));
            }
        }
    }
    found
}

/// Removes a folder and the folders in it, if they hold no file.
fn remove_empty(folder: &Path, depth: usize) {
    if let Ok(entries) = fs::read_dir(folder)
        && depth > 0
    {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_empty(&entry.path(), depth - 1);
            }
        }
    }
    let _ = fs::remove_dir(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789012345678901234567890123456789";

    fn repo() -> RepoId {
        RepoId::parse("a/b").unwrap()
    }

    /// A cache with a file of this text at each path.
    fn cache(dir: &Path, files: &[(&str, &str)]) -> HubCache {
        let cache = HubCache::at(dir.to_owned());
        for (i, (path, text)) in files.iter().enumerate() {
            let sum = format!("{i:064x}");
            let blob = cache.blob(&repo(), &sum);
            fs::create_dir_all(blob.parent().unwrap()).unwrap();
            fs::write(&blob, text).unwrap();
            let file = cache.link(&repo(), COMMIT, path, &sum).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), *text);
            #[cfg(unix)]
            assert_eq!(HubCache::sum(&file), Some(sum));
        }
        cache.set_commit(&repo(), COMMIT).unwrap();
        cache
    }

    fn paths(cache: &HubCache) -> Vec<String> {
        let files = cache.files(&repo()).into_iter().flatten();
        files.map(|f| f.path).collect()
    }

    #[test]
    fn what_is_kept_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(
            dir.path(),
            &[("m.gguf", "one"), ("x/y/n.gguf", "two"), ("c.json", "")],
        );
        assert_eq!(cache.repos(), [repo()]);
        assert_eq!(paths(&cache), ["m.gguf", "x/y/n.gguf"]);
        assert_eq!(cache.files(&repo())[0][0].bytes, 3);
        // The newest known commit comes first, and what else is here after it.
        let other = COMMIT.replace('0', "f");
        let sum = format!("{:064x}", 0);
        cache.link(&repo(), &other, "old.gguf", &sum).unwrap();
        assert_eq!(paths(&cache), ["m.gguf", "x/y/n.gguf", "old.gguf"]);
        cache.set_commit(&repo(), &other).unwrap();
        assert_eq!(paths(&cache), ["old.gguf", "m.gguf", "x/y/n.gguf"]);
        // What is no commit leads nowhere.
        let newest = dir.path().join("models--a--b/refs/main");
        fs::write(&newest, "../../etc").unwrap();
        assert_eq!(paths(&cache).len(), 3);
        // What is longer than a commit is not read whole.
        fs::write(&newest, format!("{other}\n")).unwrap();
        assert_eq!(cache.commit(&repo()), Some(other.clone()));
        let long = format!("{other}{}", " ".repeat(LONGEST_REF as usize));
        fs::write(&newest, long).unwrap();
        assert_eq!(cache.commit(&repo()), None);
    }

    /// Another program may be opening it, and the cache may be one that only others write.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_linked_already_is_left_as_it_is() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), &[("m.gguf", "one")]);
        let sum = format!("{:064x}", 0);
        let link = || cache.link(&repo(), COMMIT, "m.gguf", &sum).unwrap();
        // A second name of the link itself: one that is made anew has no other.
        fs::hard_link(link(), dir.path().join("second")).unwrap();
        assert_eq!(fs::symlink_metadata(link()).unwrap().nlink(), 2);
        // One that leads elsewhere is made anew.
        fs::remove_file(link()).unwrap();
        std::os::unix::fs::symlink("elsewhere", dir.path().join("other")).unwrap();
        fs::rename(
            dir.path().join("other"),
            dir.path()
                .join("models--a--b/snapshots")
                .join(COMMIT)
                .join("m.gguf"),
        )
        .unwrap();
        assert_eq!(fs::read_to_string(link()).unwrap(), "one");
    }

    #[test]
    fn a_link_to_nothing_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), &[("m.gguf", "one")]);
        fs::remove_file(cache.blob(&repo(), &format!("{:064x}", 0))).unwrap();
        assert!(paths(&cache).is_empty());
    }

    #[test]
    fn removing_leaves_what_others_need() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), &[("m.gguf", "one"), ("x/n.gguf", "four")]);
        let first = format!("{:064x}", 0);
        // Another file with the same content.
        cache.link(&repo(), COMMIT, "same.gguf", &first).unwrap();
        let remove = |path: &str| cache.remove(&repo(), &[path.to_owned()]).unwrap();
        assert_eq!(remove("m.gguf"), if cfg!(unix) { 0 } else { 3 });
        assert_eq!(paths(&cache), ["same.gguf", "x/n.gguf"]);
        assert_eq!(remove("x/n.gguf"), 4);
        assert_eq!(remove("same.gguf"), 3);
        assert!(!dir.path().join("models--a--b").exists());
    }

    #[cfg(unix)]
    #[test]
    fn removing_follows_no_link_out_of_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), &[("m.gguf", "one")]);
        let outside = dir.path().join("precious");
        fs::write(&outside, "precious").unwrap();
        let link = dir
            .path()
            .join("models--a--b/snapshots")
            .join(COMMIT)
            .join("o.gguf");
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        cache.remove(&repo(), &["o.gguf".to_owned()]).unwrap();
        assert!(!link.exists() && outside.exists());
    }
}
