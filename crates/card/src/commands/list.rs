//! `card list`: the catalogue, and what is here of it.

use std::process::ExitCode;

use anyhow::Result;
use card_setup::models::catalogue::Catalogue;
use card_setup::models::store::Store;
use indicatif::HumanBytes;

/// `card list`.
pub fn run(catalogue: &Catalogue) -> Result<ExitCode> {
    let store = Store::open()?;
    println!("pairs");
    for pair in &catalogue.pairs {
        println!(
            "  {:20} {} + {}  ({})",
            pair.name, pair.target, pair.draft, pair.title
        );
    }
    println!("models");
    for entry in &catalogue.entries {
        let here = if store.has(entry) { "here" } else { "" };
        println!(
            "  {:20} {:36} {:>10}  {:12} {here}",
            entry.name,
            entry.title,
            HumanBytes(entry.bytes).to_string(),
            entry.licence
        );
    }
    println!("kept in {}", store.models().display());
    Ok(ExitCode::SUCCESS)
}
