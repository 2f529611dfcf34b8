//! How large the recurrent state of a sequence is, by what a model's file says.
//!
//! The formulas are those of llama.cpp (`llama_hparams::n_embd_r` and `n_embd_s`: the last inputs
//! of a convolution, and what a layer sums up of all tokens), and they are chosen by architecture
//! as llama.cpp does. Of an architecture that is not listed here, the largest state that its keys
//! allow is counted.

use super::arch_keys::ArchKeys;

/// Bytes of a number of a state: llama.cpp keeps them as F32.
const NUMBER: u64 = 4;
/// Embeddings of earlier tokens that an RWKV layer keeps where the file does not say.
const SHIFTED: u64 = 2;
/// Inputs of the convolution that a delta attention of Kimi keeps where the file does not say.
const KIMI_INPUTS: u64 = 3;
/// Tokens that DeepSeek 4 compresses into one: in layers with an indexer, and in the others.
const COMPRESSED: [u64; 2] = [4, 128];

/// Architectures that keep states of which llama.cpp can leave no row out again
/// (`llm_arch_supports_rs_rollback`), so that it makes no snapshots of them.
const WITHOUT_SNAPSHOTS: [&str; 13] = [
    "arwkv7",
    "falcon-h1",
    "granitehybrid",
    "jamba",
    "kimi-linear",
    "mamba",
    "mamba2",
    "minimax-01",
    "plamo2",
    "qwen3next",
    "rwkv6",
    "rwkv6qwen2",
    "rwkv7",
];

/// What one layer keeps of a sequence.
#[derive(Clone, Copy, Debug)]
enum LayerState {
    /// RWKV.
    Wkv,
    /// A short convolution, as LFM2 has it.
    Convolution,
    /// Kimi's delta attention.
    DeltaAttention,
    /// MiniMax's lightning attention.
    LinearAttention,
    /// DeepSeek 4's tokens that are not compressed yet.
    Compressor,
    /// Mamba, and delta nets under its keys.
    Ssm,
}

impl LayerState {
    /// The kinds that have keys of their own, by which they are found under any architecture.
    const WITH_KEYS: [LayerState; 4] = [
        LayerState::Wkv,
        LayerState::Convolution,
        LayerState::DeltaAttention,
        LayerState::Ssm,
    ];

    /// That of an architecture; `None` if it is not listed.
    fn of(architecture: &str) -> Option<Self> {
        Some(match architecture {
            "rwkv6" | "rwkv6qwen2" | "rwkv7" | "arwkv7" => LayerState::Wkv,
            "lfm2" | "lfm2moe" => LayerState::Convolution,
            "kimi-linear" | "kimi-k3" | "bailingmoe3" | "glm5-next" => LayerState::DeltaAttention,
            "minimax-01" => LayerState::LinearAttention,
            "deepseek4" => LayerState::Compressor,
            "mamba" | "mamba2" | "jamba" | "falcon-h1" | "plamo2" | "granitehybrid"
            | "nemotron_h" | "nemotron_h_moe" | "qwen3next" | "qwen35" | "qwen35moe"
            | "qwen4exp" => LayerState::Ssm,
            _ => return None,
        })
    }

    /// Numbers of the state of one layer; 0 if the file has no such layers.
    fn numbers(self, keys: &ArchKeys) -> u64 {
        let number = |name| keys.number(name).unwrap_or(0);
        let width = number("embedding_length");
        let kernel = keys.number("ssm.conv_kernel").filter(|n| *n > 0);
        match self {
            LayerState::Wkv => match number("wkv.head_size") {
                0 => 0,
                head => {
                    let shifted = keys.number("token_shift_count").unwrap_or(SHIFTED);
                    product(&[width, shifted.saturating_add(head)])
                }
            },
            LayerState::Convolution => {
                product(&[width, number("shortconv.l_cache").saturating_sub(1)])
            }
            LayerState::DeltaAttention => {
                let (heads, head) = (keys.heads(), number("kda.head_dim"));
                let inputs = kernel.map_or(KIMI_INPUTS, |n| n - 1);
                // The convolutions are of queries, keys and values.
                let convolved = product(&[3, inputs, heads, head]);
                convolved.saturating_add(product(&[head, head, heads]))
            }
            LayerState::LinearAttention => {
                let head = keys.key_length();
                product(&[head, head, keys.heads()])
            }
            LayerState::Compressor => compressor(keys),
            LayerState::Ssm => {
                let (inner, state) = (number("ssm.inner_size"), number("ssm.state_size"));
                let inputs = kernel.map_or(0, |n| n - 1);
                let groups = product(&[2, number("ssm.group_count"), state]);
                let convolved = product(&[inputs, inner.saturating_add(groups)]);
                convolved.saturating_add(product(&[state, inner]))
            }
        }
    }
}

/// Bytes of the state of one sequence id, of all layers; 0 of a model without states.
///
/// It is exact or counted from above: layers that a file does not tell apart count as recurrent.
pub(super) fn state_bytes(keys: &ArchKeys) -> u64 {
    let each = match LayerState::of(keys.architecture()) {
        Some(kind) => kind.numbers(keys),
        None => {
            let found = LayerState::WITH_KEYS.iter().map(|kind| kind.numbers(keys));
            found.max().unwrap_or(0)
        }
    };
    if each == 0 {
        return 0;
    }
    let layers = product(&[recurrent_layers(keys), each]);
    product(&[NUMBER, layers.saturating_add(earlier_embeddings(keys))])
}

/// Whether llama.cpp may make snapshots of the states of an architecture, so that rows can be left
/// out of a forward again. Of one that is not known, it may.
pub(super) fn has_snapshots(architecture: &str) -> bool {
    !WITHOUT_SNAPSHOTS.contains(&architecture)
}

/// Layers with a state. By architecture all have one, or each but every so many, or those without
/// heads that keep keys.
fn recurrent_layers(keys: &ArchKeys) -> u64 {
    let all = keys.number("block_count").unwrap_or(0);
    // The last ones predict further tokens, and are no part of a context.
    let layers = all.saturating_sub(keys.number("nextn_predict_layers").unwrap_or(0));
    let some = match keys.architecture() {
        "qwen3next" | "qwen35" | "qwen35moe" | "qwen4exp" | "minimax-01" => marked(keys, layers)
            .or_else(|| {
                let interval = keys.number("full_attention_interval").filter(|n| *n > 0)?;
                Some(layers - layers / interval)
            }),
        "jamba" | "plamo2" | "granitehybrid" | "nemotron_h" | "nemotron_h_moe" | "lfm2"
        | "lfm2moe" | "kimi-linear" | "kimi-k3" | "bailingmoe3" | "glm5-next" => {
            without_heads(keys, layers)
        }
        _ => None,
    };
    some.unwrap_or(layers)
}

/// The layers that the file marks as recurrent, if it does that.
fn marked(keys: &ArchKeys, layers: u64) -> Option<u64> {
    let marks = keys.by_layer("attention.recurrent_layers")?;
    let marks = marks.iter().take(layers as usize);
    Some(marks.filter(|mark| **mark != 0).count() as u64)
}

/// The layers without heads that keep keys, if the file lists heads by layer.
fn without_heads(keys: &ArchKeys, layers: u64) -> Option<u64> {
    let heads = keys.by_layer("attention.head_count_kv")?;
    // Of a Nemotron, layers that only feed forward have no heads either.
    let feeds = match keys.architecture() {
        "nemotron_h" | "nemotron_h_moe" => keys.by_layer("feed_forward_length"),
        _ => None,
    };
    let feeds = feeds.unwrap_or_default();
    let feeds = |i: usize| feeds.get(i).is_some_and(|n| *n > 0);
    let listed = heads.iter().take(layers as usize).enumerate();
    let without = listed.filter(|(i, heads)| **heads == 0 && !feeds(*i));
    Some(without.count() as u64)
}

/// Numbers of one layer of DeepSeek 4, as if it were of both kinds. It keeps what it has of each
/// token that is not compressed yet, and its scores; the short kind twice, and for its indexer.
fn compressor(keys: &ArchKeys) -> u64 {
    let indexer = keys.number("attention.indexer.key_length").unwrap_or(0);
    let [short, long] = COMPRESSED;
    let head = keys.key_length();
    let both = head.saturating_add(indexer);
    let short = product(&[2 * short, 2, both]);
    product(&[2, short.saturating_add(product(&[long, head]))])
}

/// Numbers of the last tokens' embeddings that some layers of a Qwen 4 keep beside their states.
fn earlier_embeddings(keys: &ArchKeys) -> u64 {
    let number = |name| keys.number(name).unwrap_or(0);
    let layers = keys
        .by_layer("ple.layers")
        .map_or(0, |layers| layers.len() as u64);
    let inputs = number("ple.conv_kernel").saturating_sub(1);
    product(&[
        layers,
        inputs,
        number("ple.ngram_size"),
        number("hyper_connection.count"),
        number("embedding_length"),
    ])
}

fn product(factors: &[u64]) -> u64 {
    let times = |so_far: u64, n: &u64| so_far.saturating_mul(*n);
    factors.iter().fold(1, times)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::sys::gguf::Gguf;
    use crate::tiny::{Tiny, zoo};

    /// Bytes of a state of a model of 8 layers, 64 wide, with 4 heads.
    fn model(architecture: &str, numbers: &[(&str, u32)], lists: &[(&str, &[u32])]) -> u64 {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let key = |name: &str| format!("{architecture}.{name}");
        let mut tiny = Tiny::new(&format!("state-{made}"))
            .text("general.architecture", architecture)
            .number(&key("block_count"), 8)
            .number(&key("embedding_length"), 64)
            .number(&key("attention.head_count"), 4);
        for (name, value) in numbers {
            tiny = tiny.number(&key(name), *value);
        }
        for (name, values) in lists {
            tiny = tiny.numbers(&key(name), values);
        }
        let file = tiny.write();
        let bytes = state_bytes(&ArchKeys::of(&Gguf::open(&file, false).unwrap()));
        let _ = std::fs::remove_file(file);
        bytes
    }

    const SSM: [(&str, u32); 4] = [
        ("ssm.conv_kernel", 4),
        ("ssm.inner_size", 128),
        ("ssm.state_size", 16),
        ("ssm.group_count", 2),
    ];
    /// Numbers of one layer with these.
    const SSM_LAYER: u64 = 3 * (128 + 2 * 2 * 16) + 16 * 128;

    #[test]
    fn states_are_as_large_as_the_formulas_of_their_kind_say() {
        assert_eq!(model("llama", &[], &[]), 0);
        assert_eq!(model("mamba2", &SSM, &[]), 4 * 8 * SSM_LAYER);
        let rwkv = [("wkv.head_size", 32)];
        assert_eq!(model("rwkv7", &rwkv, &[]), 4 * 8 * 64 * (2 + 32));
        let convolution = [("shortconv.l_cache", 3)];
        assert_eq!(model("lfm2", &convolution, &[]), 4 * 8 * 64 * 2);
        let delta = [("ssm.conv_kernel", 4), ("kda.head_dim", 32)];
        let layer = 3 * 3 * 4 * 32 + 32 * 32 * 4;
        assert_eq!(model("kimi-linear", &delta, &[]), 4 * 8 * layer);
        let linear = [("full_attention_interval", 8)];
        assert_eq!(model("minimax-01", &linear, &[]), 4 * 7 * 16 * 16 * 4);
        let compressed = [
            ("attention.key_length", 32),
            ("attention.indexer.key_length", 8),
        ];
        let layer = 2 * (8 * 2 * (32 + 8) + 128 * 32);
        assert_eq!(model("deepseek4", &compressed, &[]), 4 * 8 * layer);
    }

    #[test]
    fn an_architecture_that_is_not_known_has_the_largest_state_that_its_keys_allow() {
        let mut keys = SSM.to_vec();
        keys.push(("wkv.head_size", 1));
        assert_eq!(model("some", &keys, &[]), 4 * 8 * SSM_LAYER);
    }

    #[test]
    fn only_layers_with_a_state_count() {
        let mut every_fourth = SSM.to_vec();
        every_fourth.push(("full_attention_interval", 4));
        assert_eq!(model("qwen35", &every_fourth, &[]), 4 * 6 * SSM_LAYER);
        let marks: &[(&str, &[u32])] = &[("attention.recurrent_layers", &[1, 1, 0, 1, 0, 0, 0, 0])];
        assert_eq!(model("qwen35", &every_fourth, marks), 4 * 3 * SSM_LAYER);
        let mut further = every_fourth;
        further.push(("nextn_predict_layers", 1));
        assert_eq!(model("qwen35moe", &further, &[]), 4 * 6 * SSM_LAYER);

        let heads: (&str, &[u32]) = ("attention.head_count_kv", &[0, 0, 2, 0, 0, 2, 0, 0]);
        let feeds: (&str, &[u32]) = ("feed_forward_length", &[9, 0, 0, 9, 0, 0, 9, 9]);
        assert_eq!(model("jamba", &SSM, &[heads]), 4 * 6 * SSM_LAYER);
        assert_eq!(
            model("nemotron_h", &SSM, &[heads, feeds]),
            4 * 2 * SSM_LAYER
        );
        // Attention and a state in the same layer.
        let both: (&str, &[u32]) = ("attention.head_count_kv", &[2; 8]);
        assert_eq!(model("falcon-h1", &SSM, &[both]), 4 * 8 * SSM_LAYER);
        // A file that does not say which layers have a state is counted from above.
        assert_eq!(model("qwen35", &SSM, &[]), 4 * 8 * SSM_LAYER);
        assert_eq!(model("jamba", &SSM, &[]), 4 * 8 * SSM_LAYER);
    }

    #[test]
    fn architectures_that_keep_states_are_listed_and_no_others() {
        for architecture in zoo::architectures() {
            if let Ok(memory) = architecture.memory() {
                let listed = LayerState::of(architecture.name()).is_some();
                assert_eq!(listed, memory.has_state(), "{}", architecture.name());
            }
        }
    }

    #[test]
    fn embeddings_that_are_kept_count_too() {
        let mut keys = SSM.to_vec();
        keys.extend([
            ("ple.conv_kernel", 4),
            ("ple.ngram_size", 3),
            ("hyper_connection.count", 2),
        ]);
        let layers: &[(&str, &[u32])] = &[("ple.layers", &[1, 2])];
        let kept = 2 * 3 * 3 * 2 * 64;
        let all = 4 * (8 * SSM_LAYER + kept);
        assert_eq!(model("qwen4exp", &keys, layers), all);
    }

    #[test]
    fn a_damaged_file_makes_no_sum_that_is_too_large_to_count() {
        let most = 1 << 20;
        let huge = [
            ("ssm.conv_kernel", most),
            ("ssm.inner_size", most),
            ("ssm.state_size", most),
            ("ssm.group_count", most),
        ];
        assert_eq!(model("mamba2", &huge, &[]), u64::MAX);
        let huge = [("kda.head_dim", most), ("ssm.conv_kernel", 0)];
        assert!(model("kimi-linear", &huge, &[]) > 1 << 40);
    }

    #[test]
    fn snapshots_are_counted_unless_there_are_none() {
        assert!(has_snapshots("qwen35") && has_snapshots("unheard-of"));
        assert!(!has_snapshots("mamba2") && !has_snapshots("qwen3next"));
    }
}
