//! `card quantize`: writes a model with another type of weights.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use card_setup::models::catalogue::Catalogue;
use card_setup::models::fetch::fetch;
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
    let input = match input.to_str().and_then(|name| catalogue.model(name)) {
        Some(entry) => fetch(&Store::open()?, entry)?,
        None => input.to_owned(),
    };
    rewrite(&input, output, weights)?;
    let size = std::fs::metadata(output)
        .context("the output is gone")?
        .len();
    eprintln!("{}: {}", output.display(), HumanBytes(size));
    Ok(ExitCode::SUCCESS)
}
