//! Hyperparameters of the made-up models: common ones, and what single architectures want.
//!
//! llama.cpp reads of the keys those that an architecture has, so the common ones are set for
//! all. The numbers are as small as the code of the architectures allows.

use super::keys::ZooKeys;

/// Tokens of the vocabulary.
pub const TOKENS: u32 = 128;
/// The token that ends a text.
pub const END: u32 = 0;
/// Tokens of the context that the models say they were trained for.
pub const CONTEXT: u32 = 256;
/// Positions that layers with a sliding window look back: fewer than a test's text has tokens.
pub const WINDOW: u32 = 32;

/// Rows of a block of a block drafter.
pub const BLOCK: u32 = 6;
/// The token that is a mask in such a block.
pub const MASK: u32 = 1;
/// Numbers of a hidden state of most models.
pub(super) const WIDTH: u32 = 256;
/// Width of a head of RWKV's state.
const STATE_HEAD: u32 = 64;

/// Architectures whose attention keeps a compressed latent (multi-head latent attention).
const LATENT: &[&str] = &[
    "deepseek2",
    "deepseek32",
    "glm-dsa",
    "dots3note",
    "kimi-linear",
    "bailingmoe3",
    "kimi-k3",
    "glm5-next",
    "mistral4",
    "hy_v4",
];
/// Architectures that tell recurrent layers from others by their number of key-value heads.
const HEADS_BY_LAYER: &[&str] = &[
    "plamo2",
    "jamba",
    "nemotron_h",
    "nemotron_h_moe",
    "granitehybrid",
    "lfm2",
    "lfm2moe",
    "kimi-linear",
    "bailingmoe3",
    "kimi-k3",
    "glm5-next",
];
/// Architectures that list which layers have a sliding window; others take every how manieth has
/// none.
const WINDOWS_BY_LAYER: &[&str] = &[
    "cohere2moe",
    "mimo2",
    "step35",
    "spark2_5",
    "muse-glimmer",
    "granite_swa",
    "dots3note",
    "maple",
    "gemma4",
];

/// The sizes of a model.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Numbers of a hidden state.
    width: u32,
    heads: u32,
    /// Heads of keys and values.
    shared_heads: u32,
    /// Width of the feed-forward layers.
    feed: u32,
    layers: u32,
    tokens: u32,
}

impl Sizes {
    /// The sizes that most architectures can have, with the differences of some.
    fn of(architecture: &str) -> Self {
        let usual = Sizes {
            width: WIDTH,
            heads: 2,
            shared_heads: 2,
            feed: 384,
            layers: 2,
            tokens: TOKENS,
        };
        let heads = |heads, shared_heads| Sizes {
            heads,
            shared_heads,
            ..usual
        };
        let latent = Sizes {
            width: 128,
            heads: 1,
            shared_heads: 1,
            feed: 192,
            ..usual
        };
        let layers = |layers| Sizes { layers, ..usual };
        match architecture {
            "qwen3" => heads(4, 1),
            "muse-glimmer" | "afmoe" => heads(4, 2),
            // Every fourth layer has no positions.
            "llama4" => layers(4),
            "nemotron_h" | "nemotron_h_moe" => layers(3),
            // One layer a stack, two slow cycles of two fast ones and one more.
            "hrm_text" => layers(6),
            // The first 20 layers have keys and values of their own.
            "gemma3n" => Sizes {
                width: 64,
                heads: 1,
                shared_heads: 1,
                feed: 96,
                layers: 22,
                ..usual
            },
            // Layers with a window share nothing with those without, and one of five has none.
            "gemma4" => Sizes {
                width: 128,
                feed: 192,
                layers: 5,
                ..usual
            },
            "deepseek4" => Sizes {
                width: 512,
                heads: 8,
                shared_heads: 1,
                feed: 256,
                layers: 4,
                ..usual
            },
            "deepseek2-ocr" => heads(1, 1),
            // Its head has no fewer.
            "qwen3tts" => Sizes {
                tokens: 3072,
                ..usual
            },
            _ if LATENT.contains(&architecture) => latent,
            _ => usual,
        }
    }

    fn head(self) -> u32 {
        self.width / self.heads
    }

    /// A value for each layer.
    fn by_layer<T>(self, value: impl Fn(u32) -> T) -> Vec<T> {
        (0..self.layers).map(value).collect()
    }
}

/// The metadata of a made-up model of an architecture, with experts or without.
pub(super) fn recipe(architecture: &'static str, experts: bool) -> ZooKeys {
    let sizes = Sizes::of(architecture);
    let mut keys = ZooKeys::of(architecture);
    vocabulary(&mut keys, sizes.tokens);
    body(&mut keys, sizes);
    attention(&mut keys, sizes);
    windows_and_indexes(&mut keys);
    recurrence(&mut keys, sizes);
    scales(&mut keys);
    if experts {
        self::experts(&mut keys, sizes);
    }
    by_layers(&mut keys, architecture, sizes);
    if LATENT.contains(&architecture) {
        latent(&mut keys, architecture);
    }
    own(&mut keys, architecture, sizes);
    keys
}

/// The metadata of the same model with some layers more, which are a head.
pub(super) fn with_head(architecture: &'static str, experts: bool, layers: u32) -> ZooKeys {
    let mut keys = recipe(architecture, experts);
    keys.set("block_count", Sizes::of(architecture).layers + layers);
    keys.set("nextn_predict_layers", layers);
    keys
}

/// The metadata of an EAGLE-3 head for the model of an architecture, whose first, middle and last
/// layer it reads.
pub(super) fn eagle3(target: &str) -> ZooKeys {
    let Sizes { width, layers, .. } = Sizes::of(target);
    let mut keys = recipe("eagle3", false);
    keys.set("block_count", 1);
    keys.set("target_hidden_size", width);
    keys.set("target_layers", vec![0, layers / 2, layers - 1]);
    keys
}

/// The metadata of a block drafter for the model of an architecture, whose first and last layer it
/// reads. It is as wide as most models.
pub(super) fn dflash(target: &str) -> ZooKeys {
    let mut keys = recipe("dflash", false);
    keys.set("target_layers", vec![0, Sizes::of(target).layers - 1]);
    keys.set("block_size", BLOCK);
    keys.common("tokenizer.ggml.mask_token_id", MASK);
    for other in [
        "attention.sliding_window",
        "attention.sliding_window_pattern",
        "rope.dimension_sections",
    ] {
        keys.unset(other);
    }
    keys
}

/// A tokenizer of llama.cpp for tests, which makes tokens of any text. Token [`END`] ends one.
fn vocabulary(keys: &mut ZooKeys, tokens: u32) {
    let texts: Vec<String> = (0..tokens).map(|i| format!("tok_{i}")).collect();
    keys.common("tokenizer.ggml.model", "test");
    keys.common("tokenizer.ggml.tokens", texts);
    keys.common("tokenizer.ggml.scores", vec![0.0f32; tokens as usize]);
    keys.common("tokenizer.ggml.eos_token_id", END);
    keys.set("vocab_size", tokens);
}

/// Layers and what is in them.
fn body(keys: &mut ZooKeys, sizes: Sizes) {
    keys.set("context_length", CONTEXT);
    keys.set("embedding_length", sizes.width);
    keys.set("features_length", sizes.width);
    keys.set("block_count", sizes.layers);
    keys.set("leading_dense_block_count", 1);
    keys.set("feed_forward_length", sizes.feed);
    keys.set("use_parallel_residual", false);
    keys.set("full_attention_interval", 2);
    for part in ["posnet", "convnext"] {
        keys.set(&format!("{part}.embedding_length"), sizes.width);
        keys.set(&format!("{part}.block_count"), sizes.layers);
    }
}

fn attention(keys: &mut ZooKeys, sizes: Sizes) {
    keys.set("attention.head_count", sizes.heads);
    keys.set("attention.head_count_kv", sizes.shared_heads);
    keys.set("attention.max_alibi_bias", 8.0);
    keys.set("attention.clamp_kqv", 4.0);
    for norm in [
        "layer_norm_epsilon",
        "layer_norm_rms_epsilon",
        "group_norm_epsilon",
    ] {
        keys.set(&format!("attention.{norm}"), 1e-5);
    }
    keys.set("attention.group_norm_groups", 8);
    keys.set("attention.q_lora_rank", 64);
    keys.set("attention.kv_lora_rank", 512);
    keys.set("attention.relative_buckets_count", 8);
    let pairs = sizes.head() / 4;
    keys.set("rope.dimension_sections", vec![pairs; 4]);
}

/// Windows that slide, and indexers that choose what a token looks at.
fn windows_and_indexes(keys: &mut ZooKeys) {
    keys.set("attention.sliding_window", WINDOW);
    keys.set("attention.sliding_window_pattern", 2);
    keys.set("attention.indexer.head_count", 4);
    keys.set("attention.indexer.key_length", 128);
    // More than there are cells, so that everything is chosen: whether a cell is chosen would
    // else depend on the last bit of its score, and so on the shape of the forward.
    keys.set("attention.indexer.top_k", 1 << 17);
    keys.set("attention.indexer.block_size", 4);
    keys.set("attention.indexer.kpool", 4);
    keys.set("attention.indexer.kpool_select_tail", true);
    keys.set("attention.indexer.local_blocks", 1);
}

/// Layers with a state: Mamba, delta nets, short convolutions, RWKV.
fn recurrence(keys: &mut ZooKeys, sizes: Sizes) {
    keys.set("ssm.inner_size", 2 * sizes.width);
    keys.set("ssm.conv_kernel", 4);
    keys.set("ssm.state_size", 128);
    keys.set("ssm.time_step_rank", sizes.heads);
    keys.set("ssm.group_count", 2);
    keys.set("kda.head_dim", 128);
    keys.set("kda.safe_gate", true);
    keys.set("kda.gate_lower_bound", -5.0);
    keys.set("shortconv.l_cache", 3);
    keys.set("wkv.head_size", STATE_HEAD);
    keys.set("time_mix_extra_dim", 64);
    keys.set("time_decay_extra_dim", 128);
    for rank in ["decay", "iclr", "value_residual_mix", "gate"] {
        keys.set(&format!("attention.{rank}_lora_rank"), 32);
    }
}

fn scales(keys: &mut ZooKeys) {
    keys.set("logit_scale", 1.0);
    keys.set("residual_scale", 1.5);
    keys.set("attn_res.block_size", 12);
    keys.set("activation.situ_beta", 4.0);
    keys.set("activation.situ_linear_beta", 25.0);
    for part in ["alpha_n", "alpha_p", "beta"] {
        keys.common(&format!("xielu.{part}"), 1.0);
    }
    keys.common("xielu.eps", 1e-7);
}

/// Two of four experts for a token, and one for all tokens.
fn experts(keys: &mut ZooKeys, sizes: Sizes) {
    keys.set("expert_count", 4);
    keys.set("expert_used_count", 2);
    keys.set("expert_shared_count", 1);
    // An expert is narrower than a layer without.
    let feed = sizes.feed / 2;
    keys.set("expert_feed_forward_length", feed);
    keys.set("expert_shared_feed_forward_length", feed);
    keys.set("expert_latent_length", feed);
    keys.set("interleave_moe_layer_step", 2);
    // Sigmoid.
    keys.set("expert_gating_func", 2);
    keys.set("expert_group_scale", 1.0);
    keys.set("experts_per_group", 1);
}

/// What some architectures list layer by layer.
fn by_layers(keys: &mut ZooKeys, architecture: &str, sizes: Sizes) {
    if HEADS_BY_LAYER.contains(&architecture) {
        let heads = sizes.by_layer(|layer| if layer == 1 { 0 } else { sizes.heads });
        keys.set("attention.head_count_kv", heads.clone());
        // The heads of this one's recurrent layers are the others' as well.
        if architecture != "glm5-next" {
            keys.set("attention.head_count", heads);
        }
    }
    if WINDOWS_BY_LAYER.contains(&architecture) {
        keys.set(
            "attention.sliding_window_pattern",
            sizes.by_layer(|layer| layer % 2),
        );
    }
}

/// Attention over a compressed latent: what is kept of a token, and the heads made of it.
fn latent(keys: &mut ZooKeys, architecture: &str) {
    // This one's has no part that turns with the position.
    let turning = if architecture == "glm5-next" { 0 } else { 64 };
    keys.set("attention.q_lora_rank", 512);
    keys.set("attention.key_length", 512 + turning);
    keys.set("attention.value_length", 512);
    keys.set("attention.key_length_mla", 192);
    keys.set("attention.value_length_mla", 128);
    keys.set("rope.dimension_count", turning);
}

/// What single architectures want.
fn own(keys: &mut ZooKeys, architecture: &str, sizes: Sizes) {
    match architecture {
        "gemma4" => gemma4(keys, sizes),
        "deepseek4" => deepseek4(keys, sizes),
        "dots3note" => dots3note(keys, sizes),
        "hy_v4" => hy_v4(keys, sizes),
        "qwen4exp" | "glm5-next" => ngrams(keys, architecture, sizes),
        "bailingmoe3" => bailingmoe3(keys),
        "graniteswitch" => adapters(keys),
        "nemotron_h" | "nemotron_h_moe" => {
            // Layers without a feed-forward part have a state or attention.
            let feed = sizes.by_layer(|layer| if layer < 2 { 0 } else { sizes.feed });
            keys.set("feed_forward_length", feed);
        }
        "minimax-m3" => {
            keys.set("rope.dimension_count", 64);
            // As many as heads of keys and values.
            keys.set("attention.indexer.head_count", sizes.shared_heads);
        }
        "qwen3next" | "qwen35" | "qwen35moe" => keys.set("ssm.inner_size", 256),
        "plamo2" => keys.set("ssm.group_count", 0),
        "hrm_text" => {
            keys.set("hrm.layers_per_stack", 1);
            keys.set("hrm.h_cycles", 2);
            keys.set("hrm.l_cycles", 2);
        }
        "maple" => keys.set("swiglu_clamp_exp", 7.0),
        // Its heads are those of the states.
        "rwkv6" | "rwkv7" => {
            keys.set("attention.head_count", 0);
            keys.set("attention.head_count_kv", 0);
        }
        "rwkv6qwen2" | "arwkv7" => {
            keys.set("attention.head_count", sizes.width / STATE_HEAD);
            keys.set("attention.head_count_kv", sizes.width / STATE_HEAD / 2);
            keys.set("token_shift_count", 1);
        }
        _ => {}
    }
}

fn gemma4(keys: &mut ZooKeys, sizes: Sizes) {
    keys.set("embedding_length_per_layer_input", sizes.width / 2);
    keys.set("attention.shared_kv_layers", 0);
    keys.set("attention.key_length_swa", sizes.head());
    keys.set("attention.value_length_swa", sizes.head());
    keys.set("rope.freq_base_swa", 10_000.0);
    let windows = sizes.by_layer(|layer| u32::from(layer + 1 != sizes.layers));
    keys.set("attention.sliding_window_pattern", windows);
}

fn deepseek4(keys: &mut ZooKeys, sizes: Sizes) {
    keys.set("attention.head_count_kv", 1);
    keys.set("attention.key_length", sizes.head());
    keys.set("attention.value_length", sizes.head());
    keys.set("rope.dimension_count", sizes.head() / 2);
    keys.set("attention.output_group_count", 8);
    keys.set("attention.output_lora_rank", 32);
    keys.set("attention.compress_ratios", vec![0u32, 0, 4, 128]);
    keys.set("attention.compress_rope_freq_base", 160_000.0);
    hyper_connections(keys);
    keys.set("hyper_connection.sinkhorn_iterations", 2);
    keys.set("hash_layer_count", 0);
    keys.set("swiglu_clamp_exp", 10.0);
    keys.set("expert_weights_scale", 1.0);
    keys.set("expert_weights_norm", true);
    // The root of softplus.
    keys.set("expert_gating_func", 4);
}

fn dots3note(keys: &mut ZooKeys, sizes: Sizes) {
    keys.set("attention.kv_lora_rank_swa", 512);
    keys.set("attention.key_length_swa", 576);
    keys.set("attention.value_length_swa", 512);
    keys.set("attention.key_length_mla_swa", 192);
    keys.set("attention.value_length_mla_swa", 128);
    keys.set("rope.freq_base_swa", 10_000.0);
    // Layers without a window have an indexer.
    let indexers = sizes.by_layer(|layer| 1 - layer % 2);
    keys.set("attention.indexer.types", indexers);
}

fn hy_v4(keys: &mut ZooKeys, sizes: Sizes) {
    hyper_connections(keys);
    keys.set("hyper_connection.magnitude", 2.0);
    keys.set("swiglu_clamp_exp", 10.0);
    keys.set("expert_weights_scale", 1.0);
    keys.set("expert_weights_norm", true);
    // The second layer takes the first one's choice.
    let indexers = sizes.by_layer(|layer| 1 - layer % 2);
    keys.set("attention.indexer.types", indexers);
}

fn hyper_connections(keys: &mut ZooKeys) {
    keys.set("hyper_connection.count", 4);
    keys.set("hyper_connection.epsilon", 1e-6);
}

/// Embeddings of the last tokens together, which are part of the recurrent state.
fn ngrams(keys: &mut ZooKeys, architecture: &str, sizes: Sizes) {
    const LONGEST: u32 = 3;
    const HEADS: u32 = 2;
    // For n-grams of two tokens and of three.
    const ALL_HEADS: u32 = (LONGEST - 1) * HEADS;
    hyper_connections(keys);
    keys.set("hyper_connection.sinkhorn_iterations", 2);
    keys.set("hyper_connection.low_rank", 8);
    keys.set(
        "attention.compress_ratios",
        vec![4u32; sizes.layers as usize],
    );
    keys.set("ple.layers", vec![0u32]);
    keys.set("ple.ngram_size", LONGEST);
    keys.set("ple.heads_per_ngram", HEADS);
    keys.set("ple.conv_kernel", 4);
    keys.set("ple.eos_token_id", END);
    keys.set("embedding_length_per_layer_input", sizes.width / ALL_HEADS);
    keys.set("ple.layer_multipliers", vec![1u64, 3, 5]);
    let tokens = u64::from(sizes.tokens);
    let offsets: Vec<u64> = (0..u64::from(ALL_HEADS))
        .map(|head| head * tokens)
        .collect();
    keys.set("ple.head_offsets", offsets);
    keys.set("ple.head_vocab_sizes", vec![tokens; ALL_HEADS as usize]);
    if architecture == "qwen4exp" {
        keys.set("ssm.inner_size", 256);
        // The indexer's keys turn as the main ones do.
        keys.set("attention.indexer.key_length", sizes.head());
    }
}

fn bailingmoe3(keys: &mut ZooKeys) {
    keys.set("rope.dimension_sections", vec![8u32, 12, 12, 0]);
    keys.set("swiglu_clamp_exp", vec![0.0f32, 4.0]);
    keys.set("swiglu_clamp_shexp", vec![0.0f32, 5.0]);
    keys.unset("kda.safe_gate");
}

/// Adapters that a token of the text switches on.
fn adapters(keys: &mut ZooKeys) {
    keys.set("adapters.count", 2);
    keys.set("adapters.lora_rank", 8);
    keys.set("adapters.token_ids_activate", vec![5u32, 6]);
    keys.set("adapters.token_ids_substitute", vec![7u32, 8]);
}

/// Whether a tensor that llama.cpp would take is left out of the model.
pub(super) fn left_out(architecture: &str, tensor: &str) -> bool {
    // With it the graph would be RWKV 6's, of which the other tensors are missing.
    let first = architecture == "rwkv6qwen2" && tensor.contains("time_mix_first");
    tensor.ends_with(".input_scale") || first
}

/// Whether a tensor scales what a matrix gives, as files of few bits a weight have them. Models have
/// them here; heads do not, whose weights are to give what is known. The router's, which Gemma 4
/// has, is another.
pub(super) fn is_scale(tensor: &str) -> bool {
    tensor.ends_with(".scale") && !tensor.ends_with("ffn_gate_inp.scale")
}
