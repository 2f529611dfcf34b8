//! Flags of llama-server, which command lines of today have. Those that mean the same as a flag
//! here are read as that one; those that change nothing here are left out, and named in a line.

use std::ffi::{OsStr, OsString};

/// Flags of llama-server and the long flags here that mean the same.
const NAMES: [(&str, &str); 26] = [
    ("-ngl", "--n-gpu-layers"),
    ("-ngld", "--n-gpu-layers-draft"),
    ("--spec-draft-ngl", "--n-gpu-layers-draft"),
    ("-np", "--parallel"),
    ("-s", "--seed"),
    ("-md", "--draft"),
    ("--model-draft", "--draft"),
    ("--spec-draft-model", "--draft"),
    ("-td", "--draft-threads"),
    ("--threads-draft", "--draft-threads"),
    ("--spec-draft-threads", "--draft-threads"),
    ("-dev", "--device"),
    ("-devd", "--device-draft"),
    ("--spec-draft-device", "--device-draft"),
    ("-ctk", "--cache-type-k"),
    ("-ctv", "--cache-type-v"),
    ("-ctkd", "--cache-type-k-draft"),
    ("-ctvd", "--cache-type-v-draft"),
    ("--spec-draft-type-k", "--cache-type-k-draft"),
    ("--spec-draft-type-v", "--cache-type-v-draft"),
    ("-cram", "--cache-ram"),
    ("-fit", "--fit"),
    ("-cmoe", "--cpu-moe"),
    ("-ncmoe", "--n-cpu-moe"),
    ("-ot", "--override-tensor"),
    ("-rea", "--reasoning"),
];

/// How many values a flag takes that changes nothing here.
#[derive(Clone, Copy, PartialEq)]
enum Arity {
    /// None.
    Nothing,
    /// One.
    Value,
    /// One or none: what follows is the value if it is one of these words.
    Perhaps(&'static [&'static str]),
}

use Arity::{Nothing, Perhaps, Value};

/// Words for whether something is used.
const SWITCH: &[&str] = &["on", "off", "auto", "0", "1"];

/// Flags of llama-server that change nothing here: how forwards are cut, how a file is read, and how
/// far speculation goes, which the policy decides.
const WITHOUT_EFFECT: [(&str, Arity); 43] = [
    ("-b", Value),
    ("--batch-size", Value),
    ("-ub", Value),
    ("--ubatch-size", Value),
    ("-tb", Value),
    ("--threads-batch", Value),
    ("--threads-http", Value),
    ("-fa", Perhaps(SWITCH)),
    ("--flash-attn", Perhaps(SWITCH)),
    ("--poll", Value),
    ("--prio", Value),
    ("--cache-reuse", Value),
    ("--sse-ping-interval", Value),
    ("-sps", Value),
    ("--slot-prompt-similarity", Value),
    ("-dt", Value),
    ("--defrag-thold", Value),
    ("--draft-max", Value),
    ("--spec-draft-n-max", Value),
    ("--draft-min", Value),
    ("--spec-draft-n-min", Value),
    ("--draft-p-min", Value),
    ("--spec-draft-p-min", Value),
    ("--draft-p-split", Value),
    ("--spec-draft-p-split", Value),
    ("-cb", Nothing),
    ("--mmap", Nothing),
    ("--no-mmap", Nothing),
    ("--mlock", Nothing),
    ("--warmup", Nothing),
    ("--no-warmup", Nothing),
    ("--cache-prompt", Nothing),
    ("--no-context-shift", Nothing),
    ("-kvu", Nothing),
    ("--kv-unified", Nothing),
    ("--swa-full", Nothing),
    ("--perf", Nothing),
    ("--no-perf", Nothing),
    ("--log-prefix", Nothing),
    ("--log-timestamps", Nothing),
    ("--no-mmproj", Nothing),
    ("--webui", Nothing),
    ("--ui", Nothing),
];

/// The commands that read them.
const COMMANDS: [&str; 3] = ["serve", "generate", "chat"];

/// A command line with flags of this program in place of llama-server's, and those of llama-server's
/// that were left out, as they were written. What comes before the command, or after `--`, stays as
/// it is.
pub fn long_names(line: Vec<OsString>) -> (Vec<OsString>, Vec<String>) {
    let is_command = |arg: &OsString| COMMANDS.iter().any(|name| arg == name);
    let Some(command) = line.iter().skip(1).position(is_command) else {
        return (line, Vec::new());
    };
    // The first argument is the program, which `position` did not count.
    let begin = command + 2;
    let (mut read, mut left_out) = (Vec::with_capacity(line.len()), Vec::new());
    let mut args = line.into_iter().enumerate().peekable();
    while let Some((at, arg)) = args.next() {
        if at >= begin && arg == "--" {
            read.push(arg);
            read.extend(args.by_ref().map(|(_, arg)| arg));
            break;
        }
        let (name, value) = split(&arg);
        let known = WITHOUT_EFFECT.iter().find(|(flag, _)| name == *flag);
        match known {
            Some((flag, arity)) if at >= begin => {
                left_out.push((*flag).to_owned());
                let next = args.peek().map(|(_, next)| next.as_os_str());
                if value.is_none() && takes(*arity, next) {
                    args.next();
                }
            }
            _ if at >= begin => read.push(translated(arg)),
            _ => read.push(arg),
        }
    }
    (read, left_out)
}

/// Whether the next argument is the value of a flag that is left out.
fn takes(arity: Arity, next: Option<&OsStr>) -> bool {
    match arity {
        Nothing => false,
        Value => next.is_some(),
        Perhaps(words) => next.is_some_and(|next| words.iter().any(|word| next == *word)),
    }
}

/// The flag of an argument, and the value that is joined to it (`--flag=value`).
fn split(arg: &OsStr) -> (&str, Option<&str>) {
    let text = arg.to_str().unwrap_or_default();
    match text.split_once('=') {
        Some((flag, value)) if flag.starts_with("--") => (flag, Some(value)),
        _ => (text, None),
    }
}

/// The argument, with the name of a flag of this program in place of llama-server's.
fn translated(arg: OsString) -> OsString {
    let (name, value) = split(&arg);
    let found = NAMES.iter().find(|(theirs, _)| name == *theirs);
    let ours = found.map(|(_, ours)| match value {
        Some(value) => OsString::from(format!("{ours}={value}")),
        None => OsString::from(ours),
    });
    ours.unwrap_or(arg)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    fn read(line: &[&str]) -> Vec<String> {
        let (line, _) = long_names(line.iter().map(OsString::from).collect());
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
        assert_eq!(
            read(&["card", "serve", "--model-draft=a=b.gguf", "-md", "c"]),
            ["card", "serve", "--draft=a=b.gguf", "--draft", "c"]
        );
    }

    #[test]
    fn flags_that_change_nothing_are_left_out_and_named() {
        let line = "card serve -fa on -b 2048 --ubatch-size=512 --mlock -fa -c 8192 --draft-max 16 -- \
                    -b";
        let line = line.split_whitespace().map(OsString::from).collect();
        let (read, left_out) = long_names(line);
        assert_eq!(read, ["card", "serve", "-c", "8192", "--", "-b"]);
        assert_eq!(
            left_out,
            [
                "-fa",
                "-b",
                "--ubatch-size",
                "--mlock",
                "-fa",
                "--draft-max"
            ]
        );
        // Other commands have flags of their own.
        let other = ["card", "bench", "-b", "1"].map(OsString::from).to_vec();
        assert_eq!(long_names(other.clone()), (other, Vec::new()));
    }

    #[test]
    fn each_long_flag_is_one_of_the_servers() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").unwrap();
        let has = |name: &str| {
            let name = name.trim_start_matches('-');
            let is = |arg: &clap::Arg| {
                let aliases = arg.get_all_aliases().unwrap_or_default();
                arg.get_long() == Some(name) || aliases.contains(&name)
            };
            serve.get_arguments().any(is)
        };
        for (theirs, ours) in NAMES {
            assert!(has(ours), "{theirs} {ours}");
        }
        for (flag, _) in WITHOUT_EFFECT {
            assert!(!flag.starts_with("--") || !has(flag), "{flag} is one here");
        }
    }

    #[test]
    fn a_command_line_of_llama_server_is_understood() {
        let line = "card serve -m some.gguf -c 8192 -ngl 99 -np 2 -t 4 -a name -ctk q8_0 -ctv q8_0 \
                    -ncmoe 4 -fa on -b 2048 -ub 512 --no-mmap -cb -md small.gguf --draft-max 16 \
                    --draft-min 1 -s 7 --temp 0.7 --jinja --host 127.0.0.1 --port 8080";
        let (line, _) = long_names(line.split_whitespace().map(OsString::from).collect());
        let matches = Cli::command().try_get_matches_from(line).unwrap();
        let serve = matches.subcommand().unwrap().1;
        assert_eq!(serve.get_one::<u32>("parallel"), Some(&2));
        assert_eq!(serve.get_one::<u32>("gpu_layers"), Some(&99));
        let text = |name: &str| serve.get_one::<String>(name).map(String::as_str);
        assert_eq!(text("name"), Some("name"));
        assert_eq!(text("draft"), Some("small.gguf"));
    }
}
