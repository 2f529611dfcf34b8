//! Numbers below 0 as values of flags.

use clap::Command;

/// The command, where `-1` after a flag that wants a value is that value, and no flag: what it may
/// be, the flag's own parser says.
pub fn negative_numbers(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        if arg.get_action().takes_values() {
            arg.allow_negative_numbers(true)
        } else {
            arg
        }
    });
    command.mut_subcommands(negative_numbers)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;
    use crate::args::{Cli, CliCommand};

    fn parsed(line: &[&str]) -> Result<CliCommand, String> {
        let line = std::iter::once("card").chain(line.iter().copied());
        let matches = negative_numbers(Cli::command()).try_get_matches_from(line);
        let cli = matches.and_then(|m| Cli::from_arg_matches(&m));
        cli.map(|cli| cli.command).map_err(|e| e.to_string())
    }

    fn refused(line: &[&str], words: &str) {
        let said = parsed(line).err().unwrap_or_default();
        assert!(said.contains(words), "{line:?}: {said}");
        assert!(!said.contains("unexpected argument"), "{said}");
    }

    #[test]
    fn a_number_below_0_is_told_what_a_value_may_be() {
        let of = |flag| ["generate", "-p", "x", flag, "-1"];
        refused(&of("--seed"), "a seed is a whole number from 0 on");
        refused(&of("--threads"), "-1 is not in 1..=1024");
        refused(&of("--top-k"), "-1 is not in 0..");
        refused(&of("--cache-kib"), "a whole number from 0 to 1048576");
        refused(&["bench", "--seed", "-1"], "a seed is");
        refused(&["bench", "--prompts", "-3"], "from 1 to 100000");
        refused(
            &["serve", "--request-timeout", "-1"],
            "a whole number from 1 to 86400",
        );
    }

    #[test]
    fn a_number_below_0_that_means_something_is_taken() {
        let line = ["generate", "-p", "-5", "--temp", "-1", "-n", "-1"];
        let Ok(CliCommand::Generate(args)) = parsed(&line) else {
            panic!("it is refused");
        };
        assert_eq!(args.prompt.as_deref(), Some("-5"));
        assert_eq!(args.sampling.max_tokens, u32::MAX);
        let why = args.sampling.params().unwrap_err().to_string();
        assert!(why.contains("temperature is -1"), "{why}");
        refused(&["generate", "-n", "-2"], "or -1 for no limit");
    }

    #[test]
    fn flags_without_a_value_stay_flags() {
        assert!(parsed(&["generate", "-q", "-p", "x"]).is_ok());
        assert!(parsed(&["generate", "-p", "x", "-1"]).is_err());
    }
}
