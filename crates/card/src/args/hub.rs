//! Flags that name models of the hub as llama-server's do. They are other ways to write `--model`
//! and `--draft`, and become those before the command line is parsed, so that a model has one name
//! wherever it is asked for, shown or written.

use std::ffi::OsString;

use card_setup::hub::PREFIX;
use clap::Args;

/// The flags of a command that loads a model. They are in `--help`, and the parser says what is wrong
/// with them; their values are never read, since [`as_models`] has put others in their place.
#[derive(Args, Clone, Debug)]
pub struct HubArgs {
    /// A model of the hub in place of --model, as -hf of llama-server: hf:OWNER/REPO[:QUANT]
    /// without the `hf:`. It is fetched once (HF_HOME, HF_TOKEN and HF_ENDPOINT apply)
    #[arg(long, value_name = "OWNER/REPO[:QUANT]")]
    pub hf_repo: Option<String>,
    /// File of --hf-repo, in place of QUANT
    #[arg(long, value_name = "FILE", requires = "hf_repo")]
    pub hf_file: Option<String>,
}

/// The name of a repository's model. A file stands in for a quantisation.
fn name(repo: &str, file: Option<&str>) -> String {
    let repo = repo.strip_prefix(PREFIX).unwrap_or(repo);
    match file {
        Some(file) => {
            let repo = repo.split_once(':').map_or(repo, |(repo, _)| repo);
            format!("{PREFIX}{repo}/{file}")
        }
        None => format!("{PREFIX}{repo}"),
    }
}

/// Flags of llama-server, with what they are here.
const FLAGS: [(&str, HubFlag); 9] = [
    ("-hf", HubFlag::Repo),
    ("-hfr", HubFlag::Repo),
    ("--hf-repo", HubFlag::Repo),
    ("-hff", HubFlag::File),
    ("--hf-file", HubFlag::File),
    ("-hfd", HubFlag::Draft),
    ("-hfrd", HubFlag::Draft),
    ("--hf-repo-draft", HubFlag::Draft),
    ("--spec-draft-hf", HubFlag::Draft),
];

#[derive(Clone, Copy, PartialEq)]
enum HubFlag {
    Repo,
    File,
    Draft,
}

/// The command line with `--model` and `--draft` in place of llama-server's flags. What follows
/// `--` stays as it is, and so does a flag without a value, which the parser then says.
pub fn as_models(args: Vec<OsString>) -> Vec<OsString> {
    let mut found: [Option<String>; 2] = [None, None];
    let mut out = Vec::with_capacity(args.len());
    let mut at = None;
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.next() {
        if arg == "--" {
            out.push(arg);
            out.extend(args);
            break;
        }
        let Some((flag, value)) = flag(&arg, args.peek()) else {
            out.push(arg);
            continue;
        };
        let joined = matches!(value, FlagText::Joined(_));
        let value = value.text().to_owned();
        if !joined {
            args.next();
        }
        match flag {
            HubFlag::Draft => out.extend(two("--draft", name(&value, None))),
            HubFlag::Repo if found[0].is_none() => {
                at = Some(out.len());
                found[0] = Some(value);
            }
            HubFlag::File if found[1].is_none() => found[1] = Some(value),
            // Given twice: the parser says so.
            HubFlag::Repo => out.extend(two("--model", name(&value, None))),
            HubFlag::File => out.extend(two("--hf-file", value)),
        }
    }
    match (found, at) {
        ([Some(repo), file], Some(at)) => {
            let model = name(&repo, file.as_deref());
            drop(out.splice(at..at, two("--model", model)));
        }
        ([_, Some(file)], _) => out.extend(two("--hf-file", file)),
        _ => {}
    }
    out
}

/// A flag and its value, as arguments.
fn two(flag: &str, value: String) -> [OsString; 2] {
    [OsString::from(flag), OsString::from(value)]
}

/// The value of a flag: in the same argument, or in the next one.
enum FlagText<'a> {
    Joined(&'a str),
    Next(&'a str),
}

impl FlagText<'_> {
    fn text(&self) -> &str {
        match self {
            FlagText::Joined(text) | FlagText::Next(text) => text,
        }
    }
}

/// The flag that an argument is, with its value.
fn flag<'a>(arg: &'a OsString, next: Option<&'a OsString>) -> Option<(HubFlag, FlagText<'a>)> {
    let arg = arg.to_str()?;
    if let Some((name, value)) = arg.split_once('=') {
        let known = FLAGS.iter().find(|(flag, _)| *flag == name)?;
        return (!value.is_empty()).then_some((known.1, FlagText::Joined(value)));
    }
    let known = FLAGS.iter().find(|(flag, _)| *flag == arg)?;
    let next = next?.to_str()?;
    (!next.is_empty() && !next.starts_with('-')).then_some((known.1, FlagText::Next(next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &[&str]) -> Vec<String> {
        let line = line.iter().map(OsString::from).collect();
        let out = as_models(line).into_iter();
        out.map(|arg| arg.into_string().unwrap()).collect()
    }

    #[test]
    fn flags_of_llama_server_become_names() {
        let model = ["card", "serve", "--model", "hf:a/b:Q8_0", "--port", "1"];
        for line in [
            ["card", "serve", "-hf", "a/b:Q8_0", "--port", "1"],
            ["card", "serve", "-hfr", "a/b:Q8_0", "--port", "1"],
            ["card", "serve", "--hf-repo", "hf:a/b:Q8_0", "--port", "1"],
        ] {
            assert_eq!(of(&line), model, "{line:?}");
        }
        assert_eq!(
            of(&["card", "--hf-repo=a/b"]),
            ["card", "--model", "hf:a/b"]
        );
        assert_eq!(of(&["card", "-hfd", "a/b"]), ["card", "--draft", "hf:a/b"]);
        let both = of(&["card", "-hff", "c.gguf", "-hf", "a/b:Q8_0", "-n", "1"]);
        assert_eq!(both, ["card", "--model", "hf:a/b/c.gguf", "-n", "1"]);
    }

    #[test]
    fn what_is_no_such_flag_stays() {
        for line in [
            &["card", "generate", "-p", "x", "--", "-hf", "a/b"][..],
            &["card", "generate", "-hf"],
            &["card", "generate", "--hf-repo="],
            &["card", "generate", "-hf", "--port"],
            &["card", "generate", "-p", "-hfx"],
        ] {
            assert_eq!(of(line), line);
        }
        let file = ["card", "generate", "--hf-file", "c.gguf"];
        assert_eq!(of(&file), file);
    }

    #[test]
    fn a_name_is_made_of_both_flags() {
        assert_eq!(name("a/b:Q8_0", Some("c.gguf")), "hf:a/b/c.gguf");
        assert_eq!(of(&["card"]), ["card"]);
    }
}
