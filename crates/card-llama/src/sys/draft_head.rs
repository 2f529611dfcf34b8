//! The head that a model's file may have: layers that were trained to say what comes after the next
//! token ("multi-token prediction", DeepSeek-V3, arXiv 2412.19437, §2.2; `nextn` in GGUF).

use std::collections::HashSet;
use std::path::Path;

use super::arch_keys::ArchKeys;
use super::gguf::Gguf;
use super::shim::gives_hidden_states;
use crate::error::LlamaError;

/// An architecture whose head card can run.
struct HeadKind {
    name: &'static str,
    /// llama.cpp computes the last layer of the target for other rows when hidden states are asked
    /// for. A target of such a model is always asked for them, so that plain decoding has the same
    /// forwards.
    changes_target: bool,
}

/// The architectures whose heads card runs: llama.cpp (0.1.161 of the bindings) has a graph for each,
/// and a made-up model of each is tested. llama.cpp has graphs of more; what those need is not
/// checked here, and a head that lacks something ends the process.
const KINDS: [HeadKind; 5] = [
    HeadKind {
        name: "glm4moe",
        changes_target: true,
    },
    HeadKind {
        name: "hy_v3",
        changes_target: false,
    },
    HeadKind {
        name: "qwen35",
        changes_target: false,
    },
    HeadKind {
        name: "qwen35moe",
        changes_target: false,
    },
    HeadKind {
        name: "qwen3next",
        changes_target: false,
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
    /// See [`HeadKind`].
    pub(crate) changes_target: bool,
}

impl DraftHead {
    /// The head of a model file; `None` if the file has none.
    ///
    /// # Errors
    /// If the file is missing, no GGUF, or damaged.
    pub fn of_file(path: &Path) -> Result<Option<Self>, LlamaError> {
        let file = Gguf::open(path, false)?;
        let names = file.tensors().into_iter();
        let names = names.map(|tensor| tensor.name.to_string_lossy().into_owned());
        Ok(found(&ArchKeys::of(&file), &names.collect()))
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

/// The head of a file with these keys and tensors.
fn found(keys: &ArchKeys, tensors: &HashSet<String>) -> Option<DraftHead> {
    let layers = keys.number("nextn_predict_layers").filter(|n| *n > 0)?;
    let kind = KINDS.iter().find(|k| k.name == keys.architecture());
    let first = keys.number("block_count").unwrap_or(0).checked_sub(layers);
    let whole = first.is_some_and(|layer| {
        let named = |part: &&str| tensors.contains(&format!("blk.{layer}.nextn.{part}.weight"));
        TENSORS.iter().all(named)
    });
    let why = if !whole {
        // Converted without, or in another part of a file that was split.
        Some("the file names its layers and does not have them".to_owned())
    } else if kind.is_none() {
        let architecture = keys.architecture();
        Some(format!(
            "heads of the architecture {architecture} are not tested here"
        ))
    } else if layers > 1 {
        Some(format!(
            "it has {layers} layers, and heads of one are run here"
        ))
    } else if !gives_hidden_states() {
        Some("this build of llama.cpp gives no hidden states".to_owned())
    } else {
        None
    };
    Some(DraftHead {
        layers,
        unusable: why,
        changes_target: kind.is_some_and(|k| k.changes_target),
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
        assert!(head.is_usable() && !head.changes_target);
        assert!(
            of(whole(named("other", "glm4moe", 1), 2))
                .unwrap()
                .changes_target
        );
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
        let several = why(whole(named("several", "hy_v3", 2), 1));
        assert!(several.contains("2 layers"), "{several}");
        let damaged = why(named("damaged", "qwen35", 9));
        assert!(damaged.contains("does not have them"), "{damaged}");
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
