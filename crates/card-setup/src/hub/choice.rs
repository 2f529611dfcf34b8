//! Which files of a repository are the model that is wanted.

use std::collections::BTreeMap;

use super::name::{Wanted, is_gguf};
use super::words::shown;

/// Quantisations that are taken where none is named, in this order, as llama-server does.
pub(super) const USUAL: [&str; 2] = ["Q4_K_M", "Q8_0"];
/// Beginnings and parts of names of files that are no model by themselves: projectors of images,
/// importance matrices, and heads that draft for another file.
const NO_MODELS: [&str; 6] = ["mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"];
/// Files that are named where one is not found.
const MOST_NAMED: usize = 12;

/// The parts of a model that is split: `PREFIX-00001-of-00003.gguf`.
#[derive(Debug, PartialEq, Eq)]
pub struct Split<'a> {
    /// What stands before the numbers.
    pub prefix: &'a str,
    /// The number of this part, from 1.
    pub index: usize,
    /// The number of parts.
    pub count: usize,
}

impl<'a> Split<'a> {
    /// What the name of a file says; `None` for a model in one file.
    pub fn of(path: &'a str) -> Option<Self> {
        if !is_gguf(path) {
            return None;
        }
        let stem = &path[..path.len() - ".gguf".len()];
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (prefix, index) = rest.rsplit_once('-')?;
        let number = |text: &str| {
            let digits = text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse::<usize>().ok()).flatten()
        };
        let (index, count) = (number(index)?, number(count)?);
        let known = count >= 2 && (1..=count).contains(&index) && !prefix.is_empty();
        known.then_some(Split {
            prefix,
            index,
            count,
        })
    }
}

/// Whether a file is a model by itself, or the first part of one.
pub fn is_model(path: &str) -> bool {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    let name = name.to_ascii_lowercase();
    is_gguf(path)
        && !NO_MODELS.iter().any(|part| name.contains(part))
        && Split::of(path).is_none_or(|split| split.index == 1)
}

/// The quantisation that a name of a file ends with, or else that of its folder, in capital letters.
pub fn quant(path: &str) -> Option<String> {
    let stem = match Split::of(path) {
        Some(split) => split.prefix,
        None => path.get(..path.len().checked_sub(".gguf".len())?)?,
    };
    let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    let kinds = ["Q", "IQ", "TQ", "F", "BF", "MXFP", "NVFP"];
    let of_folder = || {
        let quant = last_word(folder)?;
        kinds
            .iter()
            .any(|kind| quant.starts_with(kind))
            .then_some(quant)
    };
    last_word(name).or_else(of_folder)
}

/// The last word of a name in capital letters, if it may be a quantisation.
fn last_word(name: &str) -> Option<String> {
    let end = name.rsplit(['-', '.', '/', ' ']).next()?;
    let known = end.contains(|c: char| c.is_ascii_digit())
        && end.starts_with(|c: char| c.is_ascii_alphabetic())
        && end.len() >= 2
        && end.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    known.then(|| end.to_ascii_uppercase())
}

/// The files of the wanted model, its parts in order. An error is what the repository lacks
/// (beginning with "no") and what it has.
///
/// # Errors
/// If there is none, or parts of it are missing.
pub fn choose(paths: &[&str], wanted: &Wanted) -> Result<Vec<String>, (String, Vec<String>)> {
    let models: Vec<&str> = paths.iter().copied().filter(|p| is_model(p)).collect();
    let found = match wanted {
        Wanted::File(path) => paths.iter().copied().find(|p| p == path),
        Wanted::Quant(quant) => with_quant(&models, quant),
        Wanted::Usual => USUAL
            .iter()
            .find_map(|quant| with_quant(&models, quant))
            .or_else(|| models.first().copied()),
    };
    match found {
        Some(path) => parts(paths, path),
        None => Err(missing(&models, wanted)),
    }
}

/// The first model whose name has the quantisation as a word of its own, else the first that has
/// it as the end of a word, else the first in a folder that ends with it.
fn with_quant<'a>(models: &[&'a str], quant: &str) -> Option<&'a str> {
    let quant = quant.to_ascii_lowercase();
    let has = |path: &str, alone: bool| {
        let path = path.to_ascii_lowercase();
        path.match_indices(&quant).any(|(at, _)| {
            let before = path[..at].chars().next_back();
            let after = path[at + quant.len()..].chars().next();
            let begins = !alone || before.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_');
            begins && matches!(after, Some('.' | '-'))
        })
    };
    let find = |alone| models.iter().copied().find(|path| has(path, alone));
    let inside = |path: &&&str| {
        let path = path.to_ascii_lowercase();
        let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
        folders.split('/').any(|folder| {
            let before = folder.strip_suffix(quant.as_str());
            before.is_some_and(|before| before.is_empty() || before.ends_with(['-', '.', ' ']))
        })
    };
    find(true)
        .or_else(|| find(false))
        .or_else(|| models.iter().find(inside).copied())
}

/// All parts of the model of which `path` is one.
fn parts(paths: &[&str], path: &str) -> Result<Vec<String>, (String, Vec<String>)> {
    let Some(split) = Split::of(path) else {
        return Ok(vec![path.to_owned()]);
    };
    let mut parts = BTreeMap::new();
    for other in paths {
        let of_it = |s: &Split| s.prefix == split.prefix && s.count == split.count;
        if let Some(other_split) = Split::of(other).filter(of_it) {
            parts.insert(other_split.index, (*other).to_owned());
        }
    }
    match (1..=split.count).find(|index| !parts.contains_key(index)) {
        None => Ok(parts.into_values().collect()),
        Some(index) => {
            let what = format!("no part {index} of {} of {}", split.count, shown(path));
            Err((what, Vec::new()))
        }
    }
}

fn missing(models: &[&str], wanted: &Wanted) -> (String, Vec<String>) {
    if models.is_empty() {
        let what = "no GGUF model; llama.cpp's format is needed, and names of such repositories \
                    often end in -GGUF";
        return (what.to_owned(), Vec::new());
    }
    let mut known: Vec<String> = match wanted {
        Wanted::Quant(_) => models.iter().filter_map(|path| quant(path)).collect(),
        _ => Vec::new(),
    };
    if known.is_empty() {
        known = models.iter().map(|path| shown(path)).collect();
    }
    known.dedup();
    known.truncate(MOST_NAMED);
    let what = match wanted {
        Wanted::Quant(quant) => format!("no model with the quantisation {}", shown(quant)),
        Wanted::File(path) => format!("no file {}", shown(path)),
        Wanted::Usual => "no model".to_owned(),
    };
    (what, known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantised(quant: &str) -> Wanted {
        Wanted::Quant(quant.into())
    }

    fn chosen(paths: &[&str], wanted: &Wanted) -> Vec<String> {
        choose(paths, wanted).unwrap()
    }

    #[test]
    fn the_usual_quantisation_is_that_of_llama_server() {
        let all = [
            "m-BF16.gguf",
            "m-Q4_K_M.gguf",
            "m-Q8_0.gguf",
            "mmproj-Q4_K_M.gguf",
        ];
        assert_eq!(chosen(&all, &Wanted::Usual), ["m-Q4_K_M.gguf"]);
        assert_eq!(chosen(&[all[0], all[2]], &Wanted::Usual), [all[2]]);
        assert_eq!(
            chosen(&["mmproj.gguf", "x.gguf"], &Wanted::Usual),
            ["x.gguf"]
        );
        assert_eq!(
            chosen(&["m-q4_k_m.gguf"], &Wanted::Usual),
            ["m-q4_k_m.gguf"]
        );
    }

    #[test]
    fn a_quantisation_is_a_word_of_its_own() {
        let all = [
            "m-IQ4_XS.gguf",
            "m-Q4_0.gguf",
            "m-Q4_0_4_4.gguf",
            "m-UD-Q4_K_XL.gguf",
        ];
        assert_eq!(chosen(&all, &quantised("q4_0")), ["m-Q4_0.gguf"]);
        assert_eq!(chosen(&all, &quantised("IQ4_XS")), ["m-IQ4_XS.gguf"]);
        assert_eq!(chosen(&all, &quantised("Q4_K_XL")), ["m-UD-Q4_K_XL.gguf"]);
        let (what, known) = choose(&all, &quantised("Q2_K")).unwrap_err();
        assert!(what.contains("Q2_K"), "{what}");
        assert_eq!(known, ["IQ4_XS", "Q4_0", "Q4_0_4_4", "Q4_K_XL"]);
    }

    #[test]
    fn a_folder_may_name_the_quantisation() {
        let all = [
            "m-BF16.gguf",
            "Q8_0/m-00001-of-00002.gguf",
            "Q8_0/m-00002-of-00002.gguf",
            "UD-IQ2_M/m.gguf",
        ];
        assert_eq!(chosen(&all, &quantised("q8_0")), all[1..3]);
        assert_eq!(chosen(&all, &quantised("IQ2_M")), [all[3]]);
        assert_eq!(chosen(&all, &Wanted::Usual), all[1..3]);
        let (_, known) = choose(&all, &quantised("8_0")).unwrap_err();
        assert_eq!(known, ["BF16", "Q8_0", "IQ2_M"]);
        assert_eq!(quant("llama-2/m.gguf"), None);
    }

    #[test]
    fn a_split_model_is_all_of_its_parts_in_order() {
        let all = [
            "q/m-Q4_K_M-00002-of-00002.gguf",
            "q/m-Q4_K_M-00001-of-00002.gguf",
            "r/m-Q8_0-00001-of-00003.gguf",
            "r/m-Q8_0-00003-of-00003.gguf",
        ];
        let both = [all[1], all[0]];
        assert_eq!(chosen(&all, &Wanted::Usual), both);
        assert_eq!(chosen(&all, &Wanted::File(all[0].into())), both);
        let (what, _) = choose(&all, &quantised("Q8_0")).unwrap_err();
        assert!(what.starts_with("no part 2 of 3"), "{what}");
    }

    #[test]
    fn a_repository_without_models_says_so() {
        let (what, known) = choose(&[], &Wanted::Usual).unwrap_err();
        assert!(what.contains("GGUF") && known.is_empty());
        let wanted = Wanted::File("n.gguf".into());
        let (what, known) = choose(&["m.gguf"], &wanted).unwrap_err();
        assert_eq!(
            (what.as_str(), &known[..]),
            ("no file n.gguf", &["m.gguf".to_owned()][..])
        );
    }

    #[test]
    fn quantisations_are_read_from_names() {
        assert_eq!(quant("a/m-Q4_K_M.gguf").as_deref(), Some("Q4_K_M"));
        assert_eq!(quant("m.q8_0.gguf").as_deref(), Some("Q8_0"));
        assert_eq!(quant("my m Q5_K_M.gguf").as_deref(), Some("Q5_K_M"));
        assert_eq!(quant("m-BF16-00001-of-00009.gguf").as_deref(), Some("BF16"));
        assert_eq!(quant("m-instruct.gguf"), None);
        assert_eq!(quant("x"), None);
    }
}
