//! `card quantize`: writes a model with another type of weights.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use card_setup::hub;
use card_setup::local::{lmstudio, ollama};
use card_setup::models::catalogue::Catalogue;
use card_setup::models::locate::Models;
use card_setup::models::store::Store;
use card_setup::rewrite::{CopyWeights, rewrite};
use indicatif::HumanBytes;

/// `card quantize`.
pub fn run(
    catalogue: &Catalogue,
    input: &Path,
    output: &Path,
    weights: CopyWeights,
) -> Result<ExitCode> {
    let store = Store::open()?;
    let models = Models::new(catalogue, &store, false)?;
    let input = match input.to_str() {
        // A path that is no file is told with its own error.
        Some(name) if catalogue.model(name).is_some() || is_elsewhere(name) => {
            models.locate(name)?.file
        }
        _ => input.to_owned(),
    };
    rewrite(&input, output, weights)?;
    let size = std::fs::metadata(output)
        .context("the output is gone")?
        .len();
    eprintln!("{}: {}", output.display(), HumanBytes(size));
    Ok(ExitCode::SUCCESS)
}

/// Whether a name is of a place other than the catalogue.
fn is_elsewhere(name: &str) -> bool {
    let places = [hub::PREFIX, ollama::PREFIX, lmstudio::PREFIX];
    places.iter().any(|place| name.starts_with(place))
}
