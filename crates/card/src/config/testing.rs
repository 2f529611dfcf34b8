//! What several tests of settings need.

use clap::{Arg, Command, CommandFactory};

use crate::args::Cli;

/// A secret that must not be shown.
pub const PASSWORD: &str = "hunter2";

/// `card serve`.
pub fn serve() -> Command {
    let command = Cli::command();
    let serve = command.find_subcommand("serve");
    serve.expect("there is no serve").clone()
}

fn is_file(arg: &Arg) -> bool {
    let names = arg.get_value_names().unwrap_or_default();
    names.iter().any(|n| n.as_str() == "FILE")
}

/// Whether a name says that the value is a secret.
pub fn sounds_secret(arg: &Arg) -> bool {
    let secret = |word| ["key", "keys", "token", "secret", "secrets", "password"].contains(&word);
    let name = arg.get_long().unwrap_or_default();
    arg.get_action().takes_values() && !is_file(arg) && name.split('-').any(secret)
}
