//! The limit of open files.

/// Lets this process open as many files as the system grants it: a connection is one. Many
/// systems give 1,024 where nobody asks.
pub(crate) fn raise_open_files(wanted: usize) {
    let wanted = wanted as u64 + 256;
    match rlimit::increase_nofile_limit(wanted) {
        Ok(got) if got < wanted => tracing::warn!(
            "this system lets the server open {got} files, fewer than --max-connections needs"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!("the limit of open files cannot be raised: {error}"),
    }
}
