//! `card quantize`: writes a model with another type of weights.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use card_setup::hub;
use card_setup::local::{lmstudio, ollama};
use card_setup::models::catalogue::Catalogue;
use card_setup::models::locate::ModelPlaces;
use card_setup::models::store::Store;
use card_setup::rewrite::{CopyWeights, rewrite};
use indicatif::HumanBytes;

use crate::args::QuantizeArgs;

/// `card quantize`.
pub fn run(args: &QuantizeArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let output = &args.output;
    // Before a model is fetched.
    if !may_write(output, args.force)? {
        eprintln!("{} stays as it is", output.display());
        return Ok(ExitCode::FAILURE);
    }
    let input = input_file(&args.input, catalogue)?;
    ensure!(
        !same_file(&input, output),
        "{} is the model that is read; name another file to write",
        output.display()
    );
    let weights = CopyWeights {
        kind: Some(&args.r#type),
        pure: args.pure,
        vocabulary: args.vocabulary,
    };
    if let Some(tensors) = rewrite(&input, output, weights)? {
        eprintln!(
            "{tensors} tensors have a finer type than {}: their rows are no multiple of its blocks",
            args.r#type
        );
    }
    let size = std::fs::metadata(output)
        .context("the output is gone")?
        .len();
    eprintln!("{}: {}", output.display(), HumanBytes(size));
    Ok(ExitCode::SUCCESS)
}

/// The file of a model that is given as one, or by a name.
fn input_file(input: &Path, catalogue: &Catalogue) -> Result<PathBuf> {
    let store = Store::open()?;
    let models = ModelPlaces::new(catalogue, &store, false)?;
    match input.to_str() {
        // A path that is no file is told with its own error.
        Some(name) if catalogue.model(name).is_some() || is_elsewhere(name) => {
            Ok(models.locate(name)?.file)
        }
        _ => Ok(input.to_owned()),
    }
}

/// Whether a name is of a place other than the catalogue.
fn is_elsewhere(name: &str) -> bool {
    let places = [hub::PREFIX, ollama::PREFIX, lmstudio::PREFIX];
    places.iter().any(|place| name.starts_with(place))
}

fn same_file(a: &Path, b: &Path) -> bool {
    let whole = |path: &Path| path.canonicalize().ok();
    whole(a).is_some_and(|a| Some(a) == whole(b))
}

/// Whether a file may be written: there is none, or it may be overwritten by `force`, or by the
/// word of the user.
///
/// # Errors
/// If there is nobody to ask.
fn may_write(output: &Path, force: bool) -> Result<bool> {
    let shown = output.display();
    ensure!(
        !output.is_dir(),
        "{shown} is a folder; name a file to write in it"
    );
    if force || output.symlink_metadata().is_err() {
        return Ok(true);
    }
    let there_is_somebody = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    ensure!(there_is_somebody, "{shown} exists; --force overwrites it");
    eprint!("{shown} exists. Overwrite it? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .context("cannot read the answer")?;
    Ok(is_yes(&answer))
}

/// Whether an answer is a clear yes.
fn is_yes(answer: &str) -> bool {
    let answer = answer.trim();
    answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_overwritten_by_a_clear_yes_only() {
        assert!(is_yes("y\n") && is_yes(" YES \n"));
        for no in ["", "\n", "n\n", "yeah\n", "no\n"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }

    #[test]
    fn a_new_file_is_written_without_asking_and_an_old_one_by_force() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.gguf");
        assert!(may_write(&file, false).unwrap());
        std::fs::write(&file, "old").unwrap();
        assert!(may_write(&file, true).unwrap());
        assert!(same_file(&file, &folder.path().join("./model.gguf")));
        let why = may_write(folder.path(), true).unwrap_err().to_string();
        assert!(why.contains("is a folder"), "{why}");
    }
}
