//! `card draft`: drafts for targets on other machines.

use std::process::ExitCode;

use anyhow::Result;
use card_link::{ClientSecurity, LinkError, ServerSecurity, scope as scope_of};
use card_setup::models::catalogue::Catalogue;
use card_setup::{GuestSettings, drafting, link};

use super::remote::{ENDING, say_connected};
use crate::args::DraftArgs;
use crate::interrupt::{Listener, stopped};

/// `card draft`, until Ctrl-C or SIGTERM.
pub fn run(args: &DraftArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let scope = args.scope.clone().unwrap_or_default();
    scope_of(&scope).map_err(anyhow::Error::msg)?;
    // What cannot be is said before a model is loaded.
    let side = match &args.attach {
        Some(url) => LinkSide::Dials(url, args.link.settings().client()?),
        None => LinkSide::Listens(listening(args)?),
    };
    let drafting = drafting::load(&args.model.settings(), catalogue)?;
    let budget = drafting.budget.clone();
    let listener = Listener::new();
    let ends = stopped("drafting ends; targets go on by themselves");
    link::runtime()?.block_on(async {
        match side {
            LinkSide::Dials(url, security) => {
                let told = |state: Result<(), &LinkError>| say_connected(url, state);
                card_link::attach(url, drafting, &scope, security, ends, told).await?;
            }
            LinkSide::Listens(security) => {
                let ready = |address| eprintln!("drafting for targets that dial {address}");
                card_link::serve_drafter(args.listen, drafting, security, ends, ready).await?;
            }
        }
        budget.ended(ENDING).await;
        Ok::<(), LinkError>(())
    })?;
    drop(listener);
    Ok(ExitCode::SUCCESS)
}

fn listening(args: &DraftArgs) -> Result<ServerSecurity> {
    let link = args.link.settings();
    link.server(args.listen, &GuestSettings::default())
}

/// Which side opens the connection.
enum LinkSide<'a> {
    Dials(&'a str, ClientSecurity),
    Listens(ServerSecurity),
}
