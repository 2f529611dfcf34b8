//! `card pull`: fetches a model or a pair of the catalogue.

use std::process::ExitCode;

use anyhow::Result;
use card_setup::models::catalogue::Catalogue;
use card_setup::models::fetch::fetch;
use card_setup::models::store::Store;

/// `card pull`.
pub fn run(catalogue: &Catalogue, name: &str) -> Result<ExitCode> {
    let store = Store::open()?;
    let (target, draft) = catalogue.resolve(name)?;
    for entry in std::iter::once(target).chain(draft) {
        let path = fetch(&store, entry)?;
        eprintln!("{}: {}", entry.name, path.display());
    }
    Ok(ExitCode::SUCCESS)
}
