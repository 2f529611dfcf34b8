//! `card list`: the models that are here, and the catalogue.

use std::process::ExitCode;

use anyhow::Result;
use card_setup::head;
use card_setup::head_file;
use card_setup::models::catalogue::Catalogue;
use card_setup::models::drafters::{HeaderCache, plan_among};
use card_setup::models::inventory::{LocalModel, models};
use card_setup::models::locate::ModelPlaces;
use card_setup::models::store::Store;
use indicatif::HumanBytes;
use serde_json::json;

use crate::args::ListArgs;

/// `card list`.
pub fn run(args: &ListArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let store = Store::open()?;
    // To list is to look only.
    let all = ModelPlaces::new(catalogue, &store, true)?;
    let here = models(&all);
    if args.json {
        print_json(&here, &all)?;
    } else {
        print_here(&here, &all);
        print_catalogue(&all);
        println!("kept in {}", store.models().display());
        println!("the hub's cache is {}", all.hub.cache().root().display());
    }
    Ok(ExitCode::SUCCESS)
}

/// The drafter of each model: the head in its own file, its pair's, the head beside it, else what would
/// be found for it. Of a head, that it is one.
fn drafters(here: &[LocalModel], all: &ModelPlaces) -> Vec<String> {
    let mut headers = HeaderCache::default();
    let drafter = |model: &LocalModel| {
        if let Some(own) = head::listed(&model.file) {
            return own.to_owned();
        }
        if let Some(draft) = all.catalogue.draft_of(&model.name) {
            return draft.name.clone();
        }
        let found = || plan_among(&model.file, all, here, &mut headers).words();
        head_file::listed(&model.file).unwrap_or_else(found)
    };
    here.iter().map(drafter).collect()
}

fn print_here(here: &[LocalModel], all: &ModelPlaces) {
    println!("here");
    if here.is_empty() {
        println!("  nothing yet; `card pull qwen-coder` fetches the default pair");
    }
    for (model, drafter) in here.iter().zip(drafters(here, all)) {
        let whose = if model.keeper.is_card() {
            String::new()
        } else {
            format!("  ({})", model.keeper)
        };
        println!(
            "  {:40} {:>10}  drafter: {drafter}{whose}",
            model.name,
            HumanBytes(model.bytes).to_string()
        );
    }
}

fn print_catalogue(all: &ModelPlaces) {
    println!("pairs of the catalogue");
    for pair in &all.catalogue.pairs {
        println!(
            "  {:20} {} + {}  ({})",
            pair.name, pair.target, pair.draft, pair.title
        );
    }
    println!("models of the catalogue");
    for entry in &all.catalogue.entries {
        let here = if all.here(entry).is_some() {
            "here"
        } else {
            ""
        };
        let size = entry
            .known()
            .map(|known| HumanBytes(known.bytes).to_string());
        println!(
            "  {:30} {:40} {:>10}  {:12} {here}",
            entry.name,
            entry.title,
            size.as_deref().unwrap_or("hub"),
            entry.licence
        );
    }
}

fn print_json(here: &[LocalModel], all: &ModelPlaces) -> Result<()> {
    let both = here.iter().zip(drafters(here, all));
    let described = both.map(|(model, drafter)| {
        json!({
            "name": model.name,
            "file": model.file.display().to_string(),
            "bytes": model.bytes,
            "kept_by": model.keeper.to_string(),
            "drafter": drafter,
        })
    });
    let described: Vec<_> = described.collect();
    println!("{}", serde_json::to_string_pretty(&described)?);
    Ok(())
}
