//! `card pull`: fetches models.

use std::process::ExitCode;

use anyhow::{Result, bail};
use card_setup::models::catalogue::Catalogue;
use card_setup::models::locate::{ModelName, ModelPlaces};
use card_setup::models::store::Store;

use crate::args::PullArgs;

/// `card pull`.
pub fn run(args: &PullArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let store = Store::open()?;
    let models = ModelPlaces::new(catalogue, &store, false)?;
    // What is no name is said before anything is fetched.
    let names: Result<Vec<ModelName>> = args.names.iter().map(|text| models.name(text)).collect();
    for name in names? {
        pull(&name, &models)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn pull(name: &ModelName, models: &ModelPlaces) -> Result<()> {
    match name {
        ModelName::Hub(name) => {
            // Here the hub is asked whether there is a newer one.
            let file = models.hub.fetch(name)?;
            eprintln!("{name}: {}", file.display());
        }
        ModelName::Catalogue(name) => {
            let (target, draft) = models.resolve(name)?;
            let draft = draft.filter(|draft| draft.name != target.name);
            for entry in std::iter::once(target).chain(draft) {
                let path = models.fetch(entry)?;
                eprintln!("{}: {}", entry.name, path.display());
            }
        }
        ModelName::File(file) => bail!(
            "{} is a file; `card pull` fetches models of the catalogue and of the hub",
            file.display()
        ),
        ModelName::Ollama(name) => bail!("Ollama fetches its models itself: ollama pull {name}"),
        ModelName::LmStudio(_) => {
            bail!("LM Studio fetches its models itself; from the hub, card fetches hf:OWNER/REPO")
        }
    }
    Ok(())
}
