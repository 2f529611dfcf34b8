//! `card remove`: removes models that are here.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Result, bail};
use card_setup::models::catalogue::Catalogue;
use card_setup::models::inventory::LocalModel;
use card_setup::models::locate::ModelPlaces;
use card_setup::models::remove::{named, remove};
use card_setup::models::store::Store;
use indicatif::HumanBytes;

use crate::args::RemoveArgs;

/// `card remove`.
pub fn run(args: &RemoveArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let store = Store::open()?;
    // To remove is to fetch nothing.
    let all = ModelPlaces::new(catalogue, &store, true)?;
    let mut going: Vec<LocalModel> = Vec::new();
    for name in &args.names {
        for model in named(name, &all)? {
            if !going.contains(&model) {
                going.push(model);
            }
        }
    }
    let foreign = going.iter().find(|model| !model.keeper.is_card());
    if let Some(model) = foreign.filter(|_| !args.others) {
        bail!(
            "{} is not card's ({}); --others removes it all the same",
            model.name,
            model.keeper
        );
    }
    for model in &going {
        eprintln!(
            "{} ({}, {})",
            model.name,
            HumanBytes(model.bytes),
            model.file.display()
        );
    }
    if !args.yes && !confirmed()? {
        eprintln!("nothing was removed");
        return Ok(ExitCode::FAILURE);
    }
    let mut free = 0;
    for model in &going {
        free += remove(model, &all)?;
    }
    eprintln!("removed; {} became free", HumanBytes(free));
    Ok(ExitCode::SUCCESS)
}

/// Asks whether they shall go. Whoever cannot answer has to say so with a flag.
fn confirmed() -> Result<bool> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        bail!("nobody is there to be asked; --yes removes without asking");
    }
    eprint!("remove? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    let answer = answer.trim().to_lowercase();
    Ok(answer == "y" || answer == "yes")
}
