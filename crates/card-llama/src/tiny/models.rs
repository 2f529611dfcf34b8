//! Small models of Llama's architecture, and files that are as wrong as a test wants them.

use std::path::PathBuf;

use super::file::{Tiny, Value};

impl Tiny {
    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.value(key, &value.into())
    }

    pub(crate) fn number(self, key: &str, value: u32) -> Self {
        self.value(key, &value.into())
    }

    pub(crate) fn float(self, key: &str, value: f32) -> Self {
        self.value(key, &value.into())
    }

    pub(crate) fn numbers(self, key: &str, values: &[u32]) -> Self {
        self.value(key, &values.to_vec().into())
    }

    pub(crate) fn texts(self, key: &str, values: &[String]) -> Self {
        self.value(key, &values.to_vec().into())
    }

    /// Weights (F32) that look random, a few hundredths each.
    pub(crate) fn tensor(self, name: &str, shape: &[u64]) -> Self {
        self.spread(name, shape, 0.0, 0.125)
    }

    /// Weights (F32) that look random, `width` from the least to the most about `middle`.
    fn spread(self, name: &str, shape: &[u64], middle: f32, width: f32) -> Self {
        let mut state = 0x9e37_79b9_u32 ^ self.data_length() as u32;
        let weight = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = (state >> 8) as f32 / (1 << 24) as f32 - 0.5;
            middle + width * value
        };
        let weights = (0..shape.iter().product::<u64>()).map(weight);
        self.weights(name, shape, weights)
    }

    /// Writes it; the path is this process's own.
    pub(crate) fn write(self) -> PathBuf {
        self.try_write()
            .expect("a file in the folder for temporary ones")
    }

    /// The keys of a vocabulary like GPT-2's without merges: a token for each printable ASCII
    /// character, one for the space and one for the line feed (as such vocabularies write
    /// them), and one that ends a text. `pre` is how texts are split.
    pub(crate) fn vocabulary(self, pre: &str) -> Self {
        let mut tokens: Vec<String> = ('!'..='~').map(String::from).collect();
        tokens.extend(["Ġ".into(), "Ċ".into(), "<|end|>".into()]);
        let end = tokens.len() as u32 - 1;
        // 1 is a token with a text, 3 one that controls.
        let mut kinds = vec![1; tokens.len()];
        kinds[end as usize] = 3;
        self.text("general.architecture", "llama")
            .text("tokenizer.ggml.model", "gpt2")
            .text("tokenizer.ggml.pre", pre)
            .texts("tokenizer.ggml.tokens", &tokens)
            .value("tokenizer.ggml.token_type", &Value::Signed(kinds))
            .texts("tokenizer.ggml.merges", &["! !".into()])
            .number("tokenizer.ggml.bos_token_id", end)
            .number("tokenizer.ggml.eos_token_id", end)
    }

    /// A model of one layer that is `width` wide and has that vocabulary.
    pub(crate) fn model(name: &str, width: u64) -> Self {
        let vocab = ('!'..='~').count() as u64 + 3;
        let feed = 2 * width;
        Tiny::new(name)
            .vocabulary("gpt-2")
            .number("llama.context_length", 512)
            .number("llama.embedding_length", width as u32)
            .number("llama.block_count", 1)
            .number("llama.feed_forward_length", feed as u32)
            .number("llama.attention.head_count", 1)
            .number("llama.attention.head_count_kv", 1)
            .number("llama.rope.dimension_count", width as u32)
            .float("llama.attention.layer_norm_rms_epsilon", 1e-5)
            .tensor("token_embd.weight", &[width, vocab])
            .tensor("output_norm.weight", &[width])
            .tensor("output.weight", &[width, vocab])
            .tensor("blk.0.attn_norm.weight", &[width])
            .tensor("blk.0.attn_q.weight", &[width, width])
            .tensor("blk.0.attn_k.weight", &[width, width])
            .tensor("blk.0.attn_v.weight", &[width, width])
            .tensor("blk.0.attn_output.weight", &[width, width])
            .tensor("blk.0.ffn_norm.weight", &[width])
            .tensor("blk.0.ffn_gate.weight", &[width, feed])
            .tensor("blk.0.ffn_up.weight", &[width, feed])
            .tensor("blk.0.ffn_down.weight", &[feed, width])
    }

    /// A model of three layers with that vocabulary, made to look at logits: attention looks
    /// here and there, two heads each share keys and values, and rows have 256 or 512 weights,
    /// which every type can have. If `experts` is not 0, two of so many are asked for a token.
    pub(crate) fn deep(name: &str, experts: u64) -> Self {
        const WIDTH: u64 = 256;
        const SHARED: u64 = 128;
        const FEED: u64 = 512;
        const LAYERS: u32 = 3;
        let vocab = ('!'..='~').count() as u64 + 3;
        let mut tiny = Tiny::new(name)
            .vocabulary("gpt-2")
            .number("llama.context_length", 4096)
            .number("llama.embedding_length", WIDTH as u32)
            .number("llama.block_count", LAYERS)
            .number("llama.feed_forward_length", FEED as u32)
            .number("llama.attention.head_count", 4)
            .number("llama.attention.head_count_kv", 2)
            .number("llama.rope.dimension_count", WIDTH as u32 / 4)
            .float("llama.attention.layer_norm_rms_epsilon", 1e-5);
        if experts > 0 {
            tiny = tiny
                .number("llama.expert_count", experts as u32)
                .number("llama.expert_used_count", 2);
        }
        let norm = |tiny: Self, name: &str| tiny.spread(name, &[WIDTH], 1.0, 0.5);
        let matrix = |tiny: Self, name: &str, shape: &[u64]| tiny.spread(name, shape, 0.0, 0.3);
        tiny = matrix(tiny, "token_embd.weight", &[WIDTH, vocab]);
        tiny = norm(tiny, "output_norm.weight");
        tiny = matrix(tiny, "output.weight", &[WIDTH, vocab]);
        for layer in 0..LAYERS {
            let named = |part: &str| format!("blk.{layer}.{part}.weight");
            tiny = norm(tiny, &named("attn_norm"));
            tiny = norm(tiny, &named("ffn_norm"));
            for (part, shape) in [
                ("attn_q", [WIDTH, WIDTH]),
                ("attn_k", [WIDTH, SHARED]),
                ("attn_v", [WIDTH, SHARED]),
                ("attn_output", [WIDTH, WIDTH]),
            ] {
                tiny = matrix(tiny, &named(part), &shape);
            }
            let feed = [
                ("ffn_gate", [WIDTH, FEED]),
                ("ffn_up", [WIDTH, FEED]),
                ("ffn_down", [FEED, WIDTH]),
            ];
            if experts > 0 {
                tiny = matrix(tiny, &named("ffn_gate_inp"), &[WIDTH, experts]);
            }
            for (part, [width, height]) in feed {
                tiny = match experts {
                    0 => matrix(tiny, &named(part), &[width, height]),
                    _ => {
                        let part = format!("{part}_exps");
                        matrix(tiny, &named(&part), &[width, height, experts])
                    }
                };
            }
        }
        tiny
    }
}
