//! `card explain`: a page that shows where each token of a request came from.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use card_audit as audit;
use card_server::explain;

use crate::args::ExplainArgs;

/// `card explain`.
pub fn run(args: &ExplainArgs) -> Result<ExitCode> {
    let id = args.request.rsplit('-').next().unwrap_or_default();
    let mut records = audit::read(&audit::files(&args.files)?, Some(id))?;
    records.retain(|r| r["choice"] == args.choice);
    ensure!(
        !records.is_empty(),
        "there is no request {id:?} (choice {}) in the log; `card audit list` shows what there is",
        args.choice
    );
    let page = explain::page(&records);
    if args.out == Path::new("-") {
        print!("{page}");
        return Ok(ExitCode::SUCCESS);
    }
    write_private(&args.out, page.as_bytes())
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    eprintln!("written: {}", args.out.display());
    Ok(ExitCode::SUCCESS)
}

/// Writes a file that only its owner reads, at once or not at all; what may be a prompt is in
/// it. A link is not followed.
fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Ok(there) = path.symlink_metadata() {
        ensure!(
            there.is_file(),
            "it is no regular file; name another, or - for standard output"
        );
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Such a file is made for its owner only.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.html");
        std::fs::write(&path, "an old page that is longer").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&path, b"new").unwrap();
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode, std::fs::read(&path).unwrap()),
            (0o600, b"new".to_vec())
        );
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(write_private(&link, b"other").is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }
}
