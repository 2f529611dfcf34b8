//! Heads in files of their own: a small model that drafts for one target, from what that target's
//! layers hand on.
//!
//! card runs two kinds. EAGLE-3 (arXiv 2503.01840): an encoder makes one state of the inputs of three of
//! the target's layers, and one layer of attention reads it beside the next token. Block drafters
//! (DFlash, and DSpark, which adds a Markov head): keys and values are made of the inputs of some layers,
//! and a block of masks behind them becomes a draft at once.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use card_core::words::counted;
use llama_cpp_sys_2 as cpp;

use super::arch_keys::ArchKeys;
use super::gguf::{Gguf, Tensor};
use super::shim::gives_hidden_states;
use crate::error::LlamaError;

/// The architectures of targets whose layers can be read: llama.cpp (0.1.161 of the bindings) names
/// the inputs of their layers in its graph, which it does for few, and a made-up model of each is
/// tested. Of an architecture that does not, asking ends the process.
pub(crate) const TAPPED: [&str; 9] = [
    "gemma4",
    "gpt-oss",
    "llama",
    "minimax-m2",
    "qwen3",
    "qwen35",
    "qwen35moe",
    "qwen3moe",
    "qwen3next",
];
/// Layers of its target that an EAGLE-3 head reads; llama.cpp takes no other number.
const READ_LAYERS: usize = 3;
/// Layers that a block drafter reads at most. More is a damaged file.
const MOST_READ: usize = 64;
/// Tokens of a block where the file does not say, as llama-server takes it, and at most.
const BLOCK: u64 = 16;
const MOST_BLOCK: u64 = 64;

/// What kind of head a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadFileKind {
    /// Reads three layers of the target, and drafts token by token.
    Eagle3,
    /// Makes keys and values of layers of the target, and drafts a block of tokens at once (DFlash,
    /// DSpark).
    Block,
    /// Reads the target's own keys and values (Gemma 4's assistant).
    Assistant,
}

impl HeadFileKind {
    /// The kind that llama.cpp has under this name of an architecture.
    pub fn of_architecture(name: &str) -> Option<Self> {
        match name {
            "eagle3" => Some(HeadFileKind::Eagle3),
            "dflash" => Some(HeadFileKind::Block),
            "gemma4-assistant" => Some(HeadFileKind::Assistant),
            _ => None,
        }
    }
}

impl std::fmt::Display for HeadFileKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            HeadFileKind::Eagle3 => "EAGLE-3",
            HeadFileKind::Block => "DFlash",
            HeadFileKind::Assistant => "Gemma 4 assistant",
        })
    }
}

/// How a block drafter drafts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockShape {
    /// Rows of a block: the last committed token, and masks.
    pub(crate) rows: u32,
    /// The row whose logits say what comes after the last committed token: its own, or the first
    /// mask's.
    pub(crate) first: u32,
    /// Whether rows attend only to those before them.
    pub(crate) causal: bool,
    /// The token that is a mask.
    pub(crate) mask: u32,
}

/// A head in a file of its own, by what the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadFile {
    path: PathBuf,
    kind: HeadFileKind,
    /// Numbers of its own hidden states.
    width: u64,
    /// Numbers of its target's hidden states.
    target_width: u64,
    /// The layers of its target whose inputs it reads.
    pub(crate) layers: Vec<u32>,
    /// Whether it takes embeddings or the output layer from its target.
    pub(crate) borrows: bool,
    /// How it drafts, if it drafts blocks.
    pub(crate) block: Option<BlockShape>,
    unusable: Option<String>,
}

impl HeadFile {
    /// The head that a file is; `None` if it is another model.
    ///
    /// # Errors
    /// If the file is missing, no GGUF, or damaged.
    pub fn of_file(path: &Path) -> Result<Option<Self>, LlamaError> {
        let file = Gguf::open(path, false)?;
        let keys = ArchKeys::of(&file);
        let Some(kind) = HeadFileKind::of_architecture(keys.architecture()) else {
            return Ok(None);
        };
        let tensors = file.tensors().into_iter();
        let named = tensors.map(|t| (t.name.to_string_lossy().into_owned(), t));
        let parts = HeadParts {
            path,
            keys: &keys,
            tensors: named.collect(),
            tokens: file.length(c"tokenizer.ggml.tokens").unwrap_or(0),
        };
        let layers = keys.by_layer("target_layers").unwrap_or_default();
        let width = keys.number("embedding_length").unwrap_or(0);
        let (own, output) = (parts.has("token_embd.weight"), parts.has("output.weight"));
        let blocks = kind == HeadFileKind::Block;
        Ok(Some(HeadFile {
            path: path.to_owned(),
            kind,
            width,
            target_width: if blocks {
                width
            } else {
                keys.number("target_hidden_size").unwrap_or(0)
            },
            layers: layers.iter().map(|&l| l as u32).collect(),
            // A block drafter takes its own embeddings for an output layer that it lacks.
            borrows: !own || !output && !blocks,
            block: blocks.then(|| block_shape(&file, &parts)),
            unusable: match kind {
                HeadFileKind::Eagle3 => parts.fault(layers.len()),
                HeadFileKind::Block => parts.fault_of_blocks(&file, layers.len()),
                HeadFileKind::Assistant => Some(format!(
                    "{kind} heads are not run here (docs/heads.md says why)"
                )),
            },
        }))
    }

    /// What kind of head it is.
    pub fn kind(&self) -> HeadFileKind {
        self.kind
    }

    /// Why it drafts for no target here; `None` if it can draft.
    pub fn unusable(&self) -> Option<&str> {
        self.unusable.as_deref()
    }

    /// Why it cannot draft for this target, by what both files say of sizes; `None` if it can. Whether
    /// both have the same vocabulary is looked at when the head is loaded.
    ///
    /// # Errors
    /// If the target's file is missing, no GGUF, or damaged.
    pub fn unfit(&self, target: &Path) -> Result<Option<String>, LlamaError> {
        if self.unusable.is_some() {
            return Ok(self.unusable.clone());
        }
        let file = Gguf::open(target, false)?;
        Ok(self.unfit_for(&ArchKeys::of(&file)))
    }

    /// The same, of a target with these keys.
    fn unfit_for(&self, target: &ArchKeys) -> Option<String> {
        let architecture = target.architecture();
        let width = target.number("embedding_length").unwrap_or(0);
        let head_layers = target.number("nextn_predict_layers").unwrap_or(0);
        let all = target.number("block_count").unwrap_or(0);
        let layers = all.saturating_sub(head_layers);
        let last = self.layers.iter().copied().max().unwrap_or(0);
        if !TAPPED.contains(&architecture) {
            Some(format!(
                "llama.cpp hands out no layers of {architecture} models; it does of {}",
                TAPPED.join(", ")
            ))
        } else if self.target_width != width {
            Some(format!(
                "it was made for a target whose states have {} numbers; those of this one have {width}",
                self.target_width
            ))
        } else if u64::from(last) >= layers {
            Some(format!(
                "it reads the input of layer {last}, and this target has {layers} layers"
            ))
        } else if self.borrows && self.width != width {
            Some(format!(
                "it takes the target's embeddings, which have {width} numbers, and its own states \
                 have {}",
                self.width
            ))
        } else {
            None
        }
    }

    /// Numbers of what the encoder takes of one token.
    pub(crate) fn features(&self) -> usize {
        self.layers.len() * self.target_width as usize
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// How a block drafter drafts. The keys are those that llama-server reads
/// (`common/speculative.cpp`, `common_speculative_impl_draft_dflash`).
fn block_shape(file: &Gguf, parts: &HeadParts) -> BlockShape {
    let rows = parts.keys.number("block_size").unwrap_or(BLOCK);
    // With a Markov head the last committed token's own row is the first that drafts.
    let anchored = parts.has(MARKOV) && file.flag(c"dflash.sample_from_anchor").unwrap_or(true);
    BlockShape {
        rows: rows.min(MOST_BLOCK) as u32,
        first: u32::from(!anchored),
        causal: file.flag(c"dflash.attention.causal").unwrap_or(false),
        mask: mask_token(file).unwrap_or(u64::from(u32::MAX)) as u32,
    }
}

/// The token that is a mask, if the file names one.
fn mask_token(file: &Gguf) -> Option<u64> {
    file.number(c"tokenizer.ggml.mask_token_id")
}

/// The tensor that a block drafter with a Markov head (DSpark) has.
const MARKOV: &str = "markov_w1.weight";

/// What is looked at in a file, before llama.cpp ends the process over it.
struct HeadParts<'a> {
    path: &'a Path,
    keys: &'a ArchKeys<'a>,
    tensors: HashMap<String, Tensor>,
    /// Tokens of its vocabulary, which is its target's.
    tokens: u64,
}

impl HeadParts<'_> {
    fn has(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    /// Why an EAGLE-3 head that reads so many layers cannot draft; `None` if it can.
    fn fault(&self, read: usize) -> Option<String> {
        let blocks = self.keys.number("block_count").unwrap_or(0);
        let embeddings = self.tensors.get("token_embd.weight");
        if !gives_hidden_states() {
            Some("this build of llama.cpp gives no hidden states".into())
        } else if read != READ_LAYERS {
            Some(format!(
                "it names {} of its target, and such a head reads {READ_LAYERS}",
                counted(read, "layer")
            ))
        } else if blocks != 1 {
            Some(format!("it has {blocks} layers, and such a head has one"))
        } else if self.keys.key_length() != self.keys.value_length() {
            Some("its keys are not as long as its values".into())
        } else if self.tokens == 0 {
            Some("it has no vocabulary".into())
        } else if embeddings.is_some_and(|t| t.shape[1].unsigned_abs() < self.tokens) {
            Some("it has fewer embeddings than tokens".into())
        } else {
            self.fault_of_map()
        }
    }

    /// Why a block drafter that reads so many layers cannot draft; `None` if it can.
    fn fault_of_blocks(&self, file: &Gguf, read: usize) -> Option<String> {
        let rows = self.keys.number("block_size");
        let sections = self.keys.by_layer("rope.dimension_sections");
        let sections = sections.unwrap_or_default();
        if !gives_hidden_states() {
            Some("this build of llama.cpp gives no hidden states".into())
        } else if self.has("selector_hidden.weight") {
            Some("its tokens are chosen by a selector (DFlash 2), which is not tested here".into())
        } else if self.keys.number("hyper_connection.count").unwrap_or(0) > 0 {
            Some("its layers are DeepSeek 4's, which are not tested here".into())
        } else if sections.iter().any(|&section| section > 0) {
            Some("its positions have sections (M-RoPE), which is not tested here".into())
        } else if self.keys.number("attention.sliding_window").unwrap_or(0) > 0 {
            Some("some of its layers have a window, which is not tested here".into())
        } else if !(1..=MOST_READ).contains(&read) {
            Some(format!("it names {} of its target", counted(read, "layer")))
        } else if rows.is_none() && self.has(MARKOV) {
            Some("it does not say how long its blocks are".into())
        } else if !(2..=MOST_BLOCK).contains(&rows.unwrap_or(BLOCK)) {
            Some(format!(
                "its blocks have {} tokens; 2 to {MOST_BLOCK} can be",
                rows.unwrap_or(BLOCK)
            ))
        } else if self.keys.key_length() != self.keys.value_length() {
            Some("its keys are not as long as its values".into())
        } else if mask_token(file).is_none_or(|mask| mask >= self.tokens) {
            Some("it names no token of its vocabulary for a mask".into())
        } else {
            self.fault_of_map()
        }
    }

    /// The same of the list that says which token of the target each of its own few is.
    fn fault_of_map(&self) -> Option<String> {
        let map = self.tensors.get("d2t")?;
        if map.kind != cpp::GGML_TYPE_I64 {
            return Some("its list of tokens (d2t) is not of 64-bit numbers".into());
        }
        if !self.has("output.weight") {
            return Some("it has tokens of its own (d2t) and no output layer for them".into());
        }
        let length = map.shape[0].unsigned_abs();
        if length > self.tokens {
            return Some("its list of tokens (d2t) is longer than its vocabulary".into());
        }
        match self.numbers(map.offset, length) {
            Ok(numbers) => {
                let unknown = numbers.iter().find(|n| **n >= self.tokens);
                unknown.map(|_| "its list of tokens (d2t) names some that there are not".into())
            }
            Err(why) => Some(format!("its list of tokens (d2t) cannot be read: {why}")),
        }
    }

    /// So many numbers of 64 bits at a byte of the file; one below 0 is a very large one.
    fn numbers(&self, offset: u64, length: u64) -> std::io::Result<Vec<u64>> {
        const BYTES: usize = size_of::<u64>();
        let mut file = File::open(self.path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = vec![0; length as usize * BYTES];
        file.read_exact(&mut bytes)?;
        let (numbers, _) = bytes.as_chunks::<BYTES>();
        Ok(numbers.iter().map(|n| u64::from_le_bytes(*n)).collect())
    }
}
