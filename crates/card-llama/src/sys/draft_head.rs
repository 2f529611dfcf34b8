//! The head that a model's file may have: layers that were trained to say what comes after the next
//! token ("multi-token prediction", DeepSeek-V3, arXiv 2412.19437, §2.2; `nextn` in GGUF).

use std::collections::HashSet;
use std::path::Path;

use super::arch_keys::ArchKeys;
use super::gguf::Gguf;
use super::layer_sizes::parts;
use super::shim::gives_hidden_states;
use crate::error::LlamaError;

/// An architecture whose head card can run.
struct HeadKind {
    name: &'static str,
    /// llama.cpp's graph takes a head of several layers, and computes the first of them unless it is
    /// told otherwise. Of another architecture such a head ends the process.
    takes_several: bool,
}

/// The architectures whose heads card runs: llama.cpp (0.1.161 of the bindings) has a graph for each,
/// and a made-up model of each is tested. llama.cpp has graphs of more; what those need is not
/// checked here, and a head that lacks something ends the process.
const KINDS: [HeadKind; 4] = [
    HeadKind {
        name: "hy_v3",
        takes_several: true,
    },
    HeadKind {
        name: "qwen35",
        takes_several: false,
    },
    HeadKind {
        name: "qwen35moe",
        takes_several: false,
    },
    HeadKind {
        name: "qwen3next",
        takes_several: false,
    },
];
/// Tensors that make a layer a head.
const TENSORS: [&str; 3] = ["eh_proj", "enorm", "hnorm"];

/// A head in a model's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftHead {
    /// Layers of the head.
    pub layers: u64,
    /// Why the head cannot draft here; `None` if it can.
    pub unusable: Option<String>,
}

impl DraftHead {
    /// The head of a model file; `None` if the file has none. Of a model that is split, the head may
    /// be in any part.
    ///
    /// # Errors
    /// If the file is missing, no GGUF, or damaged; or another part of a model that has a head.
    pub fn of_file(path: &Path) -> Result<Option<Self>, LlamaError> {
        let file = Gguf::open(path, false)?;
        let keys = ArchKeys::of(&file);
        if named_layers(&keys).is_none() {
            return Ok(None);
        }
        let mut names = names_in(&file);
        for part in parts(path).iter().skip(1) {
            names.extend(names_in(&Gguf::open(part, false)?));
        }
        Ok(found(&keys, &names))
    }

    /// Whether it can draft here.
    pub fn is_usable(&self) -> bool {
        self.unusable.is_none()
    }
}

/// The architectures whose heads card runs.
#[cfg(any(test, feature = "tiny"))]
pub(crate) fn head_architectures() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.name)
}

/// Layers of a head that a file names, if it names any.
fn named_layers(keys: &ArchKeys) -> Option<u64> {
    keys.number("nextn_predict_layers").filter(|n| *n > 0)
}

/// The names of a file's tensors.
fn names_in(file: &Gguf) -> HashSet<String> {
    let tensors = file.tensors().into_iter();
    let names = tensors.map(|tensor| tensor.name.to_string_lossy().into_owned());
    names.collect()
}

/// The head of a file with these keys and tensors.
fn found(keys: &ArchKeys, tensors: &HashSet<String>) -> Option<DraftHead> {
    let layers = named_layers(keys)?;
    let kind = KINDS.iter().find(|k| k.name == keys.architecture());
    let first = keys.number("block_count").unwrap_or(0).checked_sub(layers);
    let whole = first.is_some_and(|layer| {
        let named = |part: &&str| tensors.contains(&format!("blk.{layer}.nextn.{part}.weight"));
        TENSORS.iter().all(named)
    });
    let why = if !whole {
        // Converted without.
        Some("the file names its layers and does not have them".to_owned())
    } else if kind.is_none() {
        let architecture = keys.architecture();
        Some(format!(
            "heads of the architecture {architecture} are not tested here"
        ))
    } else if layers > 1 && !kind.is_some_and(|k| k.takes_several) {
        Some(format!(
            "it has {layers} layers, and llama.cpp runs heads of one for this architecture"
        ))
    } else if !gives_hidden_states() {
        Some("this build of llama.cpp gives no hidden states".to_owned())
    } else {
        None
    };
    Some(DraftHead {
        layers,
        unusable: why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::{Tiny, zoo};

    fn of(tiny: Tiny) -> Option<DraftHead> {
        let file = tiny.write();
        let head = DraftHead::of_file(&file).unwrap();
        let _ = std::fs::remove_file(file);
        head
    }

    fn named(name: &str, architecture: &str, layers: u32) -> Tiny {
        Tiny::new(name)
            .text("general.architecture", architecture)
            .number(&format!("{architecture}.block_count"), 3)
            .number(&format!("{architecture}.nextn_predict_layers"), layers)
    }

    fn whole(tiny: Tiny, layer: u32) -> Tiny {
        TENSORS.iter().fold(tiny, |tiny, part| {
            tiny.weights(
                &format!("blk.{layer}.nextn.{part}.weight"),
                &[4],
                vec![0.0; 4],
            )
        })
    }

    #[test]
    fn a_file_has_a_head_if_its_layers_are_there() {
        assert_eq!(of(Tiny::model("no-head", 64)), None);
        assert_eq!(of(named("none", "qwen35", 0)), None);
        let head = of(whole(named("whole", "qwen35", 1), 2)).unwrap();
        assert_eq!((head.layers, head.unusable.clone()), (1, None));
        assert!(head.is_usable());
    }

    #[test]
    fn why_a_head_is_of_no_use_is_said() {
        let why = |tiny| of(tiny).unwrap().unusable.unwrap();
        let left_out = why(named("left-out", "qwen35", 1));
        assert!(left_out.contains("does not have them"), "{left_out}");
        let elsewhere = why(whole(named("elsewhere", "qwen35", 1), 1));
        assert!(elsewhere.contains("does not have them"), "{elsewhere}");
        let unknown = why(whole(named("unknown", "exaone-moe", 1), 2));
        assert!(unknown.contains("exaone-moe"), "{unknown}");
        let several = why(whole(named("several", "qwen35", 2), 1));
        assert!(several.contains("2 layers"), "{several}");
        let damaged = why(named("damaged", "qwen35", 9));
        assert!(damaged.contains("does not have them"), "{damaged}");
    }

    #[test]
    fn of_several_layers_the_first_drafts_where_llama_cpp_lets_it() {
        let head = of(whole(named("first-of-two", "hy_v3", 2), 1)).unwrap();
        assert!(head.is_usable() && head.layers == 2);
        let without = of(whole(named("second-of-two", "hy_v3", 2), 2)).unwrap();
        assert!(!without.is_usable(), "the first one is missing");
    }

    #[test]
    fn the_head_of_a_model_that_is_split_may_be_in_any_part() {
        let first = named("split-00001-of-00002", "qwen35", 1).write();
        // Without its other part the model is damaged.
        assert!(DraftHead::of_file(&first).is_err());
        let second = whole(Tiny::new("split-00002-of-00002"), 2).write();
        let head = DraftHead::of_file(&first).unwrap().unwrap();
        assert!(head.is_usable(), "{head:?}");
        for file in [first, second] {
            let _ = std::fs::remove_file(file);
        }
        // Where no part has it, it is not there.
        let first = named("bare-00001-of-00002", "qwen35", 1).write();
        let second = Tiny::new("bare-00002-of-00002").write();
        let head = DraftHead::of_file(&first).unwrap().unwrap();
        assert!(!head.is_usable());
        for file in [first, second] {
            let _ = std::fs::remove_file(file);
        }
    }

    #[test]
    fn a_made_up_model_of_every_kind_has_a_head() {
        assert_eq!(zoo::heads().count(), KINDS.len());
        for architecture in zoo::heads() {
            let file = zoo::with_head(architecture, 1).unwrap();
            let head = DraftHead::of_file(&file).unwrap();
            let _ = std::fs::remove_file(file);
            let usable = head.is_some_and(|h| h.is_usable());
            assert!(usable, "{}", architecture.name());
        }
    }
}
