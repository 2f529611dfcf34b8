//! Every architecture that llama.cpp knows: what it keeps of a text, or why there is no model.

use std::fmt;
use std::sync::OnceLock;

/// What llama.cpp keeps of the tokens that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Memory {
    /// Keys and values of every token.
    Attention,
    /// The same, but some layers look back over a window that slides.
    Window,
    /// Keys and values, and the keys of an indexer that chooses what a token looks at.
    Indexed,
    /// The same, but some layers look back over a window.
    IndexedWindow,
    /// Keys and values of groups of tokens, and of the last tokens one by one.
    Compressed,
    /// A state of fixed size for the whole text.
    Recurrent,
    /// A state in some layers, keys and values in others.
    Hybrid,
    /// The same, but some layers look back over a window.
    HybridWindow,
    /// A state in some layers; keys, values and an indexer in others.
    HybridIndexed,
}

impl Memory {
    /// All kinds.
    pub const ALL: [Memory; 9] = [
        Memory::Attention,
        Memory::Window,
        Memory::Indexed,
        Memory::IndexedWindow,
        Memory::Compressed,
        Memory::Recurrent,
        Memory::Hybrid,
        Memory::HybridWindow,
        Memory::HybridIndexed,
    ];

    /// Whether rejected tokens change something that stays, unless it is put back.
    pub fn has_state(self) -> bool {
        match self {
            Memory::Attention | Memory::Window | Memory::Indexed | Memory::IndexedWindow => false,
            Memory::Compressed
            | Memory::Recurrent
            | Memory::Hybrid
            | Memory::HybridWindow
            | Memory::HybridIndexed => true,
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Memory::Attention => "attention",
            Memory::Window => "window",
            Memory::Indexed => "indexed",
            Memory::IndexedWindow => "indexed, window",
            Memory::Compressed => "compressed",
            Memory::Recurrent => "recurrent",
            Memory::Hybrid => "hybrid",
            Memory::HybridWindow => "hybrid, window",
            Memory::HybridIndexed => "hybrid, indexed",
        })
    }
}

/// An architecture of llama.cpp, with experts or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Architecture {
    name: &'static str,
    label: String,
    experts: bool,
    memory: Result<Memory, &'static str>,
}

impl Architecture {
    /// The name in `general.architecture`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The name, with a word more where there is a model with experts beside one without.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether feed-forward layers have experts.
    pub fn experts(&self) -> bool {
        self.experts
    }

    /// What the model keeps of a text.
    ///
    /// # Errors
    /// Says why there is no model of the architecture.
    pub fn memory(&self) -> Result<Memory, &'static str> {
        self.memory
    }
}

/// Which models of an architecture are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HasExperts {
    Never,
    Always,
    Either,
}

/// Architectures that write a text token by token.
const WRITERS: &[(Memory, HasExperts, &[&str])] = &[
    (
        Memory::Attention,
        HasExperts::Never,
        &[
            "apertus",
            "arcee",
            "baichuan",
            "bitnet",
            "bloom",
            "chatglm",
            "codeshell",
            "cogvlm",
            "command-r",
            "deci",
            "exaone",
            "exaone4",
            "falcon",
            "gemma",
            "glm4",
            "gpt2",
            "gptneox",
            "graniteswitch",
            "hrm_text",
            "hunyuan-dense",
            "hunyuan_vl",
            "internlm2",
            "jais",
            "jais2",
            "maincoder",
            "minicpm3",
            "mpt",
            "nanbeige",
            "nemotron",
            "olmo",
            "openelm",
            "orion",
            "pangu-embedded",
            "phi2",
            "phi3",
            "plamo",
            "pockettts",
            "qwen",
            "qwen2",
            "qwen2vl",
            "qwen3",
            "qwen3tts",
            "qwen3vl",
            "seed_oss",
            "smollm3",
            "stablelm",
            "starcoder",
            "starcoder2",
            "talkie",
            "xverse",
        ],
    ),
    (
        Memory::Attention,
        HasExperts::Always,
        &[
            "arctic",
            "bailingmoe",
            "bailingmoe2",
            "dbrx",
            "deepseek",
            "deepseek2",
            "deepseek2-ocr",
            "dots1",
            "ernie4_5",
            "ernie4_5-moe",
            "glm4moe",
            "grok",
            "grovemoe",
            "hunyuan-moe",
            "hy_v3",
            "minimax-m2",
            "mistral4",
            "olmoe",
            "paddleocr",
            "phimoe",
            "qwen2moe",
            "qwen3moe",
            "qwen3vlmoe",
        ],
    ),
    (
        Memory::Attention,
        HasExperts::Either,
        &[
            "granite",
            "granitemoe",
            "llama",
            "minicpm",
            "mistral3",
            "refact",
        ],
    ),
    (
        Memory::Window,
        HasExperts::Never,
        &[
            "cohere2",
            "gemma2",
            "gemma3",
            "gemma3n",
            "granite_swa",
            "muse-glimmer",
            "olmo2",
            "plamo3",
            "spark2_5",
        ],
    ),
    (
        Memory::Window,
        HasExperts::Always,
        &[
            "afmoe",
            "cohere2moe",
            "exaone-moe",
            "gpt-oss",
            "laguna",
            "llama4",
            "maple",
            "mellum",
            "mimo2",
            "smallthinker",
            "step35",
        ],
    ),
    (Memory::Window, HasExperts::Either, &["gemma4"]),
    (
        Memory::Indexed,
        HasExperts::Always,
        &["deepseek32", "glm-dsa", "hy_v4", "minimax-m3"],
    ),
    (Memory::IndexedWindow, HasExperts::Always, &["dots3note"]),
    (Memory::Compressed, HasExperts::Always, &["deepseek4"]),
    (
        Memory::Recurrent,
        HasExperts::Never,
        &["arwkv7", "mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7"],
    ),
    (
        Memory::Hybrid,
        HasExperts::Never,
        &["falcon-h1", "nemotron_h", "plamo2", "qwen35"],
    ),
    (
        Memory::Hybrid,
        HasExperts::Always,
        &[
            "bailingmoe3",
            "kimi-k3",
            "kimi-linear",
            "lfm2moe",
            "minimax-01",
            "nemotron_h_moe",
            "qwen35moe",
            "qwen3next",
        ],
    ),
    (
        Memory::Hybrid,
        HasExperts::Either,
        &["granitehybrid", "jamba"],
    ),
    (Memory::HybridWindow, HasExperts::Never, &["lfm2"]),
    (
        Memory::HybridIndexed,
        HasExperts::Always,
        &["glm5-next", "qwen4exp"],
    ),
];

/// Architectures of which there is no model, and why.
const OTHERS: &[(&str, &[&str])] = &[
    (
        "it turns a text into vectors and writes none",
        &[
            "bert",
            "eurobert",
            "gemma-embedding",
            "jina-bert-v2",
            "jina-bert-v3",
            "llama-embed",
            "modern-bert",
            "neo-bert",
            "nomic-bert",
            "nomic-bert-moe",
            "t5encoder",
        ],
    ),
    (
        "it writes all tokens of a text at once, by diffusion",
        &["dream", "llada", "llada-moe", "rnd1"],
    ),
    (
        "an encoder reads the prompt, so that its text is not the prompt's next tokens",
        &["t5"],
    ),
    (
        "it drafts inside llama.cpp, from another model's hidden states",
        &["dflash", "eagle3", "gemma4-assistant"],
    ),
    ("it reads pictures for another model", &["clip"]),
    ("it makes sound", &["wavtokenizer-dec"]),
    ("it decides about a text and writes none", &["clef"]),
    ("llama.cpp knows its name only", &["gptj"]),
    (
        "llama.cpp hides its tokens of pictures in the first row of a forward only, so that plain \
         decoding's logits are no other shape's",
        &["chameleon"],
    ),
    (
        "llama.cpp ends the process over its graph: it gives the cache the values of all heads as \
         if they were tokens",
        &["plm"],
    ),
];

/// Every architecture that llama.cpp knows, those that write a text first.
pub fn architectures() -> &'static [Architecture] {
    static ALL: OnceLock<Vec<Architecture>> = OnceLock::new();
    ALL.get_or_init(|| {
        let writers = WRITERS.iter().flat_map(|&(memory, experts, names)| {
            names
                .iter()
                .flat_map(move |&name| writers_of(name, experts, memory))
        });
        let others = OTHERS.iter().flat_map(|&(why, names)| {
            names.iter().map(move |&name| Architecture {
                name,
                label: name.into(),
                experts: false,
                memory: Err(why),
            })
        });
        writers.chain(others).collect()
    })
}

/// The architecture with this label.
pub fn find(label: &str) -> Option<&'static Architecture> {
    architectures().iter().find(|a| a.label() == label)
}

/// The models that are made of an architecture.
fn writers_of(name: &'static str, experts: HasExperts, memory: Memory) -> Vec<Architecture> {
    let one = |label: String, experts| Architecture {
        name,
        label,
        experts,
        memory: Ok(memory),
    };
    match experts {
        HasExperts::Never => vec![one(name.into(), false)],
        HasExperts::Always => vec![one(name.into(), true)],
        HasExperts::Either => vec![
            one(name.into(), false),
            one(format!("{name}, experts"), true),
        ],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_label_is_there_once_and_each_kind_of_memory_is_there() {
        let labels: BTreeSet<&str> = architectures().iter().map(|a| a.label()).collect();
        assert_eq!(labels.len(), architectures().len());
        for memory in Memory::ALL {
            let mut all = architectures().iter();
            assert!(all.any(|a| a.memory() == Ok(memory)), "{memory}");
        }
    }

    /// The names that llama.cpp's source has for its architectures.
    fn known(source: &str) -> BTreeSet<String> {
        let table = source.split("LLM_ARCH_NAMES").nth(1).unwrap_or_default();
        let table = table.split("};").next().unwrap_or_default();
        let entry = |line: &str| {
            let name = line.trim().strip_prefix("{ LLM_ARCH_")?;
            Some(name.split('"').nth(1)?.to_owned())
        };
        let names = table.lines().filter_map(entry);
        names.filter(|name| name != "(unknown)").collect()
    }

    #[test]
    fn every_architecture_of_the_linked_llama_cpp_is_there() {
        let Some(home) = option_env!("CARD_LLAMA_CPP") else {
            panic!("build.rs did not find llama.cpp's source");
        };
        let file = std::path::Path::new(home).join("src/llama-arch.cpp");
        let known = known(&std::fs::read_to_string(file).unwrap());
        assert!(known.len() > 100 && known.contains("llama"), "{known:?}");
        let here: BTreeSet<String> = architectures().iter().map(|a| a.name().into()).collect();
        let missing: Vec<_> = known.difference(&here).collect();
        let gone: Vec<_> = here.difference(&known).collect();
        assert!(
            missing.is_empty() && gone.is_empty(),
            "give these an entry: {missing:?}; llama.cpp has no longer: {gone:?}"
        );
    }
}
