//! llama-server's short flags of more than one letter, which command lines of today have: they
//! are read as the long flags that mean the same.

use std::ffi::OsString;

/// Short flags of llama-server and the long flags here that mean the same.
const NAMES: [(&str, &str); 12] = [
    ("-ngl", "--n-gpu-layers"),
    ("-ngld", "--n-gpu-layers-draft"),
    ("-np", "--parallel"),
    ("-dev", "--device"),
    ("-devd", "--device-draft"),
    ("-ctk", "--cache-type-k"),
    ("-ctv", "--cache-type-v"),
    ("-ctkd", "--cache-type-k-draft"),
    ("-ctvd", "--cache-type-v-draft"),
    ("-cmoe", "--cpu-moe"),
    ("-ncmoe", "--n-cpu-moe"),
    ("-ot", "--override-tensor"),
];
/// The commands that read them.
const COMMANDS: [&str; 3] = ["serve", "generate", "chat"];

/// A command line with long flags in place of llama-server's short ones. What comes before the
/// command, or after `--`, stays as it is.
pub fn long_names(line: Vec<OsString>) -> Vec<OsString> {
    let is_command = |arg: &OsString| COMMANDS.iter().any(|name| arg == name);
    let Some(command) = line.iter().skip(1).position(is_command) else {
        return line;
    };
    let mut open = true;
    let long = |(at, arg): (usize, OsString)| {
        open &= arg != "--";
        // The first argument is the program, which `position` did not count.
        let flag = open && at > command + 1;
        let found = NAMES.iter().find(|(short, _)| flag && arg == *short);
        found.map_or(arg, |(_, long)| OsString::from(long))
    };
    line.into_iter().enumerate().map(long).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    fn read(line: &[&str]) -> Vec<String> {
        let line = long_names(line.iter().map(OsString::from).collect());
        line.into_iter().map(|a| a.into_string().unwrap()).collect()
    }

    #[test]
    fn short_flags_of_llama_server_become_long_ones_behind_the_command() {
        assert_eq!(
            read(&[
                "card", "-v", "serve", "-ngl", "99", "-np", "2", "--", "-ngl"
            ]),
            [
                "card",
                "-v",
                "serve",
                "--n-gpu-layers",
                "99",
                "--parallel",
                "2",
                "--",
                "-ngl"
            ]
        );
        let others = ["card", "bench", "-ot"];
        assert_eq!(read(&others), others);
        assert_eq!(read(&["-ngl", "serve"]), ["-ngl", "serve"]);
    }

    #[test]
    fn each_long_flag_is_one_of_the_servers() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").unwrap();
        for (short, long) in NAMES {
            let name = long.trim_start_matches('-');
            let has = |arg: &clap::Arg| {
                let aliases = arg.get_all_aliases().unwrap_or_default();
                arg.get_long() == Some(name) || aliases.contains(&name)
            };
            assert!(serve.get_arguments().any(has), "{short} {long}");
        }
    }

    #[test]
    fn a_command_line_of_llama_server_is_understood() {
        let line = "card serve -m some.gguf -c 8192 -ngl 99 -np 2 -t 4 -a name -ctk q8_0 -ctv q8_0 \
                    -ncmoe 4 --host 127.0.0.1 --port 8080";
        let line = long_names(line.split_whitespace().map(OsString::from).collect());
        let matches = Cli::command().try_get_matches_from(line).unwrap();
        let serve = matches.subcommand().unwrap().1;
        assert_eq!(serve.get_one::<u32>("parallel"), Some(&2));
        assert_eq!(serve.get_one::<u32>("gpu_layers"), Some(&99));
        assert_eq!(
            serve.get_one::<String>("name").map(String::as_str),
            Some("name")
        );
    }
}
