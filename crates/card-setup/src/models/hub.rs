//! Model files from the Hugging Face hub.

use std::fs;

use anyhow::{Context, Result};
use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler};
use indicatif::ProgressBar;

use super::catalogue::{CatalogueEntry, HubOrigin};
use super::partial::Partial;
use crate::progress;

/// Fetches the whole file.
pub fn fetch(partial: &Partial, entry: &CatalogueEntry, origin: &HubOrigin) -> Result<()> {
    let HubOrigin { repo, file } = origin;
    let (owner, name) = repo
        .split_once('/')
        .with_context(|| format!("{repo} is not owner/name"))?;
    let bar = progress::bytes(entry.bytes);
    let client = hf_hub::HFClientSync::new().context("cannot reach the model hub")?;
    let path = client
        .model(owner, name)
        .download_file()
        .filename(file.as_str())
        .local_dir(&*partial.scratch)
        .progress(hf_hub::progress::Progress::new(HubProgress(bar.clone())))
        .send()
        .with_context(|| format!("cannot fetch {file} from {repo}"))?;
    bar.finish_and_clear();
    fs::rename(path, &partial.file)?;
    Ok(())
}

struct HubProgress(ProgressBar);

impl ProgressHandler for HubProgress {
    fn on_progress(&self, event: &ProgressEvent) {
        match event {
            ProgressEvent::Download(DownloadEvent::AggregateProgress {
                bytes_completed, ..
            }) => self.0.set_position(*bytes_completed),
            ProgressEvent::Download(DownloadEvent::Progress { files }) => {
                if let Some(file) = files.first() {
                    self.0.set_position(file.bytes_completed);
                }
            }
            _ => {}
        }
    }
}
