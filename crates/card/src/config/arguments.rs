//! Which arguments are settings, and which of their values are secrets.

/// Arguments whose values are secrets; those of all commands.
pub const SECRETS: [&str; 5] = [
    "api_key",
    "metrics_key",
    "link_token",
    "upstream_key",
    "peer_key",
];
/// Arguments that say what to do, and set nothing.
pub const NO_SETTINGS: [&str; 3] = ["config", "print_config", "help"];

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;
    use crate::config::testing::sounds_secret;

    #[test]
    fn what_is_named_like_a_secret_is_one() {
        let command = Cli::command();
        let mut found = 0;
        for sub in command.get_subcommands() {
            for arg in sub.get_arguments().filter(|a| sounds_secret(a)) {
                found += 1;
                let name = (sub.get_name(), arg.get_id().as_str());
                assert!(SECRETS.contains(&name.1), "{name:?} is not in SECRETS");
                // Help shows what is in the environment, and what a file says.
                assert!(arg.is_hide_env_values_set(), "{name:?}");
            }
        }
        assert!(found >= SECRETS.len());
    }
}
